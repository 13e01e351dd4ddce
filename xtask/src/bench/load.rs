//! Loads on a broker, each a process of its own, and the figures that they print.

use super::broker::{Broker, class_path, cpu_of};
use super::series::Sample;
use super::{ottla, program};
use crate::shell::capture;

/// What a load is put on: a broker, or several of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where clients begin.
    pub(crate) servers: String,
    /// The processes whose time counts.
    pub(crate) pids: Vec<u32>,
}

impl Target {
    fn cpu(&self) -> Result<f64, String> {
        self.pids.iter().copied().map(cpu_of).sum()
    }
}

/// What a producer sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) partitions: u32,
    pub(crate) record: u64,
    pub(crate) batch: u64,
    pub(crate) codec: &'static str,
    /// Bytes that are measured at most.
    pub(crate) bytes: u64,
}

/// Part of the bytes that goes before.
const WARM_PART: u64 = 4;

/// librdkafka as fast as it can, acks=all.
pub(crate) fn librdkafka(on: &Target, topic: &str, shape: Shape, seconds: u32) -> Result<Sample, String> {
    let pids: Vec<_> = on.pids.iter().map(u32::to_string).collect();
    let settings = [
        format!("bootstrap.servers={}", on.servers),
        format!("topic={topic}"),
        format!("partitions={}", shape.partitions),
        format!("record={}", shape.record),
        format!("batch={}", shape.batch),
        format!("warm={}", shape.bytes / WARM_PART),
        format!("bytes={}", shape.bytes),
        format!("seconds={seconds}"),
        format!("pid={}", pids.join(",")),
        format!("compression.codec={}", shape.codec),
        "acks=-1".into(),
        "linger.ms=5".into(),
        "queue.buffering.max.kbytes=131072".into(),
        "queue.buffering.max.messages=1000000".into(),
        "batch.num.messages=100000".into(),
    ];
    let mut args = vec!["produce"];
    args.extend(settings.iter().map(String::as_str));
    let output = capture(&program("load").to_string_lossy(), &args)?;
    let figure = |name: &str| after(&output, &format!("{name}="));
    let (bytes, seconds) = (figure("bytes")?, figure("seconds")?);
    Ok(Sample::from([
        ("cpu_per_gb", figure("broker_cpu")? / bytes * 1e9),
        ("client_cpu_per_gb", figure("client_cpu")? / bytes * 1e9),
        ("mb_per_s", bytes / seconds / 1e6),
        ("records_per_s", figure("records")? / seconds),
        ("rss_mib", figure("rss_kib")? / 1024.0),
    ]))
}

/// Kafka's own Java producer through its performance tool, acks=all.
pub(crate) fn java(broker: &Broker, topic: &str, shape: Shape) -> Result<Sample, String> {
    let records = shape.bytes / shape.record;
    let class_path = class_path("tools");
    let owned = [
        records.to_string(),
        shape.record.to_string(),
        format!("bootstrap.servers={}", broker.address),
        format!("batch.size={}", shape.batch),
        (records / WARM_PART).to_string(),
    ];
    let [records, record, servers, batch, warm] = owned.each_ref().map(String::as_str);
    let mut args = vec!["-Xmx1g", "-cp", &class_path, "org.apache.kafka.tools.ProducerPerformance"];
    args.extend(["--topic", topic, "--throughput", "-1", "--num-records", records, "--record-size", record]);
    args.extend(["--warmup-records", warm, "--command-property", servers, "acks=all", batch, "linger.ms=5"]);
    args.extend(["buffer.memory=134217728"]);
    let before = broker.cpu()?;
    let output = capture("java", &args)?;
    let cpu = broker.cpu()? - before;
    // The last line: "N records sent, R records/sec (M MB/sec), … 50th, … 99th, …"; MB are MiB there.
    let line = output.lines().rfind(|line| line.contains("records sent")).unwrap_or_default();
    let mebibytes = line.split('(').nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    let mebibytes = mebibytes.ok_or_else(|| format!("what Kafka's tool printed: {output}"))?;
    Ok(Sample::from([("mb_per_s", mebibytes * 1.048_576), ("cpu_per_gb", cpu / shape.bytes as f64 * 1e9)]))
}

/// `ottla perf MODE TOPIC …`, its figures and the brokers' CPU time.
pub(crate) fn perf(on: &Target, mode: &str, topic: &str, options: &[&str]) -> Result<Sample, String> {
    let mut args = vec!["perf", mode, topic, "-b", &on.servers, "--output", "json"];
    args.extend(options);
    let before = on.cpu()?;
    let output = capture(&ottla().to_string_lossy(), &args)?;
    let cpu = on.cpu()? - before;
    let figure = |name: &str| after(&output, &format!("\"{name}\":"));
    let bytes = figure("bytes")?;
    let mut sample = Sample::from([
        ("cpu", cpu),
        ("bytes", bytes),
        ("cpu_per_gb", cpu / bytes * 1e9),
        ("mb_per_s", figure("megabytes_per_second")?),
        ("records_per_s", figure("records_per_second")?),
    ]);
    for name in ["p50", "p99", "p999"] {
        if let Ok(value) = figure(name) {
            sample.insert(name, value);
        }
    }
    Ok(sample)
}

/// The number that follows `name` in a text.
pub(crate) fn after(text: &str, name: &str) -> Result<f64, String> {
    let rest = text.split_once(name).map(|(_, rest)| rest.trim_start());
    let number = |rest: &str| -> String {
        rest.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | 'e')).collect()
    };
    rest.and_then(|rest| number(rest).parse().ok()).ok_or_else(|| format!("no {name} in: {text}"))
}

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn a_number_is_found_behind_its_name() {
        assert_eq!(after("a=1\nbytes=20.5\n", "bytes="), Ok(20.5));
        assert_eq!(after("{\"p50\": 3, \"p500\":4}", "\"p50\":"), Ok(3.0));
        assert!(after("bytes=", "bytes=").is_err());
    }
}
