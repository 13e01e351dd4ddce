//! Power loss and a full disk, on real files: the unmodified program on a file system of its own (ext4 in an
//! image), under real idempotent clients.
//!
//! The power goes by the file system's own shutdown call, which stops it at once and writes nothing more: what
//! was not flushed is not there after the next mount, as after a real loss of power. Needs root.

use super::node::Node;
use crate::shell::{capture, root, run, say};
use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often the power goes, per durability.
const CUTS: usize = 50;
/// Lines that are acknowledged before each cut.
const LINES: usize = 40;
/// Size of the volumes, in MiB.
const POWER_MIB: u64 = 256;
const FULL_MIB: u64 = 64;
/// Lines of 1 KiB: what is deleted later, and what does not fit before.
const VICTIM_LINES: usize = 24_000;
const FULL_LINES: usize = 36_000;
/// How often a client asks a disk that is nearly full.
const REFUSALS_MAX: usize = 20;
/// What librdkafka says for KAFKA_STORAGE_ERROR.
const STORAGE_ERROR: &str = "Disk error when trying to access log file on disk";
/// Ends a file system: EXT4_IOC_SHUTDOWN, without flushing its journal.
const SHUTDOWN: &str = "import fcntl,os,struct,sys
d=os.open(sys.argv[1],os.O_RDONLY)
fcntl.ioctl(d,0x8004587D,struct.pack('I',2))";

pub(crate) fn run_all() -> Result<(), String> {
    let flushed = cut_power("flushed")?;
    if flushed > 0 {
        return Err(format!("{flushed} acknowledged records of flushed topics were lost"));
    }
    let replicated = cut_power("replicated")?;
    if replicated == 0 {
        return Err("no record of a replicated topic was lost: the power loss takes nothing".into());
    }
    let kept = CUTS * LINES;
    say(&format!(
        "{CUTS} power losses: flushed 0 of {kept} acknowledged lines lost, replicated {replicated}"
    ));
    fill_disk()
}

/// A file system in an image.
pub(super) struct Volume {
    image: PathBuf,
    pub(super) mount: PathBuf,
}

impl Volume {
    pub(super) fn create(name: &str, mebibytes: u64) -> Result<Self, String> {
        let lanes = root().join("target/lanes");
        let volume = Self { image: lanes.join(format!("{name}.img")), mount: lanes.join(name) };
        std::fs::create_dir_all(&volume.mount).map_err(|error| error.to_string())?;
        let image = std::fs::File::create(&volume.image).map_err(|error| error.to_string())?;
        image.set_len(mebibytes << 20).map_err(|error| error.to_string())?;
        capture("mkfs.ext4", &["-q", "-F", &volume.image.to_string_lossy()])?;
        volume.mount()?;
        Ok(volume)
    }

    fn mount(&self) -> Result<(), String> {
        let (image, mount) = (self.image.to_string_lossy(), self.mount.to_string_lossy());
        capture("mount", &["-o", "loop", &image, &mount]).map(|_| ())
    }

    /// From here on nothing reaches the image.
    pub(super) fn cut_power(&self) -> Result<(), String> {
        capture("python3", &["-c", SHUTDOWN, &self.mount.to_string_lossy()]).map(|_| ())
    }

    pub(super) fn power_on(&self) -> Result<(), String> {
        capture("umount", &[&self.mount.to_string_lossy()])?;
        self.mount()
    }

    fn free_bytes(&self) -> Result<u64, String> {
        let printed = capture("df", &["--output=avail", "-B1", &self.mount.to_string_lossy()])?;
        let free = printed.lines().last().and_then(|line| line.trim().parse().ok());
        free.ok_or_else(|| format!("df prints {printed:?}"))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Fails only if it is not mounted.
        let _ = Command::new("umount").arg("-l").arg(&self.mount).stderr(Stdio::null()).status();
        let _ = std::fs::remove_file(&self.image);
    }
}

/// Returns how many acknowledged lines were lost.
fn cut_power(durability: &str) -> Result<usize, String> {
    let volume = Volume::create(&format!("power-{durability}"), POWER_MIB)?;
    let setting = format!("ottla.durability={durability}");
    let mut node = Node::start_in(volume.mount.join("data"), &[&setting])?;
    let (mut kept, mut lost) = (Vec::new(), 0);
    for cut in 0..CUTS {
        // Another client writes while the power goes.
        let noise = Noise::start(&node.address, cut)?;
        let lines: Vec<String> = (0..LINES).map(|line| format!("line-{cut}-{line}")).collect();
        produce(&node.address, "kept", &lines)?;
        kept.extend(lines);
        // From right after the acknowledgement to a while later.
        pause(Duration::from_millis((cut as u64 * 7) % 40));
        volume.cut_power()?;
        node.kill();
        drop(noise);
        volume.power_on()?;
        node.restart()?;
        let found = consume(&node.address, "kept")?;
        lost += check(durability, &mut kept, found)?;
    }
    node.kill();
    Ok(lost)
}

/// Counts what is missing; on a topic that promises more, nothing may be out of order or there twice either.
pub(super) fn check(durability: &str, kept: &mut Vec<String>, found: Vec<String>) -> Result<usize, String> {
    let there: HashSet<&String> = found.iter().collect();
    let lost = kept.iter().filter(|line| !there.contains(line)).count();
    if durability == "flushed" && lost == 0 && *kept != found {
        return Err(format!("{} lines were acknowledged and {} are there", kept.len(), found.len()));
    }
    *kept = found;
    Ok(lost)
}

