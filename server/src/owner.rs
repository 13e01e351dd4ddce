//! Drives the owners that have no connections of clients: one thread each, one input at a time.

use crate::clock::Clock;
use crate::links::OwnLinks;
use crate::router::{End, Router};
use base::{Instant, Now};
use broker::loggers::{GROUPS, METADATA, NETWORK, REPLICATION};
use broker::{Effects, Groups, Input, Level, LogLine, Metadata, Owner, Replication};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// An owner as its thread sees it.
pub(crate) trait Driven {
    const OWNER: Owner;
    fn start(&mut self, now: Now, fx: &mut Effects);
    fn handle(&mut self, now: Now, input: Input, fx: &mut Effects);
    /// True once there is something to tell the process.
    fn is_serving(&self) -> bool {
        false
    }
    /// True once the process may end without being missed.
    fn has_left(&self) -> bool {
        false
    }
}

impl Driven for Metadata {
    const OWNER: Owner = Owner::Metadata;
    fn start(&mut self, now: Now, fx: &mut Effects) {
        Self::start(self, now, fx);
    }
    fn handle(&mut self, now: Now, input: Input, fx: &mut Effects) {
        Self::handle(self, now, input, fx);
    }
    fn is_serving(&self) -> bool {
        Self::is_serving(self)
    }
    fn has_left(&self) -> bool {
        Self::has_left(self)
    }
}

impl Driven for Groups {
    const OWNER: Owner = Owner::Groups;
    fn start(&mut self, _now: Now, _fx: &mut Effects) {}
    fn handle(&mut self, now: Now, input: Input, fx: &mut Effects) {
        Self::handle(self, now, input, fx);
    }
}

impl Driven for Replication {
    const OWNER: Owner = Owner::Replication;
    fn start(&mut self, _now: Now, _fx: &mut Effects) {}
    fn handle(&mut self, now: Now, input: Input, fx: &mut Effects) {
        Self::handle(self, now, input, fx);
    }
}

/// Runs an owner until its mailbox closes.
pub(crate) fn run<D: Driven>(driven: D, mailbox: &Receiver<Input>, clock: Clock, router: &Router) {
    let mut shell = Shell { driven, clock, router, links: OwnLinks::default(), wake_at: None };
    let mut effects = Effects::default();
    shell.driven.start(clock.now(), &mut effects);
    shell.carry_out(effects);
    let (mut announced, mut left) = (false, false);
    loop {
        if !announced && shell.driven.is_serving() {
            announced = true;
            // Nobody listens any more only when the process is ending already.
            let _ending = router.end.send(End::Serving);
        }
        if !left && shell.driven.has_left() {
            left = true;
            let _ending = router.end.send(End::Left);
        }
        let Some(input) = next_input(mailbox, shell.wake_at, clock) else { return };
        shell.input(input);
        if shell.wake_at.is_some_and(|at| at <= clock.now().mono) {
            shell.wake_at = None;
            shell.input(Input::Tick);
        }
    }
}

fn next_input(mailbox: &Receiver<Input>, wake_at: Option<Instant>, clock: Clock) -> Option<Input> {
    let Some(at) = wake_at else { return mailbox.recv().ok() };
    match mailbox.recv_timeout(clock.until(at).max(Duration::from_micros(1))) {
        Ok(input) => Some(input),
        Err(RecvTimeoutError::Timeout) => Some(Input::Tick),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

/// An owner with what its thread knows of it.
struct Shell<'a, D> {
    driven: D,
    clock: Clock,
    router: &'a Router,
    links: OwnLinks,
    /// When the owner wants to be woken.
    wake_at: Option<Instant>,
}

impl<D: Driven> Shell<'_, D> {
    fn input(&mut self, input: Input) {
        if !self.links.admit(&input) {
            return;
        }
        let mut effects = Effects::default();
        self.driven.handle(self.clock.now(), input, &mut effects);
        self.carry_out(effects);
    }

    /// Carries effects out; mail to itself is handled at once.
    fn carry_out(&mut self, effects: Effects) {
        let mut queue = VecDeque::from([effects]);
        while let Some(mut effects) = queue.pop_front() {
            self.links.note(&effects);
            self.router.links(D::OWNER, &mut effects);
            self.wake_at = self.wake_at.into_iter().chain(effects.wake_at).min();
            for (owner, mail) in effects.mail {
                if owner == D::OWNER {
                    let mut more = Effects::default();
                    self.driven.handle(self.clock.now(), Input::Mail(mail), &mut more);
                    queue.push_back(more);
                } else {
                    self.router.mail(owner, mail);
                }
            }
            for job in effects.jobs {
                self.router.job(D::OWNER, job);
            }
            log(D::OWNER, &effects.log);
            if let Some(reason) = effects.fatal {
                self.router.fatal(reason);
            }
        }
    }
}

/// Writes an owner's lines to the log, under its logger.
pub(crate) fn log(owner: Owner, lines: &[LogLine]) {
    /// A logger's name is fixed where a line is written.
    macro_rules! write {
        ($logger:expr, $level:expr, $text:expr) => {
            match $level {
                Level::Error => tracing::error!(target: $logger, "{}", $text),
                Level::Warn => tracing::warn!(target: $logger, "{}", $text),
                Level::Info => tracing::info!(target: $logger, "{}", $text),
            }
        };
    }
    for LogLine { level, text } in lines {
        match owner {
            Owner::Reactor(_) => write!(NETWORK, level, text),
            Owner::Metadata => write!(METADATA, level, text),
            Owner::Groups => write!(GROUPS, level, text),
            Owner::Replication => write!(REPLICATION, level, text),
        }
    }
}
