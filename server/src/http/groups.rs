//! The groups on the metrics page: Kafka's own names for how many there are, kafka_exporter's for how far each has come.

use super::metrics::Page;
use broker::{CountedGroup, Counters, GroupCensus, LocalPartition};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Kafka's name for a state, and that of its metric.
const STATES: [(&str, &str); 5] = [
    ("Empty", "kafka_coordinator_group_groupmetadatamanager_numgroupsempty"),
    ("PreparingRebalance", "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance"),
    ("CompletingRebalance", "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance"),
    ("Stable", "kafka_coordinator_group_groupmetadatamanager_numgroupsstable"),
    ("Dead", "kafka_coordinator_group_groupmetadatamanager_numgroupsdead"),
];

pub(super) fn write(
    census: &GroupCensus,
    counters: &Counters,
    local: &[LocalPartition],
    page: &mut Page<'_>,
) -> fmt::Result {
    let of_state = |state: &str| census.states.iter().find(|(name, _)| *name == state).map_or(0, |(_, n)| *n);
    let all: usize = census.states.iter().map(|(_, count)| count).sum();
    page.gauge("kafka_coordinator_group_groupmetadatamanager_numgroups", "Groups", all as u64)?;
    for (state, name) in STATES {
        page.gauge(name, &format!("Groups in the state {state}"), of_state(state) as u64)?;
    }
    let offsets = census.offsets as u64;
    page.gauge("kafka_coordinator_group_groupmetadatamanager_numoffsets", "Committed offsets", offsets)?;
    loading(counters, page)?;
    members(&census.groups, page)?;
    progress(&census.groups, local, page)?;
    let help = "Groups and committed offsets beyond ottla.metrics.group.offsets.max, which are not listed";
    page.gauge("ottla_consumergroup_left_out", help, census.left_out as u64)
}

fn loading(counters: &Counters, page: &mut Page<'_>) -> fmt::Result {
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let average = load(&counters.shard_load_millis) / load(&counters.shard_loads).max(1);
    let of = "kafka_server_group_coordinator_metrics_partition_load_time";
    let help = "Milliseconds that loading the groups of a partition took at most, since the start";
    page.gauge(&format!("{of}_max"), help, load(&counters.shard_load_millis_max))?;
    page.gauge(&format!("{of}_avg"), "The same on average", average)
}

fn members(groups: &[CountedGroup], page: &mut Page<'_>) -> fmt::Result {
    let row = |group: &CountedGroup| ([("consumergroup", group.id.clone())], group.members as u64);
    page.gauges("kafka_consumergroup_members", "Members of a group", groups.iter().map(row))
}

/// One committed offset with all of its labels; what it lags is not known of partitions that another node leads.
struct Row<'a> {
    group: &'a str,
    topic: &'a str,
    partition: i32,
    offset: u64,
    lag: Option<u64>,
}

impl Row<'_> {
    fn labels(&self) -> [(&'static str, String); 3] {
        let (group, topic, partition) = (self.group, self.topic, self.partition);
        [("consumergroup", group.into()), ("topic", topic.into()), ("partition", partition.to_string())]
    }
}

fn progress(groups: &[CountedGroup], local: &[LocalPartition], page: &mut Page<'_>) -> fmt::Result {
    let ends: HashMap<(&str, i32), u64> =
        local.iter().map(|log| ((&*log.topic, log.index.0), log.high_watermark.0.unsigned_abs())).collect();
    let rows = groups.iter().flat_map(|group| {
        group.offsets.iter().map(|at| {
            let (topic, partition, offset) = (at.topic.as_str(), at.partition.0, at.offset.0.unsigned_abs());
            let lag = ends.get(&(topic, partition)).map(|end| end.saturating_sub(offset));
            Row { group: &group.id, topic, partition, offset, lag }
        })
    });
    let rows: Vec<Row<'_>> = rows.collect();
    let offsets = rows.iter().map(|row| (row.labels(), row.offset));
    page.gauges("kafka_consumergroup_current_offset", "Where a group goes on reading", offsets)?;
    let lags = rows.iter().filter_map(|row| Some((row.labels(), row.lag?)));
    page.gauges("kafka_consumergroup_lag", "Records that a group has not read yet", lags)?;
    sums("kafka_consumergroup_current_offset_sum", &rows, |row| Some(row.offset), page)?;
    sums("kafka_consumergroup_lag_sum", &rows, |row| row.lag, page)
}

fn sums(name: &str, rows: &[Row<'_>], of: fn(&Row<'_>) -> Option<u64>, page: &mut Page<'_>) -> fmt::Result {
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (row, value) in rows.iter().filter_map(|row| Some((row, of(row)?))) {
        *sums.entry((row.group, row.topic)).or_default() += value;
    }
    let row = |((group, topic), sum): ((&str, &str), u64)| {
        ([("consumergroup", group.to_owned()), ("topic", topic.to_owned())], sum)
    };
    page.gauges(name, "The same of all partitions of a topic", sums.into_iter().map(row))
}
