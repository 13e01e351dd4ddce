//! Kafka's own command-line tools against a real broker: each with its main verbs, its output looked at.

use super::jars;
use crate::shell::{capture, root};
use crate::test::node::Node;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// One call of a tool: its class, its arguments (`{broker}` is replaced), and what its output must contain.
struct Call {
    tool: &'static str,
    class: &'static str,
    arguments: &'static [&'static str],
    expects: &'static [&'static str],
}

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

const fn call(
    tool: &'static str,
    class: &'static str,
    arguments: &'static [&'static str],
    expects: &'static [&'static str],
) -> Call {
    Call { tool, class, arguments, expects }
}

const LOGGERS_SET: [&str; 7] = [
    "--alter",
    "--entity-type",
    "broker-loggers",
    "--entity-name",
    "1",
    "--add-config",
    "ottla.network=DEBUG",
];
const LOGGERS_DELETE: [&str; 7] =
    ["--alter", "--entity-type", "broker-loggers", "--entity-name", "1", "--delete-config", "ottla.network"];

const CALLS: &[Call] = &[
    call(
        "kafka-topics",
        TOPICS,
        &["--create", "--topic", "tools", "--partitions", "3"],
        &["Created topic tools."],
    ),
    call("kafka-topics", TOPICS, &["--describe", "--topic", "tools"], &["PartitionCount: 3", "Leader: 1"]),
    call("kafka-topics", TOPICS, &["--alter", "--topic", "tools", "--partitions", "4"], &[]),
    call("kafka-topics", TOPICS, &["--list"], &["tools"]),
    call(
        "kafka-configs",
        CONFIGS,
        &[
            "--alter",
            "--entity-type",
            "topics",
            "--entity-name",
            "tools",
            "--add-config",
            "retention.ms=3600000",
        ],
        &["Completed updating config for topic tools."],
    ),
    call(
        "kafka-configs",
        CONFIGS,
        &["--describe", "--entity-type", "topics", "--entity-name", "tools"],
        &["DYNAMIC_TOPIC_CONFIG:retention.ms=3600000"],
    ),
    call(
        "kafka-configs",
        CONFIGS,
        &["--describe", "--entity-type", "brokers", "--entity-name", "1", "--all"],
        &["num.partitions=1"],
    ),
    call("kafka-configs", CONFIGS, &LOGGERS_SET, &["Completed updating config for broker-logger 1."]),
    call(
        "kafka-configs",
        CONFIGS,
        &["--describe", "--entity-type", "broker-loggers", "--entity-name", "1"],
        &["ottla.network=DEBUG sensitive=false", "root=INFO sensitive=false"],
    ),
    call("kafka-configs", CONFIGS, &LOGGERS_DELETE, &["Completed updating config for broker-logger 1."]),
    call(
        "kafka-metadata-quorum",
        "org.apache.kafka.tools.MetadataQuorumCommand",
        &["describe", "--status"],
        &["LeaderId:               1"],
    ),
    call(
        "kafka-log-dirs",
        "org.apache.kafka.tools.LogDirsCommand",
        &["--describe"],
        &["\"partition\":\"tools-0\""],
    ),
    call(
        "kafka-broker-api-versions",
        "org.apache.kafka.tools.BrokerApiVersionsCommand",
        &[],
        &["Produce(0): 0 to 13"],
    ),
    call("kafka-cluster", "org.apache.kafka.tools.ClusterTool", &["cluster-id"], &["Cluster ID:"]),
    call(
        "kafka-features",
        "org.apache.kafka.tools.FeatureCommand",
        &["describe"],
        &["metadata.version", "transaction.version"],
    ),
    call(
        "kafka-verifiable-producer",
        "org.apache.kafka.tools.VerifiableProducer",
        &["--topic", "tools", "--max-messages", "1000"],
        &["\"sent\":1000,\"acked\":1000"],
    ),
    call(
        "kafka-verifiable-consumer",
        "org.apache.kafka.tools.VerifiableConsumer",
        &[
            "--topic",
            "tools",
            "--group-id",
            "verifiable",
            "--max-messages",
            "1000",
            "--reset-policy",
            "earliest",
        ],
        &["\"name\":\"partitions_assigned\"", "\"name\":\"offsets_committed\"", "\"success\":true"],
    ),
    call("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell", &["--topic", "tools"], &["tools:3:"]),
    call(
        "kafka-console-consumer",
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        &[
            "--topic",
            "tools",
            "--from-beginning",
            "--group",
            "console",
            "--max-messages",
            "1000",
            "--timeout-ms",
            "30000",
        ],
        &["Processed a total of 1000 messages"],
    ),
    call("kafka-consumer-groups", GROUPS, &["--list"], &["console"]),
    call("kafka-consumer-groups", GROUPS, &["--describe", "--group", "console"], &["tools"]),
    call(
        "kafka-consumer-groups",
        GROUPS,
        &["--reset-offsets", "--group", "console", "--topic", "tools", "--to-earliest", "--execute"],
        &["console"],
    ),
    call("kafka-consumer-groups", GROUPS, &["--delete", "--group", "console"], &["was successful"]),
    call(
        "kafka-producer-perf-test",
        "org.apache.kafka.tools.ProducerPerformance",
        &["--topic", "tools", "--num-records", "20000", "--record-size", "100", "--throughput", "-1"],
        &["20000 records sent"],
    ),
    call(
        "kafka-consumer-perf-test",
        "org.apache.kafka.tools.ConsumerPerformance",
        &["--topic", "tools", "--num-records", "20000", "--timeout", "30000"],
        &["data.consumed.in.MB"],
    ),
    call(
        "kafka-delete-records",
        "org.apache.kafka.tools.DeleteRecordsCommand",
        &["--offset-json-file", TRIM_FILE],
        &["partition: tools-0\tlow_watermark: 10"],
    ),
];

