//! `ottla perf consume`

use super::plan::{Leader, Plan, SILENCE_MAX};
use super::produce::Load;
use super::progress::{Run, now};
use super::report::{Report, Tally};
use super::socket::Socket;
use crate::connect::{Done, Failure};
use base::Uuid;
use bytes::Bytes;
use clap::Args;
use client::ErrorCode;
use std::collections::BTreeMap;
use std::time::Instant;
use wire::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use wire::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use wire::record::parse_batches;
use wire::{ApiKey, Records};

/// `ottla perf consume`
#[derive(Debug, Args)]
pub(crate) struct Consume {
    /// The topic.
    topic: String,
    #[command(flatten)]
    load: Load,
    /// Stop after so many records; the run then ends early.
    #[arg(short = 'n', long)]
    records: Option<u64>,
    /// Begin at the end instead of the beginning: read what comes.
    #[arg(long)]
    tail: bool,
    /// Begin again at the beginning when the end is reached.
    #[arg(long, conflicts_with = "tail")]
    repeat: bool,
    #[command(flatten)]
    fetch: FetchArgs,
}

/// How fetching goes.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct FetchArgs {
    /// The most bytes of an answer.
    #[arg(long, default_value_t = 50 << 20)]
    fetch_bytes: i32,
    /// The most bytes of one partition in an answer.
    #[arg(long, default_value_t = 1 << 20)]
    partition_bytes: i32,
    /// How many milliseconds an answer may wait for records.
    #[arg(long, default_value_t = 500)]
    fetch_wait: i32,
    /// For how many bytes it waits.
    #[arg(long, default_value_t = 1)]
    fetch_bytes_min: i32,
}

impl Consume {
    pub(crate) fn run(self) -> Done {
        let plan = Plan::make(&self.load.connect, &self.topic, self.load.partitions)?;
        let lanes = plan.connections(self.load.connections);
        let count = lanes.len();
        let open = |leader: &Leader| Reader::open(&plan, leader, self.fetch, self.tail);
        let readers = lanes.iter().map(open).collect::<Done<Vec<_>>>()?;
        let run = self.load.run();
        let mut total = Tally::new()?;
        for tally in self.drive(&run, readers)? {
            total.add(&tally);
        }
        let settings = vec![
            ("connections", count.into()),
            ("fetch_bytes", self.fetch.fetch_bytes.into()),
            ("partition_bytes", self.fetch.partition_bytes.into()),
            ("tail", self.tail.into()),
        ];
        let topic = self.topic.clone();
        let report = Report { mode: "consume", topic, elapsed: run.measured(), tally: total, settings };
        report.show(self.load.output)
    }

    fn drive(&self, run: &Run, readers: Vec<Reader>) -> Done<Vec<Tally>> {
        std::thread::scope(|scope| {
            run.show_progress(scope);
            let threads: Vec<_> =
                readers.into_iter().map(|reader| scope.spawn(move || self.read(run, reader))).collect();
            let joined = threads.into_iter().map(|thread| match thread.join() {
                Ok(done) => done,
                Err(_) => Err(Failure::failed("a thread of the load generator panicked")),
            });
            joined.collect()
        })
    }

    fn read(&self, run: &Run, mut reader: Reader) -> Done<Tally> {
        let mut tally = Tally::new()?;
        while !run.is_over() {
            let asked = now();
            let got = reader.fetch(|_, _| {})?;
            run.add(got.records, got.bytes);
            if run.counts(asked) && got.records > 0 {
                tally.records += got.records;
                tally.bytes += got.bytes;
                tally.requests += 1;
                tally.note(now().saturating_duration_since(asked));
            }
            if got.records == 0 && self.repeat {
                reader.rewind();
            }
            let enough = self.records.is_some_and(|records| run.records() >= records);
            if enough || (got.records == 0 && !self.repeat && !self.tail && self.records.is_none()) {
                run.stop();
            }
        }
        Ok(tally)
    }
}

/// One connection that fetches.
pub(super) struct Reader {
    socket: Socket,
    version: i16,
    topic: String,
    topic_id: Uuid,
    args: FetchArgs,
    /// Next offset by partition, and where each began.
    offsets: BTreeMap<i32, i64>,
    starts: BTreeMap<i32, i64>,
    /// Partitions whose offset the broker's session does not know yet.
    changed: Vec<i32>,
    session: (i32, i32),
}

