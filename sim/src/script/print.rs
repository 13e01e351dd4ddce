//! From values to text, on one line where it fits, else one part per line, so that a difference is a line.

use super::value::Value;
use std::fmt::Write as _;

/// How long a line may be before it is broken.
const WIDTH: usize = 118;

/// The lines of a value after a prefix such as `a: `.
pub(super) fn lines(prefix: &str, value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    put(prefix.to_owned(), value, "", 0, &mut out);
    out
}

fn put(start: String, value: &Value, end: &str, depth: usize, out: &mut Vec<String>) {
    let flat = flat(value);
    let inside = "  ".repeat(depth + 1);
    let outside = "  ".repeat(depth);
    let fits = start.chars().count() + flat.chars().count() + end.len() <= WIDTH;
    match value {
        Value::Struct(fields) if !fits => {
            out.push(format!("{start}{{"));
            for (name, value) in fields {
                put(format!("{inside}{name}: "), value, ",", depth + 1, out);
            }
            out.push(format!("{outside}}}{end}"));
        }
        Value::List(elements) if !fits => {
            out.push(format!("{start}["));
            for value in elements {
                put(inside.clone(), value, ",", depth + 1, out);
            }
            out.push(format!("{outside}]{end}"));
        }
        _ => out.push(format!("{start}{flat}{end}")),
    }
}

/// A value on one line.
pub(super) fn flat(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Text(text) => quoted(text),
        Value::Bytes(bytes) => bytes.iter().fold("0x".to_owned(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
        Value::Uuid(id) => quoted(&id.to_string()),
        Value::Word(word) => word.clone(),
        Value::List(elements) => format!("[{}]", joined(elements.iter().map(flat))),
        Value::Struct(fields) => {
            format!("{{{}}}", joined(fields.iter().map(|(name, value)| format!("{name}: {}", flat(value)))))
        }
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\0' => out.push_str("\\0"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
