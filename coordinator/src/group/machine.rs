//! The machine itself: which command goes where.

use super::command::{Command, CommitOffsets, Heartbeat, JoinGroup, LeaveGroup, SyncGroup};
use super::error::{HeartbeatError, JoinError, LeaveError, SyncError};
use super::hard::Hard;
use super::record::{Producer, Record};
use super::reply::{JoinRefused, Left, Reply};
use super::soft::Soft;
use super::turn::Outcome;
use super::{admin, expire, offsets};
use crate::Token;
use base::{Decision, Machine, Now};

/// The classic group protocol and the committed offsets of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct GroupMachine;

impl Machine for GroupMachine {
    type Hard = Hard;
    type Soft = Soft;
    type Command = Command;
    type Record = Record;
    type Reply = Reply;
    type Token = Token;

    fn decide(hard: &Hard, soft: &mut Soft, now: Now, command: Command) -> Decision<Record, Token, Reply> {
        soft.events.clear();
        let mut shard = Shard { hard, soft, now, out: Decision::default() };
        shard.soft.load(hard, now, &mut shard.out);
        shard.handle(command);
        shard.out.wake_at = shard.soft.wake_at();
        shard.out
    }

    fn replay(hard: &mut Hard, record: &Record) {
        hard.replay(record);
    }
}

struct Shard<'a> {
    hard: &'a Hard,
    soft: &'a mut Soft,
    now: Now,
    out: Outcome,
}

impl Shard<'_> {
    fn handle(&mut self, command: Command) {
        match command {
            Command::Join(token, request) => self.join(token, request),
            Command::Sync(token, request) => self.sync(token, request),
            Command::Heartbeat(token, request) => {
                let result = self.heartbeat(&request);
                self.answer(token, Reply::Heartbeat(result));
            }
            Command::Leave(token, request) => self.leave(token, request),
            Command::CommitOffsets(token, request) => self.commit(token, None, &request),
            Command::StageOffsets(token, producer, request) => self.commit(token, Some(producer), &request),
            Command::EndTransaction(token, producer, marker) => {
                self.out.record(Record::TransactionEnd { producer, marker });
                self.answer(token, Reply::TransactionEnded);
            }
            Command::FetchOffsets(token, request) => {
                self.answer(token, Reply::FetchOffsets(offsets::fetch(self.hard, request)));
            }
            Command::List(token, filter) => {
                self.answer(token, Reply::List(admin::list(self.hard, self.soft, &filter)));
            }
            Command::Describe(token, groups) => {
                self.answer(token, Reply::Describe(admin::describe(self.hard, self.soft, groups)));
            }
            Command::Delete(token, groups) => {
                let results = admin::delete(self.hard, self.soft, groups, &mut self.out);
                self.answer(token, Reply::Delete(results));
            }
            Command::DeleteOffsets(token, request) => {
                let result = offsets::delete(self.hard, self.soft, &request, &mut self.out);
                self.answer(token, Reply::DeleteOffsets(result));
            }
            Command::Tick => self.soft.tick(self.hard, self.now, &mut self.out),
            Command::TopicsDeleted(topics) => offsets::topics_deleted(self.hard, &topics, &mut self.out),
            Command::ExpireOffsets(token) => {
                let is_more = expire::expire(self.hard, self.soft, self.now, &mut self.out);
                self.answer(token, Reply::Expired { is_more });
            }
            Command::Resign => self.soft.resign(&mut self.out),
        }
    }

    fn answer(&mut self, token: Token, reply: Reply) {
        self.out.answer(token, reply);
    }

    fn join(&mut self, token: Token, request: JoinGroup) {
        match self.check_join(&request) {
            Ok(is_written) => {
                let id = request.group.clone();
                self.soft.with(self.hard, &id, self.now, &mut self.out, |turn| {
                    turn.join(token, request, is_written)
                });
            }
            Err(error) => self.answer(token, Reply::Join(Err(JoinRefused { member: request.member, error }))),
        }
    }

    /// Whether the log has metadata of the group, if the request is sound.
    fn check_join(&self, request: &JoinGroup) -> Result<bool, JoinError> {
        let config = self.soft.config();
        if request.group.as_str().is_empty() {
            return Err(JoinError::InvalidGroupId);
        }
        if request.session_timeout < config.session_timeout_min
            || request.session_timeout > config.session_timeout_max
        {
            return Err(JoinError::InvalidSessionTimeout);
        }
        let group = self.hard.group(&request.group);
        if group.is_none() && request.member.is_some() {
            return Err(JoinError::UnknownMemberId);
        }
        Ok(group.is_some_and(|group| group.metadata.is_some()))
    }

    fn sync(&mut self, token: Token, request: SyncGroup) {
        let id = request.group.clone();
        if id.as_str().is_empty() {
            self.answer(token, Reply::Sync(Err(SyncError::InvalidGroupId)));
        } else if self.soft.live(&id).is_none() {
            self.answer(token, Reply::Sync(Err(SyncError::UnknownMemberId)));
        } else {
            self.soft.with(self.hard, &id, self.now, &mut self.out, |turn| turn.sync(token, request));
        }
    }

    fn heartbeat(&mut self, request: &Heartbeat) -> Result<(), HeartbeatError> {
        if request.group.as_str().is_empty() {
            return Err(HeartbeatError::InvalidGroupId);
        }
        if self.soft.live(&request.group).is_none() {
            return Err(HeartbeatError::UnknownMemberId);
        }
        self.soft.with(self.hard, &request.group, self.now, &mut self.out, |turn| turn.heartbeat(request))
    }

    fn leave(&mut self, token: Token, request: LeaveGroup) {
        if request.group.as_str().is_empty() {
            return self.answer(token, Reply::Leave(Err(LeaveError::InvalidGroupId)));
        }
        if self.soft.live(&request.group).is_some() {
            let members = request.members;
            return self
                .soft
                .with(self.hard, &request.group, self.now, &mut self.out, |turn| turn.leave(token, members));
        }
        let unknown = request.members.into_iter().map(|leaver| Left {
            member: leaver.member,
            instance: leaver.instance,
            error: Some(LeaveError::UnknownMemberId),
        });
        self.out.answer(token, Reply::Leave(Ok(unknown.collect())));
    }

    fn commit(&mut self, token: Token, producer: Option<Producer>, request: &CommitOffsets) {
        let ask = offsets::Commit { request, producer };
        let verdicts = offsets::commit(self.hard, self.soft, self.now, ask, &mut self.out);
        self.answer(token, Reply::CommitOffsets(verdicts));
    }
}
