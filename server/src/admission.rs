//! Who may connect: a bound on all connections, on those of one address, and on how fast they come.

use cluster::config::ConnectionLimits;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Counts connections.
#[derive(Debug)]
pub(crate) struct Admission {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: u32,
    per_ip: HashMap<IpAddr, u32>,
}

/// The right to be connected; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    ip: IpAddr,
}

impl Admission {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { open: Mutex::default() })
    }

    /// Lets a connection in, or says why not.
    pub(crate) fn admit(
        self: &Arc<Self>,
        ip: IpAddr,
        limits: &ConnectionLimits,
    ) -> Result<Admitted, &'static str> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= limits.max {
            return Err("max.connections is reached");
        }
        if open.per_ip.get(&ip).copied().unwrap_or(0) >= limits.of(ip) {
            return Err("max.connections.per.ip is reached");
        }
        let of_ip = open.per_ip.entry(ip).or_default();
        *of_ip += 1;
        open.all += 1;
        Ok(Admitted { admission: self.clone(), ip })
    }
}

/// How fast connections come: so many in each second.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    second: u64,
    /// Connections of that second.
    count: u32,
}

impl Pace {
    /// How long the connection that comes now, at a time since the start, has to wait for its turn.
    pub(crate) fn wait(&mut self, now: Duration, per_second_max: u32) -> Duration {
        if now.as_secs() > self.second {
            *self = Self { second: now.as_secs(), count: 0 };
        }
        if self.count >= per_second_max {
            *self = Self { second: self.second + 1, count: 0 };
        }
        self.count += 1;
        Duration::from_secs(self.second).saturating_sub(now)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.admission.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(of_ip) = open.per_ip.get_mut(&self.ip) {
            *of_ip -= 1;
            if *of_ip == 0 {
                open.per_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn bounds_hold_and_are_given_back() {
        let admission = Admission::new();
        let limits =
            ConnectionLimits { max: 3, per_ip_max: 1, per_ip: BTreeMap::new(), per_second_max: u32::MAX };
        let admit = |ip| admission.admit(ip, &limits);
        let (far, near) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([127, 0, 0, 1]));
        let first = admit(far).unwrap();
        assert!(admit(far).is_err(), "one per address");
        let _near = [admit(near).unwrap(), admit(near).unwrap()];
        assert!(admit(near).is_err(), "three in all");
        drop(first);
        assert!(admit(far).is_ok());
    }

    #[test]
    fn a_second_lets_in_so_many_and_the_next_one_goes_on() {
        let mut pace = Pace::default();
        let late = Duration::from_millis(900);
        assert_eq!([(); 2].map(|()| pace.wait(late, 2)), [Duration::ZERO; 2]);
        assert_eq!(pace.wait(late, 2), Duration::from_millis(100), "the third waits for the next second");
        assert_eq!(pace.wait(Duration::from_millis(950), 2), Duration::from_millis(50), "as its second one");
        assert_eq!(pace.wait(Duration::from_secs(1), 2), Duration::from_secs(1), "which is full by then");
        assert_eq!(pace.wait(Duration::from_secs(9), 2), Duration::ZERO);
    }
}
