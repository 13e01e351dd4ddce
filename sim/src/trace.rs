//! A hash over everything that happened: two runs of one seed must agree on it.

/// FNV-1a over the events of a run, and the last of them in words.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    /// The latest events, oldest first.
    recent: std::collections::VecDeque<String>,
    keep: usize,
    is_story: bool,
}

/// Events that are left out of a story: there are thousands of each.
const EACH: [&str; 3] = ["input", "ask", "reply"];

impl Trace {
    pub(crate) fn new(keep: usize, is_story: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, recent: std::collections::VecDeque::new(), keep, is_story }
    }

    /// Adds bytes to the hash.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Adds an event; the text is made only if it is kept.
    pub(crate) fn event(&mut self, at: u64, kind: &str, text: impl FnOnce() -> String) {
        self.add(&at.to_le_bytes());
        self.add(kind.as_bytes());
        if self.keep > 0 && !(self.is_story && EACH.contains(&kind)) {
            if self.recent.len() == self.keep {
                self.recent.pop_front();
            }
            self.recent.push_back(format!("{:>12.6} {kind} {}", at as f64 / 1e9, text()));
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn recent(&self) -> String {
        self.recent.iter().map(|line| format!("{line}\n")).collect()
    }
}
