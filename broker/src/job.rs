//! Work that waits for the device: values that an owner starts, that run on a pool thread (in simulation: at a
//! later time), and whose completion is an input.

use crate::api::Search;
use crate::effects::{Asked, Effects, Level, Mail, Owner, Reply};
use crate::flusher::FlushDone;
use crate::groups::{Load, Loaded};
use crate::metadata::{RaftStore, StoreError};
use crate::replica::{Cut, Replica};
use crate::scan::ScanError;
use crate::shared::Shared;
use base::{EndOffset, LeaderEpoch, Now, PartitionIndex, planted};
use cluster::Image;
use quorum::{Persist, SnapshotPoint};
use seglog::dir::RemoveDirJob;
use seglog::disk::{DiskError, DiskFile};
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

/// A replica and its beginning, which is on its disk, or why it was not moved.
pub(crate) type Trimmed = Result<(Arc<Replica>, EndOffset), ErrorCode>;

/// A range of a file that may not be in memory: from where and how many bytes.
pub(crate) type ColdRange = (Arc<dyn DiskFile>, u64, u64);

/// Records to bring into memory, for one answer to a fetch.
#[derive(Debug)]
pub struct Warm {
    /// Whose.
    pub(crate) reader: u64,
    /// Which answer.
    pub(crate) number: u64,
    pub(crate) ranges: Vec<ColdRange>,
}

/// Bytes that are brought into memory at a time.
const WARM_BYTES: usize = 256 << 10;

impl Warm {
    /// Reads everything once. What cannot be read is found out by whoever sends it.
    fn run(self) -> JobDone {
        for (file, at, length) in &self.ranges {
            // The device gets the whole range to work at before the first part of it is waited for.
            file.read_ahead(*at, *length);
        }
        let mut scratch = vec![0; WARM_BYTES];
        for (file, at, length) in &self.ranges {
            let mut done = 0;
            while done < *length {
                let take = usize::try_from(*length - done).map_or(WARM_BYTES, |left| left.min(WARM_BYTES));
                match file.read_at(&mut scratch[..take], at + done) {
                    Ok(read) if read > 0 => done += read as u64,
                    Ok(_) | Err(_) => break,
                }
            }
        }
        JobDone::Warmed { reader: self.reader, number: self.number }
    }
}

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
        /// As of when.
        point: SnapshotPoint,
    },
    /// Read the groups of a partition back.
    LoadShard(Load),
    /// Move the beginnings of partitions.
    Trim(Trim),
    /// Bring records into memory.
    Warm(Warm),
    /// Search logs by timestamp.
    Search(Box<Search>),
    /// Delete segments of a partition that retention has let go.
    Retire {
        /// The partition.
        replica: Arc<Replica>,
        /// The segments.
        segments: seglog::DeleteJob,
    },
    /// Cut a follower's log where it parts from its leader's.
    Cut {
        /// The partition.
        replica: Arc<Replica>,
        /// The epoch in which that was found out.
        epoch: LeaderEpoch,
        /// Where.
        cut: Cut,
        /// When.
        now: Now,
    },
    /// Look whether what a follower could not take is damaged here.
    Verify {
        /// The partition.
        replica: Arc<Replica>,
        /// From where on.
        from: EndOffset,
        /// How many bytes a follower gets.
        bytes_max: u64,
    },
    /// Remove the directory of a deleted partition.
    Remove(RemoveDirJob),
    /// Spare the next start a scan of a partition.
    Checkpoint {
        /// The partition.
        replica: Arc<Replica>,
        /// What to write.
        checkpoint: seglog::CheckpointJob,
    },
    /// Compact a partition, if enough of it is new.
    Compact {
        /// The partition.
        replica: Arc<Replica>,
        /// When that was asked for.
        now: Now,
    },
    /// Put the files of a compaction in place.
    Swap {
        /// The partition.
        replica: Arc<Replica>,
        /// What to put in place.
        swap: seglog::SwapJob,
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
        again: Option<Box<Persist>>,
    },
    /// Of [`Job::SnapshotMetadata`].
    Snapshotted {
        /// Where the log may begin from now on.
        outcome: Result<Box<SnapshotPoint>, StoreError>,
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
        outcomes: Vec<Trimmed>,
    },
    /// Of [`Job::Warm`].
    Warmed {
        /// Whose records.
        reader: u64,
        /// For which answer.
        number: u64,
    },
    /// Of [`Job::Search`].
    Searched {
        /// The request.
        asked: Asked,
        /// Its reply.
        reply: Result<Reply, String>,
    },
    /// Of [`Job::Retire`].
    Deleted {
        /// The partition.
        replica: Arc<Replica>,
        /// Whether they are gone.
        outcome: Result<(), DiskError>,
    },
    /// Of [`Job::Cut`].
    Cut {
        /// The partition.
        replica: Arc<Replica>,
        /// Whether its log can be used.
        outcome: Result<(), seglog::OpenLogError>,
    },
    /// Of [`Job::Verify`].
    Verified {
        /// The partition.
        replica: Arc<Replica>,
        /// The batch is not what it was.
        is_damaged: bool,
    },
    /// Of [`Job::Remove`].
    Removed(Result<(), DiskError>),
    /// Of [`Job::Checkpoint`].
    Checkpointed {
        /// The partition.
        replica: Arc<Replica>,
        /// What was written.
        outcome: Result<seglog::CheckpointDone, DiskError>,
    },
    /// Of [`Job::Compact`].
    Compacted {
        /// The partition.
        replica: Arc<Replica>,
        /// What was made; `None` if too little is new.
        outcome: Result<Option<seglog::Compacted>, seglog::CompactError>,
    },
    /// Of [`Job::Swap`].
    Swapped {
        /// The partition.
        replica: Arc<Replica>,
        /// Whether the files are in place.
        outcome: Result<(), DiskError>,
    },
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
                JobDone::RaftPersisted { number, outcome, again: full.then(|| Box::new(persist)) }
            }
            Self::SnapshotMetadata { store, image, point } => {
                JobDone::Snapshotted { outcome: store.snapshot(&image, point).map(Box::new) }
            }
            Self::LoadShard(load) => {
                JobDone::ShardLoaded { shard: load.shard, number: load.number, outcome: load.run() }
            }
            Self::Trim(Trim { asked, trims }) => {
                let trim = |trim: &TrimPart| {
                    let (replica, to) = trim.as_ref().map_err(|code| *code)?;
                    replica.trim(*to).map_err(ErrorCode::from)
                };
                let outcomes =
                    trims.iter().map(|part| Ok((part.as_ref().map_err(|c| *c)?.0.clone(), trim(part)?)));
                JobDone::Trimmed { asked, outcomes: outcomes.collect() }
            }
            Self::Warm(warm) => warm.run(),
            Self::Search(search) => {
                let (asked, reply) = search.run();
                JobDone::Searched { asked, reply: reply.map_err(|malformed| format!("{malformed:?}")) }
            }
            Self::Retire { replica, segments } => {
                let start = segments.start();
                let outcome = segments.run().and_then(|files| files.run());
                if outcome.is_ok() {
                    replica.begins_durably(start);
                }
                JobDone::Deleted { replica, outcome }
            }
            Self::Cut { replica, epoch, cut, now } => {
                let outcome = replica.cut(epoch, cut, now);
                JobDone::Cut { replica, outcome }
            }
            Self::Verify { replica, from, bytes_max } => {
                let is_damaged = replica.is_damaged_from(from, bytes_max);
                JobDone::Verified { replica, is_damaged }
            }
            Self::Remove(remove) => JobDone::Removed(remove.run()),
            Self::Checkpoint { replica, checkpoint } => {
                JobDone::Checkpointed { replica, outcome: checkpoint.run() }
            }
            Self::Compact { replica, now } => {
                let outcome = replica.compact(now);
                JobDone::Compacted { replica, outcome }
            }
            Self::Swap { replica, swap } => JobDone::Swapped { replica, outcome: swap.run() },
        }
    }
}

