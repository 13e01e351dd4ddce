//! What is going to happen in a world, and when.

use super::network::{Piece, Way};
use base::Instant;
use broker::{ConnId, Input, Job, JobDone, Mail, Owner};
use std::collections::BTreeMap;

/// An owner of one life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat {
    pub(super) node: usize,
    pub(super) incarnation: u64,
    pub(super) owner: Owner,
}

#[derive(Debug)]
pub(super) enum Event {
    Input(Seat, Input),
    /// A job begins to run.
    Run(Seat, Job),
    /// A job has ended.
    Done(Seat, JobDone),
    /// An owner asked to be woken.
    Wake(Seat),
    /// Something arrives at one end of a connection.
    Arrive(ConnId, Way, Piece),
    /// A node tries to open a connection, for the so many-th time.
    Dial(ConnId, u32),
    /// Whoever sent that way has waited too long for a sign that it arrived.
    GiveUp(ConnId, Way),
    /// A client may ask something.
    Client(u64),
    /// A client has waited long for the answer to this request.
    Impatient(u64, i32),
    /// Whoever is to stop is looked at: it waits until then at most.
    Leave(Seat, Instant),
    /// A node starts again.
    Start(usize),
    /// Something bad happens.
    Fault,
    /// Something bad ends.
    Mend(super::outages::Outage),
    /// The power goes, in a life of a node that has just begun.
    Crash(usize, u64),
}

impl Event {
    /// Whose time it takes.
    pub(super) const fn seat(&self) -> Option<Seat> {
        match self {
            Self::Input(seat, _)
            | Self::Run(seat, _)
            | Self::Done(seat, _)
            | Self::Wake(seat)
            | Self::Leave(seat, _) => Some(*seat),
            Self::Arrive(..)
            | Self::Dial(..)
            | Self::GiveUp(..)
            | Self::Client(_)
            | Self::Impatient(..)
            | Self::Start(_)
            | Self::Fault
            | Self::Mend(_)
            | Self::Crash(..) => None,
        }
    }
}

/// All that is going to happen.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: BTreeMap<(Instant, u64), Event>,
    next: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Instant, event: Event) {
        self.next += 1;
        self.events.insert((at, self.next), event);
    }

    pub(super) fn pop(&mut self) -> Option<((Instant, u64), Event)> {
        self.events.pop_first()
    }

    /// Puts an event off. Those that are put off to the same time keep their order.
    pub(super) fn put_off(&mut self, number: u64, until: Instant, event: Event) {
        self.events.insert((until, number), event);
    }

    /// A process takes everything along that was to happen in it.
    pub(super) fn drop_node(&mut self, node: usize) {
        self.events.retain(|_, event| event.seat().is_none_or(|seat| seat.node != node));
    }
}

/// An input in a few words, for the trace.
pub(super) fn describe_input(seat: Seat, input: &Input) -> String {
    let text = match input {
        Input::Mail(Mail::View(view)) => format!("view of index {}", view.image.index),
        Input::Connected { .. }
        | Input::Frame { .. }
        | Input::Linked { .. }
        | Input::LinkFrame { .. }
        | Input::LinkDown { .. }
        | Input::Closed { .. }
        | Input::JobDone(_)
        | Input::Tick => {
            format!("{input:?}")
        }
        Input::Mail(mail) => format!("{mail:?}"),
    };
    format!("n{} {:?} {}", seat.node + 1, seat.owner, text.chars().take(160).collect::<String>())
}
