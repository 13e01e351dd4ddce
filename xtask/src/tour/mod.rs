//! `cargo xtask tour`: the README's tour on real input, with a broker of its own.
//!
//! A log of this machine goes line by line into a topic, through kcat. Two members of one group share it, a second
//! group reads it independently. One member is killed and its partitions move; the broker is killed and starts
//! again. At the end every promise is checked against the input.

mod input;
mod member;
mod proof;

use crate::shell::{capture, has, run, say};
use crate::test::node::Node;
pub(crate) use input::Input;
use input::Line;
use member::Member;
use proof::{Commits, Group};
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

pub(super) const TOPIC: &str = "machine-log";
const PARTITIONS: usize = 6;
const GROUPS: [&str; 2] = ["readers", "auditors"];
/// A byte that no text log holds: it parts keys from lines on the way into kcat.
const KEY_END: char = '\u{1f}';
/// Lines between two short rests: the members read while the log still grows.
const BURST: usize = 100;
/// Lines that kcat may hold back while its input goes on: it reads in blocks.
const HELD_BACK: usize = 100;
/// How often something is looked at that should come to be, and how many times before it counts as stuck.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOKS_MAX: usize = 600;
/// In this time members have committed what they have read.
const COMMIT_TIME: Duration = Duration::from_millis(2_500);

/// Takes the tour as the arguments say.
pub(crate) fn main(arguments: &[&str]) -> Result<(), String> {
    let input = Input::choose(arguments)?;
    if !has("kcat") {
        return Err("the tour shows kcat at work: install it with `apt-get install kcat`".into());
    }
    run("cargo", &["build", "--quiet", "--locked", "--package", "ottla-cli"])?;
    take(&input)
}

/// The tour, with the binary as it is.
pub(crate) fn take(input: &Input) -> Result<(), String> {
    let lines = input.lines()?;
    let mut tour = Tour::start(lines.len(), input)?;
    let third = lines.len() / 3;
    tour.step("the first third goes in; both groups follow");
    tour.feed(&lines[..third])?;
    tour.until_read(third.saturating_sub(HELD_BACK))?;
    tour.until("the first commits", |tour| {
        tour.commits(GROUPS[0]).is_ok_and(|commits| commits.are_everywhere())
    })?;
    tour.show_group(GROUPS[0])?;
    let at_member_kill = tour.kill_member(&lines[third..2 * third])?;
    let at_broker_kill = tour.kill_broker(&lines[2 * third..])?;
    tour.end_input()?;
    tour.until_read(lines.len())?;
    tour.finish(&lines, &[at_member_kill, at_broker_kill])
}

struct Tour {
    broker: Node,
    producer: Child,
    sink: Option<ChildStdin>,
    members: Vec<Member>,
    step: usize,
}

impl Tour {
    fn start(lines: usize, input: &Input) -> Result<Self, String> {
        let broker = Node::start("tour")?;
        say(&format!("broker  {} (pid {})", broker.address, broker.pid()?));
        say(&format!("input   {lines} lines of {}, keyed by field {}", input.name(), input.key_field()));
        let count = PARTITIONS.to_string();
        broker.cli(&["topic", "create", TOPIC, "--partitions", &count])?;
        let (mut producer, members) = (producer(&broker.address)?, members(&broker)?);
        let sink = producer.stdin.take();
        let mut tour = Self { broker, producer, sink, members, step: 0 };
        tour.step("two readers share the partitions, one auditor has them all");
        tour.until("the groups to have their partitions", |tour| {
            let shares: Vec<usize> = tour.members.iter().map(|member| member.partitions().len()).collect();
            shares[0] > 0 && shares[0] + shares[1] == PARTITIONS && shares[2] == PARTITIONS
        })?;
        tour.show_owners();
        Ok(tour)
    }

    fn step(&mut self, what: &str) {
        self.step += 1;
        say(&format!("\n{}. {what}", self.step));
    }

    fn show_owners(&self) {
        for member in &self.members {
            let owned = member.partitions();
            let row: String =
                (0..PARTITIONS).map(|index| if owned.contains(&index) { " ■" } else { " ·" }).collect();
            say(&format!("   {:<12}{row}", member.name));
        }
    }

    fn show_group(&self, group: &str) -> Result<(), String> {
        say(self.broker.cli(&["group", "describe", group])?.trim_end());
        Ok(())
    }

    /// Writes lines into kcat, a burst at a time.
    fn feed(&mut self, lines: &[Line]) -> Result<(), String> {
        for burst in lines.chunks(BURST) {
            let text: Vec<u8> = burst.iter().flat_map(|line| line.keyed(KEY_END)).collect();
            let sink = self.sink.as_mut().ok_or("the producer is gone")?;
            sink.write_all(&text).and_then(|()| sink.flush()).map_err(|error| format!("kcat: {error}"))?;
            rest(LOOK_EVERY / 2);
        }
        rest(COMMIT_TIME);
        Ok(())
    }

