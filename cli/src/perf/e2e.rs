//! `ottla perf e2e`

use super::batches::{Destination, Frame, Shape};
use super::consume::{FetchArgs, Reader, stamped_at};
use super::plan::{Leader, Plan, SILENCE_MAX};
use super::produce::{Lane, Load};
use super::progress::{Run, now};
use super::report::{Report, Tally};
use super::socket::Socket;
use crate::connect::{Done, Failure};
use crate::produce::AcksArg;
use bytes::Bytes;
use clap::Args;
use client::{Acks, Codec};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use wire::ApiKey;
use wire::record::{Records, parse_batches};

/// `ottla perf e2e`
#[derive(Debug, Args)]
pub(crate) struct E2e {
    /// The topic.
    topic: String,
    #[command(flatten)]
    load: Load,
    /// Records per second in all.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Bytes of a record's value; the first eight are its time stamp.
    #[arg(long, default_value_t = 100)]
    record_bytes: usize,
    /// Whose acknowledgement counts.
    #[arg(long, value_enum, default_value_t = AcksArg::All)]
    acks: AcksArg,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 5)]
    in_flight: usize,
    #[command(flatten)]
    fetch: FetchArgs,
}

/// Bytes of the stamp.
const STAMP_BYTES: usize = 8;

impl E2e {
    pub(crate) fn run(self) -> Done {
        if self.record_bytes < STAMP_BYTES || self.rate == 0 || matches!(self.acks, AcksArg::None) {
            return Err(Failure::usage(
                "e2e needs --record-bytes of at least 8, a --rate, and --acks 1 or all",
            ));
        }
        let plan = Plan::make(&self.load.connect, &self.topic, self.load.partitions)?;
        let lanes = plan.connections(self.load.connections);
        let count = lanes.len();
        let readers = lanes.iter().map(|leader| Reader::open(&plan, leader, self.fetch, true));
        let readers = readers.collect::<Done<Vec<_>>>()?;
        let writers = lanes.iter().map(|leader| self.open(&plan, leader, count)).collect::<Done<Vec<_>>>()?;
        let run = self.load.run();
        let tally = self.drive(&run, readers, writers)?;
        let settings = vec![
            ("rate", self.rate.into()),
            ("record_bytes", self.record_bytes.into()),
            ("acks", i64::from(Acks::from(self.acks).code()).into()),
            ("connections", count.into()),
        ];
        let report =
            Report { mode: "e2e", topic: self.topic.clone(), elapsed: run.measured(), tally, settings };
        report.show(self.load.output)
    }

    fn open(&self, plan: &Plan, leader: &Leader, lanes: usize) -> Done<Lane> {
        let socket = Socket::connect(&leader.address, SILENCE_MAX)?;
        let version = socket.version(ApiKey::Produce, if plan.topic_id.is_zero() { 12 } else { 13 })?;
        let shape = Shape {
            records: 1,
            record_bytes: self.record_bytes,
            codec: Codec::None,
            acks: self.acks.into(),
            producer: None,
        };
        let encode = |partition: &i32| {
            let (topic, topic_id, partition) = (plan.topic.as_str(), plan.topic_id, *partition);
            Frame::encode(&shape, &Destination { topic, topic_id, partition, version }, 1)
        };
        let frames = leader.partitions.iter().map(encode).collect::<Done<Vec<_>>>()?;
        let interval = Some(Duration::from_secs_f64(lanes as f64 / self.rate as f64));
        let (in_flight_max, stream) = (self.in_flight, socket.into_stream());
        Ok(Lane { stream, frames, version, interval, in_flight_max, answered: true, records: 1 })
    }

    /// Writers and readers together; what counts is what the readers saw.
    fn drive(&self, run: &Run, readers: Vec<Reader>, writers: Vec<Lane>) -> Done<Tally> {
        let written = AtomicBool::new(false);
        let value_bytes = self.record_bytes;
        std::thread::scope(|scope| {
            run.show_progress(scope);
            let done = &written;
            let reading: Vec<_> = readers
                .into_iter()
                .map(|reader| scope.spawn(move || read(run, reader, value_bytes, done)))
                .collect();
            let writing: Vec<_> = writers
                .into_iter()
                .map(|lane| scope.spawn(move || lane.drive(run, stamper(run.start(), value_bytes))))
                .collect();
            let mut errors = Tally::new()?;
            for thread in writing {
                let tally = thread.join().map_err(|_| Failure::failed("a writing thread panicked"))??;
                errors.errors += tally.errors;
                errors.complaint = errors.complaint.or(tally.complaint);
            }
            written.store(true, Ordering::Relaxed);
            let mut total = errors;
            for thread in reading {
                total.add(&thread.join().map_err(|_| Failure::failed("a reading thread panicked"))??);
            }
            Ok(total)
        })
    }
}

fn stamper(origin: Instant, value_bytes: usize) -> impl FnMut(&mut Frame, Instant) + Send {
    move |frame, intended| {
        let nanos = intended.saturating_duration_since(origin).as_nanos();
        frame.patch_stamp(u64::try_from(nanos).unwrap_or(u64::MAX), value_bytes);
    }
}

/// Reads until the writers have finished and nothing more comes.
fn read(run: &Run, mut reader: Reader, value_bytes: usize, written: &AtomicBool) -> Done<Tally> {
    let mut tally = Tally::new()?;
    loop {
        let finished = written.load(Ordering::Relaxed);
        let mut stamps = Vec::new();
        let got = reader.fetch(|_, bytes| collect(bytes, value_bytes, &mut stamps))?;
        let arrived = now();
        run.add(got.records, got.bytes);
        tally.requests += 1;
        for stamp in stamps {
            let intended = stamped_at(run.start(), stamp);
            if run.counts(intended) {
                tally.records += 1;
                tally.bytes += value_bytes as u64;
                tally.note(arrived.saturating_duration_since(intended));
            }
        }
        if finished && got.records == 0 {
            return Ok(tally);
        }
    }
}

fn collect(bytes: &Bytes, value_bytes: usize, stamps: &mut Vec<u64>) {
    for batch in parse_batches(bytes).map_while(Result::ok) {
        let records = Records::new(batch.payload(), batch.header().record_count);
        for record in records.map_while(Result::ok) {
            let value = record.value.filter(|value| value.len() == value_bytes);
            stamps
                .extend(value.and_then(|value| value.first_chunk()).map(|stamp| u64::from_be_bytes(*stamp)));
        }
    }
}
