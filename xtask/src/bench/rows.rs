//! The rows, what each shows, and its goals.

use super::series::{Series, Spread};
use super::{Bench, cluster, fetching, latency, lifecycle, produce};
use crate::bench::report::{Finding, Judged};

/// A row of the benchmark.
pub(crate) struct Row {
    /// What the command line calls it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    run: fn(&mut Bench) -> Result<Series, String>,
    /// Figures to show: name and unit.
    shown: &'static [Figure],
    goals: &'static [Goal],
}

/// What a figure should be.
struct Goal {
    text: &'static str,
    /// Side and figure.
    of: (&'static str, &'static str),
    /// What it is divided by.
    by: Option<(&'static str, &'static str)>,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};

/// Name and unit of a figure.
type Figure = (&'static str, &'static str);

const CPU: Figure = ("cpu_per_gb", "CPU-s/GB");
const CLIENT_CPU: Figure = ("client_cpu_per_gb", "client CPU-s/GB");
const MB: Figure = ("mb_per_s", "MB/s");
const RECORDS: Figure = ("records_per_s", "records/s");
const READ: Figure = ("read_gb", "GB read");
const P50: Figure = ("p50", "µs p50");
const P99: Figure = ("p99", "µs p99");
const P999: Figure = ("p999", "µs p99.9");
const IDLE_MIB: Figure = ("idle_mib", "MiB idle");
const LOAD_MIB: Figure = ("load_mib", "MiB load");
const MANY_MIB: Figure = ("partitions_mib", "MiB 10,000 partitions");
const EMPTY: Figure = ("empty_s", "s empty");
const THOUSAND: Figure = ("thousand_s", "s 1,000 partitions");
const KILLED: Figure = ("killed_s", "s after kill -9 (10 GB; Kafka 2 GB)");
const CORE: Figure = ("core_percent", "% of a core");
const QUIET: Figure = ("quiet_percent", "% of a core by the quiet cluster");
const P50_MS: Figure = ("p50_ms", "ms p50");
const P99_MS: Figure = ("p99_ms", "ms p99");
const MAX_MS: Figure = ("max_ms", "ms at most");
const COUNT: Figure = ("count", "times");
const KIB_PER_REPLICA: Figure = ("kib_per_replica", "KiB per replica");
const EMPTY_MIB: Figure = ("empty_mib", "MiB without");
const UP: Figure = ("up_s", "s until it serves");
const WHOLE: Figure = ("whole_s", "s until all its replicas are in sync");
const SEGMENTS: Figure = ("segments", "segments per partition");
const THIRD: f64 = 1.0 / 3.0;

/// Our figure as it is.
const fn goal(text: &'static str, figure: Figure, bound: Bound) -> Goal {
    Goal { text, of: ("ours", figure.0), by: None, bound }
}

/// A figure of one of our sides as it is.
const fn goal_of(text: &'static str, of: &'static str, figure: Figure, bound: Bound) -> Goal {
    Goal { text, of: (of, figure.0), by: None, bound }
}

/// One side's figure divided by another's.
const fn ratio(text: &'static str, of: &'static str, by: &'static str, figure: Figure, bound: Bound) -> Goal {
    Goal { text, of: (of, figure.0), by: Some((by, figure.0)), bound }
}

/// Our figure divided by Kafka's.
const fn kafka(text: &'static str, figure: Figure, bound: Bound) -> Goal {
    ratio(text, "ours", "kafka", figure, bound)
}

const fn row(
    name: &'static str,
    run: fn(&mut Bench) -> Result<Series, String>,
    title: &'static str,
    shown: &'static [Figure],
    goals: &'static [Goal],
) -> Row {
    Row { name, title, run, shown, goals }
}

