//! What goes wrong: crashes, clean stops, broken connections, disks that are full, fail, rot or are slow, clocks
//! that jump.

use super::{Event, World};
use base::Span;
use seglog::disk::{Disk, Fault, OpenMode, Operation};

/// What of a batch's header no checksum covers, in Kafka's format: its base offset and its leader epoch.
const UNCOVERED: [std::ops::Range<u64>; 2] = [0..8, 12..16];

impl World {
    pub(super) fn fault(&mut self) -> Result<(), String> {
        if !self.calm {
            self.node.disk.set_capacity(None);
            match self.rng.below(16) {
                0..=4 if !self.start_pending => {
                    self.report.count("crash between calls");
                    self.crash();
                }
                5 => self.break_connection(),
                6..=7 => self.stop_cleanly(),
                8 => {
                    self.report.count("disk full");
                    let used = Disk::space(&self.node.disk).map_or(0, |space| space.total - space.free);
                    self.node.disk.set_capacity(Some(used + self.rng.below(64 << 10)));
                    let lasts = self.rng.between(20, 400);
                    self.at(Span::from_millis(lasts), Event::Fault);
                    return Ok(());
                }
                9 => self.fail_disk("fsync error", Operation::Sync, 5, Fault::LostSync),
                10 => self.fail_disk("read error", Operation::Read, 200, Fault::Io),
                11 => {
                    self.report.count("slow disk");
                    self.slow_until = self.now + Span::from_millis(self.rng.between(50, 1_500));
                }
                // A node that starts has no other clock to compare it with: whoever starts the machine sets it.
                12 if self.node.running.is_some() => {
                    self.report.count("wall clock jump");
                    self.wall_ahead = Span::from_secs(self.rng.between(61, 3_000));
                }
                _ => {}
            }
        }
        // In a slow run there is time between faults.
        let delay = self.rng.between(50, 2_000) * u64::from(self.slowness.div_ceil(20));
        self.at(Span::from_millis(delay), Event::Fault);
        Ok(())
    }

    fn fail_disk(&mut self, name: &'static str, operation: Operation, within: u64, fault: Fault) {
        self.report.count(name);
        self.report.disk_faulted = true;
        let skip = self.rng.below(within);
        self.node.disk.inject(operation, skip, fault);
    }

    /// SIGTERM: everything is flushed and the directory says so.
    pub(super) fn stop_cleanly(&mut self) {
        let Some(running) = self.node.running.take() else { return };
        if !running.booted.metadata.is_serving() {
            self.node.running = Some(running);
            return;
        }
        self.report.count("clean shutdown");
        broker::close(&running.booted.shared, &running.booted.latest_view);
        drop(running);
        // The process takes its jobs along, and with them the lock on its directory.
        self.events.retain(|_, event| {
            !matches!(event, Event::Input(..) | Event::Run(..) | Event::Done(..) | Event::Wake(..))
        });
        if self.node.has_crashed() {
            return self.crash();
        }
        self.node.crashed = false;
        for _ in 0..self.rng.below(6) {
            self.rot();
        }
        self.start_pending = true;
        self.start_again();
    }

    /// A bit of a partition's files flips while the node is down, all of which was flushed.
    fn rot(&mut self) {
        let Some((dir, file)) = self.some_file() else { return };
        let path = format!("{dir}/{file}");
        let disk = self.node.disk.clone();
        let Ok(opened) = disk.open(&path, OpenMode::Read) else { return };
        let mut content = vec![0; usize::try_from(opened.length().unwrap_or(0)).unwrap_or(0)];
        if content.is_empty() || opened.read_at(&mut content, 0) != Ok(content.len()) {
            return;
        }
        // The end is what a start looks at.
        let least = if self.rng.chance(1, 2) { content.len().saturating_sub(3_000) } else { 0 };
        let at = self.rng.between(least as u64, content.len() as u64 - 1);
        let is_log = file.ends_with(".log");
        if is_log && !is_covered(&content, at) {
            return;
        }
        self.report.count("bit flip");
        let bit = at * 8 + self.rng.below(8);
        if disk.flip_bit(&path, bit).is_ok()
            && is_log
            && let Some((topic, index)) = dir.rsplit_once('-')
            && let Ok(index) = index.parse()
        {
            // Everything else is derived from the log: its damage must not show.
            self.history.damage((topic.to_owned(), index));
        }
    }

    /// A file of records, or of what is derived from them, of some topic of the clients.
    fn some_file(&mut self) -> Option<(String, String)> {
        let disk = self.node.disk.clone();
        let dirs =
            disk.list("").ok()?.into_iter().filter(|entry| entry.is_dir && entry.name.starts_with('t'));
        let dirs: Vec<_> = dirs.filter(|entry| !entry.name.contains('.')).collect();
        let dir = dirs.get(self.rng.index(dirs.len().max(1)))?.name.clone();
        let is_known = dir.rsplit_once('-').is_some_and(|(topic, _)| self.history.exists(topic));
        let kinds = [".log", ".log", ".index", ".timeindex", ".snapshot"];
        let kind = kinds[self.rng.index(kinds.len())];
        let files = disk.list(&dir).ok()?.into_iter().filter(|entry| entry.name.ends_with(kind));
        let files: Vec<_> = files.collect();
        let file = files.get(self.rng.index(files.len().max(1)))?.name.clone();
        is_known.then_some((dir, file))
    }

    pub(super) fn break_connection(&mut self) {
        let names: Vec<u64> = self.clients.keys().copied().collect();
        let name = names[self.rng.index(names.len())];
        self.report.count("connection broken");
        self.hang_up(name);
    }

    /// Ends the process and loses what the disk was not told to keep; the node starts again a little later.
    pub(super) fn crash(&mut self) {
        if self.start_pending {
            return;
        }
        self.start_pending = true;
        let survive = u8::try_from(self.rng.below(101)).unwrap_or(0);
        self.trace.event(self.now.as_nanos(), "crash", || format!("{survive}% of unsynced data survives"));
        self.report.crashes += 1;
        self.node.crash(&mut self.rng, survive);
        self.node.disk.set_capacity(None);
        self.start_again();
    }

    /// All connections are gone; the process starts a little later, in another boot of the machine.
    pub(super) fn start_again(&mut self) {
        let names: Vec<u64> = self.clients.keys().copied().collect();
        for name in names {
            self.disconnect(name);
        }
        let delay = self.some_micros(1_000, 200_000);
        self.at(delay, Event::Start);
        self.node.incarnation += 1;
        self.wall_ahead = Span::ZERO;
    }
}

/// True if a batch's checksum, or its length, tells of a change at this byte.
fn is_covered(log: &[u8], at: u64) -> bool {
    let mut position = 0;
    for batch in wire::record::parse_batches(log).map_while(Result::ok) {
        let bytes = batch.header().total_bytes();
        if at < position + bytes {
            return UNCOVERED.iter().all(|range| !range.contains(&(at - position)));
        }
        position += bytes;
    }
    false
}