/// What one answer brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Got {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Reader {
    pub(super) fn open(plan: &Plan, leader: &Leader, args: FetchArgs, tail: bool) -> Done<Self> {
        let mut socket = Socket::connect(&leader.address, SILENCE_MAX)?;
        let version = socket.version(ApiKey::Fetch, if plan.topic_id.is_zero() { 12 } else { 17 })?;
        let starts = offsets(&mut socket, plan, &leader.partitions, tail)?;
        Ok(Self {
            socket,
            version,
            topic: plan.topic.clone(),
            topic_id: plan.topic_id,
            args,
            offsets: starts.clone(),
            changed: starts.keys().copied().collect(),
            starts,
            session: (0, 0),
        })
    }

    fn rewind(&mut self) {
        self.offsets.clone_from(&self.starts);
        self.changed = self.offsets.keys().copied().collect();
    }

    /// One request; `look` sees the batches of each partition from the position on. Of the records only the
    /// batches' headers are read.
    pub(super) fn fetch(&mut self, mut look: impl FnMut(i32, &Bytes)) -> Done<Got> {
        let request = self.request();
        let response = self.socket.call(self.version, &request)?;
        let code = ErrorCode::from_code(response.error_code);
        if code.is_retriable() {
            // The session is lost; the next request opens another.
            self.session = (0, 0);
            self.changed = self.offsets.keys().copied().collect();
            return Ok(Got::default());
        }
        if code != ErrorCode::None {
            return Err(Failure::failed(format!("fetch: {}", code.name())));
        }
        self.changed.clear();
        self.session = match response.session_id {
            0 => (0, 0),
            id => (id, self.session.1 + 1),
        };
        let got = self.take(&response, &mut look)?;
        if self.session.0 == 0 {
            self.changed = self.offsets.keys().copied().collect();
        }
        Ok(got)
    }

    fn take(&mut self, response: &FetchResponse, look: &mut impl FnMut(i32, &Bytes)) -> Done<Got> {
        let mut got = Got::default();
        for data in response.responses.iter().flat_map(|topic| &topic.partitions) {
            let code = ErrorCode::from_code(data.error_code);
            if code != ErrorCode::None {
                return Err(Failure::failed(format!(
                    "fetch of partition {}: {}",
                    data.partition_index,
                    code.name()
                )));
            }
            let Some(Records::Bytes(bytes)) = &data.records else { continue };
            let Some(offset) = self.offsets.get_mut(&data.partition_index) else { continue };
            look(data.partition_index, bytes);
            got.bytes += bytes.len() as u64;
            // The last batch may be cut off.
            for batch in parse_batches(bytes).map_while(Result::ok) {
                let end = batch.header().end_offset().0;
                let new = end.saturating_sub(*offset).min(i64::from(batch.header().record_count));
                got.records += u64::try_from(new).unwrap_or(0);
                *offset = (*offset).max(end);
            }
            self.changed.push(data.partition_index);
        }
        Ok(got)
    }

    fn request(&self) -> FetchRequest {
        let ask = |index: &i32| FetchPartition {
            partition: *index,
            fetch_offset: self.offsets.get(index).copied().unwrap_or(0),
            partition_max_bytes: self.args.partition_bytes,
            ..FetchPartition::default()
        };
        let topic = FetchTopic {
            topic: self.topic.as_str().into(),
            topic_id: self.topic_id,
            partitions: self.changed.iter().map(ask).collect(),
            ..FetchTopic::default()
        };
        FetchRequest {
            max_wait_ms: self.args.fetch_wait,
            min_bytes: self.args.fetch_bytes_min,
            max_bytes: self.args.fetch_bytes,
            session_id: self.session.0,
            session_epoch: self.session.1,
            topics: if self.changed.is_empty() { Vec::new() } else { vec![topic] },
            ..FetchRequest::default()
        }
    }
}

/// The first (or next) offset of each partition.
fn offsets(socket: &mut Socket, plan: &Plan, partitions: &[i32], tail: bool) -> Done<BTreeMap<i32, i64>> {
    let ask = |index: &i32| ListOffsetsPartition {
        partition_index: *index,
        timestamp: if tail { -1 } else { -2 },
        ..ListOffsetsPartition::default()
    };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: plan.topic.as_str().into(),
            partitions: partitions.iter().map(ask).collect(),
            ..ListOffsetsTopic::default()
        }],
        ..ListOffsetsRequest::default()
    };
    let version = socket.version(ApiKey::ListOffsets, 7)?;
    let response = socket.call(version, &request)?;
    let mut found = BTreeMap::new();
    for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
        let code = ErrorCode::from_code(answer.error_code);
        if code != ErrorCode::None {
            return Err(Failure::failed(format!(
                "offset of partition {}: {}",
                answer.partition_index,
                code.name()
            )));
        }
        found.insert(answer.partition_index, answer.offset);
    }
    Ok(found)
}

/// When something that was stamped `nanos` after `origin` was meant to be sent.
pub(super) fn stamped_at(origin: Instant, nanos: u64) -> Instant {
    origin + std::time::Duration::from_nanos(nanos)
}
