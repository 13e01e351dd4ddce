//! Playing a script against something that speaks Kafka's protocol.

use super::decode;
use super::encode::{self, Head};
use super::file::{Block, Script, Side};
use super::literal;
use super::names::Names;
use super::print;
use super::schemas::Schemas;
use super::value::Value;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long to wait for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// A moment, to see whether there is one.
    Moment,
    /// Until it comes.
    Long,
}

/// What came over a connection.
#[derive(Debug)]
pub(super) enum Heard {
    /// A frame without its size.
    Frame(Vec<u8>),
    /// The connection has been closed.
    Closed,
    /// Nothing in time.
    Nothing,
}

/// Something that speaks Kafka's protocol over connections that the script names.
pub(super) trait Target {
    fn send(&mut self, connection: &str, frame: &[u8]) -> Result<(), String>;
    fn hear(&mut self, connection: &str, patience: Patience) -> Result<Heard, String>;
    fn close(&mut self, connection: &str);
    /// Lets time pass.
    fn pass(&mut self, time: Duration) -> Result<(), String>;
    /// Called after a request that changes metadata.
    fn settle(&mut self) -> Result<(), String>;
    /// Lets something bad happen, which only the machine can.
    fn fault(&mut self, fault: Fault) -> Result<(), String> {
        Err(format!("{fault:?} can happen to the machine alone: say `# machine only: why`"))
    }
}

/// Something bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no room on the disk.
    DiskFull,
    /// There is again.
    DiskRoom,
    /// The process dies and is started again; what it wrote is there.
    Kill,
}

/// A request that has no answer yet.
struct Waiting {
    order: usize,
    api: String,
    version: i16,
    correlation: i32,
    shown: Shown,
}

/// What of an answer is shown.
#[derive(Clone, Debug, Default)]
struct Shown {
    /// Only what this script made.
    own: bool,
    /// Fields that are left out.
    without: Vec<String>,
    /// Elements of these names are left out.
    except: Vec<String>,
}

impl Shown {
    /// Reads `own`, `without FIELD` and `except NAME`.
    fn parse(text: &str) -> Result<Self, String> {
        let mut shown = Self::default();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "own" => shown.own = true,
                "without" => shown.without.extend(words.next().map(str::to_owned)),
                "except" => shown.except.extend(words.next().map(str::to_owned)),
                other => return Err(format!("what does {other:?} mean?")),
            }
        }
        Ok(shown)
    }
}

/// A run of one script.
pub(super) struct Player<'a, T: Target> {
    schemas: &'a Schemas,
    target: &'a mut T,
    names: Names,
    waiting: BTreeMap<String, VecDeque<Waiting>>,
    heard: Vec<(usize, Vec<String>)>,
    /// Requests so far; also the next correlation id.
    asked: usize,
}

/// APIs after which a broker may need a moment to follow its controller.
const CHANGES: &[&str] = &[
    "CreateTopics",
    "DeleteTopics",
    "CreatePartitions",
    "AlterConfigs",
    "IncrementalAlterConfigs",
    "UpdateFeatures",
];

/// How often a broker is asked whether its coordinators are there, and how long between two times.
const PREPARE_TRIES: usize = 150;
const PREPARE_PAUSE: Duration = Duration::from_millis(100);
const PREPARE_LAST_PAUSE: Duration = Duration::from_secs(2);

/// Waits until the coordinators are there, which on a fresh broker takes a moment.
pub(super) fn prepare<T: Target>(schemas: &Schemas, target: &mut T) -> Result<(), String> {
    let text = r#"a: FindCoordinator v6 {coordinator_keys: ["a", "b", "c", "d", "e", "f", "g", "h"]}

a: FindCoordinator v6 {coordinator_keys: ["a"], key_type: 1}

a: ListGroups v5 {}

a: InitProducerId v4 {transactional_id: null}"#;
    let script = Script::parse(text)?;
    for tries in 0..PREPARE_TRIES {
        let outcomes = play(&script, Side::Ottla, "0", schemas, target)?;
        // Ours will never have a coordinator of transactions, which is no reason to wait.
        let unready = |line: &String| line.contains("COORDINATOR_") || line.contains("parked");
        if !outcomes.iter().flatten().any(unready) {
            // Kafka knows of the partitions of its coordinators before it has made all of their directories.
            return if tries == 0 { Ok(()) } else { target.pass(PREPARE_LAST_PAUSE) };
        }
        target.pass(PREPARE_PAUSE)?;
    }
    Err("the coordinators do not come up".into())
}

