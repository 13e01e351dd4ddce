//! Threads by name, supervised: if one that matters dies, the process ends (rule A21).

use crate::router::Router;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Starts a thread. A panic in it ends the process.
pub(crate) fn start(name: &str, router: Router, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let shown = name.to_owned();
    let supervised = move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            router.fatal(format!("thread {shown} has panicked"));
        }
    };
    std::thread::Builder::new().name(format!("ottla-{name}")).spawn(supervised).map(drop)
}
