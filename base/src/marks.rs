//! Coverage marks: a hard line of code says its name when it runs, and a test demands to hear it.
//!
//! Without the `sim` feature [`hit!`](crate::hit) is nothing. `xtask tidy` pairs each mark in the code with
//! the list that the simulator's run must reach.

#[cfg(feature = "sim")]
mod registry {
    use alloc::collections::BTreeMap;
    use core::cell::RefCell;
    extern crate std;

    std::thread_local! {
        static HITS: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// Counts one pass of the mark `name` on this thread.
    pub fn hit(name: &'static str) {
        HITS.with_borrow_mut(|hits| *hits.entry(name).or_default() += 1);
    }

    /// Takes this thread's counts, leaving none.
    #[must_use]
    pub fn take() -> BTreeMap<&'static str, u64> {
        HITS.take()
    }
}

#[cfg(feature = "sim")]
pub use registry::{hit, take};

/// Does nothing: this build carries no marks.
#[cfg(not(feature = "sim"))]
#[inline(always)]
pub const fn hit(_name: &'static str) {}

/// Marks a line that some test must reach: `hit!(duplicate_batch_answered)`.
#[macro_export]
macro_rules! hit {
    ($name:ident) => {
        $crate::marks::hit(stringify!($name))
    };
}
