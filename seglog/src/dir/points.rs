//! Flush points: from where to where each log is known to be on the device.
//!
//! One file, appended by every few flush rounds, and by the last before it gets quiet: the points that the rounds
//! *before* reached, made durable together with what this round flushes. A point on the device therefore never claims what is not there. The
//! file's torn end is dropped on load: an older, lower point only means more to scan.

use crate::disk::{Disk, DiskError, DiskErrorKind, DiskFile, OpenMode};
use crate::durable::write_small;
use crate::names::FLUSH_POINTS;
use base::{EndOffset, PartitionIndex, TopicId, Uuid};
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;
use wire::record::crc32c;

const MAGIC: [u8; 4] = *b"OTFP";
const VERSION: u32 = 1;
/// Length and checksum of a block.
const BLOCK_HEAD_BYTES: usize = 8;
const ENTRY_BYTES: usize = 53;
/// Room kept ahead in the file, so that starts can be moved, and segments deleted, on a full disk.
const ROOM_BYTES: u64 = 64 << 10;
/// Flush rounds from one record to the next while there is something to flush. A record costs a flush of its own,
/// which a lone producer would wait for each time (measured: 284 µs a round with it, 167 µs without); without it
/// a crash means a few rounds more to check.
pub(crate) const RECORD_ROUNDS: u32 = 8;
/// The file is written anew when it is beyond this and mostly history.
const REWRITE_BYTES: u64 = 1 << 20;

/// A partition by identity: a topic that is created again under its old name has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionKey {
    /// The topic.
    pub topic: TopicId,
    /// The partition's number.
    pub partition: PartitionIndex,
}

/// How much of one segment's index files is complete and durable: entries after these may be missing, or of
/// batches that are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indexed {
    /// The segment's base offset.
    pub base: i64,
    /// Entries of the offset index.
    pub offsets: u32,
    /// Entries of the time index.
    pub times: u32,
}

/// How far a log is on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushPoint {
    /// Everything from `start` to before this offset is durable.
    pub end: EndOffset,
    /// The log's first offset that counts; what is before it is deleted, even if it is still there.
    pub start: EndOffset,
    /// What of the active segment's index is durable.
    pub indexed: Indexed,
    /// No producer was known there, so that a scan for producers need not begin earlier.
    pub no_producers: bool,
}

/// All flush points of a directory.
#[derive(Debug)]
pub(crate) struct FlushPoints {
    file: Arc<dyn DiskFile>,
    /// Where the next block goes.
    length: u64,
    /// Where the zeros behind it end.
    allocated: u64,
    /// What the file says.
    recorded: BTreeMap<PartitionKey, FlushPoint>,
    /// What the last round reached and the file does not say yet.
    unrecorded: BTreeMap<PartitionKey, FlushPoint>,
    /// Rounds since the file was last appended.
    rounds: u32,
    /// Counts the lowerings of each partition's point; a round that began before one must not raise it again.
    lowered: BTreeMap<PartitionKey, u64>,
}

impl FlushPoints {
    /// Reads the file, or makes one.
    pub(crate) fn open(disk: &dyn Disk) -> Result<Self, DiskError> {
        let file = match disk.open(FLUSH_POINTS, OpenMode::Write) {
            Err(error) if error.kind == DiskErrorKind::NotFound => {
                write_small(disk, FLUSH_POINTS, &file_head())?;
                disk.open(FLUSH_POINTS, OpenMode::Write)?
            }
            other => other?,
        };
        let Loaded { recorded, length, allocated } = load(&*file)?;
        let (unrecorded, lowered) = (BTreeMap::new(), BTreeMap::new());
        let mut points = Self { file, length, allocated, recorded, unrecorded, rounds: 0, lowered };
        if points.length == 0 {
            // Not even the head is whole: nothing in the file can be believed.
            points.rewrite(disk)?;
        }
        Ok(points)
    }

    /// What is durably known of a partition.
    pub(crate) fn get(&self, key: PartitionKey) -> Option<FlushPoint> {
        self.recorded.get(&key).copied()
    }

    /// How often a partition's point has been lowered.
    pub(crate) fn generation(&self, key: PartitionKey) -> u64 {
        self.lowered.get(&key).copied().unwrap_or(0)
    }

    /// True if a round would have something to record although nothing is dirty.
    pub(crate) fn has_unrecorded(&self) -> bool {
        !self.unrecorded.is_empty()
    }

