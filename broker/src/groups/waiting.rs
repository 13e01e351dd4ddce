//! Requests that wait for the answers of one shard or of several, to become one response.

use crate::api::{Malformed, OnGroups, ResponseOf, encode};
use crate::effects::{Asked, Effects, Mail, Owner, Reply};
use crate::view::View;
use base::PartitionIndex;
use bytes::Bytes;
use coordinator::Token;
use coordinator::group::{Command, Reply as Answer};
use core::fmt::Debug;
use std::collections::BTreeMap;
use wire::ErrorCode;

/// What a request asks of the shards.
#[derive(Debug)]
pub(crate) struct Questions<P> {
    /// The token of the first question; the others follow.
    first: u64,
    /// Partitions of the offsets topic.
    partitions: u32,
    pub(super) commands: Vec<(PartitionIndex, Command)>,
    parts: Vec<Option<P>>,
}

impl<P> Questions<P> {
    pub(super) const fn new(first: u64, partitions: u32) -> Self {
        Self { first, partitions, commands: Vec::new(), parts: Vec::new() }
    }

    /// The shard that keeps `group`.
    pub(crate) fn shard_of(&self, group: &str) -> PartitionIndex {
        coordinator::shard_of(group, self.partitions)
    }

    /// Asks one shard. `part` tells where in the response the answer goes.
    pub(crate) fn ask(&mut self, shard: PartitionIndex, part: P, command: impl FnOnce(Token) -> Command) {
        let token = Token(self.first + self.parts.len() as u64);
        self.commands.push((shard, command(token)));
        self.parts.push(Some(part));
    }

    /// Places of `groups` by the shard that keeps them.
    pub(crate) fn by_shard<'a>(
        &self,
        groups: impl Iterator<Item = &'a str>,
    ) -> BTreeMap<PartitionIndex, Vec<usize>> {
        let mut places = BTreeMap::<_, Vec<usize>>::new();
        for (at, group) in groups.enumerate() {
            places.entry(self.shard_of(group)).or_default().push(at);
        }
        places
    }
}

/// A response in the making, its type erased.
trait Making: Debug + Send {
    /// Puts the answer to the question `nth` in its place.
    fn take(&mut self, view: &View, nth: usize, outcome: Result<Answer, ErrorCode>);
    /// Encodes the response.
    fn finish(self: Box<Self>, asked: &Asked) -> Result<Bytes, Malformed>;
}

struct MakingOf<A: OnGroups> {
    response: ResponseOf<A>,
    parts: Vec<Option<A::Part>>,
}

impl<A: OnGroups> Debug for MakingOf<A> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MakingOf").field("questions", &self.parts.len()).finish_non_exhaustive()
    }
}

impl<A: OnGroups> Making for MakingOf<A> {
    fn take(&mut self, view: &View, nth: usize, outcome: Result<Answer, ErrorCode>) {
        if let Some(part) = self.parts.get_mut(nth).and_then(Option::take) {
            A::answered(view, &mut self.response, part, outcome);
        }
    }

    fn finish(self: Box<Self>, asked: &Asked) -> Result<Bytes, Malformed> {
        encode::<A>(asked, self.response)
    }
}

#[derive(Debug)]
struct Waiting {
    /// The request, without its body.
    asked: Asked,
    /// Questions without an answer.
    left: usize,
    making: Box<dyn Making>,
}

/// All requests that wait, by the token of their first question. Bounded by the requests in flight, and by the
/// members of groups: a join whose connection has gone waits for the end of its rebalance.
#[derive(Debug, Default)]
pub(super) struct Parked {
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
}

impl Parked {
    /// The first token that was never used.
    pub(super) const fn next_token(&self) -> u64 {
        self.next
    }

    /// Keeps a request until its questions are answered, or answers it at once if it has none.
    pub(super) fn park<A: OnGroups>(
        &mut self,
        asked: &Asked,
        response: ResponseOf<A>,
        questions: Questions<A::Part>,
        fx: &mut Effects,
    ) {
        let Questions { first, parts, .. } = questions;
        let left = parts.len();
        self.next = first + left as u64;
        let asked = Asked { body: Bytes::new(), ..asked.clone() };
        let waiting = Waiting { asked, left, making: Box::new(MakingOf::<A> { response, parts }) };
        if left == 0 {
            return waiting.finish(fx);
        }
        self.waiting.insert(first, waiting);
    }

    /// Takes the answer to a question.
    pub(super) fn answer(
        &mut self,
        view: &View,
        token: Token,
        outcome: Result<Answer, ErrorCode>,
        fx: &mut Effects,
    ) {
        let Some((first, waiting)) = self.waiting.range_mut(..=token.0).next_back() else { return };
        let first = *first;
        waiting.making.take(view, usize::try_from(token.0 - first).unwrap_or(usize::MAX), outcome);
        waiting.left -= 1;
        if waiting.left == 0
            && let Some(waiting) = self.waiting.remove(&first)
        {
            waiting.finish(fx);
        }
    }
}

impl Waiting {
    fn finish(self, fx: &mut Effects) {
        let token = self.asked.token;
        let mail = match self.making.finish(&self.asked) {
            Ok(bytes) => Mail::Reply { token, reply: Reply::bytes(bytes) },
            Err(malformed) => Mail::Refused { token, reason: format!("{malformed:?}") },
        };
        fx.tell(Owner::Reactor(token.reactor), mail);
    }
}
