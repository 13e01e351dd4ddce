//! What goes wrong: crashes, clean stops, broken connections, full and failing disks.

use super::{Event, World};
use base::Span;
use seglog::disk::Operation;

impl World {
    pub(super) fn fault(&mut self) -> Result<(), String> {
        if !self.calm {
            match self.rng.below(10) {
                0..=3 if !self.start_pending => {
                    self.report.count("crash between calls");
                    self.crash();
                }
                4 => self.break_connection(),
                5 => self.stop_cleanly(),
                6 => {
                    self.report.count("disk full");
                    let used = seglog::disk::Disk::space(&self.node.disk)
                        .map_or(0, |space| space.total - space.free);
                    self.node.disk.set_capacity(Some(used + self.rng.below(64 << 10)));
                    let lasts = self.rng.between(20, 400);
                    self.at(Span::from_millis(lasts), Event::Fault);
                    return Ok(());
                }
                7 => {
                    self.report.count("fsync error");
                    self.report.disk_faulted = true;
                    let skip = self.rng.below(5);
                    self.node.disk.inject(Operation::Sync, skip, seglog::disk::Fault::LostSync);
                }
                _ => {
                    // The disk has room again.
                    self.node.disk.set_capacity(None);
                }
            }
            self.node.disk.set_capacity(None);
        }
        // In a slow run there is time between faults.
        let delay = self.rng.between(50, 2_000) * u64::from(self.slowness.div_ceil(20));
        self.at(Span::from_millis(delay), Event::Fault);
        Ok(())
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
        self.start_pending = true;
        self.start_again();
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
    }
}
