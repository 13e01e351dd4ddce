//! The replication owner: what this node follows of other leaders, and what it asks the controller for as a leader.

use crate::effects::{Effects, Input, Mail};
use crate::shared::Shared;
use crate::view::View;
use base::Now;
use std::sync::Arc;

/// Follows the leaders of the partitions that this node holds and does not lead.
#[derive(Debug)]
pub struct Replication {
    view: Arc<View>,
    shared: Arc<Shared>,
}

impl Replication {
    pub(crate) fn new(view: Arc<View>, shared: Arc<Shared>) -> Self {
        Self { view, shared }
    }

    /// Takes an input and says what follows.
    pub fn handle(&mut self, now: Now, input: Input, fx: &mut Effects) {
        match input {
            Input::Mail(Mail::View(view)) => self.view = view,
            Input::JobDone(done) => self.shared.job_done(now, done, fx),
            Input::Tick
            | Input::Linked { .. }
            | Input::LinkFrame { .. }
            | Input::LinkDown { .. }
            | Input::Mail(_)
            | Input::Connected { .. }
            | Input::Frame { .. }
            | Input::Closed { .. } => {}
        }
    }
}
