//! What a schema file says, as values.

/// Versions `oldest..=latest`; `latest` is open for "and all later ones".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) oldest: i16,
    pub(crate) latest: Option<i16>,
}

impl Versions {
    pub(crate) fn contains(self, version: i16) -> bool {
        version >= self.oldest && self.latest.is_none_or(|latest| version <= latest)
    }
}

/// One schema file.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub(crate) messages: Vec<Message>,
    /// Structs that several fields share.
    pub(crate) structs: Vec<(String, Vec<Field>)>,
}

/// A message that is coded by itself.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) oldest: i16,
    pub(crate) latest: i16,
    /// The first version with compact lengths and tagged fields.
    pub(crate) flexible: Option<i16>,
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `key` and name of the API.
    Request {
        key: i16,
        api: String,
    },
    Response,
    /// A stored record with the number of its type.
    Record {
        number: i16,
    },
    Data,
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) versions: Versions,
    pub(crate) ty: Type,
    pub(crate) nullable: Option<Versions>,
    pub(crate) tag: Option<(u32, Versions)>,
    pub(crate) default: Option<String>,
    pub(crate) ignorable: bool,
    /// Written with fixed-width lengths in flexible versions too.
    pub(crate) legacy: bool,
    /// The fields of the struct that this field defines on the spot.
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Fixed(Fixed),
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Type>),
}

/// The types of fixed width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fixed {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint16,
    Uint32,
    Float64,
    Uuid,
}

impl Type {
    /// The struct that values of this type are made of.
    pub(crate) fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(element) => element.struct_name(),
            Self::Fixed(_) | Self::String | Self::Bytes | Self::Records => None,
        }
    }
}
