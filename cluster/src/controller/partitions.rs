//! What a broker's coming and going does to its partitions.

use super::Defaults;
use crate::image::{Image, Topic};
use crate::partition::PartitionState;
use crate::record::Record;
use alloc::vec::Vec;
use base::{BrokerId, PartitionIndex};

/// A broker may not lead any more: it is fenced, or started anew. Each of its partitions gets another leader, or none.
/// Even where it will lead again nothing may be written under the old epoch: what was at the end of its log may be gone,
/// and two records must not share an offset and an epoch.
pub(super) fn leave(image: &Image, soft: &Defaults, broker: BrokerId, records: &mut Vec<Record>) {
    let is_alive = |id: BrokerId| id != broker && is_alive(image, id);
    change(image, soft, records, |state, min_isr| {
        let concerned = state.leader == Some(broker) || state.isr.contains(&broker);
        concerned.then(|| state.leave(broker, min_isr, is_alive))
    });
}

/// A broker may lead again: partitions that nobody leads may have a leader.
pub(super) fn revive(image: &Image, soft: &Defaults, broker: BrokerId, records: &mut Vec<Record>) {
    let is_alive = |id: BrokerId| id == broker || is_alive(image, id);
    change(image, soft, records, |state, min_isr| {
        (state.leader.is_none() && state.is_on(broker)).then(|| state.revive(min_isr, is_alive))
    });
}

fn is_alive(image: &Image, id: BrokerId) -> bool {
    image.broker(id).is_some_and(|broker| !broker.fenced)
}

/// Records of all partitions that become something else.
fn change(
    image: &Image,
    soft: &Defaults,
    records: &mut Vec<Record>,
    next: impl Fn(&PartitionState, usize) -> Option<PartitionState>,
) {
    for topic in image.topics() {
        let mut min_isr = None;
        for (index, state) in (0..).map(PartitionIndex).zip(&topic.partitions) {
            let min_isr = *min_isr.get_or_insert_with(|| min_isr_of(image, soft, topic));
            let next = next(state, min_isr).filter(|next| next != state);
            records.extend(next.map(|state| Record::Partition { topic: topic.id, index, state }));
        }
    }
}

fn min_isr_of(image: &Image, soft: &Defaults, topic: &Topic) -> usize {
    // No broker's own settings: what a topic asks for is the same everywhere.
    image.topic_config(&topic.name, BrokerId(-1), &soft.fixed).min_insync_replicas as usize
}
