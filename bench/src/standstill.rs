//! How long things that should go on all the time stood still.

use std::io::BufRead as _;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Several lanes on each of which something happens all the time.
pub struct Standstill {
    lanes: Vec<Lane>,
}

#[derive(Clone, Copy)]
struct Lane {
    last: Instant,
    /// Since the last mark.
    longest: Duration,
}

impl Standstill {
    pub fn of(lanes: usize) -> Self {
        Self { lanes: vec![Lane { last: Instant::now(), longest: Duration::ZERO }; lanes] }
    }

    /// Something happened.
    pub fn note(&mut self, lane: usize) {
        let (now, lane) = (Instant::now(), &mut self.lanes[lane]);
        lane.longest = lane.longest.max(now - lane.last);
        lane.last = now;
    }

    /// Answers `mark` with the longest time between two events of each lane since the last mark, `look` with how long ago
    /// each had one, in microseconds.
    pub fn answer(&mut self, command: &str) {
        let now = Instant::now();
        let text = |time: Duration| time.as_micros().to_string();
        let since = |lane: &mut Lane| now - lane.last;
        // One that has not ended yet counts, too.
        let longest = |lane: &mut Lane| std::mem::take(&mut lane.longest).max(now - lane.last);
        let lanes = self.lanes.iter_mut();
        let times: Vec<_> = match command {
            "mark" => lanes.map(longest).map(text).collect(),
            _ => lanes.map(since).map(text).collect(),
        };
        println!("{command} {}", times.join(","));
    }
}

/// Lines of standard input, as they come.
pub fn commands() -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
        // Whoever asked is gone.
        std::process::exit(0);
    });
    receive
}
