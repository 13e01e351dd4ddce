//! Planted bugs: each data-loss rule can be broken on purpose, at run time, in the simulator's build only.
//!
//! A rule `B6` is guarded where it lives: `if planted!(B6) { wrong } else { right }`. The simulator arms one
//! bug for the node that it is stepping; release builds compile the question to `false`.

/// Where a bug can be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// A node alone meets it.
    Node,
    /// It takes several.
    Cluster,
}

/// Says once of each bug what it is.
macro_rules! bugs {
    ($($rule:ident $takes:ident $what:literal,)*) => {
        /// Bugs that can be planted; the names are the rule ids of the reliability catalogue.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Bug {
            $(#[doc = $what] $rule,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$rule,)*];

            /// What is done wrong.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$rule => $what,)*
                }
            }

            /// Where it can be met.
            #[must_use]
            pub const fn takes(self) -> Takes {
                match self {
                    $(Self::$rule => Takes::$takes,)*
                }
            }
        }
    };
}

bugs! {
    A1 Cluster "Let the high watermark decide where a new follower cuts its log.",
    A2 Cluster "Compare ends alone where the leader never saw the follower's last epoch.",
    A3 Cluster "Report what is on the disk before the leader has confirmed the log.",
    A4 Cluster "Take the answer to an earlier epoch's fetch.",
    A5 Cluster "Take the leader's high watermark from an answer that says where the logs part.",
    A6 Cluster "Count a fetch from a log that parts from the leader's as progress.",
    A7 Cluster "Let a replica in sync that has not come as far as the epoch's beginning.",
    A8 Cluster "Count only the confirmed in-sync replicas while a change is under way.",
    A9 Cluster "Let a fenced broker, or one that is about to stop, be in sync again.",
    A10 Cluster "Let a broker be in sync for what was seen of an earlier life of it.",
    A11 Cluster "Move the high watermark with too few in sync.",
    A12 Cluster "Do not notice that a broker was not closed properly.",
    A13 Node "Acknowledge before the flush.",
    A14 Cluster "Decide as the controller before an entry of the own term has committed.",
    A15 Cluster "Cut a log without taking back what is said to be on the disk and to be safe.",
    A18 Node "Move the log end after a side write only.",
    A20 Cluster "Read further than the high watermark that was looked at.",
    B1 Node "Go on after a failed fsync.",
    B3 Node "Forget to fsync the directory after a create or rename.",
    B4 Node "Rename a checkpoint that was not flushed.",
    B5 Node "Keep the clean-shutdown marker while loading.",
    B6 Node "Serve the recovered tail before it is flushed.",
    B7 Node "Trust an index over the log.",
    B9 Node "Truncate at damage below the flush point.",
    B10 Node "Answer ENOSPC but keep the partial bytes.",
    B12 Node "Reply to a Raft message before persisting.",
    B14 Node "Apply half of a multi-record change.",
    B15 Node "Move the log start offset after the deletion.",
    C11 Node "Forget the producer window on restart.",
    C12 Node "Skip the duplicate check.",
    D1 Node "Answer a commit before its record is durable.",
    D2 Node "Expire offsets of a group that is in use.",
    D3 Node "Let live state and replay disagree.",
    D5 Node "Serve a group before it is loaded.",
    E1 Node "Go on after a change of the metadata could not be carried out.",
    E2 Node "Cut the metadata log past the snapshot.",
    E3 Cluster "Stay the controller without word from a majority.",
    E5 Cluster "Take the files of a deleted topic for those of the next one of its name.",
    E7 Cluster "Take a node that comes with an empty disk for the one that had another.",
    E8 Cluster "Unfence a broker that does not know of its own registration yet.",
    E9 Cluster "Obey what an earlier life of a broker has said.",
    E10 Cluster "Forget an applied membership in a crash. Ours, beyond the catalogue: the crate leaves it to its user.",
    E11 Cluster "Begin a damaged replica anew while it counts as one that holds what is safe. Ours, beyond the catalogue.",
}

#[cfg(feature = "sim")]
mod armed {
    use super::Bug;
    use core::cell::Cell;
    extern crate std;

    std::thread_local! {
        static ARMED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Arms `bug` (or none) for the code that runs next on this thread.
    pub fn arm(bug: Option<Bug>) {
        ARMED.set(bug);
    }

    /// True while `bug` is armed on this thread.
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        ARMED.get() == Some(bug)
    }
}

#[cfg(feature = "sim")]
pub use armed::{arm, is_planted};

/// Always false: this build carries no planted bugs.
#[cfg(not(feature = "sim"))]
#[inline(always)]
#[must_use]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}

/// True when the named bug is planted: `if planted!(B6) { … }`.
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        $crate::plant::is_planted($crate::plant::Bug::$bug)
    };
}
