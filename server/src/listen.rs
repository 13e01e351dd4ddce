//! Opening sockets, with errors that name the flag to change.

use cluster::Endpoint;
use cluster::config::{Listener, NodeConfig};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// Binds `host:port`; `flag` is what the operator changes if that fails.
#[expect(clippy::wildcard_enum_match_arm, reason = "the system has many errors, these have advice")]
pub(crate) fn bind(host: &str, port: u16, flag: &str) -> Result<(TcpListener, SocketAddr), String> {
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("The host name {host} in {flag} cannot be resolved: {error}"))?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    let bound = TcpListener::bind(addresses.as_slice());
    let listener = bound.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            format!("Port {port} on {host} is in use by another program: choose another with {flag}")
        }
        ErrorKind::AddrNotAvailable => format!("{host} is not an address of this machine: change {flag}"),
        ErrorKind::PermissionDenied => {
            format!("Port {port} needs privileges: choose one above 1023 with {flag}")
        }
        _ => format!("Cannot listen on {host}:{port} ({flag}): {error}"),
    })?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    Ok((listener, address))
}

/// What clients are told: the advertised listener, or the one that was bound.
pub(crate) fn endpoint(
    config: &NodeConfig,
    listener: &Listener,
    bound: SocketAddr,
) -> Result<Endpoint, String> {
    let advertised = config.advertised.iter().find(|other| other.name == listener.name);
    let (host, port) = match advertised {
        Some(advertised) => (advertised.host.clone(), advertised.port),
        None => (listener.host.clone(), 0),
    };
    let port = if port == 0 { bound.port() } else { port };
    if host.is_empty() || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Err(format!(
            "The listener {} would tell clients to connect to {}, which is no address: set --advertise HOST:PORT \
             (advertised.listeners) to one that clients can reach",
            listener.name,
            if host.is_empty() { "nothing" } else { &host },
        ));
    }
    Ok(Endpoint { listener: listener.name.clone(), host, port })
}
