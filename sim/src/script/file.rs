//! A script as it stands in its file: blocks of commands, `----`, what comes of them.
//!
//! Lines after `----` hold for our node and for Apache Kafka alike, except where they begin with `ottla|` or
//! `kafka|`; such a difference is followed by `why|`, or it is refused.

use super::diff::{self, Part};

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Ottla,
    Kafka,
}

/// A stretch of an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Both(String),
    Differ { ottla: Vec<String>, kafka: Vec<String>, why: String },
}

/// Commands and their outcome.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// Comments and commands as they stand there.
    pub(super) head: Vec<String>,
    /// False for a block of comments.
    pub(super) asks: bool,
    pub(super) outcome: Vec<Piece>,
}

/// A whole script.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    pub(super) blocks: Vec<Block>,
    /// Why it runs on the machine alone, if it does.
    pub(super) machine_only: Option<String>,
    /// What its node has besides the settings that all have: `key=value`, with blanks between them.
    pub(super) settings: String,
}

/// What a script for the machine alone says in its first block.
const MACHINE_ONLY: &str = "# machine only: ";
/// What a script for a node with settings of its own says in its first block.
const SETTINGS: &str = "# settings: ";
const RULE: &str = "----";
const OTTLA: &str = "ottla| ";
const KAFKA: &str = "kafka| ";
const WHY: &str = "why| ";

impl Script {
    /// Reads a script.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        for block in text.split("\n\n").map(|block| block.trim_matches('\n')) {
            if !block.is_empty() {
                script.blocks.push(Block::parse(block)?);
            }
        }
        let lines = || script.blocks.iter().flat_map(|block| &block.head);
        script.machine_only = lines().find_map(|line| line.strip_prefix(MACHINE_ONLY)).map(str::to_owned);
        let settings: Vec<_> = lines().filter_map(|line| line.strip_prefix(SETTINGS)).collect();
        script.settings = settings.join(" ");
        Ok(script)
    }

    /// A difference from Kafka that nobody has given a reason for.
    pub(super) fn unexplained(&self) -> Option<String> {
        self.blocks.iter().flat_map(|block| &block.outcome).find_map(|piece| match piece {
            Piece::Differ { ottla, kafka, why } if why.trim_matches(['?', ' ']).is_empty() => {
                Some([ottla.as_slice(), kafka].concat().join(" / "))
            }
            Piece::Differ { .. } | Piece::Both(_) => None,
        })
    }

    /// Its text.
    pub(super) fn print(&self) -> String {
        let blocks: Vec<String> = self.blocks.iter().map(Block::print).collect();
        blocks.join("\n\n") + "\n"
    }
}

