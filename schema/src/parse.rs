//! From schema text to [`Schema`]. The syntax is described in `wire/schema/README.md`.

use crate::schema::{Field, Fixed, Kind, Message, Schema, Type, Versions};

/// A line that says something: its number, its depth in steps of two blanks, its words.
struct Line<'a> {
    number: usize,
    depth: usize,
    words: Vec<&'a str>,
}

/// Parses one file.
///
/// # Errors
/// They begin with the line number.
pub fn parse(text: &str) -> Result<Schema, String> {
    let lines = lines(text)?;
    let mut schema = Schema::default();
    let mut api = None;
    let mut rest = lines.as_slice();
    while let Some((head, body)) = rest.split_first() {
        let end = body.iter().position(|line| line.depth == 0).unwrap_or(body.len());
        let fields = fields(&body[..end], 1)?;
        rest = &body[end..];
        item(head, fields, &mut api, &mut schema).map_err(|e| format!("{}: {e}", head.number))?;
    }
    Ok(schema)
}

fn lines(text: &str) -> Result<Vec<Line<'_>>, String> {
    let mut lines = Vec::new();
    for (k, raw) in text.lines().enumerate() {
        let said = raw.split('#').next().unwrap_or_default().trim_end();
        if said.is_empty() {
            continue;
        }
        let indent = said.len() - said.trim_start().len();
        if indent % 2 != 0 {
            return Err(format!("{}: indentation goes by two blanks", k + 1));
        }
        lines.push(Line { number: k + 1, depth: indent / 2, words: said.split_whitespace().collect() });
    }
    Ok(lines)
}

/// What an `api` line says; `request` and `response` refer to it.
struct Api {
    key: i16,
    name: String,
    span: Span,
}

#[derive(Clone, Copy)]
struct Span {
    oldest: i16,
    latest: i16,
    flexible: Option<i16>,
}

fn item(
    head: &Line<'_>,
    fields: Vec<Field>,
    api: &mut Option<Api>,
    schema: &mut Schema,
) -> Result<(), String> {
    let mut push = |name: String, kind, span: Span, fields| {
        let Span { oldest, latest, flexible } = span;
        schema.messages.push(Message { name, kind, oldest, latest, flexible, fields });
    };
    match head.words.as_slice() {
        ["api", key, name, span @ ..] => {
            *api = Some(Api { key: number(key)?, name: (*name).to_owned(), span: parse_span(span)? });
        }
        ["request"] => {
            let api = api.as_ref().ok_or("`request` before `api`")?;
            let kind = Kind::Request { key: api.key, api: api.name.clone() };
            push(format!("{}Request", api.name), kind, api.span, fields);
        }
        ["response"] => {
            let api = api.as_ref().ok_or("`response` before `api`")?;
            push(format!("{}Response", api.name), Kind::Response, api.span, fields);
        }
        ["record", name, "type", kind, span @ ..] => {
            let kind = Kind::Record { number: number(kind)? };
            push((*name).to_owned(), kind, parse_span(span)?, fields);
        }
        ["data", name, span @ ..] => push((*name).to_owned(), Kind::Data, parse_span(span)?, fields),
        ["struct", name] => schema.structs.push(((*name).to_owned(), fields)),
        _ => return Err("expected api, request, response, record, data or struct".to_owned()),
    }
    Ok(())
}

fn parse_span(words: &[&str]) -> Result<Span, String> {
    let (range, flexible) = match words {
        ["versions", range] => (*range, None),
        ["versions", range, "flexible", from] => (*range, Some(*from)),
        _ => return Err("expected `versions A-B [flexible C+]`".to_owned()),
    };
    let versions = parse_versions(range)?;
    let latest = versions.latest.ok_or("the versions of a message end somewhere")?;
    let flexible = flexible.map(parse_versions).transpose()?;
    Ok(Span { oldest: versions.oldest, latest, flexible: flexible.map(|versions| versions.oldest) })
}