    /// Appends what earlier rounds reached; the caller flushes the returned file. `None` if there is nothing,
    /// if it can wait (`now` is false) and has not waited long, or if there is no room to record it.
    pub(crate) fn record(
        &mut self,
        disk: &dyn Disk,
        now: bool,
    ) -> Result<Option<Arc<dyn DiskFile>>, DiskError> {
        self.rounds += 1;
        if self.unrecorded.is_empty() || !(now || self.rounds >= RECORD_ROUNDS) {
            return Ok(None);
        }
        self.rounds = 0;
        let entries: Vec<_> = self.unrecorded.iter().map(|(key, point)| (*key, *point)).collect();
        match self.append(&entries).and_then(|()| self.rewrite_if_large(disk)) {
            Err(error) if error.kind == DiskErrorKind::NoSpace => return Ok(None),
            other => other?,
        }
        self.unrecorded.clear();
        Ok(Some(Arc::clone(&self.file)))
    }

    /// Notes what a round has flushed, unless the point was lowered after the round's job was made.
    pub(crate) fn reached(&mut self, key: PartitionKey, mut point: FlushPoint, generation: u64) {
        if self.generation(key) != generation {
            return;
        }
        let recorded = self.get(key);
        point.start = point.start.max(recorded.unwrap_or_default().start);
        if recorded != Some(point) {
            self.unrecorded.insert(key, point);
        }
    }

    /// Durably lowers a partition's point before its log is cut (rule B8). Waits for the device.
    pub(crate) fn lower(&mut self, key: PartitionKey, point: FlushPoint) -> Result<u64, DiskError> {
        let generation = self.generation(key) + 1;
        self.lowered.insert(key, generation);
        self.set(key, point)?;
        Ok(generation)
    }

    /// Durably moves a log's start before the data in front of it is deleted (rule B15). Waits for the device.
    pub(crate) fn set_start(&mut self, key: PartitionKey, start: EndOffset) -> Result<(), DiskError> {
        let point = self.get(key).unwrap_or_default();
        if point.start < start { self.set(key, FlushPoint { start, ..point }) } else { Ok(()) }
    }

    /// Records at once that everything from `start` to `end` is durable. Waits for the device.
    pub(crate) fn raise(
        &mut self,
        key: PartitionKey,
        start: EndOffset,
        end: EndOffset,
    ) -> Result<(), DiskError> {
        let point = self.get(key).unwrap_or_default();
        if point.end >= end {
            return Ok(());
        }
        self.set(key, FlushPoint { end, start: point.start.max(start), no_producers: false, ..point })
    }

    /// Sets a point outside of a round. Waits for the device.
    pub(crate) fn set(&mut self, key: PartitionKey, point: FlushPoint) -> Result<(), DiskError> {
        self.unrecorded.remove(&key);
        self.append(&[(key, point)])?;
        self.file.sync_data()
    }

    /// Forgets a partition that is deleted; the file forgets it when it is next written anew.
    pub(crate) fn forget(&mut self, key: PartitionKey) {
        self.unrecorded.remove(&key);
        self.recorded.remove(&key);
        *self.lowered.entry(key).or_default() += 1;
    }

    fn append(&mut self, entries: &[(PartitionKey, FlushPoint)]) -> Result<(), DiskError> {
        let block = encode_block(entries);
        self.keep_room(block.len() as u64)?;
        self.file.write_at(&mut [IoSlice::new(&block)], self.length)?;
        self.length += block.len() as u64;
        self.recorded.extend(entries.iter().copied());
        Ok(())
    }

