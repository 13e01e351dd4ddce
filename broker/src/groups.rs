//! The groups owner: the group coordinators that this node is.

use crate::api::Malformed;
use crate::effects::{Asked, Effects, Input};
use crate::shared::Shared;
use crate::view::View;
use base::{Now, Rng};
use std::sync::Arc;

/// Carries out an API of the group coordinators.
pub(crate) type Handler = fn(&mut Groups, Asked, Now, &mut Effects) -> Result<(), Malformed>;

/// The group coordinators of a node.
#[derive(Debug)]
pub struct Groups {
    view: Arc<View>,
    shared: Arc<Shared>,
}

impl Groups {
    pub(crate) fn new(view: Arc<View>, shared: Arc<Shared>, _rng: Rng) -> Self {
        Self { view, shared }
    }

    /// Takes an input and says what follows.
    pub fn handle(&mut self, now: Now, input: Input, fx: &mut Effects) {
        let _ = (now, input, fx);
    }
}
