//! Types and default values of fields.

use schema::{Field, Fixed, Type};

/// The Rust type of a field.
pub(super) fn rust_type(field: &Field) -> String {
    let ty = type_name(&field.ty);
    if is_option(field) { format!("Option<{ty}>") } else { ty }
}

/// Whether the Rust type is an `Option`. Kafka's `records` default to null whether nullable or not.
pub(super) fn is_option(field: &Field) -> bool {
    field.nullable.is_some() || field.ty == Type::Records
}

fn type_name(ty: &Type) -> String {
    match ty {
        Type::Fixed(Fixed::Uuid) => "Uuid".to_owned(),
        Type::Fixed(fixed) => method(*fixed).to_owned(),
        Type::String => "Str".to_owned(),
        Type::Bytes => "Bytes".to_owned(),
        Type::Records => "Records".to_owned(),
        Type::Struct(name) => name.clone(),
        Type::Array(element) => format!("Vec<{}>", type_name(element)),
    }
}

/// The method of `Reader` and `Writer` for the type.
pub(super) fn method(fixed: Fixed) -> &'static str {
    match fixed {
        Fixed::Bool => "bool",
        Fixed::Int8 => "i8",
        Fixed::Int16 => "i16",
        Fixed::Int32 => "i32",
        Fixed::Int64 => "i64",
        Fixed::Uint16 => "u16",
        Fixed::Uint32 => "u32",
        Fixed::Float64 => "f64",
        Fixed::Uuid => "uuid",
    }
}

/// Whether `Default::default()` of the type is the default of the field.
pub(super) fn is_trivial_default(field: &Field) -> bool {
    field.default.is_none() && !is_option(field) || is_null_default(field)
}

fn is_null_default(field: &Field) -> bool {
    field.default.as_deref() == Some("null") || field.ty == Type::Records
}

/// The default of the field as an expression.
pub(super) fn default(field: &Field) -> String {
    let plain = match (&field.ty, field.default.as_deref()) {
        _ if is_null_default(field) => return "None".to_owned(),
        (Type::Fixed(Fixed::Bool), None) => "false".to_owned(),
        (Type::Fixed(Fixed::Uuid), _) => "Uuid::ZERO".to_owned(),
        (Type::Fixed(Fixed::Float64), None) => "0.0".to_owned(),
        (Type::Fixed(_), None) => "0".to_owned(),
        (Type::Fixed(_), Some("2147483647")) => "i32::MAX".to_owned(),
        (Type::Fixed(_), Some("-2147483648")) => "i32::MIN".to_owned(),
        (Type::Fixed(_), Some("9223372036854775807")) => "i64::MAX".to_owned(),
        (Type::Fixed(_), Some(value)) => value.to_owned(),
        (Type::String, _) => "Str::EMPTY".to_owned(),
        (Type::Bytes, _) => "Bytes::new()".to_owned(),
        (Type::Array(_), _) => "Vec::new()".to_owned(),
        (Type::Struct(name), _) => format!("{name}::default()"),
        (Type::Records, _) => "None".to_owned(),
    };
    if is_option(field) { format!("Some({plain})") } else { plain }
}

/// The condition that the field differs from its default.
pub(super) fn differs(field: &Field) -> String {
    let name = super::super::names::field(&field.name);
    if is_null_default(field) {
        return format!("self.{name}.is_some()");
    }
    match (&field.ty, is_option(field)) {
        (Type::Fixed(Fixed::Bool), false) if default(field) == "true" => format!("!self.{name}"),
        (Type::Fixed(Fixed::Bool), false) => format!("self.{name}"),
        (Type::String | Type::Bytes | Type::Array(_), false) => format!("!self.{name}.is_empty()"),
        (Type::String | Type::Bytes | Type::Array(_), true) => {
            format!("self.{name}.as_ref().is_none_or(|value| !value.is_empty())")
        }
        _ => format!("self.{name} != {}", default(field)),
    }
}