/// All rows in the order of a whole run.
pub(crate) const ROWS: &[Row] = &[
    row(
        "produce",
        produce::replicated,
        "produce, 1 KiB records, 128 KiB batches, 6 partitions, acks=all, `replicated`, librdkafka",
        &[CPU, MB, CLIENT_CPU],
        &[
            ratio("CPU, floor", "ours", "floor", CPU, AtMost(1.4)),
            kafka("CPU, Kafka", CPU, AtMost(0.25)),
            kafka("throughput, Kafka", MB, AtLeast(3.0)),
        ],
    ),
    row(
        "flushed",
        produce::flushed,
        "the same `flushed`, beside Kafka that does not flush",
        &[CPU, MB],
        &[
            ratio("CPU, floor", "ours", "floor", CPU, AtMost(1.8)),
            ratio("throughput, Kafka unflushed", "ours", "kafka unflushed", MB, AtLeast(1.5)),
        ],
    ),
    row(
        "flushed-partitions",
        produce::flushed_partitions,
        "`flushed` with 6, 100 and 1,000 partitions, Kafka with flush.messages=1",
        &[RECORDS, CPU],
        &[
            ratio("100 : 6", "ours 100", "ours 6", RECORDS, AtLeast(0.5)),
            ratio("1,000 : 6", "ours 1000", "ours 6", RECORDS, AtLeast(0.25)),
            ratio("100, Kafka", "ours 100", "kafka 100", RECORDS, AtLeast(5.0)),
            ratio("1,000, Kafka", "ours 1000", "kafka 1000", RECORDS, AtLeast(5.0)),
        ],
    ),
    row(
        "java",
        produce::java,
        "the first row with Kafka's Java producer",
        &[MB, CPU],
        &[kafka("throughput, Kafka", MB, AtLeast(1.4))],
    ),
    row(
        "small",
        produce::small,
        "100 B records, 16 KiB batches, librdkafka",
        &[RECORDS, CPU],
        &[kafka("records/s, Kafka", RECORDS, AtLeast(2.5)), kafka("CPU, Kafka", CPU, AtMost(0.2))],
    ),
    row(
        "codecs",
        produce::codecs,
        "compressed batches, no rule needs the records (GB before compression)",
        &[CPU, MB],
        &[
            ratio("lz4 CPU, Kafka", "ours lz4", "kafka lz4", CPU, AtMost(0.2)),
            ratio("zstd CPU, Kafka", "ours zstd", "kafka zstd", CPU, AtMost(0.2)),
        ],
    ),
    row(
        "codecs-rule",
        produce::codecs_with_rule,
        "compressed batches, a bound on old timestamps needs every record",
        &[CPU, MB],
        &[
            ratio("lz4 CPU, Kafka", "ours lz4", "kafka lz4", CPU, AtMost(0.5)),
            ratio("zstd CPU, Kafka", "ours zstd", "kafka zstd", CPU, AtMost(0.5)),
        ],
    ),
    row(
        "consume",
        fetching::beginning,
        "consume from the beginning, large plaintext answers",
        &[CPU, MB],
        &[goal("CPU-s/GB", CPU, AtMost(0.25)), kafka("CPU, Kafka", CPU, AtMost(0.5))],
    ),
    row(
        "consume-tail",
        fetching::tail,
        "four consumers at the end of a log that grows by 60 MB/s; CPU beyond that of producing",
        &[CPU, READ],
        &[goal("CPU-s/GB", CPU, AtMost(0.25)), kafka("CPU, Kafka", CPU, AtMost(0.5))],
    ),
    row(
        "single",
        latency::closed_loop,
        "one 100 B record at a time, acks=1, closed loop, `replicated`",
        &[P50, P99],
        &[kafka("p50, Kafka", P50, AtMost(THIRD)), kafka("p99, Kafka", P99, AtMost(THIRD))],
    ),
    row(
        "e2e",
        latency::end_to_end,
        "end to end at 5,000 records/s, acks=all, `replicated`; `flushed` and the raw disk beside",
        &[P50, P99, P999],
        &[
            kafka("p50, Kafka", P50, AtMost(THIRD)),
            kafka("p99, Kafka", P99, AtMost(THIRD)),
            kafka("p99.9, Kafka", P999, AtMost(0.2)),
        ],
    ),
    row(
        "memory",
        lifecycle::memory,
        "resident memory: idle, at most under the first row's load, with 10,000 partitions",
        &[IDLE_MIB, LOAD_MIB, MANY_MIB],
        &[
            goal("MiB idle", IDLE_MIB, AtMost(15.0)),
            goal("MiB under load", LOAD_MIB, AtMost(60.0)),
            goal("MiB, 10,000 partitions", MANY_MIB, AtMost(100.0)),
        ],
    ),
    row(
        "start",
        lifecycle::start,
        "process start to first acknowledged record (acks=all)",
        &[EMPTY, THOUSAND, KILLED],
        &[
            goal("s, empty", EMPTY, AtMost(0.1)),
            goal("s, 1,000 partitions", THOUSAND, AtMost(0.3)),
            goal("s, 10 GB after kill -9", KILLED, AtMost(1.0)),
        ],
    ),
    row(
        "idle",
        lifecycle::idle,
        "CPU with 1,000 partitions and 10 waiting consumers of a group (kcat)",
        &[CORE],
        &[goal("% of a core", CORE, AtMost(0.5))],
    ),
    row(
        "cluster-gap",
        cluster::gap,
        "three nodes, three partitions with three replicas, acks=all, librdkafka at its defaults: how long writes stand still",
        &[P50_MS, P99_MS, MAX_MS, COUNT],
        &[
            goal_of("ms after kill -9, p99", "ours, killed", P99_MS, AtMost(1_000.0)),
            goal_of("ms, leader moved, p99", "ours, moved by ElectLeaders", P99_MS, AtMost(100.0)),
            goal_of("ms, SIGTERM, p99", "ours, moved by SIGTERM", P99_MS, AtMost(100.0)),
        ],
    ),
    row(
        "cluster-controller",
        cluster::controller,
        "kill -9 of the controller: how long no config can be changed, by partitions with two replicas each",
        &[P50_MS, MAX_MS],
        &[
            goal_of("ms, 10,000 partitions", "ours, 10,000 partitions", MAX_MS, AtMost(1_500.0)),
            ratio("10,000 : 100", "ours, 10,000 partitions", "ours, 100 partitions", P50_MS, AtMost(1.5)),
        ],
    ),
    row(
        "cluster-produce",
        cluster::replicated,
        "produce, three replicas, min.insync.replicas 2, acks=all, 1 KiB records, 128 KiB batches, 6 partitions, \
         `replicated`, librdkafka; CPU of all three brokers",
        &[CPU, MB, CLIENT_CPU, QUIET],
        &[kafka("throughput, Kafka", MB, AtLeast(3.0)), kafka("CPU, Kafka", CPU, AtMost(0.25))],
    ),
    row(
        "cluster-flushed",
        cluster::flushed,
        "the same `flushed`, beside Kafka that does not flush",
        &[CPU, MB],
        &[ratio("throughput, Kafka unflushed", "ours", "kafka unflushed", MB, AtLeast(2.0))],
    ),
    row(
        "cluster-single",
        cluster::single,
        "one 100 B record at a time, three replicas, acks=all, closed loop, `replicated`; `flushed` beside",
        &[P50, P99, QUIET],
        &[kafka("p50, Kafka", P50, AtMost(THIRD)), kafka("p99, Kafka", P99, AtMost(THIRD))],
    ),
    row(
        "cluster-memory",
        cluster::memory,
        "resident memory of a node per idle partition replica, 5,000 partitions with three replicas",
        &[KIB_PER_REPLICA, EMPTY_MIB],
        &[goal("KiB per replica", KIB_PER_REPLICA, AtMost(8.0))],
    ),
    row(
        "cluster-start",
        cluster::start,
        "start of a killed node with 1,000 partitions of three segments and more",
        &[UP, WHOLE, SEGMENTS],
        &[goal("s until it serves", UP, AtMost(1.0))],
    ),
];

/// The row of this name.
pub(crate) fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

impl Row {
    /// Measures the row and judges it.
    pub(crate) fn measure(&'static self, bench: &mut Bench) -> Result<Finding, String> {
        let series = (self.run)(bench)?;
        let goals = self.goals.iter().filter_map(|goal| goal.judge(&series)).collect();
        let blocks = bench.blocks;
        Ok(Finding { name: self.name, title: self.title, shown: self.shown, goals, series, blocks })
    }
}

impl Goal {
    fn judge(&self, series: &Series) -> Option<Judged> {
        let spread = match self.by {
            Some(by) => series.ratio(self.of, by),
            None => series.spread(self.of.0, self.of.1),
        }?;
        let Spread { median, low, high } = spread;
        let (bound, met, surely) = match self.bound {
            AtMost(most) => (format!("≤ {most:.2}"), median <= most, high <= most),
            AtLeast(least) => (format!("≥ {least:.2}"), median >= least, low >= least),
        };
        let verdict = match (met, surely) {
            (true, true) => "met",
            (true, false) => "met at the median",
            (false, _) => "missed",
        };
        let unit = if self.by.is_some() { "×" } else { "" };
        Some(Judged { text: self.text, spread, unit, bound, verdict })
    }
}
