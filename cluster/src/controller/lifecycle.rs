//! Which brokers are alive, and what follows for their partitions.
//!
//! A broker registers fenced and asks to be unfenced once it has replayed the metadata up to its own registration
//! (KAFKA-13959): on a busy log a moving target would never be reached. Then it has to be heard of within
//! `broker.session.timeout.ms`. When a controller takes over, everybody gets a whole session anew.

use super::partitions::{self, Kept};
use super::{Defaults, Outcome, Refusal, Reply};
use crate::image::Image;
use crate::record::{Record, Registration};
use alloc::format;
use alloc::vec::Vec;
use base::{BrokerId, Instant, Now, planted};
use wire::ErrorCode;

/// A broker's sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Whose.
    pub broker: BrokerId,
    /// Its registration.
    pub epoch: i64,
    /// The index up to which it has replayed the metadata.
    pub replayed: u64,
    /// It wants to lead nothing, for instance because its disks are not ready.
    pub wants_fence: bool,
}

/// What a broker is told in return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alive {
    /// It knows its own registration.
    pub is_caught_up: bool,
    /// It may not lead.
    pub is_fenced: bool,
}

/// A broker starts. One that lives is not pushed aside by another that was given its id (E7).
pub(super) fn register(
    image: &Image,
    soft: &mut Defaults,
    registration: Registration,
    closed_in: i64,
    records: &mut Vec<Record>,
) -> Reply {
    let id = registration.id;
    if let Some(other) = image.broker(id)
        && !other.fenced
        && other.directories != registration.directories
    {
        return Reply::Done(Err(Refusal::new(
            ErrorCode::DuplicateBrokerRegistration,
            format!(
                "Another broker is registered with the id {id} and lives: give each node its own node.id."
            ),
        )));
    }
    let epoch = registration.epoch;
    soft.sessions.remove(&id);
    soft.serves_since.remove(&id);
    let kept = kept(image, &registration, closed_in);
    records.push(Record::RegisterBroker(registration));
    partitions::come_back(image, soft, id, kept, records);
    Reply::Registered { epoch }
}

/// What a broker that starts anew still has. One that comes without a directory of its earlier life has lost what was there
/// (E7).
fn kept(image: &Image, now: &Registration, closed_in: i64) -> Kept {
    match image.broker(now.id) {
        Some(earlier)
            if !planted!(E7) && earlier.directories.iter().any(|dir| !now.directories.contains(dir)) =>
        {
            Kept::Nothing
        }
        Some(earlier) if earlier.epoch == closed_in || planted!(A12) => Kept::All,
        Some(_) | None => Kept::Flushed,
    }
}

/// Fences a broker whose process is known to be gone.
pub(super) fn fence(image: &Image, soft: &mut Defaults, id: BrokerId, records: &mut Vec<Record>) -> Reply {
    if let Some(broker) = image.broker(id).filter(|broker| !broker.fenced) {
        soft.sessions.remove(&id);
        soft.serves_since.remove(&id);
        records.push(Record::BrokerFence { id, epoch: broker.epoch, fenced: true });
        partitions::leave(image, soft, id, records);
    }
    Reply::Done(Ok(()))
}

pub(super) fn heartbeat(
    image: &Image,
    soft: &mut Defaults,
    now: Now,
    beat: Heartbeat,
    records: &mut Vec<Record>,
) -> Reply {
    let broker = match known(image, beat.broker, beat.epoch) {
        Ok(broker) => broker,
        Err(refusal) => return Reply::Done(Err(refusal)),
    };
    soft.sessions.insert(beat.broker, now.mono);
    let is_caught_up =
        i64::try_from(beat.replayed).is_ok_and(|replayed| replayed >= broker.epoch) || planted!(E8);
    let is_fenced = beat.wants_fence || (broker.fenced && !is_caught_up);
    if is_fenced {
        soft.serves_since.remove(&beat.broker);
    } else {
        soft.serves_since.entry(beat.broker).or_insert(now.mono);
    }
    if is_fenced != broker.fenced {
        records.push(Record::BrokerFence { id: beat.broker, epoch: beat.epoch, fenced: is_fenced });
        if is_fenced {
            partitions::leave(image, soft, beat.broker, records);
        } else {
            partitions::revive(image, soft, beat.broker, records);
        }
    }
    Reply::Alive(Alive { is_caught_up, is_fenced })
}

/// Fences one broker that was not heard of for too long; whoever asks asks again until nobody is left, since a decision
/// sees only what earlier ones have done. Says when the next session may end.
pub(super) fn expire(
    image: &Image,
    soft: &mut Defaults,
    now: Now,
    records: &mut Vec<Record>,
) -> (Reply, Option<Instant>) {
    let timeout = soft.session_timeout;
    soft.sessions.retain(|id, _| image.broker(*id).is_some());
    soft.serves_since.retain(|id, _| image.broker(*id).is_some());
    let mut next: Option<Instant> = None;
    let mut silent = None;
    for broker in image.brokers().filter(|broker| !broker.fenced) {
        // Who has not been heard of by this controller has a session from now on.
        let end = *soft.sessions.entry(broker.id).or_insert(now.mono) + timeout;
        if end <= now.mono {
            silent = silent.or(Some(broker));
        } else {
            next = Some(next.map_or(end, |earlier| earlier.min(end)));
        }
    }
    let Some(broker) = silent else { return (Reply::Expired(None), next) };
    soft.sessions.remove(&broker.id);
    soft.serves_since.remove(&broker.id);
    records.push(Record::BrokerFence { id: broker.id, epoch: broker.epoch, fenced: true });
    partitions::leave(image, soft, broker.id, records);
    (Reply::Expired(Some(broker.id)), next)
}

/// The registration that a request is about. One of an earlier life means nothing any more (E9).
pub(super) fn known(image: &Image, id: BrokerId, epoch: i64) -> Outcome<&Registration> {
    image
        .broker(id)
        .map(|broker| &**broker)
        .filter(|broker| broker.epoch == epoch || planted!(E9))
        .ok_or_else(|| {
            Refusal::new(
                ErrorCode::StaleBrokerEpoch,
                format!("Broker {id} has no registration with epoch {epoch}: it must register again."),
            )
        })
}
