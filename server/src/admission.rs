//! Who may connect: a bound on all connections and on those of one address; loopback has only the first.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections.
#[derive(Debug)]
pub(crate) struct Admission {
    max: u32,
    max_per_ip: u32,
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
    pub(crate) fn new(max: u32, max_per_ip: u32) -> Arc<Self> {
        Arc::new(Self { max, max_per_ip, open: Mutex::default() })
    }

    /// Lets a connection in, or says why not.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Admitted, &'static str> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.max {
            return Err("max.connections is reached");
        }
        let of_ip = open.per_ip.entry(ip).or_default();
        if *of_ip >= self.max_per_ip && !ip.is_loopback() {
            return Err("max.connections.per.ip is reached");
        }
        *of_ip += 1;
        open.all += 1;
        Ok(Admitted { admission: self.clone(), ip })
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

    #[test]
    fn bounds_hold_and_are_given_back() {
        let admission = Admission::new(3, 1);
        let (far, near) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([127, 0, 0, 1]));
        let first = admission.admit(far).unwrap();
        assert!(admission.admit(far).is_err(), "one per address");
        let _near = [admission.admit(near).unwrap(), admission.admit(near).unwrap()];
        assert!(admission.admit(near).is_err(), "three in all");
        drop(first);
        assert!(admission.admit(far).is_ok());
    }
}