    /// Waits until both groups have read `count` different records.
    fn until_read(&self, count: usize) -> Result<(), String> {
        self.until(&format!("both groups to have read {count} lines"), |tour| {
            GROUPS.iter().all(|group| proof::distinct(&tour.members, group) >= count)
        })?;
        say(&format!("   at least {count} lines read by each group"));
        Ok(())
    }

    fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) -> Result<(), String> {
        for _ in 0..LOOKS_MAX {
            if reached(self) {
                return Ok(());
            }
            rest(LOOK_EVERY);
        }
        Err(format!("waited too long for {what}; see target/lanes/tour*"))
    }

    /// Kills a reader while lines come in. Its partitions go to the other, from the last commit on.
    fn kill_member(&mut self, lines: &[Line]) -> Result<Commits, String> {
        self.step("one reader is frozen, then killed (SIGKILL); its partitions move to the other");
        let (before, after) = lines.split_at(lines.len() / 2);
        self.feed(before)?;
        self.members[1].signal("STOP")?;
        let owned = self.members[1].partitions();
        // What it had sent before it froze has arrived by now.
        rest(LOOK_EVERY);
        let commits = self.commits(GROUPS[0])?.of(&owned);
        self.feed(after)?;
        self.members[1].signal("KILL")?;
        self.until("the partitions to move", |tour| tour.members[0].partitions().len() == PARTITIONS)?;
        self.show_owners();
        Ok(commits)
    }

    /// Kills the broker while lines come in. Nothing that was acknowledged is gone; all go on by themselves.
    fn kill_broker(&mut self, lines: &[Line]) -> Result<Commits, String> {
        self.step("the broker is killed (SIGKILL) and starts again on its files");
        let (before, after) = lines.split_at(lines.len() / 2);
        self.feed(before)?;
        let commits = self.commits(GROUPS[0])?;
        self.broker.kill();
        self.broker.restart()?;
        say(&format!("   again on {} (pid {})", self.broker.address, self.broker.pid()?));
        self.feed(after)?;
        Ok(commits)
    }

    fn commits(&self, group: &str) -> Result<Commits, String> {
        Commits::parse(group, &self.broker.cli(&["group", "describe", group])?)
    }

    /// The producer ends once every line is acknowledged.
    fn end_input(&mut self) -> Result<(), String> {
        drop(self.sink.take());
        let ended = self.producer.wait().map_err(|error| error.to_string())?;
        if ended.success() { Ok(()) } else { Err(format!("the producer gave up: {ended}")) }
    }

    fn finish(mut self, lines: &[Line], interruptions: &[Commits]) -> Result<(), String> {
        self.step("everything is compared");
        rest(COMMIT_TIME);
        self.show_group(GROUPS[0])?;
        for member in &mut self.members {
            member.stop();
        }
        let whole = capture("kcat", &kcat_all(&self.broker.address))?;
        proof::order(&whole, lines)?;
        say("\n| group | lines | read at least once | repeats | repeats before the last commit |");
        say("|---|---:|---:|---:|---:|");
        for group in GROUPS {
            let group = Group::collect(group, &self.members)?;
            say(&group.check(lines, interruptions)?);
        }
        say("\nThe union of what each group read is the input, line for line. The tour is over.");
        Ok(())
    }
}

impl Drop for Tour {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _gone = self.producer.kill();
    }
}

fn kcat_all(broker: &str) -> [&str; 9] {
    ["-C", "-b", broker, "-t", TOPIC, "-e", "-q", "-f", "%p\t%o\t%s\n"]
}

fn producer(broker: &str) -> Result<Child, String> {
    let key_end = KEY_END.to_string();
    Command::new("kcat")
        .args(["-P", "-E", "-q", "-b", broker, "-t", TOPIC, "-K", &key_end])
        .args(["-X", "enable.idempotence=true", "-X", "message.timeout.ms=0"])
        .args(["-X", "reconnect.backoff.max.ms=100"])
        .stdin(Stdio::piped())
        // It reports that the broker is away.
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("kcat cannot be started: {error}"))
}

fn members(broker: &Node) -> Result<Vec<Member>, String> {
    let start = |name, group| Member::start(name, group, broker);
    Ok(vec![start("reader-1", GROUPS[0])?, start("reader-2", GROUPS[0])?, start("auditor-1", GROUPS[1])?])
}

#[expect(clippy::disallowed_methods, reason = "the tour waits for other programs in real time")]
fn rest(time: Duration) {
    sleep(time);
}
