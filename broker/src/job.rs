//! Work that waits for the device: values that an owner starts, that run on a pool thread (in simulation: at a
//! later time), and whose completion is an input.

use crate::api::delete_records_reply;
use crate::effects::{Asked, Effects, Level, Mail, Owner};
use crate::flusher::FlushDone;
use crate::groups::{Load, Loaded};
use crate::metadata::{RaftStore, StoreError};
use crate::replica::Replica;
use crate::scan::ScanError;
use crate::shared::Shared;
use base::{EndOffset, PartitionIndex, TopicId};
use cluster::Image;
use quorum::Persist;
use seglog::PartitionName;
use seglog::dir::LogDir;
use std::sync::Arc;
use wire::ErrorCode;

/// Beginnings of partitions to move, for one DeleteRecords request.
#[derive(Debug)]
pub struct Trim {
    pub(crate) asked: Asked,
    /// Per partition of the request.
    pub(crate) trims: Vec<TrimPart>,
}

/// A replica and its new beginning (`None`: the high watermark), or why there is none.
pub(crate) type TrimPart = Result<(Arc<Replica>, Option<EndOffset>), ErrorCode>;

/// What to do off the owner's thread.
#[derive(Debug)]
pub enum Job {
    /// Flush all that is dirty.
    Flush,
    /// Make Raft state durable.
    PersistRaft {
        /// Where.
        store: Arc<RaftStore>,
        /// What.
        persist: Persist,
    },
    /// Write a snapshot of the metadata.
    SnapshotMetadata {
        /// Where.
        store: Arc<RaftStore>,
        /// What.
        image: Arc<Image>,
    },
    /// Read the groups of a partition back.
    LoadShard(Load),
    /// Move the beginnings of partitions.
    Trim(Trim),
    /// Delete segments of a partition that retention has let go.
    Retire {
        /// The partition.
        replica: Arc<Replica>,
        /// The segments.
        segments: seglog::DeleteJob,
    },
    /// Remove the directory of a deleted partition.
    Remove {
        /// Where it lies.
        dir: Arc<LogDir>,
        /// Its name.
        name: PartitionName,
        /// The topic that it belonged to: a directory of a younger topic of that name is left alone.
        topic: TopicId,
    },
}

/// What became of a job.
#[derive(Debug)]
pub enum JobDone {
    /// Of [`Job::Flush`].
    Flushed(FlushDone),
    /// Of [`Job::PersistRaft`].
    RaftPersisted {
        /// Which write.
        number: u64,
        /// Whether it is durable.
        outcome: Result<(), StoreError>,
        /// The write itself, if the disk was too full for it: to be tried again.
        again: Option<Persist>,
    },
    /// Of [`Job::SnapshotMetadata`].
    Snapshotted {
        /// The last index that it covers.
        index: u64,
        /// Whether it is durable.
        outcome: Result<(), StoreError>,
    },
    /// Of [`Job::LoadShard`].
    ShardLoaded {
        /// Which partition of the offsets topic.
        shard: PartitionIndex,
        /// Which load of it.
        number: u64,
        /// What its log says.
        outcome: Result<Loaded, ScanError>,
    },
    /// Of [`Job::Trim`].
    Trimmed {
        /// The request.
        asked: Asked,
        /// Per partition of the request: its beginning.
        outcomes: Vec<Result<EndOffset, ErrorCode>>,
    },
    /// Of [`Job::Retire`] and [`Job::Remove`].
    Deleted(Result<(), seglog::disk::DiskError>),
}

impl Job {
    /// Runs the job; waits for the device.
    #[must_use]
    pub fn run(self, shared: &Shared) -> JobDone {
        match self {
            Self::Flush => JobDone::Flushed(shared.flusher.run()),
            Self::PersistRaft { store, persist } => {
                let outcome = store.persist(&persist);
                let full = outcome.as_ref().is_err_and(StoreError::is_no_space);
                let number = persist.number;
                JobDone::RaftPersisted { number, outcome, again: full.then_some(persist) }
            }
            Self::SnapshotMetadata { store, image } => {
                JobDone::Snapshotted { index: image.index, outcome: store.snapshot(&image) }
            }
            Self::LoadShard(load) => {
                JobDone::ShardLoaded { shard: load.shard, number: load.number, outcome: load.run() }
            }
            Self::Trim(Trim { asked, trims }) => {
                let trim = |trim: TrimPart| {
                    let (replica, to) = trim?;
                    replica.trim(to).map_err(ErrorCode::from)
                };
                JobDone::Trimmed { asked, outcomes: trims.into_iter().map(trim).collect() }
            }
            Self::Retire { segments, .. } => JobDone::Deleted(segments.run().and_then(|files| files.run())),
            Self::Remove { dir, name, topic } => {
                JobDone::Deleted(seglog::remove_partition(&dir, &name, topic))
            }
        }
    }
}

/// Does what follows the end of a job that any owner may have started.
pub(crate) fn finish(shared: &Shared, _owner: Owner, done: JobDone, fx: &mut Effects) {
    match done {
        JobDone::Flushed(done) => shared.flusher.finish(done, fx),
        JobDone::Trimmed { asked, outcomes } => {
            let token = asked.token;
            let mail = match delete_records_reply(&asked, outcomes) {
                Ok(reply) => Mail::Reply { token, reply },
                Err(malformed) => Mail::Refused { token, reason: format!("{malformed:?}") },
            };
            fx.tell(Owner::Reactor(token.reactor), mail);
        }
        JobDone::Deleted(Ok(())) => {}
        JobDone::Deleted(Err(error)) => fx.log(Level::Error, format!("files could not be deleted: {error}")),
        JobDone::RaftPersisted { .. } | JobDone::Snapshotted { .. } | JobDone::ShardLoaded { .. } => {
            fx.fatal = Some("a job ended at another owner than began it".into());
        }
    }
}
