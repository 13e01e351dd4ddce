//! Who looks after the cluster: a node that has come back with an empty disk gets the vote that its old disk had, as
//! `ottla cluster add --voter` does it.

use crate::client::{body, encode, version};
use crate::node::VOTERS;
use base::{Rng, Uuid};
use bytes::Bytes;
use wire::add_raft_voter::AddRaftVoterRequest;
use wire::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, PartitionData, ReplicaState, RequestPartitionData,
    RequestTopicData,
};
use wire::remove_raft_voter::RemoveRaftVoterRequest;
use wire::{Reader, Request};

/// The topic by whose name the quorum is asked for.
const METADATA: &str = "__cluster_metadata";
/// The first version in which members are told apart by their directories.
const WITH_DIRECTORIES: i16 = 2;

/// The operator, and what is to be done next.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    next: Option<Change>,
    asked: Asked,
}

/// Whose vote is to change: of a node, and a directory of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Remove(i32, Uuid),
    Add(i32, Uuid),
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Nothing,
    Quorum,
    Change(Change),
}

impl Operator {
    pub(crate) const fn new() -> Self {
        Self { next: None, asked: Asked::Nothing }
    }

    /// Nobody knows what became of the request: it is looked at again.
    pub(crate) const fn disconnected(&mut self) {
        (self.next, self.asked) = (None, Asked::Nothing);
    }

    pub(crate) fn ask(&mut self, rng: &mut Rng, correlation: i32) -> (i16, Bytes) {
        let Some(change) = self.next.take() else {
            self.asked = Asked::Quorum;
            let partitions = vec![RequestPartitionData::default()];
            let topic = RequestTopicData { topic_name: METADATA.into(), partitions, ..Default::default() };
            let request = DescribeQuorumRequest { topics: vec![topic], ..Default::default() };
            return framed(version::<DescribeQuorumRequest>(rng, WITH_DIRECTORIES), &request, correlation);
        };
        self.asked = Asked::Change(change);
        match change {
            Change::Remove(voter_id, voter_directory_id) => {
                let cluster_id = None;
                let request =
                    RemoveRaftVoterRequest { cluster_id, voter_id, voter_directory_id, ..Default::default() };
                framed(version::<RemoveRaftVoterRequest>(rng, 0), &request, correlation)
            }
            Change::Add(voter_id, voter_directory_id) => {
                let request = AddRaftVoterRequest {
                    cluster_id: None,
                    voter_id,
                    voter_directory_id,
                    timeout_ms: 1_000,
                    ..Default::default()
                };
                framed(version::<AddRaftVoterRequest>(rng, 0), &request, correlation)
            }
        }
    }

    pub(crate) fn heard(
        &mut self,
        reader: &mut Reader,
        (correlation, version): (i32, i16),
    ) -> Result<(), String> {
        match core::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Nothing => Err("the operator: an answer to nothing".into()),
            Asked::Quorum => {
                let quorum = body::<DescribeQuorumRequest>(reader, correlation, version)?;
                self.next = change_for(&quorum);
                Ok(())
            }
            // What was refused is decided anew from what there is then.
            Asked::Change(Change::Remove(..)) => {
                body::<RemoveRaftVoterRequest>(reader, correlation, version).map(drop)
            }
            Asked::Change(Change::Add(..)) => {
                body::<AddRaftVoterRequest>(reader, correlation, version).map(drop)
            }
        }
    }
}

fn framed<R: Request>(version: i16, request: &R, correlation: i32) -> (i16, Bytes) {
    (version, encode(correlation, version, request))
}

/// The first of the nodes that formed the cluster whose vote is not with the disk that it has.
fn change_for(quorum: &DescribeQuorumResponse) -> Option<Change> {
    let partition = quorum.topics.first()?.partitions.first().filter(|part| part.error_code == 0)?;
    (1..=VOTERS).filter_map(|id| i32::try_from(id).ok()).find_map(|id| change_of(partition, id))
}

/// The old vote goes first: else there are more votes than nodes for a while.
fn change_of(quorum: &PartitionData, id: i32) -> Option<Change> {
    let old = newest(&quorum.current_voters, id);
    let new = newest(&quorum.observers, id)?;
    match old {
        Some(old) if old.log_end_offset >= new.log_end_offset => None,
        Some(old) => Some(Change::Remove(id, old.replica_directory_id)),
        None => Some(Change::Add(id, new.replica_directory_id)),
    }
}

/// A node that came with another disk stands there twice: the one that has more of the log lives.
fn newest(members: &[ReplicaState], id: i32) -> Option<&ReplicaState> {
    members.iter().filter(|member| member.replica_id == id).max_by_key(|member| member.log_end_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: i32, directory: u8, end: i64) -> ReplicaState {
        ReplicaState {
            replica_id: id,
            replica_directory_id: Uuid([directory; 16]),
            log_end_offset: end,
            ..ReplicaState::default()
        }
    }

    #[test]
    fn a_vote_follows_its_node_to_another_disk_and_never_the_other_way() {
        let quorum =
            |current_voters, observers| PartitionData { current_voters, observers, ..Default::default() };
        let whole = quorum(vec![member(1, 1, 9)], vec![member(4, 4, 9)]);
        assert_eq!(change_of(&whole, 1), None);
        let lost = quorum(vec![member(1, 1, 9)], vec![member(1, 2, 12)]);
        assert_eq!(change_of(&lost, 1), Some(Change::Remove(1, Uuid([1; 16]))));
        let moved = quorum(vec![], vec![member(1, 1, 9), member(1, 2, 12)]);
        assert_eq!(change_of(&moved, 1), Some(Change::Add(1, Uuid([2; 16]))));
        let again = quorum(vec![member(1, 2, 12)], vec![member(1, 1, 9)]);
        assert_eq!(change_of(&again, 1), None, "the old disk does not come back");
    }
}
