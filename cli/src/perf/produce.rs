//! `ottla perf produce`

use super::batches::{Destination, Frame, Shape};
use super::plan::{Leader, Plan, SILENCE_MAX};
use super::progress::{Run, now, sleep_exactly, sleep_until};
use super::report::{Report, Tally};
use super::socket::{Socket, decode, read_frame};
use crate::connect::{Connect, Done, Failure};
use crate::output::Output;
use crate::produce::{AcksArg, codec};
use clap::Args;
use client::{Acks, Codec, ErrorCode};
use std::collections::VecDeque;
use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use wire::ApiKey;
use wire::init_producer_id::InitProducerIdRequest;
use wire::produce::{ProduceRequest, ProduceResponse};

/// `ottla perf produce`
#[derive(Debug, Args)]
pub(crate) struct Produce {
    /// The topic.
    topic: String,
    #[command(flatten)]
    load: Load,
    /// Records per second in all; 0 sends as fast as answers come.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Records per batch; each request carries one batch.
    #[arg(long, default_value_t = 128)]
    batch_records: usize,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(short = 'z', long, default_value = "none", value_parser = codec)]
    compression: Codec,
    /// Whose acknowledgement counts.
    #[arg(long, value_enum, default_value_t = AcksArg::All)]
    acks: AcksArg,
    /// Send with producer id and sequences.
    #[arg(long)]
    idempotent: bool,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 5)]
    in_flight: usize,
}

/// What all loads have in common.
#[derive(Clone, Debug, Args)]
pub(super) struct Load {
    /// Create the topic with so many partitions if it is not there.
    #[arg(short, long, value_name = "N")]
    pub(super) partitions: Option<i32>,
    /// Seconds to measure.
    #[arg(short, long, default_value_t = 10)]
    pub(super) duration: u64,
    /// Seconds before that, which do not count.
    #[arg(short, long, default_value_t = 2)]
    pub(super) warm_up: u64,
    /// Connections to each leader.
    #[arg(short, long, default_value_t = 1)]
    pub(super) connections: usize,
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) connect: Connect,
}

impl Load {
    pub(super) fn run(&self) -> Run {
        Run::new(Duration::from_secs(self.warm_up), Duration::from_secs(self.duration))
    }
}

impl Produce {
    pub(crate) fn run(self) -> Done {
        if self.batch_records == 0 || self.in_flight == 0 {
            return Err(Failure::usage("--batch-records and --in-flight are at least 1"));
        }
        let plan = Plan::make(&self.load.connect, &self.topic, self.load.partitions)?;
        let lanes = plan.connections(self.load.connections);
        let count = lanes.len();
        let lanes = lanes.iter().map(|leader| self.open(&plan, leader, count)).collect::<Done<Vec<_>>>()?;
        let run = self.load.run();
        let mut total = Tally::new()?;
        for tally in drive(&run, lanes)? {
            total.add(&tally);
        }
        let report = Report {
            mode: "produce",
            topic: self.topic.clone(),
            elapsed: run.measured(),
            tally: total,
            settings: self.settings(count, &plan),
        };
        report.show(self.load.output)
    }

    fn settings(&self, connections: usize, plan: &Plan) -> Vec<(&'static str, crate::output::Json)> {
        let partitions: usize = plan.leaders.iter().map(|leader| leader.partitions.len()).sum();
        vec![
            ("rate", self.rate.into()),
            ("batch_records", self.batch_records.into()),
            ("record_bytes", self.record_bytes.into()),
            ("compression", self.compression.name().into()),
            ("acks", i64::from(Acks::from(self.acks).code()).into()),
            ("idempotent", self.idempotent.into()),
            ("in_flight", self.in_flight.into()),
            ("connections", connections.into()),
            ("partitions", partitions.into()),
        ]
    }