    /// Writes zeros ahead of the blocks. A full disk is an error only if this block has no room either.
    fn keep_room(&mut self, needed: u64) -> Result<(), DiskError> {
        let room = self.allocated.saturating_sub(self.length);
        if room >= needed + ROOM_BYTES / 2 {
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(needed + ROOM_BYTES - room).unwrap_or(0)];
        match self.file.write_at(&mut [IoSlice::new(&zeros)], self.allocated) {
            Ok(()) => self.allocated += zeros.len() as u64,
            Err(error) if error.kind == DiskErrorKind::NoSpace && room >= needed => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn rewrite_if_large(&mut self, disk: &dyn Disk) -> Result<(), DiskError> {
        let live = self.recorded.len() * ENTRY_BYTES;
        if self.length > REWRITE_BYTES.max(4 * live as u64) { self.rewrite(disk) } else { Ok(()) }
    }

    fn rewrite(&mut self, disk: &dyn Disk) -> Result<(), DiskError> {
        let entries: Vec<_> = self.recorded.iter().map(|(key, point)| (*key, *point)).collect();
        let mut content = file_head().to_vec();
        for entries in entries.chunks(10_000) {
            content.extend_from_slice(&encode_block(entries));
        }
        write_small(disk, FLUSH_POINTS, &content)?;
        self.file = disk.open(FLUSH_POINTS, OpenMode::Write)?;
        self.length = content.len() as u64;
        self.allocated = self.length;
        Ok(())
    }
}

fn file_head() -> [u8; 8] {
    let mut head = [0; 8];
    head[..4].copy_from_slice(&MAGIC);
    head[4..].copy_from_slice(&VERSION.to_be_bytes());
    head
}

fn encode_block(entries: &[(PartitionKey, FlushPoint)]) -> Vec<u8> {
    let mut body = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for (key, point) in entries {
        body.extend_from_slice(&key.topic.0.0);
        body.extend_from_slice(&key.partition.0.to_be_bytes());
        body.extend_from_slice(&point.end.0.to_be_bytes());
        body.extend_from_slice(&point.start.0.to_be_bytes());
        body.extend_from_slice(&point.indexed.base.to_be_bytes());
        body.extend_from_slice(&point.indexed.offsets.to_be_bytes());
        body.extend_from_slice(&point.indexed.times.to_be_bytes());
        body.push(u8::from(point.no_producers));
    }
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut block = Vec::with_capacity(BLOCK_HEAD_BYTES + body.len());
    block.extend_from_slice(&length.to_be_bytes());
    block.extend_from_slice(&crc32c(&body).to_be_bytes());
    block.extend_from_slice(&body);
    block
}

struct Loaded {
    recorded: BTreeMap<PartitionKey, FlushPoint>,
    length: u64,
    allocated: u64,
}

/// All points up to the first block that is not whole, and where that is. If anything but room follows, it is
/// cut off, so that no stale block can come to stand right behind a new one.
fn load(file: &dyn DiskFile) -> Result<Loaded, DiskError> {
    let mut content = vec![0; usize::try_from(file.length()?).unwrap_or(0)];
    let read = file.read_at(&mut content, 0)?;
    content.truncate(read);
    let mut recorded = BTreeMap::new();
    let Some(mut rest) = content.strip_prefix(&file_head()[..]) else {
        return Ok(Loaded { recorded, length: 0, allocated: 0 });
    };
    while let Some((block, tail)) = decode_block(rest) {
        recorded.extend(block);
        rest = tail;
    }
    let length = (content.len() - rest.len()) as u64;
    let mut allocated = content.len() as u64;
    if rest.iter().any(|byte| *byte != 0) {
        file.truncate(length)?;
        file.sync_data()?;
        allocated = length;
    }
    Ok(Loaded { recorded, length, allocated })
}

type Block<'a> = (Vec<(PartitionKey, FlushPoint)>, &'a [u8]);

fn decode_block(bytes: &[u8]) -> Option<Block<'_>> {
    let (head, rest) = bytes.split_at_checked(BLOCK_HEAD_BYTES)?;
    let length = usize::try_from(u32::from_be_bytes(head[..4].try_into().ok()?)).ok()?;
    let stored = u32::from_be_bytes(head[4..].try_into().ok()?);
    let (body, tail) = rest.split_at_checked(length)?;
    // An empty block is what a hole of zeros looks like.
    if length == 0 || length % ENTRY_BYTES != 0 || stored != crc32c(body) {
        return None;
    }
    let entries = body.chunks_exact(ENTRY_BYTES).map(decode_entry).collect::<Option<_>>()?;
    Some((entries, tail))
}

fn decode_entry(entry: &[u8]) -> Option<(PartitionKey, FlushPoint)> {
    let (topic, rest) = entry.split_first_chunk::<16>()?;
    let (partition, rest) = rest.split_first_chunk::<4>()?;
    let (end, rest) = rest.split_first_chunk::<8>()?;
    let (start, rest) = rest.split_first_chunk::<8>()?;
    let (base, rest) = rest.split_first_chunk::<8>()?;
    let (offsets, rest) = rest.split_first_chunk::<4>()?;
    let (times, rest) = rest.split_first_chunk::<4>()?;
    let (offsets, times) = (u32::from_be_bytes(*offsets), u32::from_be_bytes(*times));
    let key = PartitionKey {
        topic: TopicId(Uuid(*topic)),
        partition: PartitionIndex(i32::from_be_bytes(*partition)),
    };
    let point = FlushPoint {
        end: EndOffset(i64::from_be_bytes(*end)),
        start: EndOffset(i64::from_be_bytes(*start)),
        indexed: Indexed { base: i64::from_be_bytes(*base), offsets, times },
        no_producers: rest.first()? & 1 == 1,
    };
    Some((key, point))
}
