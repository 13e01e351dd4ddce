//! What bounds connections: it changes while the node runs.

use super::key::{ConfigError, counts};
use super::layers::Layers;
use super::node::Getter;
use alloc::collections::BTreeMap;
use core::net::IpAddr;

/// What bounds connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The most connections.
    pub max: u32,
    /// The most connections from one address.
    pub per_ip_max: u32,
    /// The same for single addresses. Names of hosts are not looked up: they bound nobody.
    pub per_ip: BTreeMap<IpAddr, u32>,
    /// The most that come in a second.
    pub per_second_max: u32,
}

impl ConnectionLimits {
    /// What bounds connections with these layers.
    ///
    /// # Errors
    /// Names the key whose value does not fit.
    pub fn resolve(layers: &Layers<'_>) -> Result<Self, ConfigError> {
        let get = Getter { layers };
        let overrides = get.text("max.connections.per.ip.overrides");
        let address = |(host, count): (&str, i32)| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Some((host.parse().ok()?, u32::try_from(count).unwrap_or(0)))
        };
        Ok(Self {
            max: get.int("max.connections")?,
            per_ip_max: get.int("max.connections.per.ip")?,
            per_ip: counts(&overrides).flatten().filter_map(address).collect(),
            per_second_max: get.int("max.connection.creation.rate")?,
        })
    }

    /// The most connections from an address. Loopback has no bound unless it is named.
    #[must_use]
    pub fn of(&self, ip: IpAddr) -> u32 {
        let unnamed = if ip.is_loopback() { u32::MAX } else { self.per_ip_max };
        self.per_ip.get(&ip).copied().unwrap_or(unnamed)
    }
}
