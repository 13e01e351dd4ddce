//! What a run leaves out, so that what fails in it can be seen: a failure is looked for with less and less around it.
//!
//! Whatever is left out, everything after it comes otherwise. A failure that does not come again at once may come with another
//! salt, which draws everything anew.

use base::Rng;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What is left out of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Less {
    /// Not zero: everything is drawn otherwise.
    pub salt: u64,
    /// How long the run lasts at least, in milliseconds.
    pub millis: Option<u64>,
    /// Requests before the final reckoning.
    pub operations: Option<u32>,
    /// Topics that an administrator creates at most.
    pub topics: Option<u32>,
    /// There are no groups.
    pub groups: bool,
    /// No crash strikes a call, a job or a start.
    pub strikes: bool,
    /// Faults that do not happen, by their numbers.
    pub faults: BTreeSet<u32>,
}

impl Less {
    /// A whole run.
    pub const NOTHING: Self = Self {
        salt: 0,
        millis: None,
        operations: None,
        topics: None,
        groups: false,
        strikes: false,
        faults: BTreeSet::new(),
    };

    pub(super) fn salted(&self, rng: Rng) -> Rng {
        if self.salt == 0 { rng } else { rng.fork(self.salt) }
    }
}

impl fmt::Display for Less {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "salt={}", self.salt)?;
        let numbers = [("millis", self.millis), ("operations", self.operations.map(u64::from))];
        for (name, number) in numbers.into_iter().chain([("topics", self.topics.map(u64::from))]) {
            number.map_or(Ok(()), |number| write!(f, ",{name}={number}"))?;
        }
        for (name, is_left_out) in [("groups", self.groups), ("strikes", self.strikes)] {
            f.write_str(if is_left_out { "," } else { "" })?;
            f.write_str(if is_left_out { name } else { "" })?;
        }
        if self.faults.is_empty() {
            return Ok(());
        }
        let faults: Vec<String> = self.faults.iter().map(u32::to_string).collect();
        write!(f, ",faults={}", faults.join("+"))
    }
}

impl FromStr for Less {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut less = Self::NOTHING;
        for part in text.split(',') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let bad = || format!("{part} cannot be left out");
            let number = || value.parse::<u32>().map_err(|_| bad());
            match name {
                "salt" => less.salt = number()?.into(),
                "millis" => less.millis = Some(number()?.into()),
                "operations" => less.operations = Some(number()?),
                "topics" => less.topics = Some(number()?),
                "groups" => less.groups = true,
                "strikes" => less.strikes = true,
                "faults" => {
                    let numbers = value.split('+').map(|number| number.parse().map_err(|_| bad()));
                    less.faults = numbers.collect::<Result<_, _>>()?;
                }
                _ => return Err(bad()),
            }
        }
        Ok(less)
    }
}

#[cfg(test)]
mod tests {
    use super::Less;

    #[test]
    fn what_is_left_out_can_be_read_again() {
        for text in
            ["salt=0", "salt=2,millis=7500,topics=1,groups,strikes,faults=1+4+9", "salt=1,operations=30"]
        {
            assert_eq!(text.parse::<Less>().unwrap().to_string(), text);
        }
        for text in ["", "hope", "salt=x", "faults=1+x"] {
            assert!(text.parse::<Less>().is_err(), "{text}");
        }
    }
}
