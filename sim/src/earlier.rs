//! Files that an earlier build of this program has written, and what it had promised by then: in some seeds nodes begin with
//! them, as after an upgrade.
//!
//! An archive holds the disks of all nodes of one run, half of them closed properly and half as a power cut leaves them, and
//! what clients knew. `ottla-sim --keep FILE --seed S --nodes N` makes one; they are made anew when a format changes, never
//! before: what is there must be readable for ever (docs/recipes/reproduce-a-seed.md).

use crate::history::{Fate, History};
use base::{Timestamp, Uuid};
use codec::Codec;
use seglog::disk::{Disk, DiskError, MemDisk, OpenMode};
use std::fmt::Write as _;
use std::io::IoSlice;

/// The archives that there are, by the number of their nodes.
const ARCHIVES: [(usize, &[u8]); 2] =
    [(1, include_bytes!("../earlier/one-node")), (3, include_bytes!("../earlier/three-nodes"))];
/// Far more than an archive holds.
const BYTES_MAX: u64 = 64 << 20;
/// The entry that says what clients knew.
const KNOWN: &str = "known";

/// What nodes begin with.
#[derive(Debug)]
pub(crate) struct Earlier {
    /// One for each node.
    pub(crate) disks: Vec<MemDisk>,
    /// What clients knew, a fact per line.
    known: String,
}

impl Earlier {
    /// What was written by so many nodes, at that time.
    pub(crate) fn of(nodes: usize, written: Timestamp) -> Result<Option<Self>, String> {
        let archive = ARCHIVES.iter().find(|(count, _)| *count == nodes);
        archive.map(|(_, packed)| Self::unpack(nodes, packed, written)).transpose()
    }

    fn unpack(nodes: usize, packed: &[u8], written: Timestamp) -> Result<Self, String> {
        let wrong = |what: &str| format!("an archive of earlier files: {what}");
        let bytes = codec::decompress(Codec::Zstd, packed, BYTES_MAX).map_err(|e| wrong(&e.to_string()))?;
        let mut earlier = Self { disks: (0..nodes).map(|_| MemDisk::new()).collect(), known: String::new() };
        earlier.disks.iter().for_each(|disk| disk.set_clock(written));
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (name, content) = (take(&mut rest), take(&mut rest));
            let (Some(name), Some(content)) = (name.and_then(|name| str::from_utf8(name).ok()), content)
            else {
                return Err(wrong("it ends too early"));
            };
            match name.split_once('/').map(|(node, path)| (node.parse::<usize>(), path)) {
                None => earlier.known = String::from_utf8_lossy(content).into_owned(),
                Some((Ok(node), path)) if node < nodes => {
                    put(&earlier.disks[node], path, content).map_err(|e| wrong(&e.to_string()))?;
                }
                Some(_) => return Err(wrong(name)),
            }
        }
        Ok(earlier)
    }

    /// What there is now, as an archive.
    pub(crate) fn pack(disks: &[MemDisk], history: &History) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        add(&mut bytes, KNOWN, told(history).as_bytes());
        for (node, disk) in disks.iter().enumerate() {
            pack_dir(disk, node, "", &mut bytes).map_err(|error| error.to_string())?;
        }
        codec::compress(Codec::Zstd, Some(19), &bytes).map_err(|error| error.to_string())
    }

    /// What clients knew is known.
    pub(crate) fn tell(&self, history: &mut History) -> Result<(), String> {
        for line in self.known.lines() {
            remember(line, history).ok_or_else(|| format!("an archive of earlier files says {line}"))??;
        }
        history.promises.all_have_left();
        Ok(())
    }
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (taken, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = after;
    Some(taken)
}

fn add(bytes: &mut Vec<u8>, name: &str, content: &[u8]) {
    for part in [name.as_bytes(), content] {
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(part);
    }
}

/// A directory's name ends with a slash.
fn pack_dir(disk: &MemDisk, node: usize, dir: &str, bytes: &mut Vec<u8>) -> Result<(), DiskError> {
    for entry in disk.list(dir)? {
        let path = if dir.is_empty() { entry.name.clone() } else { format!("{dir}/{}", entry.name) };
        if entry.is_dir {
            add(bytes, &format!("{node}/{path}/"), &[]);
            pack_dir(disk, node, &path, bytes)?;
            continue;
        }
        let file = disk.open(&path, OpenMode::Read)?;
        let mut content = vec![0; usize::try_from(file.length()?).unwrap_or(0)];
        let read = file.read_at(&mut content, 0)?;
        add(bytes, &format!("{node}/{path}"), &content[..read]);
    }
    Ok(())
}

