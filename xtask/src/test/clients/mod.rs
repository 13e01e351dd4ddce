//! Real clients against a real broker: at least ten thousand records per client and codec, content checked. The
//! clients come from their registries into `target/clients`. What they did fills the matrix in `docs/clients.md`.

mod lines;
mod matrix;
mod tools;

use super::node::Node;
use crate::shell::{capture, root, run as run_command, say};
use matrix::Column;
use std::path::PathBuf;

/// A client's program: fills its column, or says what went wrong.
type Program = fn(&Node) -> Result<Column, String>;

/// Each waits for groups most of the time: they run side by side.
const PROGRAMS: &[Program] = &[java, confluent, kafka_python, kafkajs, kcat, ottla];

pub(crate) fn run() -> Result<(), String> {
    run_command("cargo", &["build", "--quiet", "--locked", "--workspace"])?;
    let node = Node::start("clients")?;
    own_examples(&node)?;
    let (columns, tools) = std::thread::scope(|scope| {
        let programs: Vec<_> = PROGRAMS.iter().map(|program| scope.spawn(|| program(&node))).collect();
        let tools = scope.spawn(|| tools::run(&node));
        let columns: Result<Vec<Column>, String> = programs.into_iter().map(join).collect();
        (columns, join(tools))
    });
    let (matrix, tools) = (matrix::table(&columns?)?, tools?);
    say(&format!("\n{matrix}\n{tools}"));
    matrix::check_page(&[("clients", &matrix), ("tools", &tools)])
}

fn join<T>(handle: std::thread::ScopedJoinHandle<'_, Result<T, String>>) -> Result<T, String> {
    handle.join().map_err(|_| "a client's program panicked".to_owned())?
}

fn dir(name: &str) -> Result<PathBuf, String> {
    let dir = root().join("target/clients").join(name);
    std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    Ok(dir)
}

/// The jars of a Maven project in `clients/java`, as a class path.
pub(crate) fn jars(pom: &str, name: &str) -> Result<String, String> {
    let dir = dir(name)?;
    let target = dir.to_string_lossy().into_owned();
    let project = format!("clients/java/{pom}");
    capture(
        "mvn",
        &["-q", "-B", "-f", &project, "dependency:copy-dependencies", &format!("-DoutputDirectory={target}")],
    )?;
    Ok(format!("{target}/*"))
}

fn kcat(node: &Node) -> Result<Column, String> {
    lines::kcat(&node.address)
}

fn ottla(node: &Node) -> Result<Column, String> {
    lines::ottla(&node.address)
}

/// What our own command line does in this lane, against any broker.
pub(super) fn own_command_line(broker: &str) -> Result<(), String> {
    lines::ottla(broker).map(|_| ())
}

fn java(node: &Node) -> Result<Column, String> {
    let class_path = jars("pom.xml", "java")?;
    let cells =
        capture("java", &["-Xmx512m", "-cp", &class_path, "clients/java/RoundTrip.java", &node.address])?;
    example("java", &["-Xmx256m", "-cp", &class_path, "examples/java/Orders.java", &node.address])?;
    Column::parse("Java 4.4.0", &cells)
}

fn confluent(node: &Node) -> Result<Column, String> {
    let cells = python(node, "confluent", "confluent_kafka_client.py")?;
    let python = dir("confluent")?.join("bin/python");
    example(&python.to_string_lossy(), &["examples/python/orders.py", &node.address])?;
    Column::parse("confluent-kafka 2.16", &cells)
}

fn kafka_python(node: &Node) -> Result<Column, String> {
    Column::parse("kafka-python 3.0", &python(node, "kafka-python", "kafka_python_client.py")?)
}

/// Runs a Python program in an environment of its own.
fn python(node: &Node, name: &str, script: &str) -> Result<String, String> {
    let python = environment(name)?;
    capture(&python.to_string_lossy(), &[&format!("clients/python/{script}"), &node.address])
}

/// A Python with the packages of a list in `clients/python`.
pub(super) fn environment(name: &str) -> Result<PathBuf, String> {
    let venv = dir(name)?;
    let python = venv.join("bin/python");
    if !python.exists() {
        capture("python3", &["-m", "venv", &venv.to_string_lossy()])?;
    }
    let requirements = format!("clients/python/{name}.txt");
    capture(&python.to_string_lossy(), &["-m", "pip", "install", "-q", "-r", &requirements])?;
    Ok(python)
}

/// A program of `clients/js`, beside the packages that it needs: node looks for them there.
pub(super) fn package(script: &str) -> Result<PathBuf, String> {
    let modules = dir("js")?;
    for file in ["package.json", script] {
        std::fs::copy(root().join("clients/js").join(file), modules.join(file))
            .map_err(|error| error.to_string())?;
    }
    let prefix = modules.to_string_lossy();
    capture("npm", &["install", "--silent", "--no-audit", "--no-fund", "--prefix", &prefix])?;
    Ok(modules.join(script))
}

fn kafkajs(node: &Node) -> Result<Column, String> {
    let script = package("kafkajs_client.js")?;
    let cells = capture("node", &[&script.to_string_lossy(), &node.address])?;
    // Beside its package, too.
    let orders = script.with_file_name("orders.js");
    std::fs::copy(root().join("examples/javascript/orders.js"), &orders)
        .map_err(|error| error.to_string())?;
    example("node", &[&orders.to_string_lossy(), &node.address])?;
    Column::parse("kafkajs 2.2", &cells)
}

/// Runs one of the programs in `examples`: ten orders, each read once.
fn example(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = capture(program, arguments)?;
    let mut orders: Vec<&str> = output.lines().filter_map(|line| line.split(" (").next()).collect();
    orders.sort_unstable_by_key(|line| line.rsplit(' ').next());
    let read_once = orders.iter().zip(0..).all(|(line, n)| line.ends_with(&format!(": order {n}")));
    if orders.len() == 10 && read_once {
        return Ok(());
    }
    Err(format!("{program} {} does not show ten orders: {output}", arguments.join(" ")))
}

/// The examples that need no package of another language.
fn own_examples(node: &Node) -> Result<(), String> {
    example("sh", &["examples/shell/orders.sh", &node.address])?;
    for name in ["orders", "by_tenant"] {
        let cargo = ["run", "--quiet", "--locked", "-p", "ottla-client", "--example", name, "--"];
        let mut arguments = cargo.to_vec();
        arguments.push(&node.address);
        example("cargo", &arguments)?;
    }
    Ok(())
}
