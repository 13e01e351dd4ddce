//! Threads by name, supervised: if one that matters dies, the process ends (rule A21).

use crate::router::End;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use tokio::sync::mpsc::UnboundedSender;

/// Starts a thread. A panic in it ends the process.
pub(crate) fn start(
    name: &str,
    end: UnboundedSender<End>,
    work: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let shown = name.to_owned();
    let supervised = move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            // Nobody listens any more only when the process is ending already.
            let _ending = end.send(End::Fatal(format!("thread {shown} has panicked")));
        }
    };
    std::thread::Builder::new().name(format!("ottla-{name}")).spawn(supervised)
}