    fn open(&self, plan: &Plan, leader: &Leader, lanes: usize) -> Done<Lane> {
        let mut socket = Socket::connect(&leader.address, SILENCE_MAX)?;
        let version = socket.version(ApiKey::Produce, if plan.topic_id.is_zero() { 12 } else { 13 })?;
        let producer = if self.idempotent { Some(producer_id(&mut socket)?) } else { None };
        let shape = Shape {
            records: self.batch_records,
            record_bytes: self.record_bytes,
            codec: self.compression,
            acks: self.acks.into(),
            producer,
        };
        let encode = |partition: &i32| {
            let (topic, topic_id, partition) = (plan.topic.as_str(), plan.topic_id, *partition);
            Frame::encode(
                &shape,
                &Destination { topic, topic_id, partition, version },
                u64::from(partition.unsigned_abs()),
            )
        };
        let frames = leader.partitions.iter().map(encode).collect::<Done<Vec<_>>>()?;
        let requests_per_second = self.rate as f64 / self.batch_records as f64 / lanes as f64;
        let interval = (self.rate > 0).then(|| Duration::from_secs_f64(1.0 / requests_per_second));
        Ok(Lane {
            stream: socket.into_stream(),
            frames,
            version,
            interval,
            in_flight_max: self.in_flight,
            answered: shape.acks != Acks::None,
            records: self.batch_records as u64,
        })
    }
}

fn producer_id(socket: &mut Socket) -> Done<(i64, i16)> {
    let version = socket.version(ApiKey::InitProducerId, 5)?;
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        ..InitProducerIdRequest::default()
    };
    let response = socket.call(version, &request)?;
    let code = ErrorCode::from_code(response.error_code);
    if code == ErrorCode::None {
        Ok((response.producer_id, response.producer_epoch))
    } else {
        Err(Failure::failed(format!("no producer id: {}", code.name())))
    }
}

/// One connection with what it sends.
pub(super) struct Lane {
    pub(super) stream: TcpStream,
    pub(super) frames: Vec<Frame>,
    pub(super) version: i16,
    /// Between intended times; `None` for a closed loop.
    pub(super) interval: Option<Duration>,
    pub(super) in_flight_max: usize,
    pub(super) answered: bool,
    pub(super) records: u64,
}

/// Requests in flight, oldest first.
#[derive(Default)]
struct Flight {
    sent: Mutex<Sent>,
    changed: Condvar,
}

#[derive(Default)]
struct Sent {
    /// Intended time, bytes.
    queue: VecDeque<(Instant, u64)>,
    /// No more will be sent.
    finished: bool,
    /// Nobody reads any more.
    broken: bool,
}

/// Runs all lanes to the end of the run.
pub(super) fn drive(run: &Run, lanes: Vec<Lane>) -> Done<Vec<Tally>> {
    std::thread::scope(|scope| {
        run.show_progress(scope);
        let threads: Vec<_> =
            lanes.into_iter().map(|lane| scope.spawn(move || lane.drive(run, |_, _| {}))).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(done) => done,
            Err(_) => Err(Failure::failed("a thread of the load generator panicked")),
        });
        joined.collect()
    })
}

impl Lane {
    /// Sends and reads answers until the run is over; `stamp` is told each frame's intended time before it goes.
    pub(super) fn drive(mut self, run: &Run, stamp: impl FnMut(&mut Frame, Instant) + Send) -> Done<Tally> {
        let flight = Flight::default();
        let reader = self.stream.try_clone()?;
        let (version, records, answered) = (self.version, self.records, self.answered);
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                if !answered {
                    return Tally::new();
                }
                let tally = read_answers(reader, version, records, (run, &flight));
                flight.give_up();
                tally
            });
            let posted = self.write(run, &flight, stamp);
            flight.finish();
            let read = reading.join().unwrap_or_else(|_| Err(Failure::failed("the reading thread panicked")));
            let mut tally = read?;
            tally.add(&posted?);
            Ok(tally)
        })
    }

    /// Sends until the run is over. Counts what gets no answer.
    fn write(
        &mut self,
        run: &Run,
        flight: &Flight,
        mut stamp: impl FnMut(&mut Frame, Instant),
    ) -> Done<Tally> {
        sleep_exactly();
        let mut tally = Tally::new()?;
        let mut correlation = 0i32;
        let mut intended = run.start();
        let count = self.frames.len();
        for k in (0..count).cycle() {
            if let Some(interval) = self.interval {
                intended += interval;
                if intended >= run.end() {
                    break;
                }
                sleep_until(intended);
            }
            if !flight.wait_for_room(self.in_flight_max) || run.is_over() {
                break;
            }
            if self.interval.is_none() {
                intended = now();
            }
            let frame = &mut self.frames[k];
            frame.patch(correlation);
            stamp(frame, intended);
            correlation = correlation.wrapping_add(1) & i32::MAX;
            let bytes = frame.bytes.len() as u64;
            if self.answered {
                flight.push(intended, bytes);
            }
            if let Err(error) = self.stream.write_all(&self.frames[k].bytes) {
                tally.complain(error.to_string());
                break;
            }
            if !self.answered {
                run.add(self.records, bytes);
                if run.counts(intended) {
                    tally.records += self.records;
                    tally.bytes += bytes;
                    tally.requests += 1;
                }
            }
        }
        Ok(tally)
    }
}