impl Block {
    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let head: Vec<String> = lines.by_ref().take_while(|line| *line != RULE).map(str::to_owned).collect();
        let asks = text.lines().any(|line| line == RULE) || head.iter().any(|line| !line.starts_with('#'));
        let mut outcome: Vec<Piece> = Vec::new();
        for line in lines {
            add_line(&mut outcome, line);
        }
        share_reasons(&mut outcome);
        Ok(Self { head, asks, outcome })
    }

    fn print(&self) -> String {
        let mut lines = self.head.clone();
        if self.asks {
            lines.push(RULE.into());
        }
        for (at, piece) in self.outcome.iter().enumerate() {
            match piece {
                Piece::Both(line) => lines.push(line.clone()),
                Piece::Differ { ottla, kafka, why } => {
                    lines.extend(ottla.iter().map(|line| format!("{OTTLA}{line}")));
                    lines.extend(kafka.iter().map(|line| format!("{KAFKA}{line}")));
                    if self.next_reason(at) != Some(why) {
                        lines.push(format!("{WHY}{why}"));
                    }
                }
            }
        }
        lines.join("\n")
    }

    /// True where Kafka says something else.
    #[cfg(test)]
    pub(super) fn is_different(&self) -> bool {
        self.outcome.iter().any(|piece| matches!(piece, Piece::Differ { .. }))
    }

    /// The reason of the next difference after one.
    pub(super) fn next_reason(&self, at: usize) -> Option<&String> {
        self.outcome[at + 1..].iter().find_map(|piece| match piece {
            Piece::Differ { why, .. } => Some(why),
            Piece::Both(_) => None,
        })
    }

    /// The commands, each with the lines that it goes on over.
    pub(super) fn commands(&self) -> Vec<String> {
        let mut commands: Vec<String> = Vec::new();
        for line in self.head.iter().filter(|line| !line.starts_with('#')) {
            match commands.last_mut() {
                Some(last) if line.starts_with([' ', '}', ']']) => {
                    last.push('\n');
                    last.push_str(line);
                }
                _ => commands.push(line.clone()),
            }
        }
        commands
    }

    /// What is expected of a side.
    pub(super) fn expected(&self, side: Side) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in &self.outcome {
            match (piece, side) {
                (Piece::Both(line), _) => lines.push(line.clone()),
                (Piece::Differ { ottla, .. }, Side::Ottla) => lines.extend(ottla.clone()),
                (Piece::Differ { kafka, .. }, Side::Kafka) => lines.extend(kafka.clone()),
            }
        }
        lines
    }

    /// Writes down what a side really said. As long as Kafka has not been heard to differ, it is taken to agree.
    pub(super) fn learn(&mut self, side: Side, found: Vec<String>) {
        let differs = self.outcome.iter().any(|piece| matches!(piece, Piece::Differ { .. }));
        let (ottla, kafka) = match side {
            Side::Ottla if !differs => (found.clone(), found),
            Side::Ottla => (found, self.expected(Side::Kafka)),
            Side::Kafka => (self.expected(Side::Ottla), found),
        };
        let pieces = diff::parts(&ottla, &kafka).into_iter().map(|part| match part {
            Part::Both(line) => Piece::Both(line),
            Part::Differ(ottla, kafka) => {
                let why = self.reason(&ottla, &kafka);
                Piece::Differ { ottla, kafka, why }
            }
        });
        self.outcome = pieces.collect();
    }

    /// The reason that an earlier difference with lines of these gave.
    fn reason(&self, ottla: &[String], kafka: &[String]) -> String {
        let shares = |piece: &&Piece| match piece {
            Piece::Differ { ottla: o, kafka: k, .. } => {
                ottla.iter().any(|line| o.contains(line)) || kafka.iter().any(|line| k.contains(line))
            }
            Piece::Both(_) => false,
        };
        match self.outcome.iter().find(shares) {
            Some(Piece::Differ { why, .. }) => why.clone(),
            _ => "?".into(),
        }
    }
}

/// A reason holds for all differences before it that give none.
fn share_reasons(outcome: &mut [Piece]) {
    let mut reason = String::new();
    for piece in outcome.iter_mut().rev() {
        if let Piece::Differ { why, .. } = piece {
            if why.is_empty() {
                why.clone_from(&reason);
            }
            reason.clone_from(why);
        }
    }
}

fn add_line(outcome: &mut Vec<Piece>, line: &str) {
    let (ours, theirs, reason) = (line.strip_prefix(OTTLA), line.strip_prefix(KAFKA), line.strip_prefix(WHY));
    if ours.or(theirs).or(reason).is_none() {
        outcome.push(Piece::Both(line.to_owned()));
        return;
    }
    let open = match outcome.last() {
        Some(Piece::Differ { why, .. }) => why.is_empty() || reason.is_some(),
        Some(Piece::Both(_)) => reason.is_some(),
        None => false,
    };
    if !open {
        outcome.push(Piece::Differ { ottla: Vec::new(), kafka: Vec::new(), why: String::new() });
    }
    let last = outcome.iter_mut().rev().find(|piece| matches!(piece, Piece::Differ { .. }));
    if let Some(Piece::Differ { ottla, kafka, why }) = last {
        ottla.extend(ours.map(str::to_owned));
        kafka.extend(theirs.map(str::to_owned));
        if let Some(reason) = reason {
            if !why.is_empty() {
                why.push(' ');
            }
            why.push_str(reason);
        }
    }
}
