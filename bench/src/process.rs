//! What a process has used so far, from `/proc`.

use std::fs::read_to_string;
use std::io;

/// Clock ticks per second in `/proc`; the kernel's interface has had this value on every architecture we run on.
const TICKS: f64 = 100.0;

/// CPU time of processes, all threads, user and system.
pub struct Cpu(f64);

impl Cpu {
    /// Of processes together.
    pub fn of(pids: &[u32]) -> io::Result<Self> {
        let each = pids.iter().map(|pid| Ok(Self::read(&format!("/proc/{pid}/stat"))?.0));
        Ok(Self(each.sum::<io::Result<f64>>()?))
    }

    /// Of this process.
    pub fn own() -> io::Result<Self> {
        Self::read("/proc/self/stat")
    }

    fn read(path: &str) -> io::Result<Self> {
        let stat = read_to_string(path)?;
        // The name in parentheses may contain anything; 14th and 15th field are user and system time.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let field = |n: usize| rest.split_whitespace().nth(n).and_then(|ticks| ticks.parse::<f64>().ok());
        match (field(11), field(12)) {
            (Some(user), Some(system)) => Ok(Self((user + system) / TICKS)),
            _ => Err(io::Error::other("a stat file without times")),
        }
    }

    /// Seconds since `earlier`.
    pub fn since(&self, earlier: &Self) -> f64 {
        self.0 - earlier.0
    }
}

/// Resident memory of a process; zero when it is gone.
pub fn resident_kib(pid: u32) -> u64 {
    let status = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