/// Does what follows the end of a job that any owner may have started.
pub(crate) fn finish(shared: &Shared, now: Now, done: JobDone, fx: &mut Effects) {
    match done {
        JobDone::Flushed(done) => shared.flusher.finish(done, fx),
        JobDone::Searched { asked, reply } => answer(&asked, reply, fx),
        JobDone::Deleted { replica, outcome: Ok(()) } => {
            // Its leader is to hear of it.
            if replica.followed().is_some() {
                fx.tell(Owner::Replication, Mail::Replicas(vec![replica]));
            }
        }
        JobDone::Verified { replica, is_damaged: true } => fx.tell(Owner::Metadata, Mail::Damaged(replica)),
        JobDone::Removed(Ok(())) | JobDone::Verified { is_damaged: false, .. } => {}
        JobDone::Deleted { outcome: Err(error), .. } | JobDone::Removed(Err(error)) => {
            fx.log(Level::Error, format!("files could not be deleted: {error}"));
        }
        JobDone::Checkpointed { replica, outcome } => {
            shared.upkeep.checkpointed(&replica, outcome, &shared.flusher, now, fx);
        }
        JobDone::Compacted { replica, outcome } => shared.upkeep.compacted(&replica, outcome, now, fx),
        JobDone::Swapped { replica, outcome } => shared.upkeep.swapped(&replica, &outcome, now, fx),
        JobDone::Warmed { .. }
        | JobDone::Trimmed { .. }
        | JobDone::Cut { .. }
        | JobDone::RaftPersisted { .. }
        | JobDone::Snapshotted { .. }
        | JobDone::ShardLoaded { .. } => {
            fx.fatal = Some("a job ended at another owner than began it".into());
        }
    }
    if !planted!(B1) {
        shared.end_if_fenced(fx);
    }
}

/// Sends a response, or closes the connection of what could not be answered.
fn answer(asked: &Asked, reply: Result<Reply, String>, fx: &mut Effects) {
    let token = asked.token;
    let mail = match reply {
        Ok(reply) => Mail::Reply { token, reply },
        Err(reason) => Mail::Refused { token, reason },
    };
    fx.tell(Owner::Reactor(token.reactor), mail);
}
