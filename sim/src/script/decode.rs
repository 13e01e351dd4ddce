//! From bytes to values, as the schema texts say. What is as if nothing had been said is left out.

use super::encode::{default, width};
use super::records;
use super::schemas::{Api, is_flexible, is_nullable, is_struct, tag};
use super::value::Value;
use base::Uuid;
use schema::{Field, Fixed, Type};
use wire::{ApiKey, ErrorCode};

/// A response without its size: its correlation id and its body.
pub(super) fn response(api: &Api, version: i16, frame: &[u8]) -> Result<(i32, Value), String> {
    let mut input = In { rest: frame };
    let correlation = i32::from_be_bytes(input.array()?);
    let flexible = is_flexible(&api.response, version);
    // ApiVersions answers with the oldest header, whatever was asked (KIP-511).
    if flexible && api.name != "ApiVersions" {
        input.tags()?;
    }
    let coder = Coder { api, version, flexible };
    let value = coder.fields(&mut input, &api.response.fields)?;
    if !input.rest.is_empty() {
        return Err(format!("{} bytes are left after {}", input.rest.len(), super::print::flat(&value)));
    }
    Ok((correlation, value))
}

struct Coder<'a> {
    api: &'a Api,
    version: i16,
    flexible: bool,
}

impl Coder<'_> {
    fn fields(&self, input: &mut In<'_>, fields: &[Field]) -> Result<Value, String> {
        let here = || fields.iter().filter(|field| field.versions.contains(self.version));
        let mut found: Vec<(String, Value)> = Vec::new();
        let mut add = |field: &Field, value: Value| {
            if is_told(field, &value) {
                found.push((schema::snake(&field.name), named(&field.name, value)));
            }
        };
        for field in here().filter(|field| tag(field, self.version).is_none()) {
            add(field, self.field(input, field).map_err(|error| format!("{}: {error}", field.name))?);
        }
        if self.flexible {
            for (number, content) in input.tags()? {
                let known = here().find(|field| tag(field, self.version) == Some(number));
                let Some(field) = known else {
                    found.push((format!("tag_{number}"), Value::of_bytes(content)));
                    continue;
                };
                let value = self.field(&mut In { rest: content }, field)?;
                found.push((schema::snake(&field.name), named(&field.name, value)));
            }
        }
        Ok(Value::Struct(found))
    }

    fn field(&self, input: &mut In<'_>, field: &Field) -> Result<Value, String> {
        let flexible = self.flexible && !field.legacy;
        if is_struct(&field.ty) && field.nullable.is_some() {
            let there = i8::from_be_bytes(input.array()?) > 0;
            return if there { self.fields(input, self.api.inner(field)) } else { Ok(Value::Null) };
        }
        let value = self.value(input, field, &field.ty, flexible)?;
        if value == Value::Null && !is_nullable(field, self.version) {
            return Err(format!("is null in v{}", self.version));
        }
        Ok(value)
    }

    fn value(&self, input: &mut In<'_>, field: &Field, ty: &Type, flexible: bool) -> Result<Value, String> {
        Ok(match ty {
            Type::Fixed(fixed) => input.fixed(*fixed)?,
            Type::String => match input.prefixed(flexible, 2)? {
                Some(bytes) => Value::Text(String::from_utf8(bytes.to_vec()).map_err(|e| e.to_string())?),
                None => Value::Null,
            },
            Type::Bytes => input.prefixed(flexible, 4)?.map_or(Value::Null, Value::of_bytes),
            Type::Records => match input.prefixed(flexible, 4)? {
                Some(bytes) => records::decode(bytes)?,
                None => Value::Null,
            },
            Type::Struct(_) => self.fields(input, self.api.inner(field))?,
            Type::Array(element) => {
                let Some(count) = input.length(flexible, 4)? else { return Ok(Value::Null) };
                let elements = (0..count).map(|_| self.value(input, field, element, flexible));
                Value::List(elements.collect::<Result<_, _>>()?)
            }
        })
    }
}

/// Numbers that say which element it is: told even when they are zero.
const ORDINALS: &[&str] = &["ApiKey", "PartitionIndex", "Partition", "Index", "BrokerId", "NodeId"];

/// True for what is not as if nothing had been said.
fn is_told(field: &Field, value: &Value) -> bool {
    let hollow = is_struct(&field.ty) && value.is_hollow();
    let usual = *value == default(field) && !ORDINALS.contains(&field.name.as_str());
    !hollow && !usual
}

/// Numbers that have names.
fn named(field: &str, value: Value) -> Value {
    let Some(number) = value.int().and_then(|number| i16::try_from(number).ok()) else { return value };
    if field.ends_with("ErrorCode") {
        return Value::Word(ErrorCode::from_code(number).name().into());
    }
    match ApiKey::try_from(number) {
        Ok(api) if field == "ApiKey" => Value::Word(api.name().into()),
        _ => value,
    }
}

struct In<'a> {
    rest: &'a [u8],
}

impl<'a> In<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or("the response is too short")?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "the response is too short".to_owned())
    }

    fn varint(&mut self) -> Result<u32, String> {
        let mut number = 0;
        for shift in (0..32).step_by(7) {
            let [byte] = self.array()?;
            number |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number of more than five bytes".into())
    }

    /// A length, or `None` for null.
    fn length(&mut self, flexible: bool, width: usize) -> Result<Option<usize>, String> {
        let length = match (flexible, width) {
            (true, _) => i64::from(self.varint()?) - 1,
            (false, 2) => i64::from(i16::from_be_bytes(self.array()?)),
            (false, _) => i64::from(i32::from_be_bytes(self.array()?)),
        };
        Ok(usize::try_from(length).ok())
    }

    fn prefixed(&mut self, flexible: bool, width: usize) -> Result<Option<&'a [u8]>, String> {
        let length = self.length(flexible, width)?;
        length.map(|length| self.take(length)).transpose()
    }

    fn tags(&mut self) -> Result<Vec<(u32, &'a [u8])>, String> {
        let count = self.varint()?;
        let mut tags = Vec::new();
        for _ in 0..count {
            let tag = self.varint()?;
            let length = usize::try_from(self.varint()?).map_err(|e| e.to_string())?;
            tags.push((tag, self.take(length)?));
        }
        Ok(tags)
    }

    fn fixed(&mut self, fixed: Fixed) -> Result<Value, String> {
        let bytes = self.take(width(fixed))?;
        Ok(match fixed {
            Fixed::Bool => Value::Bool(bytes != [0]),
            Fixed::Uuid => Value::Uuid(Uuid(bytes.try_into().map_err(|_| "no id")?)),
            Fixed::Float64 => Value::Float(f64::from_be_bytes(bytes.try_into().map_err(|_| "no number")?)),
            Fixed::Uint16 | Fixed::Uint32 => Value::Int(unsigned(bytes)),
            Fixed::Int8 | Fixed::Int16 | Fixed::Int32 | Fixed::Int64 => Value::Int(signed(bytes)),
        })
    }
}

fn unsigned(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
}

fn signed(bytes: &[u8]) -> i64 {
    let unused = 64 - 8 * bytes.len();
    unsigned(bytes) << unused >> unused
}
