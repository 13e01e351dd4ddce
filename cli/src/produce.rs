//! `ottla produce`: lines become records.

use crate::connect::{Connect, Done, Failure, block_on};
use crate::format::{Format, Shown, header};
use crate::output::note;
use base::Span;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use client::{Acks, Codec, Deliver, Delivered, Header, Producer, ProducerRecord, ProducerSettings};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// Produce records from standard input or files, one per line.
#[derive(Clone, Debug, Args)]
pub(crate) struct Produce {
    /// The topic; may be left out if the format has %t.
    topic: Option<String>,
    /// Files to read instead of standard input.
    files: Vec<PathBuf>,
    /// Make one record of each whole file.
    #[arg(long, requires = "files")]
    whole: bool,
    /// What a line looks like: %k key, %v value, %p partition, %t topic, %T timestamp, %h headers.
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "key_delimiter")]
    format: Option<Format>,
    /// What separates key and value: the same as the format %kDELIMITER%v, but lines without it have no key.
    #[arg(short = 'K', long, value_name = "TEXT")]
    key_delimiter: Option<String>,
    /// The key of every record.
    #[arg(short, long, value_name = "TEXT")]
    key: Option<String>,
    /// A header of every record. May be repeated.
    #[arg(short = 'H', long, value_name = "KEY=VALUE", value_parser = header)]
    header: Vec<Header>,
    /// Make tombstones of empty values.
    #[arg(short = 'Z', long)]
    tombstone: bool,
    /// The partition of every record.
    #[arg(short, long)]
    partition: Option<i32>,
    /// How batches are compressed: none, gzip, snappy, lz4, zstd.
    #[arg(short = 'z', long, default_value = "none", value_parser = codec)]
    compression: Codec,
    /// Whose acknowledgement counts.
    #[arg(long, value_enum, default_value_t = AcksArg::All)]
    acks: AcksArg,
    /// How many milliseconds a batch waits for more records.
    #[arg(long, default_value_t = 5, value_name = "MS")]
    linger: u64,
    /// Print each delivered record in this format (%t %p %o %k %v %T %h).
    #[arg(long, value_name = "FORMAT")]
    report: Option<Format>,
    #[command(flatten)]
    connect: Connect,
}

/// `--acks`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum AcksArg {
    /// Nobody's.
    #[value(name = "0")]
    None,
    /// The leader's.
    #[value(name = "1")]
    Leader,
    /// That of all replicas in sync.
    All,
}

impl From<AcksArg> for Acks {
    fn from(acks: AcksArg) -> Self {
        match acks {
            AcksArg::None => Self::None,
            AcksArg::Leader => Self::Leader,
            AcksArg::All => Self::All,
        }
    }
}

pub(crate) fn codec(name: &str) -> Result<Codec, String> {
    Codec::from_name(name).ok_or_else(|| "expected none, gzip, snappy, lz4 or zstd".to_owned())
}

/// Records read and not yet sent: lines that the reading thread is ahead.
const AHEAD_MAX: usize = 64;
/// Records per message of the reading thread.
const CHUNK_MAX: usize = 256;
/// Records sent whose outcome was not looked at yet.
const UNSEEN_MAX: usize = 100_000;
/// The longest line.
const LINE_MAX: u64 = 64 << 20;

impl Produce {
    pub(crate) fn run(self) -> Done {
        let has_topic = self.format.as_ref().is_some_and(Format::has_topic);
        if self.topic.is_none() && !has_topic {
            return Err(Failure::usage("which topic? give it first, or %t in --format"));
        }
        block_on(self.produce())
    }

    fn settings(&self) -> Done<ProducerSettings> {
        let cluster = self.connect.settings()?;
        let timeout = cluster.request_timeout;
        Ok(ProducerSettings {
            acks: self.acks.into(),
            codec: self.compression,
            linger: Span::from_millis(self.linger),
            delivery_timeout: timeout,
            metadata_timeout: timeout,
            ..ProducerSettings { cluster: cluster.clone(), ..ProducerSettings::new(cluster.bootstrap) }
        })
    }

    async fn produce(self) -> Done {
        let producer = Producer::new(self.settings()?);
        let mut records = self.read();
        let mut unseen = VecDeque::new();
        let mut delivered = 0u64;
        // People who type want to know at once.
        let typing = self.files.is_empty() && io::stdin().is_terminal();
        while let Some(chunk) = records.recv().await {
            for record in chunk? {
                let kept = self.report.is_some().then(|| record.clone());
                let deliver =
                    producer.send(record).await.map_err(|error| Failure::failed(error.to_string()))?;
                unseen.push_back((kept, deliver));
            }
            let left = if typing { 0 } else { UNSEEN_MAX };
            delivered += self.look_at(&mut unseen, left).await?;
        }
        producer.flush().await;
        delivered += self.look_at(&mut unseen, 0).await?;
        if io::stderr().is_terminal() {
            note(&format!("produced {delivered} records"));
        }
        Ok(())
    }

