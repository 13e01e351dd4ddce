//! Which partition of an internal topic owns a key.

use base::PartitionIndex;

/// The partition, of `partitions` (at least one), that coordinates the group or transaction named `key`.
///
/// It is Kafka's `abs(key.hashCode()) % partitions` over UTF-16 units, so that a directory written by either
/// broker finds its groups again. `Integer.MIN_VALUE`, which has no absolute value, counts as zero.
#[must_use]
pub fn shard_of(key: &str, partitions: u32) -> PartitionIndex {
    let hash =
        key.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let positive = hash.checked_abs().unwrap_or(0).unsigned_abs();
    let partitions = partitions.clamp(1, i32::MAX.unsigned_abs());
    // A remainder of two numbers within `i32` is within `i32`.
    PartitionIndex(i32::try_from(positive % partitions).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_java() {
        // Values of "…".hashCode(), among them one that is Integer.MIN_VALUE and one outside the BMP.
        for (key, partitions, expected) in [
            ("", 50, 0),
            ("a", 50, 97 % 50),
            ("group", 50, 98_629_247 % 50),
            ("polygenelubricants", 50, 0),
            ("😀", 50, (0xd83d * 31 + 0xde00) % 50),
            ("console-consumer-1", 1, 0),
        ] {
            assert_eq!(shard_of(key, partitions), PartitionIndex(expected), "{key}");
        }
    }

    #[test]
    fn a_topic_without_partitions_has_one() {
        assert_eq!(shard_of("a", 0), PartitionIndex(0));
    }
}