/// A client that goes on writing whatever happens to the broker.
struct Noise(Child);

impl Noise {
    fn start(address: &str, round: usize) -> Result<Self, String> {
        let script = format!(
            "i=0; while :; do i=$((i+1)); echo noise-{round}-$i; done | kcat -P -E -b {address} -t noise -p 0 -q \
             -X enable.idempotence=true -X message.timeout.ms=0"
        );
        let child = Command::new("timeout").args(["20", "sh", "-c", &script]).stderr(Stdio::null()).spawn();
        child.map(Self).map_err(|error| format!("kcat cannot be started: {error}"))
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        // `timeout` hands the signal on to the shell and to kcat.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn producer(address: &str, topic: &str, more: &[&str]) -> Result<Child, String> {
    Command::new("kcat")
        .args(["-P", "-E", "-b", address, "-t", topic, "-p", "0", "-q", "-X", "enable.idempotence=true"])
        .args(more)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("kcat cannot be started: {error}"))
}

/// Hands lines to a producer.
fn feed(producer: &mut Child, lines: &[String]) -> Result<(), String> {
    let mut input = producer.stdin.take().ok_or("no input")?;
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    input.write_all(text.as_bytes()).map_err(|error| error.to_string())
}

/// Sends lines and waits until all of them are acknowledged.
pub(super) fn produce(address: &str, topic: &str, lines: &[String]) -> Result<(), String> {
    let mut producer = producer(address, topic, &["-X", "message.timeout.ms=30000"])?;
    feed(&mut producer, lines)?;
    let ended = producer.wait_with_output().map_err(|error| error.to_string())?;
    if ended.status.success() {
        return Ok(());
    }
    Err(format!("lines were not acknowledged: {}", String::from_utf8_lossy(&ended.stderr)))
}

pub(super) fn consume(address: &str, topic: &str) -> Result<Vec<String>, String> {
    let found = capture("kcat", &["-C", "-b", address, "-t", topic, "-p", "0", "-e", "-q"])?;
    Ok(found.lines().map(str::to_owned).collect())
}

/// A full disk: who writes hears to try again, who reads and who deletes goes on, and with room all is well.
fn fill_disk() -> Result<(), String> {
    let volume = Volume::create("full-disk", FULL_MIB)?;
    let node = Node::start_in(volume.mount.join("data"), &["log.segment.bytes=1048576"])?;
    let lines = |name: &str, count: usize| -> Vec<String> {
        let padding = "x".repeat(1_000);
        (0..count).map(|line| format!("{name}-{line}-{padding}")).collect()
    };
    produce(&node.address, "victim", &lines("victim", VICTIM_LINES))?;
    let wanted = lines("full", FULL_LINES);
    let mut writer = producer(&node.address, "full", &["-X", "message.timeout.ms=0"])?;
    feed(&mut writer, &wanted)?;
    let mut waits = 0;
    while volume.free_bytes()? > 1 << 20 {
        waits += 1;
        if waits > 600 {
            return Err("the disk does not become full".into());
        }
        pause(Duration::from_millis(100));
    }
    // A while on the full disk: the writer is refused again and again.
    pause(Duration::from_secs(2));
    if let Some(status) = writer.try_wait().map_err(|error| error.to_string())? {
        return Err(format!("the writer gave up on a full disk: {status}"));
    }
    hear_why(&node.address, "victim")?;
    let read = capture("kcat", &["-C", "-b", &node.address, "-t", "victim", "-p", "0", "-c", "100", "-q"])?;
    if read.lines().count() != 100 {
        return Err("reading does not go on while the disk is full".into());
    }
    node.cli(&["topic", "delete", "victim"])?;
    let ended = writer.wait_with_output().map_err(|error| error.to_string())?;
    if !ended.status.success() {
        return Err(format!("the writer gave up: {}", String::from_utf8_lossy(&ended.stderr)));
    }
    if consume(&node.address, "full")? != wanted {
        return Err("what was acknowledged before, on and after the full disk is not what is there".into());
    }
    say(&format!(
        "a full disk: {FULL_LINES} lines acknowledged after all, 0 lost; reading and deleting went on"
    ));
    drop(node);
    run("sync", &[])
}

/// A client that does not try again hears KAFKA_STORAGE_ERROR, on which others do: Kafka calls it retriable.
fn hear_why(address: &str, topic: &str) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..REFUSALS_MAX {
        let producer = Command::new("kcat")
            .args(["-P", "-b", address, "-t", topic, "-p", "0", "-X", "retries=0"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut producer = producer.map_err(|error| format!("kcat cannot be started: {error}"))?;
        // So much at once that what little room is left does not take it, or soon no more.
        feed(&mut producer, &["x".repeat(900_000)])?;
        let ended = producer.wait_with_output().map_err(|error| error.to_string())?;
        last = String::from_utf8_lossy(&ended.stderr).into_owned();
        if last.contains(STORAGE_ERROR) {
            return Ok(());
        }
    }
    Err(format!("who writes to a full disk is not told that it is the disk: {last}"))
}

#[expect(clippy::disallowed_methods, reason = "the power goes at some moment of real time")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
