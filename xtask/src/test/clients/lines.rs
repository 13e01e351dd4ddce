//! Command-line clients: lines in, lines out. kcat is librdkafka, `ottla` is our own client.

use super::matrix::Column;
use crate::shell::{capture, root, run_quietly};
use crate::test::node::cli;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const RECORDS: usize = 10_000;
const LARGE: usize = 900_000;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// How often a group is looked at before it counts as stuck.
const LOOKS_MAX: usize = 300;

/// How one client is called.
struct Dialect {
    program: PathBuf,
    /// To write the lines of a file, key and value separated by a colon.
    write: fn(topic: &str, codec: &str, file: &str) -> Vec<String>,
    /// To read a topic to its end, from `from` on, in the form `key:value`.
    read: fn(topic: &str, from: &str) -> Vec<String>,
    /// To read a number of lines as a member of a group.
    read_in_group: fn(topic: &str, group: &str, count: usize) -> Vec<String>,
    /// To stay in a group that shares by an assignor.
    stay: fn(topic: &str, group: &str, assignor: &str) -> Vec<String>,
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

pub(super) fn kcat(broker: &str) -> Result<Column, String> {
    let dialect = Dialect {
        program: "kcat".into(),
        write: |topic, codec, file| {
            words(&format!("-P -t {topic} -K : -z {codec} -X enable.idempotence=true -l {file}"))
        },
        read: |topic, from| words(&format!("-C -t {topic} -K : -e -q -o {from}")),
        read_in_group: |topic, group, count| {
            words(&format!("-q -K : -X auto.offset.reset=earliest -c {count} -G {group} {topic}"))
        },
        stay: |topic, group, assignor| {
            words(&format!("-q -X partition.assignment.strategy={assignor} -G {group} {topic}"))
        },
    };
    let mut column = Column::new("kcat 1.7");
    common(&dialect, broker, "kcat", &mut column)?;
    let values = dialect.run(broker, &words("-C -t kcat-nulls -e -q -f %k|%S|%h\\n"), None)?;
    expect("keys, nulls and headers", &values, "a|1|h=x\nb|-1|h=x\n")?;
    column.fill("keys, nulls, headers, order", "same");
    sharing(&dialect, broker, "kcat", &["range", "roundrobin"])?;
    column.fill("assignors", "range, round robin");
    column.fill("static membership", "as confluent-kafka, the same library");
    column.fill("administering", "lists only");
    column.complete()
}

pub(super) fn ottla(broker: &str) -> Result<Column, String> {
    let dialect = Dialect {
        program: root().join("target/debug/ottla"),
        write: |topic, codec, file| words(&format!("produce {topic} {file} -K : -z {codec}")),
        read: |topic, from| words(&format!("consume {topic} -e -o {from} -f %k:%v\\n")),
        read_in_group: |topic, group, count| {
            words(&format!("consume {topic} -G {group} -n {count} -f %k:%v\\n"))
        },
        stay: |topic, group, assignor| words(&format!("consume {topic} -G {group} --assignor {assignor}")),
    };
    let mut column = Column::new("ottla");
    common(&dialect, broker, "ottla", &mut column)?;
    let values = dialect.run(broker, &words("consume ottla-nulls -e --output json"), None)?;
    let as_sent = values.contains(r#""key":"a","value":"1""#) && values.contains(r#""key":"b","value":null"#);
    if !as_sent || values.matches(r#""h""#).count() != 2 {
        return Err(format!("ottla: keys, nulls and headers are not as sent: {values}"));
    }
    column.fill("keys, nulls, headers, order", "same");
    sharing(&dialect, broker, "ottla", &["range", "roundrobin", "sticky", "cooperative-sticky"])?;
    column.fill("assignors", "range, round robin, sticky, cooperative sticky");
    static_member(&dialect, broker)?;
    column.fill("static membership", "comes back without a rebalance");
    administer(&dialect, broker)?;
    column.fill("administering", "create, grow, configure, list and delete groups, delete");
    column.complete()
}

impl Dialect {
    /// kcat's members take topics to the end of the line: the broker goes before them.
    fn command(&self, broker: &str, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        let broker = ["-b", broker];
        if self.program.ends_with("kcat") {
            command.args(broker).args(arguments);
        } else {
            command.args(arguments).args(broker);
        }
        command
    }

    fn run(&self, broker: &str, arguments: &[String], input: Option<&str>) -> Result<String, String> {
        let mut command = self.command(broker, arguments);
        if let Some(text) = input {
            let file = root().join("target/lanes/input.txt");
            std::fs::write(&file, text).map_err(|error| error.to_string())?;
            command.stdin(std::fs::File::open(file).map_err(|error| error.to_string())?);
        } else {
            command.stdin(Stdio::null());
        }
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        String::from_utf8(output.stdout).map_err(|_| format!("{command:?} prints what is no text"))
    }
}

fn expect(what: &str, found: &str, expected: &str) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (found.lines().count(), expected.lines().count());
    Err(format!("{what}: {found} lines, not the {expected} expected ones"))
}

/// Writes lines into a file of the lane's and names it.
fn file_of(name: &str, lines: &str) -> Result<String, String> {
    let file = root().join("target/lanes").join(name);
    std::fs::write(&file, lines).map_err(|error| error.to_string())?;
    Ok(file.to_string_lossy().into_owned())
}

/// What both can do in the same way.
fn common(dialect: &Dialect, broker: &str, name: &str, column: &mut Column) -> Result<(), String> {
    let lines: String = (0..RECORDS).map(|n| format!("{n}:value {n} {}\n", "x".repeat(n % 200))).collect();
    let file = file_of(&format!("{name}.txt"), &lines)?;
    for codec in CODECS {
        let topic = format!("{name}-{codec}");
        dialect.run(broker, &(dialect.write)(&topic, codec, &file), None)?;
        let found = dialect.run(broker, &(dialect.read)(&topic, "beginning"), None)?;
        expect(&format!("{name} with {codec}"), &found, &lines)?;
        column.fill(codec, "10,000");
    }
    column.fill("idempotent producer", "yes");
    let large = format!("large:{}\n", "x".repeat(LARGE));
    let topic = format!("{name}-large");
    dialect.run(
        broker,
        &(dialect.write)(&topic, "none", &file_of(&format!("{name}-large.txt"), &large)?),
        None,
    )?;
    expect("a large record", &dialect.run(broker, &(dialect.read)(&topic, "beginning"), None)?, &large)?;
    column.fill("largest record", "900 KB");
    nulls(dialect, broker, name)?;
    groups(dialect, broker, name, &lines)?;
    column.fill("groups, commits", "yes");
    seek(dialect, broker, name, &lines)?;
    column.fill("seek by offset and time", "yes");
    Ok(())
}

fn nulls(dialect: &Dialect, broker: &str, name: &str) -> Result<(), String> {
    let arguments = match name {
        "kcat" => "-P -t kcat-nulls -K : -Z -H h=x",
        _ => "produce ottla-nulls -K : -Z -H h=x",
    };
    dialect.run(broker, &words(arguments), Some("a:1\nb:\n")).map(|_| ())
}

/// The second member of a group goes on where the first left off.
fn groups(dialect: &Dialect, broker: &str, name: &str, lines: &str) -> Result<(), String> {
    let (topic, group) = (format!("{name}-none"), format!("group-{name}"));
    let half = RECORDS / 2;
    let mut found = dialect.run(broker, &(dialect.read_in_group)(&topic, &group, half), None)?;
    found.push_str(&dialect.run(broker, &(dialect.read_in_group)(&topic, &group, half), None)?);
    expect("two members, one after the other", &found, lines)
}

fn seek(dialect: &Dialect, broker: &str, name: &str, lines: &str) -> Result<(), String> {
    let topic = format!("{name}-none");
    let tail: String = lines.lines().skip(9_000).map(|line| format!("{line}\n")).collect();
    expect("from an offset", &dialect.run(broker, &(dialect.read)(&topic, "9000"), None)?, &tail)?;
    // Everything was written after 1970-01-02, and nothing will be after 2100.
    let by_time = |millis: &str| match name {
        "kcat" => format!("s@{millis}"),
        _ => format!("@{millis}"),
    };
    let all = dialect.run(broker, &(dialect.read)(&topic, &by_time("86400000")), None)?;
    expect("from an early time", &all, lines)?;
    let none = dialect.run(broker, &(dialect.read)(&topic, &by_time("4102444800000")), None)?;
    expect("from a late time", &none, "")
}

/// Two members share a topic under each assignor; one leaves and the other has all.
fn sharing(dialect: &Dialect, broker: &str, name: &str, assignors: &[&str]) -> Result<(), String> {
    let topic = format!("{name}-shared");
    cli(broker, &["topic", "create", &topic, "--partitions", "4"])?;
    for assignor in assignors {
        let group = format!("{name}-{assignor}");
        let stay = (dialect.stay)(&topic, &group, assignor);
        let mut first = Stayer::start(dialect.command(broker, &stay))?;
        let _second = Stayer::start(dialect.command(broker, &stay))?;
        until(broker, &group, &[2, 2])?;
        first.leave()?;
        until(broker, &group, &[4])?;
    }
    Ok(())
}

/// A static member goes and comes back within its session: the group's generation does not end.
fn static_member(dialect: &Dialect, broker: &str) -> Result<(), String> {
    let stay = |name: &str| words(&format!("consume ottla-shared -G ottla-static --instance-id {name}"));
    let mut first = Stayer::start(dialect.command(broker, &stay("one")))?;
    let _second = Stayer::start(dialect.command(broker, &stay("two")))?;
    until(broker, "ottla-static", &[2, 2])?;
    let before = owners(broker)?;
    first.leave()?;
    let _again = Stayer::start(dialect.command(broker, &stay("one")))?;
    // The one that came back has a new member id and the partitions of the old; the other is as it was.
    for _ in 0..LOOKS_MAX {
        let (now, mut came_back) = (owners(broker)?, 0);
        for (was, is) in before.iter().zip(&now) {
            came_back += usize::from(was != is);
        }
        match came_back {
            0 => pause(Duration::from_millis(200)),
            2 => return Ok(()),
            _ => return Err(format!("a static member came back and moved partitions: {before:?}, {now:?}")),
        }
    }
    Err("a static member does not come back".into())
}

/// Who has which partition of the static group.
fn owners(broker: &str) -> Result<Vec<String>, String> {
    let table = cli(broker, &["group", "describe", "ottla-static"])?;
    let member = |line: &str| line.split_whitespace().last().unwrap_or_default().to_owned();
    Ok(table.lines().skip(2).map(member).collect())
}

/// A member that stays until it is told to leave.
struct Stayer(Child);

impl Stayer {
    fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).map_err(|error| format!("{command:?}: {error}"))
    }

    fn leave(&mut self) -> Result<(), String> {
        run_quietly("kill", &[&self.0.id().to_string()])?;
        self.0.wait().map(|_| ()).map_err(|error| error.to_string())
    }
}

