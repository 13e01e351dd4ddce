//! The chores of the repository: `cargo xtask CHORE`.
//!
//! Every chore runs the same on a developer's machine and in CI; nothing is done by CI alone.

mod bench;
mod codegen;
mod fuzz;
mod licences;
mod shell;
mod test;
mod tidy;
mod tour;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask CHORE

  codegen [--check]   write wire/src/generated from wire/schema, or fail when it is stale
  test [--install] [--lane NAME]...
                      everything that CI runs, or the named lanes; --install gets missing system packages
  cluster [KILLS|PART]
                      only the clusters of the lane `process`: kill -9, pauses, restarts, growth, busy loops, power loss (as
                      root); or of these `grow`, `starved` or `outage`
  net [SEED [ROW]]    only the bad network of the lane `process`: cuts, delays, torn frames, from a seed
  sim [ARGUMENT]...   seeds in the simulator, as `ottla-sim` takes them: --seeds N --from S, --seed S --shrink
                      (docs/recipes/reproduce-a-seed.md)
  tidy                the rules of the house: edges, fences, sizes
  bench [cluster | ROW]... [--blocks N] [--seconds S] [--kills N] [--rest S] [--report]
                      this broker, Apache Kafka and the floor, interleaved; `cluster` are the rows of three brokers
                      each; --report prints the last results
  licences            write docs/third-party.md
  tour [--file F] [--key-field N]
                      a real log through a broker, with consumer groups and kills; `-` is standard input
  fuzz [TARGET] [SECONDS]
                      fuzz one target or all, each for so long (fuzz/README.md)";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["codegen"] => codegen::write(),
        ["codegen", "--check"] => codegen::check(),
        ["test", rest @ ..] => test::main(rest),
        ["cluster"] => test::cluster::alone(None),
        ["cluster", what] => test::cluster::alone(Some(what)),
        ["net", rest @ ..] => test::net::alone(rest),
        ["sim", rest @ ..] => test::sim::seeds(rest),
        ["licences"] => licences::write(),
        ["tidy"] => tidy::check(),
        ["bench", rest @ ..] => bench::main(rest),
        ["tour", rest @ ..] => tour::main(rest),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            report(&message);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command-line tool talks on stderr")]
fn report(message: &str) {
    eprintln!("{message}");
}
