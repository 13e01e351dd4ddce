//! The one payload that the coordinator reads: which topics a `consumer` member subscribes to.
//!
//! It is needed for two questions only: may a committed offset expire, and may an operator delete it. A
//! payload that cannot be read is no error; the group then counts as reading every topic.

use super::ids::TopicName;
use alloc::collections::BTreeSet;
use bytes::{Buf, Bytes};

/// The topics of all subscriptions, or none if one of them cannot be read.
pub(super) fn subscribed_topics(subscriptions: impl Iterator<Item = Bytes>) -> Option<BTreeSet<TopicName>> {
    let mut topics = BTreeSet::new();
    for subscription in subscriptions {
        read_topics(subscription, &mut topics)?;
    }
    Some(topics)
}

/// `ConsumerProtocolSubscription` begins in every version with: version, topics, user data. What follows is
/// for the assignor.
fn read_topics(mut bytes: Bytes, topics: &mut BTreeSet<TopicName>) -> Option<()> {
    let version = bytes.try_get_i16().ok()?;
    if version < 0 {
        return None;
    }
    // Each topic takes two bytes at least, so the loop is bounded by the bytes that are there.
    let count = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
    for _ in 0..count {
        let name = take(&mut bytes)?;
        topics.insert(TopicName::from(core::str::from_utf8(&name).ok()?));
    }
    let user_data = bytes.try_get_i32().ok()?;
    let is_complete = usize::try_from(user_data).map_or(user_data == -1, |length| length <= bytes.len());
    is_complete.then_some(())
}

fn take(bytes: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn subscription(topics: &[&str]) -> Vec<u8> {
        let mut bytes = alloc::vec![0, 1, 0, 0, 0, u8::try_from(topics.len()).unwrap()];
        for topic in topics {
            bytes.extend([0, u8::try_from(topic.len()).unwrap()]);
            bytes.extend(topic.as_bytes());
        }
        bytes.extend([0xff; 4]);
        bytes
    }

    #[test]
    fn reads_the_topics_of_every_member() {
        let all = [subscription(&["b", "a"]), subscription(&["a", "c"]), subscription(&[])];
        let topics = subscribed_topics(all.into_iter().map(Bytes::from)).unwrap();
        assert_eq!(topics.iter().map(TopicName::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn a_payload_cut_anywhere_is_unreadable() {
        let whole = subscription(&["orders", "payments"]);
        for cut in 0..whole.len() {
            let bytes = Bytes::copy_from_slice(&whole[..cut]);
            assert_eq!(subscribed_topics(core::iter::once(bytes)), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_hostile_count_costs_nothing() {
        let bytes = Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0]);
        assert_eq!(subscribed_topics(core::iter::once(bytes)), None);
    }
}
