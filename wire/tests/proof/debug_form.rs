//! The `Debug` output of a message as tokens, freed of what two implementations name differently.
//!
//! Bytes that survive a foreign decoder prove the layout; equal field names with equal values prove that no
//! two fields of one type were taken for each other.

use base::Uuid;

/// Tokens: names, values and brackets in order. Struct names, newtypes and unknown tagged fields are dropped,
/// UUIDs and the underscores of names brought to one form.
pub(crate) fn normal(debug: &str) -> Vec<String> {
    let mut tokens = tokens(debug);
    remove_unknown_tags(&mut tokens);
    remove_wrappers(&mut tokens);
    for token in &mut tokens {
        if let Some(id) = hyphenated(token) {
            *token = id.to_string();
        }
    }
    for at in 1..tokens.len() {
        if tokens[at] == ":" {
            tokens[at - 1] = tokens[at - 1].replace('_', "");
        }
    }
    tokens
}

fn tokens(debug: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = debug;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with('"') || rest.starts_with("b\"") {
            quoted(rest)
        } else if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        if !token.trim().is_empty() && token != "," {
            found.push(token.to_owned());
        }
        rest = after;
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '#')
}

/// The length of the string literal at the front.
fn quoted(text: &str) -> usize {
    let open = text.find('"').unwrap() + 1;
    let mut escaped = false;
    for (at, c) in text[open..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return open + at + 1,
            _ => {}
        }
    }
    text.len()
}

fn remove_unknown_tags(tokens: &mut Vec<String>) {
    while let Some(at) = tokens.iter().position(|t| t == "unknown_tags" || t == "unknown_tagged_fields") {
        let open = at + tokens[at..].iter().position(|t| t == "(" || t == "{").unwrap();
        let close = closing(tokens, open);
        tokens.drain(at..=close);
    }
}

/// Drops a field, name and value, wherever it stands. Meant for simple values.
pub(crate) fn remove_field(tokens: &mut Vec<String>, field: &str) {
    let field = field.replace('_', "");
    while let Some(at) = tokens.windows(2).position(|pair| pair[0] == field && pair[1] == ":") {
        let value = at + 2;
        let last = if tokens.get(value + 1).is_some_and(|t| t == "(") || tokens[value] == "[" {
            closing(tokens, value + usize::from(tokens[value] != "["))
        } else {
            value
        };
        tokens.drain(at..=last);
    }
}

fn remove_wrappers(tokens: &mut Vec<String>) {
    let mut at = 0;
    while at + 1 < tokens.len() {
        let named = tokens[at].starts_with(|c: char| c.is_ascii_uppercase());
        match tokens[at + 1].as_str() {
            "{" if named => drop(tokens.remove(at)),
            "(" if named && tokens[at] != "Some" => {
                let close = closing(tokens, at + 1);
                tokens.remove(close);
                tokens.drain(at..=at + 1);
            }
            _ => at += 1,
        }
    }
    // A struct without fields shows no braces.
    if tokens.len() == 1 {
        tokens.splice(.., ["{".to_owned(), "}".to_owned()]);
    }
}

fn closing(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" | "{" | "[" => depth += 1,
            ")" | "}" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    panic!("unbalanced: {tokens:?}")
}

fn hyphenated(token: &str) -> Option<Uuid> {
    if token.len() != 36 || token.matches('-').count() != 4 {
        return None;
    }
    let digits = token.replace('-', "");
    Some(Uuid(u128::from_str_radix(&digits, 16).ok()?.to_be_bytes()))
}

#[test]
fn two_dialects_of_one_value_are_equal() {
    let ours = r#"A { id: AAAAAAAAAAAAAAAAAAAAAQ, name: Some("a\"(b"), ids: [1, -2], b: Bytes(b"\n"), match: B { unknown_tags: UnknownTags(None) }, unknown_tags: UnknownTags(Some(Fields([(1, b"x")]))) }"#;
    let theirs = r#"A { id: 00000000-0000-0000-0000-000000000001, name: Some(TopicName("a\"(b")), ids: [BrokerId(1), BrokerId(-2)], b: b"\n", _match: C { unknown_tagged_fields: {} }, unknown_tagged_fields: {1: b"x"} }"#;
    assert_eq!(normal(ours), normal(theirs));
    assert_ne!(normal(ours), normal(&theirs.replace("-2", "2")));
    assert_ne!(normal(ours), normal(&theirs.replace("ids", "other")));
}
