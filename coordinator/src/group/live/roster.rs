//! The members of one group, with the counts that decide a rebalance kept true.

use super::member::{Member, Waiting};
use crate::Token;
use crate::group::command::Protocol;
use crate::group::error::MemberError;
use crate::group::ids::{InstanceId, MemberId, ProtocolName};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::{Instant, Span};

/// Who is in the group. Iteration is by member id, which makes every choice reproducible.
#[derive(Clone, Debug, Default)]
pub(in crate::group) struct Roster {
    members: BTreeMap<MemberId, Member>,
    /// Invariant: each names a member whose `instance` it is.
    statics: BTreeMap<InstanceId, MemberId>,
    /// How many members support a protocol. Never holds a zero.
    support: BTreeMap<ProtocolName, usize>,
    /// How many members wait in a join.
    joining: usize,
    /// Invariant: a member, if there are any.
    leader: Option<MemberId>,
}

impl Roster {
    pub(in crate::group) fn len(&self) -> usize {
        self.members.len()
    }

    pub(in crate::group) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(in crate::group) fn joining(&self) -> usize {
        self.joining
    }

    pub(in crate::group) fn iter(&self) -> impl Iterator<Item = (&MemberId, &Member)> {
        self.members.iter()
    }

    pub(in crate::group) fn ids(&self) -> Vec<MemberId> {
        self.members.keys().cloned().collect()
    }

    pub(in crate::group) fn get(&self, id: &MemberId) -> Option<&Member> {
        self.members.get(id)
    }

    pub(in crate::group) fn contains(&self, id: &MemberId) -> bool {
        self.members.contains_key(id)
    }

    pub(in crate::group) fn leader(&self) -> Option<&MemberId> {
        self.leader.as_ref()
    }

    pub(in crate::group) fn is_leader(&self, id: &MemberId) -> bool {
        self.leader.as_ref() == Some(id)
    }

    /// The member that holds a static name.
    pub(in crate::group) fn of_instance(&self, instance: &InstanceId) -> Option<&MemberId> {
        self.statics.get(instance)
    }

    /// True if the sender is who it says. A static name decides first: its holder may have changed.
    pub(in crate::group) fn check(
        &self,
        id: Option<&MemberId>,
        instance: Option<&InstanceId>,
    ) -> Result<(), MemberError> {
        if let Some(instance) = instance {
            let holder = self.of_instance(instance).ok_or(MemberError::Unknown)?;
            if Some(holder) != id {
                return Err(MemberError::Fenced);
            }
        }
        match id {
            Some(id) if self.contains(id) => Ok(()),
            Some(_) | None => Err(MemberError::Unknown),
        }
    }

    /// How long a rebalance waits: as long as its most patient member asks for.
    pub(in crate::group) fn rebalance_timeout(&self) -> Span {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or(Span::ZERO)
    }

    /// True if all present members support one of these protocols.
    pub(in crate::group) fn all_support_any(&self, protocols: &[Protocol]) -> bool {
        protocols.iter().any(|offer| self.support(&offer.name) == self.len())
    }

    fn support(&self, protocol: &ProtocolName) -> usize {
        self.support.get(protocol).copied().unwrap_or(0)
    }

