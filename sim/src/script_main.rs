//! Plays scripts: `ottla-script [--server HOST:PORT | --kafka HOST:PORT] [PATH]...`; with `UPDATE=1` it writes
//! down what was said.
#![forbid(unsafe_code)]

use ottla_sim::script::{Runner, campaign, folder};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut runner = Runner::Machine;
    let mut paths = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--server" => runner = Runner::Server(arguments.next().unwrap_or_default()),
            "--kafka" => runner = Runner::Kafka(arguments.next().unwrap_or_default()),
            path => paths.push(path.into()),
        }
    }
    if paths.is_empty() {
        paths.push(folder());
    }
    let update = std::env::var_os("UPDATE").is_some();
    match campaign(&runner, &paths, update, &mut |text| say(text)) {
        Ok(tally) => {
            say(&format!(
                "{} scripts, {} steps, {} left to the machine, {} failed",
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

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn say(text: &str) {
    println!("{text}");
}