    /// Waits for outcomes, oldest first, until `left` are not looked at; the first failure ends the command.
    async fn look_at(
        &self,
        unseen: &mut VecDeque<(Option<ProducerRecord>, Deliver)>,
        left: usize,
    ) -> Done<u64> {
        let mut seen = 0;
        while unseen.len() > left
            && let Some((record, deliver)) = unseen.pop_front()
        {
            let delivered = deliver.await?;
            seen += 1;
            if let (Some(format), Some(record)) = (&self.report, record) {
                print(format, &record, &delivered)?;
            }
        }
        Ok(seen)
    }

    /// Reads the input on a thread of its own, a bounded distance ahead.
    fn read(&self) -> mpsc::Receiver<Done<Vec<ProducerRecord>>> {
        let (sender, receiver) = mpsc::channel(AHEAD_MAX);
        let reader = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(failure) = reader.read_all(&sender) {
                let _gone = sender.blocking_send(Err(failure));
            }
        });
        receiver
    }

    fn read_all(&self, sender: &mpsc::Sender<Done<Vec<ProducerRecord>>>) -> Done {
        if self.files.is_empty() {
            return self.read_lines(io::stdin().lock(), "standard input", sender);
        }
        for path in &self.files {
            let name = path.display().to_string();
            let open = File::open(path);
            let file = open.map_err(|error| Failure::not_found(format!("{name}: {error}")))?;
            if self.whole {
                let mut bytes = Vec::new();
                let read = file.take(LINE_MAX).read_to_end(&mut bytes);
                read.map_err(|error| Failure::failed(format!("{name}: {error}")))?;
                let record = self.finish(ProducerRecord { value: Some(bytes.into()), ..self.template() });
                let _gone = sender.blocking_send(Ok(vec![record]));
            } else {
                self.read_lines(BufReader::new(file), &name, sender)?;
            }
        }
        Ok(())
    }

    fn read_lines(
        &self,
        mut input: impl BufRead,
        name: &str,
        sender: &mpsc::Sender<Done<Vec<ProducerRecord>>>,
    ) -> Done {
        let mut chunk = Vec::new();
        for number in 1u64.. {
            let mut line = Vec::new();
            let read = input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
            let length = read.map_err(|error| Failure::failed(format!("{name}: {error}")))?;
            if length > 0 {
                line.pop_if(|last| *last == b'\n');
                let record = self.parse(line.into());
                chunk.push(
                    record.map_err(|error| Failure::failed(format!("{name}, line {number}: {error}")))?,
                );
            }
            // What was read is sent as soon as reading on might wait.
            let waits = input.fill_buf().map_or(true, |ahead| !ahead.contains(&b'\n'));
            if (waits || chunk.len() >= CHUNK_MAX || length == 0)
                && !chunk.is_empty()
                && sender.blocking_send(Ok(std::mem::take(&mut chunk))).is_err()
            {
                return Ok(());
            }
            if length == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A record with all that the command line says of every record.
    fn template(&self) -> ProducerRecord {
        ProducerRecord {
            topic: self.topic.as_deref().unwrap_or_default().into(),
            partition: self.partition,
            key: self.key.as_ref().map(|key| Bytes::copy_from_slice(key.as_bytes())),
            headers: self.header.clone(),
            ..ProducerRecord::default()
        }
    }

    fn parse(&self, line: Bytes) -> Result<ProducerRecord, String> {
        let mut record = self.template();
        match (&self.format, &self.key_delimiter) {
            (Some(format), _) => format.clone().for_lines().read(&line, &mut record)?,
            (None, Some(delimiter)) => split_key(&line, delimiter.as_bytes(), &mut record),
            (None, None) => record.value = Some(line),
        }
        Ok(self.finish(record))
    }

    fn finish(&self, mut record: ProducerRecord) -> ProducerRecord {
        if self.tombstone && record.value.as_ref().is_some_and(Bytes::is_empty) {
            record.value = None;
        }
        record
    }
}

fn split_key(line: &Bytes, delimiter: &[u8], record: &mut ProducerRecord) {
    let place = line.windows(delimiter.len().max(1)).position(|window| window == delimiter);
    match place {
        Some(place) => {
            record.key = Some(line.slice(..place));
            record.value = Some(line.slice(place + delimiter.len()..));
        }
        None => record.value = Some(line.clone()),
    }
}

fn print(format: &Format, record: &ProducerRecord, delivered: &Delivered) -> Done {
    let shown = Shown {
        topic: &delivered.topic,
        partition: delivered.partition,
        offset: delivered.offset.map(|offset| offset.0),
        timestamp: delivered.timestamp.0,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &record.headers,
    };
    let mut out = io::stdout().lock();
    format.write(&mut out, &shown)?;
    out.flush()?;
    Ok(())
}
