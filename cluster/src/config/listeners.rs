//! Which listeners go together: Kafka's rules for what a node's settings say of them, and what this version serves.

use super::key::{ConfigError, items};
use super::node::{Listener, NodeConfig, wrong};
use alloc::format;
use alloc::string::String;

/// Kafka's security protocols; a listener without one in the map is of the protocol of its name, or plaintext.
const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

/// Checks that the listeners of a node go together. `protocols` is the text of `listener.security.protocol.map`.
pub(super) fn check(config: &NodeConfig, protocols: &str) -> Result<(), ConfigError> {
    distinct("listeners", &config.listeners)?;
    distinct("advertised.listeners", &config.advertised)?;
    config.listeners.iter().try_for_each(|listener| plaintext(listener, protocols))?;
    let for_clients = |listener: &&Listener| !config.is_for_nodes(&listener.name);
    let serves_clients = config.listeners.iter().any(|listener| for_clients(&listener));
    if config.listeners.is_empty() || (config.roles.broker && !serves_clients) {
        return Err(wrong(
            "listeners",
            &names(&config.listeners),
            "expected one for clients besides those of controller.listener.names",
        ));
    }
    advertised(config)?;
    between_brokers(config)?;
    roles(config)
}

/// Who is no controller finds the controllers elsewhere.
fn roles(config: &NodeConfig) -> Result<(), ConfigError> {
    if config.roles.controller {
        return Ok(());
    }
    let id = config.node_id;
    if config.voters.iter().any(|voter| voter.id == id) {
        let why = format!("expected no voter {id}: by process.roles this node is a broker only");
        return Err(wrong("controller.quorum.voters", &format!("{id}@…"), &why));
    }
    if config.voters.is_empty() && config.bootstrap_servers.is_empty() {
        let why = "a broker only needs controllers: name them in controller.quorum.bootstrap.servers or \
                   controller.quorum.voters";
        return Err(wrong("process.roles", "broker", why));
    }
    Ok(())
}

/// Each name once, and each fixed address once.
fn distinct(key: &str, listeners: &[Listener]) -> Result<(), ConfigError> {
    for (at, listener) in listeners.iter().enumerate() {
        let others = &listeners[..at];
        if others.iter().any(|other| other.name == listener.name) {
            return Err(wrong(key, &listener.name, "each listener needs a name of its own"));
        }
        let same = |other: &Listener| other.port == listener.port && other.host == listener.host;
        if listener.port != 0 && others.iter().any(same) {
            return Err(wrong(key, &listener.name, "each listener needs an address of its own"));
        }
    }
    Ok(())
}

/// A protocol that is not served must not be served without its security.
fn plaintext(listener: &Listener, protocols: &str) -> Result<(), ConfigError> {
    let mapped = items(protocols).filter_map(|item| item.split_once(':'));
    let mapped = mapped.filter(|(name, _)| name.trim().eq_ignore_ascii_case(&listener.name)).last();
    let by_name = PROTOCOLS.iter().find(|protocol| **protocol == listener.name).copied();
    let protocol = mapped.map(|(_, protocol)| protocol.trim()).or(by_name).unwrap_or("PLAINTEXT");
    if protocol.eq_ignore_ascii_case("PLAINTEXT") {
        return Ok(());
    }
    Err(wrong(
        "listeners",
        &listener.name,
        &format!(
            "this version serves PLAINTEXT only, and listener.security.protocol.map makes it {protocol}"
        ),
    ))
}

/// What is advertised is listened to, and clients are told of one at least.
fn advertised(config: &NodeConfig) -> Result<(), ConfigError> {
    let key = "advertised.listeners";
    let is_there = |name: &str| config.listeners.iter().any(|listener| listener.name == name);
    if let Some(unknown) = config.advertised.iter().find(|listener| !is_there(&listener.name)) {
        return Err(wrong(key, &unknown.name, "expected names of entries in listeners"));
    }
    let only_nodes = config.advertised.iter().all(|listener| config.is_for_nodes(&listener.name));
    if config.roles.broker && only_nodes && !config.advertised.is_empty() {
        return Err(wrong(key, &names(&config.advertised), "expected one that is for clients"));
    }
    Ok(())
}

/// The listener that brokers use among themselves can be reached.
fn between_brokers(config: &NodeConfig) -> Result<(), ConfigError> {
    let key = "inter.broker.listener.name";
    let Some(name) = &config.inter_broker_listener else { return Ok(()) };
    let has = |listeners: &[Listener]| listeners.iter().any(|listener| listener.name == *name);
    if !has(&config.listeners) {
        return Err(wrong(key, name, "expected the name of an entry in listeners"));
    }
    if config.is_for_nodes(name) {
        return Err(wrong(key, name, "expected a listener that is not among controller.listener.names"));
    }
    if !config.advertised.is_empty() && !has(&config.advertised) {
        return Err(wrong(key, name, "expected the name of an entry in advertised.listeners"));
    }
    Ok(())
}

fn names(listeners: &[Listener]) -> String {
    let mut text = String::new();
    for listener in listeners {
        text.push_str(if text.is_empty() { "" } else { "," });
        text.push_str(&listener.name);
    }
    text
}
