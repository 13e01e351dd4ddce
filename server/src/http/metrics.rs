//! The metrics page, in OpenMetrics text. Names are those that the usual Kafka dashboards query (Kafka's MBeans as the
//! Prometheus JMX exporter spells them), read at the moment of the scrape; docs/metrics.md lists queries.

use super::State;
use super::groups;
use super::process::Process;
use super::window::QUANTILES;
use broker::{Census, GroupCensus, LocalPartition};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use wire::ApiKey;

/// What the page is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page as of now.
pub(super) fn page(look: Look) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(look));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

/// A node, and what was asked of its owners for this page.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) state: State,
    /// None if they did not answer in time.
    pub(super) groups: Option<GroupCensus>,
}

impl Collector for Look {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.state.traffic(&mut page)?;
        self.state.latencies(&mut page)?;
        self.state.throttles(&mut page)?;
        page.gauge(
            "kafka_controller_kafkacontroller_activecontrollercount",
            "1 on the active controller",
            u64::from(self.state.shared.counters.is_controller()),
        )?;
        let census = Census::take(&self.state.view());
        cluster(&census, &mut page)?;
        partitions(&census.local, &mut page)?;
        if let Some(groups) = &self.groups {
            groups::write(groups, &self.state.shared.counters, &census.local, &mut page)?;
        }
        process(&mut page)
    }
}

impl State {
    fn traffic(&self, page: &mut Page<'_>) -> fmt::Result {
        let counters = &self.shared.counters;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let topics = "kafka_server_brokertopicmetrics";
        let of_api = |key| counters.requests(key);
        for (name, help, value) in [
            ("bytesin", "Bytes of records appended", load(&counters.bytes_in)),
            ("bytesout", "Bytes of records handed to consumers", load(&counters.bytes_out)),
            ("messagesin", "Records appended", load(&counters.messages_in)),
            ("totalproducerequests", "Produce requests", of_api(ApiKey::Produce)),
            ("totalfetchrequests", "Fetch requests", of_api(ApiKey::Fetch)),
            ("failedproducerequests", "Produces that failed", load(&counters.failed_produces)),
            ("failedfetchrequests", "Fetches that failed", load(&counters.failed_fetches)),
        ] {
            page.counter(&format!("{topics}_{name}"), help, value)?;
        }
        let requests = broker::TABLE.iter().map(|row| ([("request", row.key.name())], of_api(row.key)));
        page.counters("kafka_network_requestmetrics_requests", "Requests by API", requests)
    }

    /// Kafka's names, with the JMX exporter's way of writing them.
    fn throttles(&self, page: &mut Page<'_>) -> fmt::Result {
        let (now, throttles) = (self.clock.now().mono, &self.shared.throttles);
        let of = |who: &str| format!("kafka_server_{who}replication_byte_rate");
        let help = "Bytes per second handed to throttled replicas that are not in sync";
        page.gauge(&of("leader"), help, throttles.leader.byte_rate(now))?;
        let help = "Bytes per second fetched of throttled replicas that are not in sync";
        page.gauge(&of("follower"), help, throttles.follower.byte_rate(now))
    }

    fn latencies(&self, page: &mut Page<'_>) -> fmt::Result {
        let second = self.clock.now().mono.as_nanos() / 1_000_000_000;
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let took = window.look(second, &self.shared.latencies());
        let rows = took.iter().flat_map(|took| {
            QUANTILES.iter().zip(took.millis).map(|((name, _), millis)| {
                ([("request", took.api.name().to_owned()), ("quantile", (*name).to_owned())], millis)
            })
        });
        let help = "Milliseconds from a whole request to its reply, of the last minute";
        page.gauges("kafka_network_requestmetrics_totaltimems", help, rows)
    }
}

