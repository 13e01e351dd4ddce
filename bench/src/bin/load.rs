//! Loads that `cargo xtask bench` puts on a broker: real, unmodified librdkafka as a producer.
//!
//! `load produce KEY=VALUE…` sends as fast as acknowledgements come and prints what was acknowledged in the
//! measured window, with the CPU time that the brokers' processes and this one took meanwhile.
//! `load reservoir` holds free memory until its input ends (see `reservoir.rs`).
//! `load ack` waits for a broker to come up and acknowledge a record, `load sync` measures the raw disk.
//! `load steady` writes, and `load change` changes metadata, all the time, and both say how long that stood still; `load up`
//! waits for a node of a cluster to come back, `load elect` moves leaders to where they should be.

#[path = "../admin.rs"]
mod admin;
#[path = "../first.rs"]
mod first;
#[path = "../process.rs"]
mod process;
#[path = "../producer.rs"]
mod producer;
#[path = "../raw.rs"]
mod raw;
#[path = "../reservoir.rs"]
mod reservoir;
#[path = "../standstill.rs"]
mod standstill;
#[path = "../steady.rs"]
mod steady;

use process::{Cpu, resident_kib};
use producer::{Message, Producer};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read as _;
use std::time::{Duration, Instant};

type Done<T = ()> = Result<T, Box<dyn Error>>;

/// Bytes of text from which records are cut.
const TEXT_BYTES: usize = 4 << 20;
/// How long librdkafka may be silent before the run is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);

const USAGE: &str = "usage: load produce KEY=VALUE...
  load reservoir
  load ack HOST:PORT TOPIC
  load sync FILE
  load steady TOPIC PARTITIONS RATE KEY=VALUE...
  load change TOPIC HOST:PORT...
  load elect HOST:PORT TOPIC PARTITIONS
  load up OTHER_HOST:PORT HOST:PORT ID TOPIC";

fn main() -> Done {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["reservoir"] => reservoir(),
        ["ack", address, topic] => first::ack(address, topic),
        ["sync", file] => first::sync(file),
        ["produce", settings @ ..] => Load::parse(settings)?.run(),
        ["steady", topic, partitions, rate, settings @ ..] => {
            steady::produce(topic, partitions.parse()?, rate.parse()?, &pairs(settings)?)
        }
        ["change", topic, nodes @ ..] => admin::change(topic, nodes),
        ["elect", node, topic, partitions] => admin::elect(node, topic, partitions.parse()?),
        ["up", other, node, id, topic] => admin::up(other, node, id.parse()?, topic),
        _ => Err(USAGE.into()),
    }
}

fn pairs(settings: &[&str]) -> Done<BTreeMap<String, String>> {
    let split = |setting: &&str| setting.split_once('=').map(|(key, value)| (key.into(), value.into()));
    Ok(settings.iter().map(split).collect::<Option<_>>().ok_or("a setting is KEY=VALUE")?)
}

/// Ends with the program that started it.
fn reservoir() -> Done {
    std::thread::spawn(|| {
        let _end = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    Ok(reservoir::keep()?)
}

/// One run of a producer.
struct Load {
    topic: String,
    partitions: i32,
    /// Bytes of a record's value.
    record: usize,
    /// librdkafka's `batch.size`, and how much goes to one partition before the next has its turn.
    batch: usize,
    /// Bytes acknowledged before the window opens, and in it.
    warm: u64,
    bytes: u64,
    /// The window closes then even if fewer bytes came.
    seconds: f64,
    /// The brokers' processes, with commas between them.
    pids: Vec<u32>,
    conf: BTreeMap<String, String>,
}

impl Load {
    fn parse(settings: &[&str]) -> Done<Self> {
        let mut given = pairs(settings)?;
        let mut take = |key: &str| given.remove(key).ok_or_else(|| format!("{key} is missing"));
        let mut load = Self {
            topic: take("topic")?,
            partitions: take("partitions")?.parse()?,
            record: take("record")?.parse()?,
            batch: take("batch")?.parse()?,
            warm: take("warm")?.parse()?,
            bytes: take("bytes")?.parse()?,
            seconds: take("seconds")?.parse()?,
            pids: take("pid")?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            conf: BTreeMap::new(),
        };
        // Everything else is librdkafka's own.
        load.conf = given;
        load.conf.insert("batch.size".into(), load.batch.to_string());
        Ok(load)
    }

    fn run(&self) -> Done {
        let text = text();
        let mut producer = Producer::new(&self.conf, &self.topic)?;
        let per_turn = (self.batch / self.record).max(1);
        let mut turn = vec![Message::default(); per_turn];
        let mut at = 0;
        let mut window = Window::default();
        let mut last = Instant::now();
        for partition in (0..self.partitions).cycle() {
            for message in &mut turn {
                at = (at + self.record * 7) % (TEXT_BYTES - self.record);
                *message = Message::of(&text[at..at + self.record]);
            }
            let mut left = turn.as_mut_slice();
            while !left.is_empty() {
                let sent = producer.produce(partition, left)?;
                left = &mut left[sent..];
                let acked = producer.poll(if left.is_empty() { 0 } else { 10 }, |_| {})?;
                if acked > 0 {
                    last = Instant::now();
                } else if last.elapsed() > SILENCE_MAX {
                    return Err("the broker acknowledges nothing".into());
                }
                if window.advance(self, acked)? {
                    window.print(self);
                    // What is still queued is nobody's concern any more.
                    std::process::exit(0);
                }
            }
        }
        Ok(())
    }
}

/// The part of a run that counts.
#[derive(Default)]
struct Window {
    warm: u64,
    acked: u64,
    open: Option<(Instant, Cpu, Cpu)>,
    result: (f64, f64, f64),
}

impl Window {
    /// Takes note of acknowledged records; true once the window is closed.
    fn advance(&mut self, load: &Load, acked: u64) -> Done<bool> {
        let Some((start, broker, client)) = &self.open else {
            self.warm += acked * load.record as u64;
            if self.warm >= load.warm {
                self.open = Some((Instant::now(), Cpu::of(&load.pids)?, Cpu::own()?));
            }
            return Ok(false);
        };
        self.acked += acked;
        let seconds = start.elapsed().as_secs_f64();
        if self.acked * load.record as u64 >= load.bytes || seconds >= load.seconds {
            self.result = (seconds, Cpu::of(&load.pids)?.since(broker), Cpu::own()?.since(client));
            return Ok(true);
        }
        Ok(false)
    }

    fn print(&self, load: &Load) {
        let (seconds, broker, client) = self.result;
        println!("records={}", self.acked);
        println!("bytes={}", self.acked * load.record as u64);
        println!("seconds={seconds:.4}");
        println!("broker_cpu={broker:.3}");
        println!("client_cpu={client:.3}");
        println!("rss_kib={}", load.pids.iter().copied().map(resident_kib).sum::<u64>());
    }
}

/// Words of a small vocabulary in random order: they compress about as logs do.
fn text() -> &'static [u8] {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words: Vec<[u8; 6]> =
        (0..64).map(|_| random().to_le_bytes()[..6].try_into().unwrap_or([0; 6])).collect();
    let mut text = Vec::with_capacity(TEXT_BYTES + 6);
    while text.len() < TEXT_BYTES {
        text.extend_from_slice(&words[(random() % 64) as usize]);
    }
    text.truncate(TEXT_BYTES);
    text.leak()
}