fn fields(lines: &[Line<'_>], depth: usize) -> Result<Vec<Field>, String> {
    let mut found = Vec::new();
    let mut rest = lines;
    while let Some((head, body)) = rest.split_first() {
        let wrong = |e: String| format!("{}: {e}", head.number);
        if head.depth != depth {
            return Err(wrong("indented too deep".to_owned()));
        }
        let end = body.iter().position(|line| line.depth <= depth).unwrap_or(body.len());
        let mut field = field(&head.words).map_err(wrong)?;
        field.fields = fields(&body[..end], depth + 1)?;
        if !field.fields.is_empty() && field.ty.struct_name().is_none() {
            return Err(wrong("only structs have fields".to_owned()));
        }
        found.push(field);
        rest = &body[end..];
    }
    Ok(found)
}

fn field(words: &[&str]) -> Result<Field, String> {
    let [name, versions, ty, rest @ ..] = words else {
        return Err("expected `Name versions type`".to_owned());
    };
    let versions = parse_versions(versions)?;
    let mut field = Field {
        name: (*name).to_owned(),
        versions,
        ty: parse_type(ty)?,
        nullable: None,
        tag: None,
        default: None,
        ignorable: false,
        legacy: false,
        fields: Vec::new(),
    };
    attributes(rest, &mut field)?;
    Ok(field)
}

fn attributes(mut words: &[&str], field: &mut Field) -> Result<(), String> {
    while let Some((word, rest)) = words.split_first() {
        words = rest;
        match *word {
            "ignorable" => field.ignorable = true,
            "legacy" => field.legacy = true,
            "default" => field.default = Some(shift(&mut words, "a default")?.to_owned()),
            "nullable" => field.nullable = Some(shift_versions(&mut words)?.unwrap_or(field.versions)),
            "tag" => {
                let tag = shift(&mut words, "a tag")?;
                let tag = tag.parse().map_err(|_| format!("`{tag}` is no tag"))?;
                field.tag = Some((tag, shift_versions(&mut words)?.unwrap_or(field.versions)));
            }
            other => return Err(format!("`{other}` is no attribute")),
        }
    }
    Ok(())
}

fn shift<'a>(words: &mut &[&'a str], what: &str) -> Result<&'a str, String> {
    let (word, rest) = words.split_first().ok_or(format!("expected {what}"))?;
    *words = rest;
    Ok(word)
}

/// Takes the next word if it is a version range.
fn shift_versions(words: &mut &[&str]) -> Result<Option<Versions>, String> {
    match words.first() {
        Some(word) if word.starts_with(|c: char| c.is_ascii_digit()) => {
            *words = &words[1..];
            parse_versions(word).map(Some)
        }
        _ => Ok(None),
    }
}

fn parse_versions(word: &str) -> Result<Versions, String> {
    if let Some(oldest) = word.strip_suffix('+') {
        return Ok(Versions { oldest: number(oldest)?, latest: None });
    }
    let (oldest, latest) = word.split_once('-').unwrap_or((word, word));
    Ok(Versions { oldest: number(oldest)?, latest: Some(number(latest)?) })
}

fn number(word: &str) -> Result<i16, String> {
    word.parse().map_err(|_| format!("`{word}` is no number"))
}

fn parse_type(word: &str) -> Result<Type, String> {
    if let Some(element) = word.strip_prefix("[]") {
        return Ok(Type::Array(Box::new(parse_type(element)?)));
    }
    Ok(match word {
        "bool" => Type::Fixed(Fixed::Bool),
        "int8" => Type::Fixed(Fixed::Int8),
        "int16" => Type::Fixed(Fixed::Int16),
        "int32" => Type::Fixed(Fixed::Int32),
        "int64" => Type::Fixed(Fixed::Int64),
        "uint16" => Type::Fixed(Fixed::Uint16),
        "uint32" => Type::Fixed(Fixed::Uint32),
        "float64" => Type::Fixed(Fixed::Float64),
        "uuid" => Type::Fixed(Fixed::Uuid),
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "records" => Type::Records,
        name if name.starts_with(|c: char| c.is_ascii_uppercase()) => Type::Struct(name.to_owned()),
        other => return Err(format!("`{other}` is no type")),
    })
}
