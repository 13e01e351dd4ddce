//! Opening sockets, with errors that name the flag to change.

use cluster::Endpoint;
use cluster::config::{Listener, NodeConfig};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;

/// A listener that is bound.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) name: Arc<str>,
    /// For nodes alone.
    pub(crate) for_nodes: bool,
    pub(crate) socket: TcpListener,
    address: SocketAddr,
}

/// Binds all listeners of a node.
pub(crate) fn open(config: &NodeConfig) -> Result<Vec<Listening>, String> {
    let open = |listener: &Listener| {
        let key = match config.listeners.as_slice() {
            [_] => "--listen (listeners)".to_owned(),
            _ => format!("listeners ({})", listener.name),
        };
        let (socket, address) = bind(&listener.host, listener.port, &key)?;
        let (name, for_nodes) = (listener.name.as_str().into(), config.is_for_nodes(&listener.name));
        Ok(Listening { name, for_nodes, socket, address })
    };
    config.listeners.iter().map(open).collect()
}

/// What others are told of all listeners. One for clients that is not among the advertised is told to nobody.
pub(crate) fn endpoints(config: &NodeConfig, listening: &[Listening]) -> Result<Vec<Endpoint>, String> {
    let of = |listener: &Listener| listening.iter().find(|open| *open.name == *listener.name);
    let told = config.listeners.iter().filter(|listener| is_told(config, listener));
    told.filter_map(|listener| Some(endpoint(config, listener, of(listener)?.address))).collect()
}

fn is_told(config: &NodeConfig, listener: &Listener) -> bool {
    let named = config.advertised.iter().any(|other| other.name == listener.name);
    named || config.advertised.is_empty() || config.is_for_nodes(&listener.name)
}

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

/// What others are told: the advertised listener, or the one that was bound.
fn endpoint(config: &NodeConfig, listener: &Listener, bound: SocketAddr) -> Result<Endpoint, String> {
    let advertised = config.advertised.iter().find(|other| other.name == listener.name);
    let (host, port) = match advertised {
        Some(advertised) => (advertised.host.clone(), advertised.port),
        None => (listener.host.clone(), 0),
    };
    let port = if port == 0 { bound.port() } else { port };
    if host.is_empty() || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Err(unreachable(&listener.name, &host, config.is_for_nodes(&listener.name)));
    }
    Ok(Endpoint { listener: listener.name.clone(), host, port })
}

fn unreachable(name: &str, host: &str, for_nodes: bool) -> String {
    let to = if host.is_empty() { "nothing" } else { host };
    if for_nodes {
        return format!(
            "The listener {name} would tell other nodes to connect to {to}, which is no address: give it one in listeners, or \
             add {name}://HOST:PORT to advertised.listeners"
        );
    }
    format!(
        "The listener {name} would tell clients to connect to {to}, which is no address: set --advertise HOST:PORT \
         (advertised.listeners) to one that clients can reach"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::config::Overrides;

    fn config(settings: &[(&str, &str)]) -> NodeConfig {
        let given: Overrides = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        crate::settings::resolve(&given).unwrap()
    }

    fn told(settings: &[(&str, &str)]) -> Result<Vec<(String, String, bool)>, String> {
        let config = config(settings);
        let listening = open(&config)?;
        let endpoints = endpoints(&config, &listening)?;
        let port = |name: &str| listening.iter().find(|open| *open.name == *name).unwrap().address.port();
        let row = |e: Endpoint| (e.listener.clone(), e.host, e.port == port(&e.listener));
        Ok(endpoints.into_iter().map(row).collect())
    }

    fn row(name: &str, host: &str, own_port: bool) -> (String, String, bool) {
        (name.to_owned(), host.to_owned(), own_port)
    }

    #[test]
    fn every_listener_is_bound_and_told_under_its_name() {
        let listeners = ("listeners", "PLAINTEXT://127.0.0.1:0,OUT://0.0.0.0:0,CONTROLLER://127.0.0.1:0");
        let advertised = ("advertised.listeners", "PLAINTEXT://inside:0,OUT://kafka.example.org:9094");
        assert_eq!(
            told(&[listeners, advertised]).unwrap(),
            [
                row("PLAINTEXT", "inside", true),
                row("OUT", "kafka.example.org", false),
                row("CONTROLLER", "127.0.0.1", true)
            ]
        );
        let only_one = ("advertised.listeners", "OUT://kafka.example.org:9094");
        assert_eq!(told(&[listeners, only_one]).unwrap().len(), 2, "PLAINTEXT is told to nobody");
    }

    #[test]
    fn an_address_that_nobody_can_reach_is_refused_with_the_key_to_change() {
        let error = told(&[("listeners", "PLAINTEXT://0.0.0.0:0")]).unwrap_err();
        assert!(error.contains("--advertise") && error.contains("advertised.listeners"), "{error}");
        let error = told(&[("listeners", "PLAINTEXT://127.0.0.1:0,CONTROLLER://:0")]).unwrap_err();
        assert!(error.contains("other nodes") && error.contains("CONTROLLER://HOST:PORT"), "{error}");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let listeners = format!("PLAINTEXT://127.0.0.1:0,OUT://127.0.0.1:{port}");
        let error = told(&[("listeners", &listeners)]).unwrap_err();
        assert!(error.contains("listeners (OUT)") && error.contains("in use"), "{error}");
    }
}
