//! Planted bugs: each data-loss rule can be broken on purpose, at run time, in the simulator's build only.
//!
//! A rule `B6` is guarded where it lives: `if planted!(B6) { wrong } else { right }`. The simulator arms one
//! bug for the node that it is stepping; release builds compile the question to `false`.

/// Bugs that can be planted; the names are the rule ids of the reliability catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Bug {
    /// Acknowledge before the flush.
    A13,
    /// Move the log end after a side write only.
    A18,
    /// Go on after a failed fsync.
    B1,
    /// Forget to fsync the directory after a create or rename.
    B3,
    /// Rename a checkpoint that was not flushed.
    B4,
    /// Keep the clean-shutdown marker while loading.
    B5,
    /// Serve the recovered tail before it is flushed.
    B6,
    /// Trust an index over the log.
    B7,
    /// Truncate at damage below the flush point.
    B9,
    /// Answer ENOSPC but keep the partial bytes.
    B10,
    /// Reply to a Raft message before persisting.
    B12,
    /// Apply half of a multi-record change.
    B14,
    /// Move the log start offset after the deletion.
    B15,
    /// Forget the producer window on restart.
    C11,
    /// Skip the duplicate check.
    C12,
    /// Answer a commit before its record is durable.
    D1,
    /// Expire offsets of a group that is in use.
    D2,
    /// Let live state and replay disagree.
    D3,
    /// Serve a group before it is loaded.
    D5,
    /// Let the high watermark decide where a new follower cuts its log.
    A1,
    /// Report what is on the disk before the leader has confirmed the log.
    A3,
    /// Take the answer to an earlier epoch's fetch.
    A4,
    /// Let a replica in sync that has not come as far as the epoch's beginning.
    A7,
    /// Count only the confirmed in-sync replicas while a change is under way.
    A8,
    /// Move the high watermark with too few in sync.
    A11,
    /// Take a node that comes with an empty disk for the one that had another.
    E7,
    /// Forget an applied membership in a crash. Ours, beyond the catalogue: the crate leaves it to its user.
    E10,
}

impl Bug {
    /// Those that a node alone can meet.
    pub const ALL: &[Self] = &[
        Self::A13,
        Self::A18,
        Self::B1,
        Self::B3,
        Self::B4,
        Self::B5,
        Self::B6,
        Self::B7,
        Self::B9,
        Self::B10,
        Self::B12,
        Self::B14,
        Self::B15,
        Self::C11,
        Self::C12,
        Self::D1,
        Self::D2,
        Self::D3,
        Self::D5,
    ];
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