    /// The protocol that most members prefer among those that all support; the first by name on a tie.
    pub(in crate::group) fn vote(&self) -> Option<ProtocolName> {
        let mut votes = BTreeMap::<&ProtocolName, usize>::new();
        for member in self.members.values() {
            let choice = member.protocols.iter().find(|offer| self.support(&offer.name) == self.len());
            if let Some(choice) = choice {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
    }

    /// Adds a member whose id and static name are free. The first one leads.
    pub(in crate::group) fn add(&mut self, id: MemberId, member: Member) {
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.count_protocols(&member.protocols);
        self.joining += usize::from(member.is_joining());
        self.leader.get_or_insert_with(|| id.clone());
        self.members.insert(id, member);
    }

    /// Takes a member out, with what it waited for. If it led, another one does.
    pub(in crate::group) fn remove(&mut self, id: &MemberId) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.uncount_protocols(&member.protocols);
        self.joining -= usize::from(member.is_joining());
        if let Some(instance) = &member.instance {
            self.statics.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a static member a new id; it keeps its rank, its assignment and its sessions. Returns what the
    /// old id waited for.
    pub(in crate::group) fn rename(&mut self, old: &MemberId, new: MemberId) -> Waiting {
        let was_leader = self.is_leader(old);
        let Some(mut member) = self.remove(old) else { return Waiting::Nothing };
        let waited = core::mem::replace(&mut member.waiting, Waiting::Nothing);
        self.add(new.clone(), member);
        if was_leader {
            self.leader = Some(new);
        }
        waited
    }

    /// Takes over what a member says when it joins again.
    pub(in crate::group) fn update(
        &mut self,
        id: &MemberId,
        protocols: Vec<Protocol>,
        session: Span,
        rebalance: Span,
    ) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.session_timeout = session;
        member.rebalance_timeout = rebalance;
        let old = core::mem::replace(&mut member.protocols, protocols);
        let new = member.protocols.clone();
        self.uncount_protocols(&old);
        self.count_protocols(&new);
    }

    /// Parks a member in a join; returns what it waited for before.
    pub(in crate::group) fn park_join(&mut self, id: &MemberId, token: Token) -> Waiting {
        let is_new =
            self.get(id).is_some_and(|member| matches!(member.waiting, Waiting::Join { is_new: true, .. }));
        self.wait(id, Waiting::Join { token, is_new })
    }

    /// Parks a member in a sync; returns what it waited for before.
    pub(in crate::group) fn park_sync(&mut self, id: &MemberId, token: Token) -> Waiting {
        self.wait(id, Waiting::Sync { token })
    }

    /// Lets a member go on; returns what it waited for.
    pub(in crate::group) fn release(&mut self, id: &MemberId) -> Waiting {
        self.wait(id, Waiting::Nothing)
    }

    fn wait(&mut self, id: &MemberId, waiting: Waiting) -> Waiting {
        let Some(member) = self.members.get_mut(id) else { return Waiting::Nothing };
        self.joining -= usize::from(member.is_joining());
        let old = core::mem::replace(&mut member.waiting, waiting);
        self.joining += usize::from(member.is_joining());
        old
    }

    /// Sets when silence will mean death; none if it never will.
    pub(in crate::group) fn set_deadline(&mut self, id: &MemberId, deadline: Option<Instant>) {
        if let Some(member) = self.members.get_mut(id) {
            member.deadline = deadline;
        }
    }

    /// Replaces all assignments; who is not named gets an empty one.
    pub(in crate::group) fn assign(&mut self, mut assignments: BTreeMap<MemberId, bytes::Bytes>) {
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
    }

    /// Keeps the leader if it waits in a join, else chooses the first who does. False if nobody does.
    pub(in crate::group) fn elect_joining_leader(&mut self) -> bool {
        if self.leader.as_ref().and_then(|id| self.get(id)).is_some_and(Member::is_joining) {
            return true;
        }
        let Some(next) = self.members.iter().find(|(_, member)| member.is_joining()) else { return false };
        self.leader = Some(next.0.clone());
        true
    }

    /// Makes `id` the leader, as the log says.
    pub(super) fn set_leader(&mut self, id: &MemberId) {
        if self.contains(id) {
            self.leader = Some(id.clone());
        }
    }

    fn count_protocols(&mut self, protocols: &[Protocol]) {
        for name in distinct(protocols) {
            *self.support.entry(name.clone()).or_default() += 1;
        }
    }

    fn uncount_protocols(&mut self, protocols: &[Protocol]) {
        for name in distinct(protocols) {
            let left = self.support.remove(name).unwrap_or(0).saturating_sub(1);
            if left > 0 {
                self.support.insert(name.clone(), left);
            }
        }
    }
}

/// A member that names a protocol twice supports it once.
fn distinct(protocols: &[Protocol]) -> BTreeSet<&ProtocolName> {
    protocols.iter().map(|offer| &offer.name).collect()
}
