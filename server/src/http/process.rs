//! What the kernel says of this process: the metrics that every Prometheus client library exports.

use rustix::param::{clock_ticks_per_second, page_size};

/// A look at the process; what cannot be read is zero.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// User and system time.
    pub(super) cpu_seconds: f64,
    /// Memory that is resident.
    pub(super) resident_bytes: u64,
    /// Descriptors that are open.
    pub(super) open_files: u64,
    /// How many may be.
    pub(super) open_files_max: u64,
}

impl Process {
    pub(super) fn look() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name of the program, in parentheses, may hold spaces.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let field =
            |at: usize| after_name.split_whitespace().nth(at).and_then(|text| text.parse::<u64>().ok());
        let ticks = field(11).unwrap_or(0) + field(12).unwrap_or(0);
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self {
            cpu_seconds: ratio(ticks, clock_ticks_per_second()),
            resident_bytes: field(21).unwrap_or(0) * page_size() as u64,
            open_files: open as u64,
            open_files_max: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .current
                .unwrap_or(0),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "ticks of a process stay far below 2^52")]
fn ratio(ticks: u64, per_second: u64) -> f64 {
    ticks as f64 / per_second.max(1) as f64
}
