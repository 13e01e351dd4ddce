//! The rows, what each shows, and its goals.

use super::series::{Series, Spread};
use super::{Bench, fetching, latency, lifecycle, produce};
use crate::bench::report::{Finding, Judged};

/// A row of the benchmark.
pub(crate) struct Row {
    /// What the command line calls it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    run: fn(&mut Bench) -> Result<Series, String>,
    /// Figures to show: name and unit.
    shown: &'static [(&'static str, &'static str)],
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

const fn goal(text: &'static str, of: (&'static str, &'static str), bound: Bound) -> Goal {
    Goal { text, of, by: None, bound }
}

const fn ratio(
    text: &'static str,
    of: (&'static str, &'static str),
    by: (&'static str, &'static str),
    bound: Bound,
) -> Goal {
    Goal { text, of, by: Some(by), bound }
}

const CPU: (&str, &str) = ("cpu_per_gb", "CPU-s/GB");
const MB: (&str, &str) = ("mb_per_s", "MB/s");
const RECORDS: (&str, &str) = ("records_per_s", "records/s");
const P50: (&str, &str) = ("p50", "µs p50");
const P99: (&str, &str) = ("p99", "µs p99");
const P999: (&str, &str) = ("p999", "µs p99.9");
const THIRD: f64 = 1.0 / 3.0;

/// All rows in the order of a whole run.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "produce",
        title: "produce, 1 KiB records, 128 KiB batches, 6 partitions, acks=all, `replicated`, librdkafka",
        run: produce::replicated,
        shown: &[CPU, MB, ("client_cpu_per_gb", "client CPU-s/GB")],
        goals: &[
            ratio("CPU, floor", ("ours", "cpu_per_gb"), ("floor", "cpu_per_gb"), AtMost(1.4)),
            ratio("CPU, Kafka", ("ours", "cpu_per_gb"), ("kafka", "cpu_per_gb"), AtMost(0.25)),
            ratio("throughput, Kafka", ("ours", "mb_per_s"), ("kafka", "mb_per_s"), AtLeast(3.0)),
        ],
    },
    Row {
        name: "flushed",
        title: "the same `flushed`, beside Kafka that does not flush",
        run: produce::flushed,
        shown: &[CPU, MB],
        goals: &[
            ratio("CPU, floor", ("ours", "cpu_per_gb"), ("floor", "cpu_per_gb"), AtMost(1.8)),
            ratio(
                "throughput, Kafka unflushed",
                ("ours", "mb_per_s"),
                ("kafka unflushed", "mb_per_s"),
                AtLeast(1.5),
            ),
        ],
    },
    Row {
        name: "flushed-partitions",
        title: "`flushed` with 6, 100 and 1,000 partitions, Kafka with flush.messages=1",
        run: produce::flushed_partitions,
        shown: &[RECORDS, CPU],
        goals: &[
            ratio("100 : 6", ("ours 100", "records_per_s"), ("ours 6", "records_per_s"), AtLeast(0.5)),
            ratio("1,000 : 6", ("ours 1000", "records_per_s"), ("ours 6", "records_per_s"), AtLeast(0.25)),
            ratio("100, Kafka", ("ours 100", "records_per_s"), ("kafka 100", "records_per_s"), AtLeast(5.0)),
            ratio(
                "1,000, Kafka",
                ("ours 1000", "records_per_s"),
                ("kafka 1000", "records_per_s"),
                AtLeast(5.0),
            ),
        ],
    },
    Row {
        name: "java",
        title: "the first row with Kafka's Java producer",
        run: produce::java,
        shown: &[MB, CPU],
        goals: &[ratio("throughput, Kafka", ("ours", "mb_per_s"), ("kafka", "mb_per_s"), AtLeast(1.4))],
    },
    Row {
        name: "small",
        title: "100 B records, 16 KiB batches, librdkafka",
        run: produce::small,
        shown: &[RECORDS, CPU],
        goals: &[
            ratio("records/s, Kafka", ("ours", "records_per_s"), ("kafka", "records_per_s"), AtLeast(2.5)),
            ratio("CPU, Kafka", ("ours", "cpu_per_gb"), ("kafka", "cpu_per_gb"), AtMost(0.2)),
        ],
    },
    Row {
        name: "codecs",
        title: "compressed batches, no rule needs the records (GB before compression)",
        run: produce::codecs,
        shown: &[CPU, MB],
        goals: &[
            ratio("lz4 CPU, Kafka", ("ours lz4", "cpu_per_gb"), ("kafka lz4", "cpu_per_gb"), AtMost(0.2)),
            ratio("zstd CPU, Kafka", ("ours zstd", "cpu_per_gb"), ("kafka zstd", "cpu_per_gb"), AtMost(0.2)),
        ],
    },
    Row {
        name: "codecs-rule",
        title: "compressed batches, a bound on old timestamps needs every record",
        run: produce::codecs_with_rule,
        shown: &[CPU, MB],
        goals: &[
            ratio("lz4 CPU, Kafka", ("ours lz4", "cpu_per_gb"), ("kafka lz4", "cpu_per_gb"), AtMost(0.5)),
            ratio("zstd CPU, Kafka", ("ours zstd", "cpu_per_gb"), ("kafka zstd", "cpu_per_gb"), AtMost(0.5)),
        ],
    },
    Row {
        name: "consume",
        title: "consume from the beginning, large plaintext answers",
        run: fetching::beginning,
        shown: &[CPU, MB],
        goals: &[
            goal("CPU-s/GB", ("ours", "cpu_per_gb"), AtMost(0.25)),
            ratio("CPU, Kafka", ("ours", "cpu_per_gb"), ("kafka", "cpu_per_gb"), AtMost(0.5)),
        ],
    },
    Row {
        name: "consume-tail",
        title: "four consumers at the end of a log that grows by 60 MB/s; CPU beyond that of producing",
        run: fetching::tail,
        shown: &[CPU, ("read_gb", "GB read")],
        goals: &[
            goal("CPU-s/GB", ("ours", "cpu_per_gb"), AtMost(0.25)),
            ratio("CPU, Kafka", ("ours", "cpu_per_gb"), ("kafka", "cpu_per_gb"), AtMost(0.5)),
        ],
    },
    Row {
        name: "single",
        title: "one 100 B record at a time, acks=1, closed loop, `replicated`",
        run: latency::closed_loop,
        shown: &[P50, P99],
        goals: &[
            ratio("p50, Kafka", ("ours", "p50"), ("kafka", "p50"), AtMost(THIRD)),
            ratio("p99, Kafka", ("ours", "p99"), ("kafka", "p99"), AtMost(THIRD)),
        ],
    },
    Row {
        name: "e2e",
        title: "end to end at 5,000 records/s, acks=all, `replicated`; `flushed` and the raw disk beside",
        run: latency::end_to_end,
        shown: &[P50, P99, P999],
        goals: &[
            ratio("p50, Kafka", ("ours", "p50"), ("kafka", "p50"), AtMost(THIRD)),
            ratio("p99, Kafka", ("ours", "p99"), ("kafka", "p99"), AtMost(THIRD)),
            ratio("p99.9, Kafka", ("ours", "p999"), ("kafka", "p999"), AtMost(0.2)),
        ],
    },
    Row {
        name: "memory",
        title: "resident memory: idle, at most under the first row's load, with 10,000 partitions",
        run: lifecycle::memory,
        shown: &[
            ("idle_mib", "MiB idle"),
            ("load_mib", "MiB load"),
            ("partitions_mib", "MiB 10,000 partitions"),
        ],
        goals: &[
            goal("MiB idle", ("ours", "idle_mib"), AtMost(15.0)),
            goal("MiB under load", ("ours", "load_mib"), AtMost(60.0)),
            goal("MiB, 10,000 partitions", ("ours", "partitions_mib"), AtMost(100.0)),
        ],
    },
    Row {
        name: "start",
        title: "process start to first acknowledged record (acks=all)",
        run: lifecycle::start,
        shown: &[
            ("empty_s", "s empty"),
            ("thousand_s", "s 1,000 partitions"),
            ("killed_s", "s after kill -9 (10 GB; Kafka 2 GB)"),
        ],
        goals: &[
            goal("s, empty", ("ours", "empty_s"), AtMost(0.1)),
            goal("s, 1,000 partitions", ("ours", "thousand_s"), AtMost(0.3)),
            goal("s, 10 GB after kill -9", ("ours", "killed_s"), AtMost(1.0)),
        ],
    },
    Row {
        name: "idle",
        title: "CPU with 1,000 partitions and 10 waiting consumers of a group (kcat)",
        run: lifecycle::idle,
        shown: &[("core_percent", "% of a core")],
        goals: &[goal("% of a core", ("ours", "core_percent"), AtMost(0.5))],
    },
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
