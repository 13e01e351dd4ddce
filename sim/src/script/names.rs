//! What differs from run to run gets a name: `$topic` in a script is a fresh name in every run, `@member1` the
//! first member id that a response told, `*` what cannot be compared at all.

use super::print::flat;
use super::value::Value;
use base::Uuid;
use std::collections::BTreeMap;

/// What is to be done with a field of a response.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Every value gets a name of this kind when it is first seen.
    Bind(&'static str),
    /// The value is not compared, only that there is one.
    Star,
}

/// API (`*` for all), field, rule.
const RULES: &[(&str, &str, Rule)] = &[
    ("*", "topic_id", Rule::Bind("topic")),
    ("*", "member_id", Rule::Bind("member")),
    ("*", "leader", Rule::Bind("member")),
    ("*", "cluster_id", Rule::Bind("cluster")),
    ("*", "producer_id", Rule::Bind("producer")),
    ("*", "session_id", Rule::Bind("session")),
    ("*", "replica_directory_id", Rule::Bind("directory")),
    ("*", "host", Rule::Star),
    ("*", "port", Rule::Star),
    ("*", "log_append_time_ms", Rule::Star),
    ("ApiVersions", "finalized_features_epoch", Rule::Star),
    ("DescribeConfigs", "documentation", Rule::Star),
    ("DescribeLogDirs", "log_dir", Rule::Star),
    ("DescribeLogDirs", "total_bytes", Rule::Star),
    ("DescribeLogDirs", "usable_bytes", Rule::Star),
    ("DescribeQuorum", "leader_epoch", Rule::Star),
    ("DescribeQuorum", "high_watermark", Rule::Star),
    ("DescribeQuorum", "log_end_offset", Rule::Star),
    ("DescribeQuorum", "last_fetch_timestamp", Rule::Star),
    ("DescribeQuorum", "last_caught_up_timestamp", Rule::Star),
];

/// Sentences for people: ours are our own.
const TEXTS: &[&str] = &["error_message", "batch_index_error_message"];

/// Fields that say what an element is, best first.
const IDENTITIES: &[&str] =
    &["name", "group_id", "topic_name", "resource_name", "topic", "key", "topic_id", "member_id"];

/// The names of one run of one script.
#[derive(Debug)]
pub(super) struct Names {
    /// Ends every name of the run.
    suffix: String,
    /// Bound values as they print, with their names.
    bound: Vec<(String, String, Value)>,
    counts: BTreeMap<&'static str, usize>,
}

impl Names {
    pub(super) fn new(suffix: &str) -> Self {
        Self { suffix: format!("-{suffix}"), bound: Vec::new(), counts: BTreeMap::new() }
    }

