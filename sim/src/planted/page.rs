//! The page of planted bugs: every rule of the catalogue's chapters on replication and on metadata, with what catches the bug
//! that breaks it, or why there is none.

use super::{Held, nodes_for};
use base::plant::Bug;

/// Where the page lies, from the repository's root.
pub(super) const PAGE_AT: &str = "docs/planted.md";

const HEAD: &str = "# Planted bugs

Generated from `sim/planted.txt` (`ottla-sim --record-bugs N`). Each rule that avoids a loss of data is broken on purpose, at run
time, in the simulator's build only, and something must notice: a whole node or cluster that runs from the recorded seed, which
finds nothing without the bug, or a test where no seed is known. The lane `sim` replays all of it, and is red when a bug goes
unnoticed. Chapter A is about replication and leadership, B about storage, C about producers, D about groups, E about the
controller and metadata.

| rule | the bug | noticed by |
|---|---|---|
";

const REST: &str = "
Rules of the chapters A and E without a planted bug:

| rule | why |
|---|---|
";

/// How many rules the chapters A and E of the catalogue have.
const CHAPTERS: [(char, u32); 2] = [('A', 21), ('E', 9)];

/// Rules that nothing can be planted for, and why.
const NOT_PLANTED: &[(&str, &str)] = &[
    (
        "A16",
        "The election timer is the `raft` crate's. That nobody asks for votes for ever is looked at: every seed must come to rest.",
    ),
    (
        "A17",
        "How many have an entry is counted by the `raft` crate, which sorts anew each time. `quorum/tests/members` compares what counts as committed with the disks.",
    ),
    (
        "A19",
        "What `acks=1` has acknowledged may be lost when leaders move, also on purpose (docs/promises.md): a promise that is not made. With `acks=all` nothing is, which rolling restarts look at.",
    ),
    ("A21", "Nothing below `server` starts a thread; a panic in any of its threads ends the process."),
    ("E4", "`decide` gets the state that it reads as an argument and has no other (`cluster` is `no_std`)."),
    ("E6", "There are no access lists yet. Views are immutable and swapped whole."),
];

/// The whole page, of what catches each bug.
pub(super) fn page(mut all: Vec<(Bug, Held)>) -> Result<String, String> {
    check_chapters()?;
    let mut text = HEAD.to_owned();
    all.sort_by_key(|(bug, _)| *bug);
    for (bug, held) in all {
        let by = match held {
            Held::Seed(seed) if nodes_for(bug) == 1 => format!("seed {seed} of one node"),
            Held::Seed(seed) => format!("seed {seed} of {} nodes", nodes_for(bug)),
            Held::Test(test) => test,
        };
        text += &format!("| {bug:?} | {} | {by} |\n", bug.what());
    }
    text += REST;
    for (rule, why) in NOT_PLANTED {
        text += &format!("| {rule} | {why} |\n");
    }
    Ok(text)
}

/// Every rule of the two chapters is planted, or is not and says why.
fn check_chapters() -> Result<(), String> {
    let planted = |rule: &str| Bug::ALL.iter().any(|bug| format!("{bug:?}") == rule);
    let excused = |rule: &str| NOT_PLANTED.iter().any(|(other, _)| *other == rule);
    let rules =
        CHAPTERS.iter().flat_map(|(chapter, last)| (1..=*last).map(move |at| format!("{chapter}{at}")));
    let wrong: Vec<String> = rules.filter(|rule| planted(rule) == excused(rule)).collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("either a planted bug or a reason why there is none: {wrong:?}"))
    }
}