impl Drop for Stayer {
    fn drop(&mut self) {
        // Both fail only if it has left already.
        let _gone = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Waits until the members of a group have so many partitions each.
fn until(broker: &str, group: &str, shares: &[usize]) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..LOOKS_MAX {
        last = cli(broker, &["group", "describe", group]).unwrap_or_else(|error| error);
        let mut found: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
        for line in last.lines().skip(2) {
            *found.entry(line.split_whitespace().last().unwrap_or_default()).or_default() += 1;
        }
        if found.values().eq(shares) && !found.contains_key("-") {
            return Ok(());
        }
        pause(Duration::from_millis(200));
    }
    Err(format!("the members of {group} do not get {shares:?} partitions:\n{last}"))
}

fn administer(dialect: &Dialect, broker: &str) -> Result<(), String> {
    let run = |text: &str| dialect.run(broker, &words(text), None);
    run("topic create cared-for --partitions 3")?;
    run("topic alter cared-for --partitions 4 -c retention.ms=3600000")?;
    let configs = run("config get --topic cared-for retention.ms")?;
    if !configs.contains("3600000") {
        return Err(format!("a topic's config is not as it was set: {configs}"));
    }
    run("config set --loggers 1 root=WARN")?;
    let level = run("config get --loggers 1 root")?;
    run("config set --loggers 1 root=INFO")?;
    if !level.contains("WARN") {
        return Err(format!("a log level is not as it was set: {level}"));
    }
    if !run("group list")?.contains("group-ottla") {
        return Err("a group is not in the list of groups".into());
    }
    run("group delete group-ottla")?;
    run("topic delete cared-for")?;
    match capture(&dialect.program.to_string_lossy(), &["topic", "describe", "cared-for", "-b", broker]) {
        Ok(found) => Err(format!("a deleted topic is still there: {found}")),
        Err(_) => Ok(()),
    }
}

#[expect(clippy::disallowed_methods, reason = "members come and go in real time")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
