//! `Message::encode`: one line per field, then the tags.

use super::super::layout::{Struct, When};
use super::super::names;
use super::{coded, flexible_binding, flexible_word, names_version, value};
use schema::{Field, Type};
use std::fmt::Write as _;

pub(super) fn function(laid: &Struct) -> String {
    let mut body = String::new();
    if laid.kind.is_some() {
        let _ = write!(body, "w.check_version(v, {}, {});", laid.oldest, laid.latest);
    }
    body.push_str(&flexible_binding(laid));
    for field in coded(laid) {
        body.push_str(&field_lines(field, laid));
    }
    match laid.when_flexible() {
        When::Never => {}
        When::Always => body.push_str(&tags(laid)),
        When::If(_) => {
            let tags = tags(laid);
            let _ = write!(body, "if flexible {{ {tags} }} else {{ w.lacks_tags(&self.unknown_tags); }}");
        }
    }
    let v = if names_version(&body) { "v" } else { "_v" };
    format!("fn encode(&self, w: &mut Writer, {v}: i16) {{ {body} }}\n")
}

fn field_lines(field: &Field, laid: &Struct) -> String {
    let present = laid.when(field.versions);
    let absent = if field.ignorable {
        String::new()
    } else {
        format!("w.lacks({}, \"{}\");", value::differs(field), field.name)
    };
    if field.tag.is_some() {
        // Present: among the tags. Absent: here.
        return match present {
            When::If(condition) if !absent.is_empty() => format!("if {} {{ {absent} }}", negated(&condition)),
            When::If(_) | When::Always | When::Never => String::new(),
        };
    }
    let write = write_present(field, laid);
    match present {
        When::If(condition) if absent.is_empty() => format!("if {condition} {{ {write} }}"),
        When::If(condition) => format!("if {condition} {{ {write} }} else {{ {absent} }}"),
        When::Always | When::Never => write,
    }
}

fn write_present(field: &Field, laid: &Struct) -> String {
    let name = names::field(&field.name);
    let null = format!("self.{name}.is_none()");
    let check = match field.nullable.map(|versions| laid.when(versions)) {
        Some(When::If(condition)) => {
            format!("w.not_null({} && {null}, \"{}\");", negated(&condition), field.name)
        }
        Some(When::Always) => String::new(),
        None if !value::is_option(field) => String::new(),
        Some(When::Never) | None => format!("w.not_null({null}, \"{}\");", field.name),
    };
    check + &write(field, laid)
}

/// The opposite of a condition on `v`.
fn negated(condition: &str) -> String {
    match (condition.strip_prefix("v >= "), condition.strip_prefix("v <= ")) {
        (Some(version), _) => format!("v < {version}"),
        (_, Some(version)) => format!("v > {version}"),
        _ => format!("!({condition})"),
    }
}

fn tags(laid: &Struct) -> String {
    let laid = &laid.flexible_part();
    let mut fields: Vec<(u32, String, &Field)> = Vec::new();
    for field in coded(laid) {
        let Some((tag, versions)) = field.tag else { continue };
        let differs = value::differs(field);
        let set = match laid.when(versions) {
            When::If(condition) => format!("{condition} && {differs}"),
            When::Always | When::Never => differs,
        };
        fields.push((tag, set, field));
    }
    fields.sort_by_key(|(tag, ..)| *tag);
    if fields.is_empty() {
        return "w.tags(0, &self.unknown_tags).finish();".to_owned();
    }
    let mut out = String::new();
    for (tag, set, _) in &fields {
        let _ = write!(out, "let t{tag} = {set};");
    }
    let count: Vec<String> = fields.iter().map(|(tag, ..)| format!("usize::from(t{tag})")).collect();
    let _ = write!(out, "let mut tags = w.tags({}, &self.unknown_tags);", count.join(" + "));
    for (tag, _, field) in &fields {
        let _ = write!(out, "tags.field(t{tag}, {tag}, |w| {});", write(field, laid).trim_end_matches(';'));
    }
    out.push_str("tags.finish();");
    out
}

/// The statement that writes a field which is there.
fn write(field: &Field, laid: &Struct) -> String {
    let f = if field.legacy { "false" } else { flexible_word(laid) };
    let name = names::field(&field.name);
    match (&field.ty, value::is_option(field)) {
        (Type::Fixed(fixed), _) => format!("w.{}(self.{name});", value::method(*fixed)),
        (Type::String, false) => format!("w.string({f}, &self.{name});"),
        (Type::String, true) => format!("w.opt_string({f}, self.{name}.as_ref());"),
        (Type::Bytes, false) => format!("w.bytes({f}, &self.{name});"),
        (Type::Bytes, true) => format!("w.opt_bytes({f}, self.{name}.as_ref());"),
        (Type::Records, _) => format!("w.opt_records({f}, self.{name}.as_ref());"),
        (Type::Struct(_), false) => format!("self.{name}.encode(w, v);"),
        (Type::Struct(_), true) => format!("w.opt_struct(self.{name}.as_ref(), |w, x| x.encode(w, v));"),
        (Type::Array(element), false) => {
            format!("w.array({f}, &self.{name}, {});", element_writer(element, f))
        }
        (Type::Array(element), true) => {
            format!("w.opt_array({f}, self.{name}.as_deref(), {});", element_writer(element, f))
        }
    }
}

fn element_writer(element: &Type, f: &str) -> String {
    match element {
        Type::Fixed(fixed) => format!("|w, x| w.{}(*x)", value::method(*fixed)),
        Type::String => format!("|w, x| w.string({f}, x)"),
        Type::Struct(_) => "|w, x| x.encode(w, v)".to_owned(),
        Type::Bytes | Type::Records | Type::Array(_) => format!("|w, x| w.bytes({f}, x)"),
    }
}