fn put(disk: &MemDisk, path: &str, content: &[u8]) -> Result<(), DiskError> {
    if let Some(dir) = path.strip_suffix('/') {
        return disk.create_dir(dir).and_then(|()| disk.sync_dir(""));
    }
    let file = disk.open(path, OpenMode::Replace)?;
    if !content.is_empty() {
        file.write_at(&mut [IoSlice::new(content)], 0)?;
    }
    file.sync_data()?;
    disk.sync_dir(path.rsplit_once('/').map_or("", |(dir, _)| dir))
}

/// What clients know, a fact per line.
fn told(history: &History) -> String {
    let mut text = String::new();
    for (base, times) in history.lives.ended() {
        let _ = writeln!(text, "ended {base} {times}");
    }
    for (topic, partitions) in history.topics() {
        let _ = writeln!(text, "topic {topic} {partitions}");
        if let Some(id) = history.lives.id(topic) {
            let _ = writeln!(text, "id {topic} {}", hex(id));
        }
    }
    for ((topic, index), value, fate) in history.all_sent() {
        let _ = match fate {
            Fate::Acked(offset) => writeln!(text, "record {topic} {index} {value} {offset}"),
            Fate::Unknown => writeln!(text, "sent {topic} {index} {value}"),
        };
    }
    for ((topic, index), trimmed) in history.all_trimmed() {
        let _ = writeln!(text, "trimmed {topic} {index} {} {}", trimmed.acked, trimmed.sent);
    }
    for ((group, partition), offset) in history.promises.all_committed() {
        let _ = writeln!(text, "offset {group} {partition} {offset}");
    }
    text
}

fn hex(id: Uuid) -> String {
    id.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn id_of(hex: &str) -> Option<Uuid> {
    u128::from_str_radix(hex, 16).ok().map(|id| Uuid(id.to_be_bytes()))
}

/// Takes over one fact. `None` if it makes no sense.
fn remember(line: &str, history: &mut History) -> Option<Result<(), String>> {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |at: usize| words.get(at)?.parse::<i64>().ok();
    let partition = |name: &str| Some((name.to_owned(), i32::try_from(number(2)?).ok()?));
    match *words.first()? {
        "ended" => (0..number(2)?).for_each(|_| history.lives.end(words[1])),
        "topic" => crate::admin::was_created(words.get(1)?, i32::try_from(number(2)?).ok()?, history),
        "id" => _ = history.is_life(words.get(1)?, id_of(words.get(2)?)?),
        "sent" => history.sent(&partition(words[1])?, words.get(3)?.parse().ok()?),
        "record" => {
            let (partition, value) = (partition(words[1])?, words.get(3)?.parse().ok()?);
            history.sent(&partition, value);
            return Some(history.acked_at(&partition, value, number(4)?));
        }
        "trimmed" => {
            let partition = partition(words[1])?;
            history.trim_sent(&partition, number(4)?);
            history.trim_acked(&partition, number(3)?);
        }
        "offset" => {
            let index = i32::try_from(number(2)?).ok()?;
            history.promises.sent(words[1], index, number(3)?);
            history.promises.acked(words[1], index, number(3)?);
        }
        _ => return None,
    }
    Some(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_builds_have_written_can_be_read_and_their_promises_are_known() {
        for (nodes, _) in ARCHIVES {
            let earlier = Earlier::of(nodes, Timestamp(0)).unwrap().unwrap();
            let mut history = History::new(nodes, 3, nodes > 1);
            earlier.tell(&mut history).unwrap();
            assert!(history.acked() > 100 && history.topics().count() > 0, "{nodes} nodes");
            assert!(earlier.disks.iter().all(|disk| disk.list("").is_ok_and(|all| all.len() > 4)));
        }
        assert!(Earlier::of(2, Timestamp(0)).unwrap().is_none());
    }

    #[test]
    fn what_is_packed_is_the_same_unpacked() {
        let (disk, mut history) = (MemDisk::new(), History::new(3, 3, true));
        put(&disk, "a-0/", &[]).unwrap();
        put(&disk, "a-0/log", b"bytes").unwrap();
        put(&disk, "empty", b"").unwrap();
        crate::admin::was_created("t1-0", 1, &mut history);
        let partition = ("t1-0".to_owned(), 0);
        history.sent(&partition, 7);
        history.sent(&partition, 8);
        history.acked_at(&partition, 7, 3).unwrap();
        let packed = Earlier::pack(&[disk], &history).unwrap();
        let earlier = Earlier::unpack(1, &packed, Timestamp(0)).unwrap();
        let mut again = History::new(3, 3, true);
        earlier.tell(&mut again).unwrap();
        assert_eq!(told(&again), told(&history));
        assert_eq!(Earlier::pack(&earlier.disks, &again), Ok(packed.clone()));
        assert!(Earlier::unpack(1, &packed[..packed.len() / 2], Timestamp(0)).is_err());
    }
}