/// What kafka-delete-records is to do.
const TRIM: &str = r#"{"partitions": [{"topic": "tools", "partition": 0, "offset": 10}], "version": 1}"#;
const TRIM_FILE: &str = "target/lanes/trim.json";

/// Tools that take no `--bootstrap-server` of their own.
const OWN_BROKER_FLAG: &str = "--command-property";

/// Runs them all; the table of what was run.
pub(super) fn run(node: &Node) -> Result<String, String> {
    let class_path = jars("tools.xml", "tools")?;
    std::fs::write(root().join(TRIM_FILE), TRIM).map_err(|error| error.to_string())?;
    let mut table = String::from("| tool | calls |\n|---|---|\n");
    for calls in CALLS.chunk_by(|one, next| one.tool == next.tool) {
        let mut verbs = Vec::new();
        for call in calls {
            expect(call, &one(&class_path, call, &node.address)?)?;
            verbs.push(call.arguments.first().copied().unwrap_or("run").trim_start_matches('-'));
        }
        writeln!(table, "| {} | {} |", calls[0].tool, verbs.join(", ")).map_err(|error| error.to_string())?;
    }
    console_producer(&class_path, node)?;
    table.push_str("| kafka-console-producer | 1,000 lines, the same content |\n");
    dump(&class_path, node)?;
    table.push_str("| kafka-dump-log | deep iteration over our files, every batch valid |\n");
    Ok(table)
}

fn expect(call: &Call, output: &str) -> Result<(), String> {
    match call.expects.iter().find(|expected| !output.contains(**expected)) {
        None => Ok(()),
        Some(expected) => {
            let arguments = call.arguments.join(" ");
            Err(format!("{} {arguments}: expected {expected:?} in {output}", call.tool))
        }
    }
}

fn one(class_path: &str, call: &Call, broker: &str) -> Result<String, String> {
    let bootstrap = format!("bootstrap.servers={broker}");
    let mut arguments = vec!["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", class_path, call.class];
    // Some tools have verbs that take the broker, others take it before the verb.
    let (before, after): (&[&str], &[&str]) = match call.tool {
        "kafka-producer-perf-test" => (&[], &[OWN_BROKER_FLAG, &bootstrap]),
        "kafka-cluster" => (&[], &["--bootstrap-server", broker]),
        _ => (&["--bootstrap-server", broker], &[]),
    };
    arguments.extend(before.iter().chain(call.arguments).chain(after));
    let output = Command::new("java")
        .args(&arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("java cannot be run: {error}"))?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(text) } else { Err(format!("{} failed: {text}", call.tool)) }
}

fn console_producer(class_path: &str, node: &Node) -> Result<(), String> {
    let mut child = Command::new("java")
        .args(["-Xmx256m", "-cp", class_path, "org.apache.kafka.tools.ConsoleProducer"])
        .args(["--bootstrap-server", &node.address, "--topic", "console"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut input = child.stdin.take().ok_or("no input")?;
    let lines: String = (0..1000).map(|n| format!("line {n}\n")).collect();
    input.write_all(lines.as_bytes()).map_err(|error| error.to_string())?;
    drop(input);
    let status = child.wait().map_err(|error| error.to_string())?;
    let found = capture("kcat", &["-C", "-b", &node.address, "-t", "console", "-e", "-q"])?;
    if status.success() && found == lines {
        return Ok(());
    }
    Err("kafka-console-producer: what was read differs from what was sent".into())
}

/// Kafka's dump tool reads the files that we wrote, every record of them.
fn dump(class_path: &str, node: &Node) -> Result<(), String> {
    let log = node.data().join("tools-0").join("00000000000000000000.log");
    let path = log.to_string_lossy();
    let arguments = ["-Xmx256m", "-cp", class_path, "org.apache.kafka.tools.DumpLogSegments"];
    let mut arguments = arguments.to_vec();
    arguments.extend(["--deep-iteration", "--print-data-log", "--files", &path]);
    let output = capture("java", &arguments)?;
    let records = output.lines().filter(|line| line.contains("payload:")).count();
    let bad = output.contains("isvalid: false") || output.contains("Found");
    if records > 0 && !bad {
        return Ok(());
    }
    Err(format!("kafka-dump-log does not like {path}: {output}"))
}