fn cluster(census: &Census, page: &mut Page<'_>) -> fmt::Result {
    for (name, help, value) in [
        ("kafka_server_replicamanager_partitioncount", "Replicas on this node", census.assigned),
        ("kafka_server_replicamanager_leadercount", "Partitions led by this node", census.led),
        (
            "kafka_server_replicamanager_underreplicatedpartitions",
            "Led partitions of which a replica is not in sync",
            census.under_replicated,
        ),
        (
            "kafka_server_replicamanager_underminisrpartitioncount",
            "Led partitions with fewer in-sync replicas than acks=all needs",
            census.under_min_isr,
        ),
        (
            "kafka_server_replicamanager_offlinereplicacount",
            "Replicas of this node that cannot be served",
            census.offline,
        ),
        ("kafka_controller_kafkacontroller_activebrokercount", "Brokers that serve", census.active_brokers),
        (
            "kafka_controller_kafkacontroller_fencedbrokercount",
            "Registered brokers that do not serve",
            census.fenced_brokers,
        ),
        ("kafka_controller_kafkacontroller_globaltopiccount", "Topics of the cluster", census.topics),
        (
            "kafka_controller_kafkacontroller_globalpartitioncount",
            "Partitions of the cluster",
            census.partitions,
        ),
        (
            "kafka_controller_kafkacontroller_offlinepartitionscount",
            "Partitions of the cluster without a leader",
            census.leaderless,
        ),
        (
            "kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
            "Partitions led by another than their preferred leader",
            census.displaced,
        ),
    ] {
        page.gauge(name, help, value as u64)?;
    }
    Ok(())
}

fn partitions(local: &[LocalPartition], page: &mut Page<'_>) -> fmt::Result {
    type Value = fn(&LocalPartition) -> u64;
    let of = |name: &str, help: &str, value: Value, page: &mut Page<'_>| {
        let rows = local.iter().map(|partition| {
            let labels = [("topic", partition.topic.to_string()), ("partition", partition.index.to_string())];
            (labels, value(partition))
        });
        page.gauges(name, help, rows)
    };
    of("kafka_log_log_size", "Bytes on disk", |log| log.bytes, page)?;
    of("kafka_log_log_logstartoffset", "First offset", |log| log.start.0.unsigned_abs(), page)?;
    of("kafka_log_log_logendoffset", "Offset of the next record", |log| log.end.0.unsigned_abs(), page)?;
    let help = "First offset that consumers do not see yet";
    of("kafka_cluster_partition_highwatermark", help, |log| log.high_watermark.0.unsigned_abs(), page)
}

fn process(page: &mut Page<'_>) -> fmt::Result {
    let process = Process::look();
    page.counter("process_cpu_seconds", "User and system time", process.cpu_seconds)?;
    page.gauge("process_resident_memory_bytes", "Resident memory", process.resident_bytes)?;
    page.gauge("process_open_fds", "Open file descriptors", process.open_files)?;
    page.gauge("process_max_fds", "The most that may be open", process.open_files_max)
}

/// A page in the making.
pub(super) struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// `name` gets the `_total` that counters have.
    fn counter(&mut self, name: &str, help: &str, value: impl Number) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<[(&str, &str); 0], f64, f64>(&value.number(), None)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Number) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value.number())
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl Iterator<Item = ([(&'l str, &'l str); 1], u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_counter::<[(&str, &str); 0], u64, f64>(&value, None)?;
        }
        Ok(())
    }

    pub(super) fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl Iterator<Item = ([(&'l str, String); N], impl Number)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            metric.encode_family(&labels)?.encode_gauge(&value.number())?;
        }
        Ok(())
    }
}

/// What a sample can be: Prometheus has nothing but doubles.
pub(super) trait Number {
    fn number(self) -> f64;
}

impl Number for f64 {
    fn number(self) -> f64 {
        self
    }
}

impl Number for u64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "beyond 2^53 a sample is a rounded one, as Prometheus stores it"
    )]
    fn number(self) -> f64 {
        self as f64
    }
}
