//! One command's work on one group: what it reads, what it may change, where its effects go.

use super::config::GroupConfig;
use super::error::{JoinError, SyncError};
use super::event::Event;
use super::ids::{GroupId, MemberId};
use super::live::{LiveGroup, Waiting};
use super::record::{GroupMetadata, Record};
use super::reply::{JoinRefused, Reply};
use crate::Token;
use alloc::vec::Vec;
use base::{Decision, Now};

/// Records and replies of one command.
pub(super) type Outcome = Decision<Record, Token, Reply>;

/// The context of one command. The steps of the protocol are its methods, one file per API.
pub(super) struct Turn<'a> {
    pub(super) id: &'a GroupId,
    pub(super) live: &'a mut LiveGroup,
    pub(super) config: &'a GroupConfig,
    pub(super) now: Now,
    pub(super) out: &'a mut Outcome,
    pub(super) events: &'a mut Vec<Event>,
}

impl Turn<'_> {
    pub(super) fn refuse_join(&mut self, token: Token, member: Option<MemberId>, error: JoinError) {
        self.out.answer(token, Reply::Join(Err(JoinRefused { member, error })));
    }

    pub(super) fn refuse_sync(&mut self, token: Token, error: SyncError) {
        self.out.answer(token, Reply::Sync(Err(error)));
    }

    /// Tells whoever waited under `member` that its wait is over for nothing.
    pub(super) fn dismiss(
        &mut self,
        waited: Waiting,
        member: Option<MemberId>,
        join: JoinError,
        sync: SyncError,
    ) {
        match waited {
            Waiting::Nothing => {}
            Waiting::Join { token, .. } => self.refuse_join(token, member, join),
            Waiting::Sync { token } => self.refuse_sync(token, sync),
        }
    }

    /// Takes a member out of the group and tells it so, if it waits.
    pub(super) fn remove_member(&mut self, id: &MemberId) {
        if let Some(member) = self.live.roster.remove(id) {
            self.dismiss(member.waiting(), None, JoinError::UnknownMemberId, SyncError::UnknownMemberId);
        }
    }

    /// A member is out because nothing was heard of it.
    pub(super) fn lose_member(&mut self, id: &MemberId) {
        self.remove_member(id);
        self.events.push(Event::Lost { group: self.id.clone(), member: id.clone() });
    }

    pub(super) fn metadata_record(&self) -> Record {
        self.record_of(self.live.metadata(self.now.wall))
    }

    pub(super) fn record_of(&self, metadata: GroupMetadata) -> Record {
        Record::GroupMetadata { group: self.id.clone(), metadata: Some(metadata) }
    }
}