    /// Puts values in the place of names.
    pub(super) fn resolve(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::Text(text) => Value::Text(self.expand(text)),
            Value::Word(word) if word.starts_with('@') => {
                let found = self.bound.iter().find(|(_, name, _)| name == word);
                found.map(|(_, _, value)| value.clone()).ok_or_else(|| format!("{word} has no value yet"))?
            }
            Value::List(elements) => {
                Value::List(elements.iter().map(|value| self.resolve(value)).collect::<Result<_, _>>()?)
            }
            Value::Struct(fields) => {
                let resolved = fields.iter().map(|(name, value)| Ok((name.clone(), self.resolve(value)?)));
                Value::Struct(resolved.collect::<Result<_, String>>()?)
            }
            other => other.clone(),
        })
    }

    fn expand(&self, text: &str) -> String {
        let mut parts = text.split('$');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|c| !is_of_name(c)).unwrap_or(part.len());
            out.push_str(&part[..end]);
            out.push_str(&self.suffix);
            out.push_str(&part[end..]);
        }
        out
    }

    fn shorten(&self, text: &str) -> String {
        let mut out = String::new();
        let mut parts = text.split(&self.suffix).peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                out.push_str(part);
                break;
            }
            let start = part.rfind(|c| !is_of_name(c)).map_or(0, |at| at + 1);
            out.push_str(&part[..start]);
            out.push('$');
            out.push_str(&part[start..]);
        }
        out
    }

    /// Leaves only what this script made.
    pub(super) fn own(&self, value: Value) -> Value {
        match value {
            Value::List(elements) => {
                let elements = elements.into_iter().filter(|element| self.is_own(element));
                Value::List(elements.map(|element| self.own(element)).collect())
            }
            Value::Struct(fields) => {
                Value::Struct(fields.into_iter().map(|(name, value)| (name, self.own(value))).collect())
            }
            other => other,
        }
    }

    fn is_own(&self, element: &Value) -> bool {
        let name = IDENTITIES.iter().find_map(|name| element.field(name)?.text());
        name.is_none_or(|name| name.contains(&self.suffix))
    }

    /// A response as it is compared: names in the place of values, lists in an order of their own.
    pub(super) fn canonical(&mut self, api: &str, value: Value) -> Value {
        self.tidy(api, "", value)
    }

    fn tidy(&mut self, api: &str, name: &str, value: Value) -> Value {
        match value {
            Value::List(mut elements) => {
                elements.sort_by_cached_key(|element| self.identity(element));
                Value::List(elements.into_iter().map(|element| self.tidy(api, name, element)).collect())
            }
            Value::Struct(mut fields) => {
                fields.retain(|(name, _)| !TEXTS.contains(&name.as_str()));
                let tidied = fields.into_iter().map(|(name, value)| {
                    let value = self.tidy(api, &name, value);
                    (name, value)
                });
                Value::Struct(tidied.collect())
            }
            value => self.named(api, name, value),
        }
    }

    /// What an element is sorted by: its identity with the names that are known already.
    fn identity(&self, element: &Value) -> (i64, String) {
        let kind = element.field("resource_type").and_then(Value::int).unwrap_or(0);
        let said = |name: &&str| element.field(name).map(|value| (kind, self.known(value)));
        if let Some(found) = IDENTITIES.iter().find_map(said) {
            return found;
        }
        let Value::Struct(fields) = element else { return (0, String::new()) };
        let number = fields.iter().find(|(name, _)| {
            ["partition_index", "partition", "index", "api_key", "node_id", "broker_id"]
                .contains(&name.as_str())
        });
        number.map_or((0, String::new()), |(_, value)| match value {
            Value::Int(number) => (*number, String::new()),
            other => (0, flat(other)),
        })
    }

    fn known(&self, value: &Value) -> String {
        let printed = flat(value);
        let bound = self.bound.iter().find(|(found, ..)| *found == printed);
        bound.map_or_else(|| self.shorten(&printed), |(_, name, _)| name.clone())
    }

    fn named(&mut self, api: &str, name: &str, value: Value) -> Value {
        let rule = RULES.iter().find(|(of, field, _)| (*of == "*" || *of == api) && *field == name);
        match (rule, value) {
            (_, Value::Null) => Value::Null,
            (Some((_, _, Rule::Star)), Value::Int(-1)) => Value::Int(-1),
            (Some((_, _, Rule::Star)), _) => Value::Word("*".into()),
            (Some((_, _, Rule::Bind(kind))), value) if is_drawn(&value) => self.bind(kind, value),
            (_, Value::Text(text)) => self.text(text),
            (_, value) => value,
        }
    }

    /// A text may be a bound value, too, as the leader of a group is.
    fn text(&self, text: String) -> Value {
        let printed = flat(&Value::Text(text.clone()));
        let bound = self.bound.iter().find(|(found, ..)| *found == printed);
        bound.map_or_else(|| Value::Text(self.shorten(&text)), |(_, name, _)| Value::Word(name.clone()))
    }

    fn bind(&mut self, kind: &'static str, value: Value) -> Value {
        let printed = flat(&value);
        let known =
            self.bound.iter().find(|(found, name, _)| *found == printed && name[1..].starts_with(kind));
        if let Some((_, name, _)) = known {
            return Value::Word(name.clone());
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        let name = format!("@{kind}{count}");
        self.bound.push((printed, name.clone(), value));
        Value::Word(name)
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// The least length of an id that somebody has drawn: a shorter one comes from the script.
const DRAWN: usize = 22;

/// True for what a broker has drawn by itself; false for what stands for nothing: empty, negative or zero.
fn is_drawn(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.len() >= DRAWN,
        Value::Int(number) => *number >= 0,
        Value::Uuid(id) => *id != Uuid::ZERO,
        Value::Null
        | Value::Bool(_)
        | Value::Float(_)
        | Value::Bytes(_)
        | Value::Word(_)
        | Value::List(_)
        | Value::Struct(_) => false,
    }
}