impl Flight {
    fn lock(&self) -> std::sync::MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until fewer than `max` are in flight; false if nobody reads any more.
    fn wait_for_room(&self, max: usize) -> bool {
        let full = |sent: &mut Sent| sent.queue.len() >= max && !sent.broken;
        let sent = self.changed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        !sent.broken
    }

    fn push(&self, intended: Instant, bytes: u64) {
        self.lock().queue.push_back((intended, bytes));
        self.changed.notify_all();
    }

    /// The oldest in flight, once there is one; `None` when all were answered and no more come.
    fn wait_for_request(&self) -> Option<(Instant, u64)> {
        let idle = |sent: &mut Sent| sent.queue.is_empty() && !sent.finished;
        let sent = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        sent.queue.front().copied()
    }

    fn pop(&self) {
        self.lock().queue.pop_front();
        self.changed.notify_all();
    }

    fn finish(&self) {
        self.lock().finished = true;
        self.changed.notify_all();
    }

    fn give_up(&self) {
        self.lock().broken = true;
        self.changed.notify_all();
    }
}

fn read_answers(
    stream: TcpStream,
    version: i16,
    records: u64,
    (run, flight): (&Run, &Flight),
) -> Done<Tally> {
    let mut tally = Tally::new()?;
    let mut reader = BufReader::new(stream);
    while let Some((intended, bytes)) = flight.wait_for_request() {
        let frame = match read_frame(&mut reader, Vec::new()) {
            Ok(frame) => frame,
            Err(error) => {
                tally.complain(format!("no answer: {error}"));
                break;
            }
        };
        let arrived = now();
        let (_, response) = decode::<ProduceRequest>(frame, version)?;
        flight.pop();
        if let Some(code) = refusal(&response) {
            tally.complain(format!("{}: {}", code.name(), code.message()));
            continue;
        }
        run.add(records, bytes);
        if run.counts(intended) {
            tally.records += records;
            tally.bytes += bytes;
            tally.requests += 1;
            tally.note(arrived.saturating_duration_since(intended));
        }
    }
    Ok(tally)
}

fn refusal(response: &ProduceResponse) -> Option<ErrorCode> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.map(|p| ErrorCode::from_code(p.error_code)).find(|code| *code != ErrorCode::None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use wire::encode_response;

    const VERSION: i16 = 13;
    const STALL: Duration = Duration::from_millis(100);

    /// Answers at once, but for one stall.
    fn answer(listener: &TcpListener, stall_at: u64) {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut count = 0;
        while read_frame(&mut reader, Vec::new()).is_ok() {
            count += 1;
            if count == stall_at {
                sleep_until(now() + STALL);
            }
            let answer = encode_response(ApiKey::Produce, VERSION, 0, &ProduceResponse::default()).unwrap();
            (&stream).write_all(&answer.bytes).unwrap();
        }
    }

    fn lane(stream: TcpStream) -> Lane {
        let shape =
            Shape { records: 1, record_bytes: 100, codec: Codec::None, acks: Acks::All, producer: None };
        let to = Destination { topic: "t", topic_id: base::Uuid([1; 16]), partition: 0, version: VERSION };
        Lane {
            stream,
            frames: vec![Frame::encode(&shape, &to, 1).unwrap()],
            version: VERSION,
            interval: Some(Duration::from_millis(1)),
            in_flight_max: 5,
            answered: true,
            records: 1,
        }
    }

    #[test]
    fn a_stall_shows_in_the_tail_however_few_requests_met_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let run = Run::new(Duration::ZERO, Duration::from_millis(1_000));
        let tally = std::thread::scope(|scope| {
            scope.spawn(|| answer(&listener, 500));
            lane(stream).drive(&run, |_, _| {}).unwrap()
        });
        // No more than five requests were under way; a hundred were to be sent during the stall, and the one percent
        // that waited longest waited for most of it.
        let p99 = Duration::from_nanos(tally.latency.value_at_quantile(0.99));
        assert!(p99 > STALL / 2, "p99 is {p99:?}");
        assert_eq!(tally.errors, 0);
    }
}
