//! What the table says about one key, and whether a value fits it.

use alloc::format;
use alloc::string::String;
use base::{BrokerId, PartitionIndex};

/// One configuration key, exactly as Kafka names it.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    /// Kafka's name; our own keys start with `ottla.`.
    pub name: &'static str,
    /// How its text is read.
    pub kind: Kind,
    /// The value when nobody sets it; `None` shows as null.
    pub default: Option<&'static str>,
    /// Which values fit beyond the kind.
    pub valid: Valid,
    /// Whether it changes at run time.
    pub update: Update,
    /// For a topic key: the broker key that sets its default.
    pub broker_key: Option<&'static str>,
    /// What it does here.
    pub effect: Effect,
}

/// The types of Kafka's configs; the numbers are those of DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean = 1,
    /// Any text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 16 bits.
    Short = 4,
    /// 64 bits.
    Long = 5,
    /// A decimal fraction.
    Double = 6,
    /// Items separated by commas.
    List = 7,
    /// A Java class name; accepted, never loaded.
    Class = 8,
    /// A secret: never shown.
    Password = 9,
}

/// Which values fit.
#[derive(Clone, Copy, Debug)]
pub enum Valid {
    /// All of the kind.
    Any,
    /// Numbers from here on.
    AtLeast(i64),
    /// Numbers between these, both included.
    Range {
        /// The least.
        low: i64,
        /// The greatest.
        high: i64,
    },
    /// Numbers between these, or one special number.
    Levels {
        /// The least.
        low: i64,
        /// The greatest.
        high: i64,
        /// Also allowed.
        also: i64,
    },
    /// One of these words; for lists, each item is.
    OneOf(&'static [&'static str]),
    /// Names with a number each: `a:1,b:2`.
    Counts,
    /// Partitions with a broker each, or `*` for all: `0:1,1:2` (KIP-73).
    Replicas,
}

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// At the next start only.
    ReadOnly,
    /// At once, for one broker.
    PerBroker,
    /// At once, for one broker or as the cluster's default.
    Dynamic,
}

/// What a key does here.
#[derive(Clone, Copy, Debug)]
pub enum Effect {
    /// It is read; the sentence says what for.
    Used(&'static str),
    /// It is accepted so that existing files and tools work, and changes nothing.
    None,
}

/// A value that does not fit its key. The text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for ConfigError {}

#[expect(clippy::too_many_arguments, reason = "one argument per column of the table")]
pub(super) const fn row(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    valid: Valid,
    update: Update,
    broker_key: Option<&'static str>,
    effect: Effect,
) -> ConfigKey {
    ConfigKey { name, kind, default, valid, update, broker_key, effect }
}

impl ConfigKey {
    /// True for secrets, whose values are never shown.
    #[must_use]
    pub const fn is_sensitive(&self) -> bool {
        matches!(self.kind, Kind::Password)
    }

    /// What the key does, in one sentence.
    #[must_use]
    pub const fn documentation(&self) -> &'static str {
        match self.effect {
            Effect::Used(sentence) => sentence,
            Effect::None => "Accepted so that existing files and tools work; it has no effect here.",
        }
    }

    /// Checks that `value` fits.
    ///
    /// # Errors
    /// Says which value of which key is wrong and what would fit.
    pub fn check(&self, value: &str) -> Result<(), ConfigError> {
        let refuse = |why: String| {
            Err(ConfigError(format!("Invalid value {value} for configuration {}: {why}", self.name)))
        };
        match self.kind {
            Kind::Boolean if !matches!(value.trim(), "true" | "false") => {
                refuse("Expected value to be either true or false".into())
            }
            Kind::Int => self.check_number(value, i64::from(i32::MIN), i64::from(i32::MAX)).or_else(refuse),
            Kind::Short => self.check_number(value, i64::from(i16::MIN), i64::from(i16::MAX)).or_else(refuse),
            Kind::Long => self.check_number(value, i64::MIN, i64::MAX).or_else(refuse),
            Kind::Double if value.trim().parse::<f64>().is_err() => {
                refuse("Not a number of type DOUBLE".into())
            }
            Kind::List => self.check_list(value).or_else(refuse),
            Kind::String => self.check_word(value).or_else(refuse),
            Kind::Boolean | Kind::Double | Kind::Class | Kind::Password => Ok(()),
        }
    }

    fn check_number(&self, value: &str, low: i64, high: i64) -> Result<(), String> {
        let number: i64 =
            value.trim().parse().map_err(|_| format!("Not a number of type {}", self.kind_name()))?;
        if number < low || number > high {
            return Err(format!("Not a number of type {}", self.kind_name()));
        }
        match self.valid {
            Valid::AtLeast(least) if number < least => Err(format!("Value must be at least {least}")),
            Valid::Range { low, .. } if number < low => Err(format!("Value must be at least {low}")),
            Valid::Range { high, .. } if number > high => Err(format!("Value must be no more than {high}")),
            Valid::Levels { low, high, also } if number != also && !(low..=high).contains(&number) => {
                Err(format!("Value must be between {low} and {high} or equal to {also}"))
            }
            Valid::Any
            | Valid::AtLeast(_)
            | Valid::Range { .. }
            | Valid::Levels { .. }
            | Valid::OneOf(_)
            | Valid::Counts
            | Valid::Replicas => Ok(()),
        }
    }

    fn check_list(&self, value: &str) -> Result<(), String> {
        if matches!(self.valid, Valid::Replicas)
            && items(value).any(|item| item == "*")
            && value.trim() != "*"
        {
            return Err("* stands alone: it means all replicas".into());
        }
        items(value).try_for_each(|item| self.check_word(item))
    }

    fn check_word(&self, word: &str) -> Result<(), String> {
        match self.valid {
            Valid::OneOf(words) if !words.contains(&word.trim()) => {
                Err(format!("String must be one of: {}", words.join(", ")))
            }
            Valid::Counts if counts(word).any(|count| count.is_none()) => {
                Err("Expected NAME:NUMBER, separated by commas".into())
            }
            Valid::Replicas if word != "*" && replica(word).is_none() => {
                Err("Expected * or PARTITION:BROKER, separated by commas".into())
            }
            Valid::Counts
            | Valid::Replicas
            | Valid::Any
            | Valid::AtLeast(_)
            | Valid::Range { .. }
            | Valid::Levels { .. }
            | Valid::OneOf(_) => Ok(()),
        }
    }

    /// Kafka's name of the kind.
    #[must_use]
    pub const fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Boolean => "BOOLEAN",
            Kind::String => "STRING",
            Kind::Int => "INT",
            Kind::Short => "SHORT",
            Kind::Long => "LONG",
            Kind::Double => "DOUBLE",
            Kind::List => "LIST",
            Kind::Class => "CLASS",
            Kind::Password => "PASSWORD",
        }
    }
}

/// The items of a list value, trimmed; an empty text has none.
pub fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// The items of a value such as `a:1,b:2`; none for an item that is not of this form.
pub(super) fn counts(value: &str) -> impl Iterator<Item = Option<(&str, i32)>> {
    items(value).map(|item| {
        let (name, count) = item.rsplit_once(':')?;
        Some((name, count.parse().ok()?))
    })
}

/// A partition and a broker, as `0:1`.
pub(super) fn replica(item: &str) -> Option<(PartitionIndex, BrokerId)> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { text.parse().ok() } else { None }
    };
    let (partition, broker) = item.split_once(':')?;
    Some((PartitionIndex(number(partition)?), BrokerId(number(broker)?)))
}
