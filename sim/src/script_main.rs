//! Plays scripts: `ottla-script [--server HOST:PORT | --kafka HOST:PORT] [--settings SETTINGS] [PATH]...`; with
//! `UPDATE=1` it writes down what was said. `--list-settings` says which settings there are, one node's per line.
#![forbid(unsafe_code)]

use ottla_sim::script::{Node, Runner, all_settings, campaign, folder};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut runner = None;
    let mut node = Node::default();
    let mut paths = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list-settings" => return list_settings(),
            "--settings" => node.settings = arguments.next().unwrap_or_default(),
            "--server" | "--kafka" => {
                runner = Some(if argument == "--kafka" { Runner::Kafka } else { Runner::Server });
                node.address = arguments.next().unwrap_or_default();
            }
            path => paths.push(path.into()),
        }
    }
    let runner = runner.map_or(Runner::Machine, |runner: fn(Node) -> Runner| runner(node));
    if paths.is_empty() {
        paths.push(folder());
    }
    let update = std::env::var_os("UPDATE").is_some();
    match campaign(&runner, &paths, update, &mut |text| say(text)) {
        Ok(tally) => {
            say(&format!(
                "{} scripts, {} steps, {} left out, {} failed",
                tally.scripts, tally.steps, tally.left_out, tally.failed
            ));
            if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

fn list_settings() -> ExitCode {
    match all_settings() {
        Ok(settings) => {
            settings.iter().for_each(|line| say(line));
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn say(text: &str) {
    println!("{text}");
}