/// Plays all blocks and returns what came of each.
pub(super) fn play<T: Target>(
    script: &Script,
    side: Side,
    suffix: &str,
    schemas: &Schemas,
    target: &mut T,
) -> Result<Vec<Vec<String>>, String> {
    let mut player = Player {
        schemas,
        target,
        names: Names::new(suffix),
        waiting: BTreeMap::new(),
        heard: Vec::new(),
        asked: 0,
    };
    let mut outcomes = Vec::new();
    for block in &script.blocks {
        outcomes.push(player.block(block, &block.expected(side))?);
    }
    for connection in player.waiting.into_keys() {
        player.target.close(&connection);
    }
    Ok(outcomes)
}

impl<T: Target> Player<'_, T> {
    fn block(&mut self, block: &Block, expected: &[String]) -> Result<Vec<String>, String> {
        let first = self.asked;
        let commands = block.commands();
        for (at, command) in commands.iter().enumerate() {
            let last = at + 1 == commands.len();
            self.command(command, last).map_err(|error| format!("{command}\n    {error}"))?;
        }
        self.collect(expected)?;
        let mut heard = std::mem::take(&mut self.heard);
        for (connection, waiting) in &self.waiting {
            for waiting in waiting.iter().filter(|waiting| waiting.order >= first) {
                heard.push((waiting.order, vec![format!("{connection}: parked")]));
            }
        }
        heard.sort();
        Ok(heard.into_iter().flat_map(|(_, lines)| lines).collect())
    }

    fn command(&mut self, command: &str, last: bool) -> Result<(), String> {
        if let Some(time) = command.strip_prefix("tick ") {
            return self.target.pass(span(time)?);
        }
        let fault = match command {
            "disk full" => Some(Fault::DiskFull),
            "disk room" => Some(Fault::DiskRoom),
            "kill" => Some(Fault::Kill),
            _ => None,
        };
        if let Some(fault) = fault {
            return self.target.fault(fault);
        }
        let (connection, rest) = command.split_once(": ").ok_or("expected `connection: command`")?;
        match rest.split_once(' ') {
            None if rest == "close" => {
                self.target.close(connection);
                self.waiting.remove(connection);
                Ok(())
            }
            Some(("bytes", hex)) => {
                let (Value::Bytes(bytes), "") = literal::read(hex)? else {
                    return Err("expected 0x…".into());
                };
                self.ask(connection, "bytes", 0, Shown::default(), &bytes)
            }
            Some((api, rest)) => self.request(connection, api, rest, last),
            None => Err("expected `API vN {fields}`, `close` or `bytes 0x…`".into()),
        }
    }

    fn request(&mut self, connection: &str, name: &str, rest: &str, last: bool) -> Result<(), String> {
        let api = self.schemas.find(name)?;
        let (version, rest) = version(rest, "v")?;
        let (body_version, rest) = match rest.strip_prefix("as ") {
            Some(rest) => self::version(rest, "v")?,
            None => (version, rest),
        };
        let (value, rest) = literal::read(rest)?;
        let shown = Shown::parse(rest)?;
        let value = self.names.resolve(&value)?;
        let correlation = i32::try_from(self.asked).map_err(|e| e.to_string())?;
        let head = Head { version, correlation, client: "script" };
        let frame = encode::request(api, &head, body_version, &value)?;
        if name == "Produce" && value.field("acks") == Some(&Value::Int(0)) {
            self.asked += 1;
            return self.target.send(connection, &frame);
        }
        let shown_version = if version == body_version { version } else { 0 };
        self.ask(connection, name, shown_version, shown, &frame)?;
        if !last {
            self.hear(connection, Patience::Moment)?;
        }
        if CHANGES.contains(&name) {
            self.hear(connection, Patience::Long)?;
            self.target.settle()?;
        }
        Ok(())
    }

    fn ask(
        &mut self,
        connection: &str,
        api: &str,
        version: i16,
        shown: Shown,
        frame: &[u8],
    ) -> Result<(), String> {
        let order = self.asked;
        self.asked += 1;
        let correlation = i32::try_from(order).map_err(|e| e.to_string())?;
        let waiting = Waiting { order, api: api.to_owned(), version, correlation, shown };
        self.waiting.entry(connection.to_owned()).or_default().push_back(waiting);
        self.target.send(connection, frame)
    }

    /// Waits for one answer; true if something was heard.
    fn hear(&mut self, connection: &str, patience: Patience) -> Result<bool, String> {
        let Some(queue) = self.waiting.get_mut(connection).filter(|queue| !queue.is_empty()) else {
            return Ok(false);
        };
        match self.target.hear(connection, patience)? {
            Heard::Nothing => Ok(false),
            Heard::Closed => {
                let order = queue.front().map_or(0, |waiting| waiting.order);
                queue.clear();
                self.target.close(connection);
                self.heard.push((order, vec![format!("{connection}: closed")]));
                Ok(true)
            }
            Heard::Frame(frame) => {
                let Some(waiting) = queue.pop_front() else { return Ok(true) };
                let lines = self.shown(connection, &waiting, &frame)?;
                self.heard.push((waiting.order, lines));
                Ok(true)
            }
        }
    }

    fn shown(&mut self, connection: &str, waiting: &Waiting, frame: &[u8]) -> Result<Vec<String>, String> {
        let api = self.schemas.find(&waiting.api)?;
        let (correlation, value) = decode::response(api, waiting.version, frame)
            .map_err(|error| format!("the answer to {} v{}: {error}", waiting.api, waiting.version))?;
        if correlation != waiting.correlation {
            return Err(format!("asked {}, answered {correlation}", waiting.correlation));
        }
        let value = if waiting.shown.own { self.names.own(value) } else { value };
        let value = value.without(&waiting.shown.without).except(&waiting.shown.except);
        Ok(print::lines(&format!("{connection}: "), &self.names.canonical(&waiting.api, value)))
    }

    /// Waits for what is expected, then a moment for what is not.
    fn collect(&mut self, expected: &[String]) -> Result<(), String> {
        let connections: Vec<String> = self.waiting.keys().cloned().collect();
        for connection in connections {
            let mine = |line: &&String| {
                line.strip_prefix(&connection)
                    .is_some_and(|rest| rest.starts_with(": {") || rest == ": closed")
            };
            let awaited = expected.iter().filter(mine).count();
            let mut found = self.heard_of(&connection);
            while found < awaited && self.hear(&connection, Patience::Long)? {
                found += 1;
            }
            while self.hear(&connection, Patience::Moment)? {}
        }
        Ok(())
    }

    fn heard_of(&self, connection: &str) -> usize {
        let start = format!("{connection}: ");
        self.heard
            .iter()
            .filter(|(_, lines)| lines.first().is_some_and(|line| line.starts_with(&start)))
            .count()
    }
}

fn version<'a>(text: &'a str, prefix: &str) -> Result<(i16, &'a str), String> {
    let wrong = || format!("expected a version such as v3 at {text:?}");
    let rest = text.strip_prefix(prefix).ok_or_else(wrong)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Ok((rest[..end].parse().map_err(|_| wrong())?, rest[end..].trim_start()))
}

/// `300ms` or `3s`.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a time such as 300ms or 3s, not {text}");
    let millis = text.strip_suffix("ms").map(str::parse);
    let seconds = text.strip_suffix('s').map(str::parse);
    match (millis, seconds) {
        (Some(Ok(millis)), _) => Ok(Duration::from_millis(millis)),
        (_, Some(Ok(seconds))) => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong()),
    }
}
