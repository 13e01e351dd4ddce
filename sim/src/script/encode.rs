//! From values to bytes, as the schema texts say: a second encoder beside the generated one.

use super::literal::SUBSCRIPTION;
use super::records;
use super::schemas::{Api, is_flexible, is_nullable, tag};
use super::value::Value;
use base::Uuid;
use schema::{Field, Fixed, Message, Type};
use wire::{ApiKey, ErrorCode};

/// What a request's header says.
pub(super) struct Head<'a> {
    pub(super) version: i16,
    pub(super) correlation: i32,
    pub(super) client: &'a str,
}

/// A request as a frame without its size. Its body may be of another version than its header says.
pub(super) fn request(
    api: &Api,
    head: &Head<'_>,
    body_version: i16,
    value: &Value,
) -> Result<Vec<u8>, String> {
    let mut out = Out::default();
    out.raw(&api.key.to_be_bytes());
    out.raw(&head.version.to_be_bytes());
    out.raw(&head.correlation.to_be_bytes());
    out.length(false, head.client.len(), 2)?;
    out.raw(head.client.as_bytes());
    if is_flexible(&api.request, head.version) {
        out.varint(0);
    }
    message(&mut out, api, &api.request, body_version, value)?;
    Ok(out.bytes)
}

fn message(out: &mut Out, api: &Api, message: &Message, version: i16, value: &Value) -> Result<(), String> {
    let coder = Coder { api, version, flexible: is_flexible(message, version) };
    coder.fields(out, &message.fields, value)
}

struct Coder<'a> {
    api: &'a Api,
    version: i16,
    flexible: bool,
}

impl Coder<'_> {
    fn fields(&self, out: &mut Out, fields: &[Field], value: &Value) -> Result<(), String> {
        let Value::Struct(given) = value else { return Err("expected {fields}".into()) };
        for (name, _) in given {
            let known = fields.iter().find(|field| schema::snake(&field.name) == *name);
            if !known.is_some_and(|field| field.versions.contains(self.version)) {
                return Err(format!("{} v{} has no field {name} here", self.api.name, self.version));
            }
        }
        let mut tagged = Vec::new();
        for field in fields.iter().filter(|field| field.versions.contains(self.version)) {
            let given = value.field(&schema::snake(&field.name));
            let wrong = |error| format!("{}: {error}", field.name);
            match tag(field, self.version) {
                None => self.field(out, field, given).map_err(wrong)?,
                Some(tag) if given.is_some() => {
                    let mut content = Out::default();
                    self.field(&mut content, field, given).map_err(wrong)?;
                    tagged.push((tag, content.bytes));
                }
                Some(_) => {}
            }
        }
        if self.flexible {
            out.tags(tagged);
        }
        Ok(())
    }

    fn field(&self, out: &mut Out, field: &Field, given: Option<&Value>) -> Result<(), String> {
        let default = default(field);
        let value = given.unwrap_or(&default);
        let flexible = self.flexible && !field.legacy;
        if *value == Value::Null {
            if !is_nullable(field, self.version) {
                return Err(format!("may not be null in v{}", self.version));
            }
            out.null(flexible, &field.ty);
            return Ok(());
        }
        if matches!(field.ty, Type::Struct(_)) && field.nullable.is_some() {
            out.raw(&[1]);
        }
        self.value(out, field, &field.ty, value, flexible)
    }

    fn value(
        &self,
        out: &mut Out,
        field: &Field,
        ty: &Type,
        value: &Value,
        flexible: bool,
    ) -> Result<(), String> {
        match (ty, value) {
            (Type::Fixed(fixed), value) => out.fixed(*fixed, value),
            (Type::String, Value::Text(text)) => out.prefixed(flexible, text.as_bytes(), 2),
            (Type::Bytes, Value::Text(text)) => out.prefixed(flexible, text.as_bytes(), 4),
            (Type::Bytes, Value::Struct(_)) => out.prefixed(flexible, &subscription(value)?, 4),
            (Type::Bytes | Type::Records, Value::Bytes(bytes)) => out.prefixed(flexible, bytes, 4),
            (Type::Records, value) => out.prefixed(flexible, &records::encode(value)?, 4),
            (Type::Struct(_), value) => self.fields(out, self.api.inner(field), value),
            (Type::Array(element), Value::List(elements)) => {
                out.length(flexible, elements.len(), 4)?;
                elements.iter().try_for_each(|value| self.value(out, field, element, value, flexible))
            }
            (_, value) => Err(format!("{value:?} does not fit")),
        }
    }
}

