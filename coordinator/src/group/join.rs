//! JoinGroup.

use super::command::JoinGroup;
use super::error::JoinError;
use super::event::Reason;
use super::ids::{InstanceId, MemberId};
use super::live::{Member, Phase, Waiting};
use super::record::GroupMetadata;
use super::reply::{Joined, Reply};
use super::turn::Turn;
use crate::Token;
use alloc::vec::Vec;
use base::{hit, planted};

impl Turn<'_> {
    /// `is_written` says whether the log has metadata of this group yet.
    pub(super) fn join(&mut self, token: Token, request: JoinGroup, is_written: bool) {
        if !self.has_room_for(&request) {
            hit!(group_full);
            if let Some(member) = &request.member {
                self.remove_member(member);
            }
            return self.refuse_join(token, None, JoinError::GroupMaxSizeReached);
        }
        if !self.live.supports(&request.protocol_type, &request.protocols) {
            return self.refuse_join(token, request.member, JoinError::InconsistentGroupProtocol);
        }
        if !is_written {
            // The group exists from here on, so that whatever follows finds it in the log.
            let empty = GroupMetadata { state_timestamp: Some(self.now.wall), ..GroupMetadata::default() };
            let record = self.record_of(empty);
            self.out.record(record);
        }
        match request.member.clone() {
            None => self.join_new(token, request),
            Some(member) if self.live.pending.contains_key(&member) => {
                self.join_pending(token, member, request)
            }
            Some(member) => self.join_again(token, member, request),
        }
    }

    /// While members gather, those who wait are counted and not those who are known: a group above a lowered
    /// limit so loses the last to come back. A static member that was restarted takes its own place.
    fn has_room_for(&self, request: &JoinGroup) -> bool {
        let roster = &self.live.roster;
        let holder = request.instance.as_ref().and_then(|name| roster.of_instance(name));
        let known = request.member.as_ref().or(holder).and_then(|id| roster.get(id));
        let max = self.config.size_max;
        match self.live.phase {
            Phase::Empty => true,
            Phase::PreparingRebalance { .. } => {
                known.is_some_and(Member::is_joining) || self.live.roster.joining() < max
            }
            Phase::CompletingRebalance { .. } | Phase::Stable { .. } => {
                known.is_some() || self.live.roster.len() < max
            }
        }
    }

    // --- a member without an id ---

    fn join_new(&mut self, token: Token, request: JoinGroup) {
        let prefix = request.instance.as_ref().map_or(request.client_id.as_str(), InstanceId::as_str);
        let id = MemberId::generate(prefix, request.random);
        let holder = request.instance.clone().and_then(|name| {
            let old = self.live.roster.of_instance(&name).cloned()?;
            Some((name, old))
        });
        match holder {
            Some((instance, old)) => self.replace_static(token, (instance, &old), id, request),
            None if request.instance.is_none() && request.is_id_required => self.give_id(token, id, &request),
            None => self.add_member(token, id, request),
        }
    }

    /// The client shall come back with its id, so that a client that never hears of it leaves no trace.
    fn give_id(&mut self, token: Token, id: MemberId, request: &JoinGroup) {
        if self.live.pending.len() >= self.config.pending_max {
            return self.refuse_join(token, None, JoinError::GroupMaxSizeReached);
        }
        let deadline = self.now.mono + request.session_timeout;
        self.live.pending.insert(id.clone(), deadline);
        self.live.arm(deadline);
        self.refuse_join(token, Some(id), JoinError::MemberIdRequired);
    }

    fn join_pending(&mut self, token: Token, id: MemberId, request: JoinGroup) {
        // An id is never given out to a static member, so this one borrows somebody else's.
        if request.instance.is_some() {
            return self.refuse_join(token, Some(id), JoinError::UnknownMemberId);
        }
        self.live.pending.remove(&id);
        self.add_member(token, id, request);
    }

    fn add_member(&mut self, token: Token, id: MemberId, request: JoinGroup) {
        if let Phase::PreparingRebalance { first: Some(first), .. } = &mut self.live.phase {
            first.has_grown = true;
        }
        if self.live.roster.is_empty() {
            self.live.protocol_type = Some(request.protocol_type);
        }
        let deadline = self.now.mono + self.config.new_member_join_timeout;
        let member = Member::new(
            (request.instance, request.client_id, request.client_host),
            (request.session_timeout, request.rebalance_timeout),
            request.protocols,
            Waiting::Join { token, is_new: true },
            deadline,
        );
        self.live.roster.add(id.clone(), member);
        self.live.arm(deadline);
        self.rebalance_or_complete(Reason::Joined { member: id, client: request.reason });
    }

    // --- a member with an id ---

    fn join_again(&mut self, token: Token, id: MemberId, request: JoinGroup) {
        if let Err(error) = self.live.roster.check(Some(&id), request.instance.as_ref()) {
            return self.refuse_join(token, Some(id), error.into());
        }
        let is_same = self.live.roster.get(&id).is_some_and(|member| member.protocols == request.protocols);
        let is_answered = match self.live.phase {
            Phase::Empty | Phase::PreparingRebalance { .. } => false,
            // The answer to its first join was lost.
            Phase::CompletingRebalance { .. } => is_same,
            // A leader that joins again wants a new assignment; it may know of new partitions.
            Phase::Stable { .. } => is_same && !self.live.roster.is_leader(&id),
        };
        if is_answered {
            hit!(rejoin_answered_at_once);
            let joined = self.joined(&id, false);
            self.out.answer(token, Reply::Join(Ok(joined)));
        } else {
            let client = request.reason.clone();
            self.update_member(token, &id, request);
            self.rebalance_or_complete(Reason::Rejoined { member: id, client });
        }
    }

    fn update_member(&mut self, token: Token, id: &MemberId, request: JoinGroup) {
        let (session, rebalance) = (request.session_timeout, request.rebalance_timeout);
        self.live.roster.update(id, request.protocols, session, rebalance);
        self.park_join(id, token);
    }

    // --- a static member without an id, whose name is known: it was restarted (KIP-345) ---

    fn replace_static(
        &mut self,
        token: Token,
        (instance, old): (InstanceId, &MemberId),
        new: MemberId,
        request: JoinGroup,
    ) {
        hit!(static_member_replaced);
        let old_leader = self.live.roster.leader().cloned();
        let waited = self.live.roster.rename(old, new.clone());
        self.dismiss(
            waited,
            Some(old.clone()),
            JoinError::FencedInstanceId,
            super::error::SyncError::FencedInstanceId,
        );
        let can_skip = request.can_skip_assignment;
        self.update_member(token, &new, request);
        self.live.renew_session(&new, self.now.mono);
        self.rename_missing(old, &new);
        match self.live.phase {
            Phase::Stable { .. } if self.keeps_assignment() => {
                self.keep_static(token, &new, old_leader, can_skip);
            }
            // The leader may have been told the old id already, and would assign to nobody.
            Phase::Stable { .. } | Phase::CompletingRebalance { .. } => {
                self.prepare_rebalance(Reason::Replaced { instance });
            }
            Phase::Empty | Phase::PreparingRebalance { .. } => self.complete_if_all_joined(),
        }
    }

    /// The new id inherits the debt of a sync.
    fn rename_missing(&mut self, old: &MemberId, new: &MemberId) {
        if let Phase::Stable { sync: Some(sync) } | Phase::CompletingRebalance { sync } = &mut self.live.phase
            && sync.missing.remove(old)
        {
            sync.missing.insert(new.clone());
        }
    }

    /// True if the group would vote as before, and the log can hold what is to be written.
    fn keeps_assignment(&self) -> bool {
        self.live.protocol.is_some()
            && self.live.roster.vote() == self.live.protocol
            && self.metadata_record().size_bound() <= self.config.append_bytes_max
    }

    /// The member goes on under its new id without a rebalance.
    fn keep_static(&mut self, token: Token, id: &MemberId, old_leader: Option<MemberId>, can_skip: bool) {
        self.live.roster.release(id);
        let joined = if can_skip {
            self.joined(id, self.live.roster.is_leader(id))
        } else {
            // An older leader would assign again if it knew that it leads; it is told its old id.
            Joined { leader: old_leader, members: Vec::new(), ..self.joined(id, false) }
        };
        if !planted!(D3) {
            let record = self.metadata_record();
            self.out.record(record);
        }
        self.out.answer(token, Reply::Join(Ok(joined)));
    }
}
