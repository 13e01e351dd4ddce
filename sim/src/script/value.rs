//! What stands between braces in a script: the values of a message, without its types.

use base::Uuid;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Uuid(Uuid),
    /// An error code, an API, a bound name (`@topic1`), or `*` for what is different every time.
    Word(String),
    List(Vec<Value>),
    Struct(Vec<(String, Value)>),
}

impl Value {
    /// The field of that name, if this is a struct that has it.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Struct(fields) => fields.iter().find(|(found, _)| found == name).map(|(_, value)| value),
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Text(_)
            | Self::Bytes(_)
            | Self::Uuid(_)
            | Self::Word(_)
            | Self::List(_) => None,
        }
    }

    /// The elements, if this is a list.
    pub(super) fn elements(&self) -> &[Self] {
        if let Self::List(elements) = self { elements } else { &[] }
    }

    /// The number, if this is one.
    pub(super) fn int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    /// The text, if this is one.
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// True for an empty list or struct.
    pub(super) fn is_hollow(&self) -> bool {
        matches!(self, Self::List(list) if list.is_empty())
            || matches!(self, Self::Struct(fields) if fields.is_empty())
    }

    /// Bytes as text where people can read them.
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        match core::str::from_utf8(bytes) {
            Ok(text) if !text.chars().any(char::is_control) => Self::Text(text.to_owned()),
            _ => Self::Bytes(bytes.to_vec()),
        }
    }

    /// The same without the fields of these names, however deep.
    pub(super) fn without(self, names: &[String]) -> Self {
        match self {
            Self::List(elements) => {
                Self::List(elements.into_iter().map(|element| element.without(names)).collect())
            }
            Self::Struct(fields) => {
                let left = fields.into_iter().filter(|(name, _)| !names.contains(name));
                Self::Struct(left.map(|(name, value)| (name, value.without(names))).collect())
            }
            other => other,
        }
    }

    /// The same without the elements of these names, however deep.
    pub(super) fn except(self, names: &[String]) -> Self {
        let is_named = |element: &Self| {
            element.field("name").and_then(Self::text).is_some_and(|name| names.iter().any(|n| n == name))
        };
        match self {
            Self::List(elements) => {
                let left = elements.into_iter().filter(|element| !is_named(element));
                Self::List(left.map(|element| element.except(names)).collect())
            }
            Self::Struct(fields) => {
                Self::Struct(fields.into_iter().map(|(name, value)| (name, value.except(names))).collect())
            }
            other => other,
        }
    }
}