/// A ConsumerProtocolSubscription of version 0: topics, no user data.
fn subscription(value: &Value) -> Result<Vec<u8>, String> {
    let topics = value.field(SUBSCRIPTION).ok_or("expected bytes")?.elements();
    let mut out = Out::default();
    out.raw(&[0; 2]);
    out.length(false, topics.len(), 4)?;
    for topic in topics {
        out.prefixed(false, topic.text().unwrap_or_default().as_bytes(), 2)?;
    }
    out.null(false, &Type::Bytes);
    Ok(out.bytes)
}

/// What a field is where nothing is said.
pub(super) fn default(field: &Field) -> Value {
    match (field.default.as_deref(), &field.ty) {
        (Some("null"), _) => Value::Null,
        (Some("true"), _) => Value::Bool(true),
        (None | Some("false"), Type::Fixed(Fixed::Bool)) => Value::Bool(false),
        (None, Type::Fixed(Fixed::Uuid)) => Value::Uuid(Uuid::ZERO),
        (Some(text), Type::Fixed(Fixed::Float64)) => text.parse().map_or(Value::Null, Value::Float),
        (None, Type::Fixed(Fixed::Float64)) => Value::Float(0.0),
        (Some(text), Type::Fixed(_)) => text.parse().map_or(Value::Null, Value::Int),
        (None, Type::Fixed(_)) => Value::Int(0),
        (text, Type::String | Type::Bytes) => Value::Text(text.unwrap_or_default().to_owned()),
        (_, Type::Records | Type::Array(_)) => Value::List(Vec::new()),
        (_, Type::Struct(_)) => Value::Struct(Vec::new()),
    }
}

#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
}

impl Out {
    fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut number: u32) {
        while number >= 0x80 {
            self.bytes.extend((number | 0x80).to_le_bytes().first());
            number >>= 7;
        }
        self.bytes.extend(number.to_le_bytes().first());
    }

    fn length(&mut self, flexible: bool, length: usize, width: usize) -> Result<(), String> {
        let length = u32::try_from(length).map_err(|_| "too long")?;
        if flexible {
            self.varint(length + 1);
        } else if width == 2 {
            self.raw(&i16::try_from(length).map_err(|_| "too long")?.to_be_bytes());
        } else {
            self.raw(&length.to_be_bytes());
        }
        Ok(())
    }

    fn prefixed(&mut self, flexible: bool, bytes: &[u8], width: usize) -> Result<(), String> {
        self.length(flexible, bytes.len(), width)?;
        self.raw(bytes);
        Ok(())
    }

    fn null(&mut self, flexible: bool, ty: &Type) {
        match ty {
            Type::Struct(_) => self.raw(&[0xff]),
            _ if flexible => self.varint(0),
            Type::String => self.raw(&[0xff; 2]),
            Type::Fixed(_) | Type::Bytes | Type::Records | Type::Array(_) => self.raw(&[0xff; 4]),
        }
    }

    fn tags(&mut self, mut tagged: Vec<(u32, Vec<u8>)>) {
        tagged.sort();
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        self.varint(count(tagged.len()));
        for (tag, content) in tagged {
            self.varint(tag);
            self.varint(count(content.len()));
            self.raw(&content);
        }
    }

    fn fixed(&mut self, fixed: Fixed, value: &Value) -> Result<(), String> {
        let number = match value {
            Value::Bool(value) => i64::from(*value),
            Value::Int(number) => *number,
            Value::Word(word) => code(word)?,
            Value::Uuid(id) => {
                self.raw(&id.0);
                return Ok(());
            }
            Value::Text(text) if fixed == Fixed::Uuid => {
                let id: Uuid = text.parse().map_err(|_| format!("{text} is no id"))?;
                self.raw(&id.0);
                return Ok(());
            }
            Value::Float(number) => {
                self.raw(&number.to_be_bytes());
                return Ok(());
            }
            other => return Err(format!("{other:?} is no number")),
        };
        let width = width(fixed);
        self.raw(&number.to_be_bytes()[8 - width..]);
        Ok(())
    }
}

/// Bytes of a type of fixed width.
pub(super) const fn width(fixed: Fixed) -> usize {
    match fixed {
        Fixed::Bool | Fixed::Int8 => 1,
        Fixed::Int16 | Fixed::Uint16 => 2,
        Fixed::Int32 | Fixed::Uint32 => 4,
        Fixed::Int64 | Fixed::Float64 => 8,
        Fixed::Uuid => 16,
    }
}

/// The number of an error code or an API by its name.
fn code(word: &str) -> Result<i64, String> {
    let error = ErrorCode::ALL.iter().find(|code| code.name() == word).map(|code| code.code());
    let api = (0..i16::MAX).find(|key| ApiKey::try_from(*key).is_ok_and(|api| api.name() == word));
    error.or(api).map(i64::from).ok_or_else(|| format!("{word} is neither an error code nor an API"))
}
