//! Which partition a record goes to when its sender does not say.

use base::Rng;

/// What a partitioner may look at.
#[derive(Clone, Copy, Debug)]
pub struct PartitionChoice<'a> {
    /// The record's topic.
    pub topic: &'a str,
    /// The record's key.
    pub key: Option<&'a [u8]>,
    /// The record's value.
    pub value: Option<&'a [u8]>,
    /// Bytes that the record adds to a batch, about.
    pub bytes: usize,
    /// How many partitions the topic has; never zero.
    pub partitions: i32,
    /// The partitions that have a leader, ascending; empty if none has.
    pub available: &'a [i32],
}

/// Chooses partitions. One producer owns one partitioner.
///
/// ```
/// use ottla_client::core::partitioner::{PartitionChoice, Partitioner};
///
/// /// Everything of one tenant, whose name begins the value, into one partition.
/// struct ByTenant;
///
/// impl Partitioner for ByTenant {
///     fn partition(&mut self, choice: &PartitionChoice<'_>) -> i32 {
///         let tenant = choice.value.and_then(|v| v.first()).copied().unwrap_or_default();
///         i32::from(tenant) % choice.partitions
///     }
/// }
/// ```
pub trait Partitioner: Send {
    /// The partition for a record: at least zero and below `choice.partitions`, or the record is refused.
    fn partition(&mut self, choice: &PartitionChoice<'_>) -> i32;
}

/// Kafka's default: keys by murmur2; records without a key stay with one partition for a batch's worth of
/// bytes and then move to another at random (KIP-794).
#[derive(Debug)]
pub struct DefaultPartitioner {
    rng: Rng,
    sticky_bytes: usize,
    sticky: Vec<Sticky>,
}

#[derive(Debug)]
struct Sticky {
    topic: String,
    partition: i32,
    bytes: usize,
}

/// Topics whose present partition is remembered; the one that was used least recently goes first.
const STICKY_TOPICS_MAX: usize = 1_000;

impl DefaultPartitioner {
    /// A partitioner that moves on after `sticky_bytes`, which should be the batch size.
    #[must_use]
    pub const fn new(sticky_bytes: usize, rng: Rng) -> Self {
        Self { rng, sticky_bytes, sticky: Vec::new() }
    }

    fn keyless(&mut self, choice: &PartitionChoice<'_>) -> i32 {
        let found = self.sticky.iter().rposition(|sticky| sticky.topic == choice.topic);
        let old = found.map(|place| self.sticky.remove(place));
        let kept = old.filter(|s| s.bytes < self.sticky_bytes && choice.is_usable(s.partition));
        let mut sticky = kept.unwrap_or_else(|| Sticky {
            topic: choice.topic.to_owned(),
            partition: self.random(choice),
            bytes: 0,
        });
        sticky.bytes += choice.bytes;
        let partition = sticky.partition;
        if self.sticky.len() == STICKY_TOPICS_MAX {
            self.sticky.remove(0);
        }
        self.sticky.push(sticky);
        partition
    }

    fn random(&mut self, choice: &PartitionChoice<'_>) -> i32 {
        if choice.available.is_empty() {
            let bound = u64::from(choice.partitions.unsigned_abs());
            return i32::try_from(self.rng.below(bound)).unwrap_or(0);
        }
        choice.available[self.rng.index(choice.available.len())]
    }
}

impl PartitionChoice<'_> {
    fn is_usable(&self, partition: i32) -> bool {
        self.available.binary_search(&partition).is_ok()
            || (self.available.is_empty() && partition < self.partitions)
    }
}

impl Partitioner for DefaultPartitioner {
    fn partition(&mut self, choice: &PartitionChoice<'_>) -> i32 {
        match choice.key {
            Some(key) => (murmur2(key) & 0x7fff_ffff).cast_signed() % choice.partitions,
            None => self.keyless(choice),
        }
    }
}

/// The 32-bit MurmurHash2 with the seed that Kafka's clients use, so that all of them agree on a key's
/// partition.
#[must_use]
pub fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut hash = SEED ^ u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (k, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * k);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of Kafka's own unit tests, as signed numbers.
    #[test]
    fn murmur2_gives_what_kafka_gives() {
        let known: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key).cast_signed(), hash, "{key:?}");
        }
    }

    fn choice<'a>(key: Option<&'a [u8]>, available: &'a [i32]) -> PartitionChoice<'a> {
        PartitionChoice { topic: "t", key, value: None, bytes: 100, partitions: 4, available }
    }

    #[test]
    fn records_without_key_stay_for_a_batch_and_then_spread() {
        let mut partitioner = DefaultPartitioner::new(1_000, Rng::new(3));
        let mut seen = [0; 4];
        let mut runs = 1;
        let mut last = None;
        for _ in 0..4_000 {
            let partition = partitioner.partition(&choice(None, &[0, 1, 2, 3]));
            seen[usize::try_from(partition).unwrap()] += 1;
            runs += i32::from(last.is_some_and(|last| last != partition));
            last = Some(partition);
        }
        assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
        assert!((200..=400).contains(&runs), "{runs} runs of ten records");
    }

    #[test]
    fn records_without_key_avoid_partitions_without_leader_but_keys_do_not() {
        let mut partitioner = DefaultPartitioner::new(1, Rng::new(3));
        for _ in 0..100 {
            assert_eq!(partitioner.partition(&choice(None, &[2])), 2);
        }
        let expected = (murmur2(b"abc") & 0x7fff_ffff) % 4;
        assert_eq!(partitioner.partition(&choice(Some(b"abc"), &[2])).unsigned_abs(), expected);
        assert_ne!(expected, 2);
    }
}
