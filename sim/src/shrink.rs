//! Shrinking: a failing seed with less and less around the failure, until nothing can be left out any more.
//!
//! After anything that is left out, what follows comes otherwise. So each attempt has a few tries, each with other draws; what
//! counts is that the run fails in the same words.

use ottla_sim::{Less, Options, run};
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Runs at most.
const RUNS_MAX: u32 = 600;
/// Tries of one attempt.
const TRIES: u64 = 4;
/// Events of the story that is told in the end.
const STORY: usize = 400;

/// A failure that becomes smaller.
struct Search {
    options: Options,
    /// In what words it fails.
    words: String,
    best: Less,
    runs: u32,
}

/// Shrinks the run that the options describe and prints what is left.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub(crate) fn shrink(options: &Options) -> ExitCode {
    // What panics is told in the end.
    std::panic::set_hook(Box::new(|_| {}));
    let whole = Options { keep_trace: 0, ..options.clone() };
    let (Some(failure), drawn) = outcome(whole.clone()) else {
        println!("seed {} does not fail", options.seed);
        return ExitCode::FAILURE;
    };
    println!("seed {} fails: {}", options.seed, first_line(&failure));
    let best = options.less.clone();
    let mut search = Search { options: whole, words: words_of(&failure), best, runs: 0 };
    search.leave_out(drawn);
    let least =
        Options { keep_trace: STORY, is_story: true, ..search.options.clone().with(search.best.clone()) };
    let (told, drawn) = outcome(least);
    let left = drawn.saturating_sub(u32::try_from(search.best.faults.len()).unwrap_or(0));
    println!("{}", told.unwrap_or_default());
    println!("after {} runs {left} faults are left; the same again, with every event:", search.runs);
    let Options { nodes, replicas, seed, .. } = search.options;
    println!(
        "  ottla-sim --nodes {nodes} --replicas {replicas} --seed {seed} --less {} --trace 1000",
        search.best
    );
    ExitCode::SUCCESS
}

/// How a run fails, and how many faults were drawn in it.
fn outcome(options: Options) -> (Option<String>, u32) {
    let ended = std::panic::catch_unwind(|| {
        let outcome = run(options);
        (outcome.failure, outcome.report.faults_drawn)
    });
    ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        (Some(format!("a panic: {}", text.unwrap_or_default())), u32::MAX)
    })
}

fn first_line(failure: &str) -> &str {
    failure.lines().next().unwrap_or_default()
}

/// A failure's words without numbers and names, which differ from run to run.
fn words_of(failure: &str) -> String {
    let words = first_line(failure).split(|letter: char| !letter.is_alphanumeric() && letter != '-');
    let words =
        words.filter(|word| !word.is_empty() && !word.contains(|letter: char| letter.is_ascii_digit()));
    words.filter(|word| word.len() < 20).collect::<Vec<_>>().join(" ")
}

impl Search {
    fn leave_out(&mut self, drawn: u32) {
        self.attempt(|less| less.groups = true);
        self.attempt(|less| less.strikes = true);
        for topics in [1, 2] {
            self.attempt(|less| less.topics = Some(less.topics.map_or(topics, |least| least.min(topics))));
        }
        self.shorten();
        self.leave_out_faults(drawn.min(1_000));
        self.shorten();
        self.attempt(|less| less.strikes = true);
    }

    fn shorten(&mut self) {
        let (millis, operations) = (self.options.lasts.as_millis(), self.options.operations);
        loop {
            let was = self.best.clone();
            self.attempt(|less| {
                less.millis = Some(less.millis.unwrap_or(millis) * 2 / 3).filter(|_| millis > 0);
                less.operations =
                    Some(less.operations.unwrap_or(operations) * 2 / 3).filter(|_| operations > 0);
            });
            if self.best == was || self.best.millis.is_some_and(|millis| millis < 500) {
                return;
            }
        }
    }

    /// Whole ranges first, then half of them, down to each for itself.
    fn leave_out_faults(&mut self, drawn: u32) {
        let mut size = drawn.div_ceil(2).max(1);
        loop {
            let left: Vec<u32> = (1..=drawn).filter(|fault| !self.best.faults.contains(fault)).collect();
            for chunk in left.chunks(size as usize) {
                let chunk: BTreeSet<u32> = chunk.iter().copied().collect();
                self.attempt(|less| less.faults.extend(&chunk));
            }
            if size == 1 {
                return;
            }
            size = size.div_ceil(2);
        }
    }

    /// Leaves more out if the run then fails in the same words.
    fn attempt(&mut self, change: impl Fn(&mut Less)) {
        let mut less = self.best.clone();
        change(&mut less);
        if less == self.best {
            return;
        }
        for salt in (0..TRIES).map(|by| self.best.salt + by) {
            if self.runs == RUNS_MAX {
                return;
            }
            self.runs += 1;
            let tried = Less { salt, ..less.clone() };
            let (failure, _) = outcome(self.options.clone().with(tried.clone()));
            if failure.is_some_and(|failure| words_of(&failure) == self.words) {
                self.best = tried;
                return;
            }
        }
    }
}
