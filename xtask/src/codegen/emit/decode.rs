//! `Message::decode`: a struct literal whose fields read themselves in the order of the wire, then the tags.

use super::super::layout::{Module, Struct, When};
use super::super::names;
use super::{coded, condition, flexible_binding, flexible_word, names_version, value};
use schema::{Field, Type};
use std::fmt::Write as _;

pub(super) fn function(laid: &Struct, module: &Module) -> String {
    let flexible = laid.when_flexible();
    let mut body = String::new();
    if laid.kind.is_some() {
        let _ = write!(body, "r.check_version(v, {}, {})?;", laid.oldest, laid.latest);
    }
    body.push_str(&flexible_binding(laid));
    let mut literal = String::from("Self {");
    for field in coded(laid) {
        let _ = write!(literal, "{}: {},", names::field(&field.name), field_value(field, laid, module));
    }
    if flexible == When::Never {
        let _ = write!(body, "Ok({literal} }})");
    } else {
        let read = tags(laid, module);
        let read = match flexible {
            When::If(_) => format!("if flexible {{ {read} }}"),
            When::Always | When::Never => read,
        };
        let _ = write!(body, "let mut m = {literal} unknown_tags: UnknownTags::default() }}; {read} Ok(m)");
    }
    let v = if names_version(&body) { "v" } else { "_v" };
    format!("fn decode(r: &mut Reader, {v}: i16) -> Result<Self, DecodeError> {{ {body} }}\n")
}

fn field_value(field: &Field, laid: &Struct, module: &Module) -> String {
    if field.tag.is_some() {
        return value::default(field);
    }
    let read = read(field, laid, module);
    match laid.when(field.versions) {
        When::If(condition) => format!("if {condition} {{ {read} }} else {{ {} }}", value::default(field)),
        When::Always | When::Never => read,
    }
}

fn tags(laid: &Struct, module: &Module) -> String {
    let laid = &laid.flexible_part();
    let mut arms = String::new();
    for field in coded(laid) {
        let Some((tag, versions)) = field.tag else { continue };
        let guard = match laid.when(versions) {
            When::If(condition) => format!("if {condition}"),
            When::Always | When::Never => String::new(),
        };
        let name = names::field(&field.name);
        let _ = write!(arms, "{tag} {guard} => m.{name} = {},", read(field, laid, module));
    }
    if arms.is_empty() {
        return "r.tags(&mut m.unknown_tags, |_, _| Ok(false))?;".to_owned();
    }
    format!(
        "r.tags(&mut m.unknown_tags, |r, tag| {{ match tag {{ {arms} _ => return Ok(false), }} Ok(true) }})?;"
    )
}

/// The expression that reads a field which is there.
fn read(field: &Field, laid: &Struct, module: &Module) -> String {
    let f = if field.legacy { "false" } else { flexible_word(laid) };
    let nullable = field.nullable.map(|versions| laid.when(versions));
    let n = nullable.as_ref().map_or("false", condition);
    match (&field.ty, nullable.is_some()) {
        (Type::Records, _) => format!("r.opt_records({f}, {n})?"),
        (Type::Fixed(fixed), _) => format!("r.{}()?", value::method(*fixed)),
        (Type::String, false) => format!("r.string({f})?"),
        (Type::String, true) => format!("r.opt_string({f}, {n})?"),
        (Type::Bytes, false) => format!("r.bytes({f})?"),
        (Type::Bytes, true) => format!("r.opt_bytes({f}, {n})?"),
        (Type::Struct(name), false) => format!("{name}::decode(r, v)?"),
        (Type::Struct(name), true) => format!("r.opt_struct({n}, |r| {name}::decode(r, v))?"),
        (Type::Array(element), nullable) => {
            let min = module.bytes_min(element, field.versions, laid);
            let read = element_reader(element, f);
            if nullable {
                format!("r.opt_array({f}, {n}, {min}, {read})?")
            } else {
                format!("r.array({f}, {min}, {read})?")
            }
        }
    }
}

fn element_reader(element: &Type, f: &str) -> String {
    match element {
        Type::Fixed(fixed) => format!("Reader::{}", value::method(*fixed)),
        Type::String => format!("|r| r.string({f})"),
        Type::Struct(name) => format!("|r| {name}::decode(r, v)"),
        Type::Bytes | Type::Records | Type::Array(_) => format!("|r| r.bytes({f})"),
    }
}
