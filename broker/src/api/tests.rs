use super::*;
use crate::effects::ConnId;
use crate::test_node::TestNode;
use std::fmt::Write as _;
use std::path::Path;
use wire::broker_heartbeat::BrokerHeartbeatRequest;
use wire::envelope::EnvelopeRequest;
use wire::peer_greet::PeerGreetRequest;
use wire::peer_progress::PeerProgressRequest;
use wire::{ApiKey, RequestHead};

/// The support matrix as the docs show it.
fn support_matrix() -> String {
    let mut text = String::from(
        "# Which APIs are served\n\nGenerated from the API table (`UPDATE=1 cargo test -p ottla-broker support_matrix`); Kafka 4.4's keys and\nranges. \"Told\" is what ApiVersions says where it differs from what is served.\n\n| key | API | served | told | whose state | guarded by |\n|---:|---|---|---|---|---|\n",
    );
    let mut rows: Vec<&Row> = TABLE.iter().collect();
    rows.sort_by_key(|row| row.key as i16);
    for row in rows {
        let range = |range: &RangeInclusive<i16>| format!("{}–{}", range.start(), range.end());
        let told = if row.advertised == row.served { String::new() } else { range(&row.advertised) };
        let (key, name) = (row.key as i16, row.key.name());
        writeln!(
            text,
            "| {key} | {name} | {} | {told} | {:?} | {:?} |",
            range(&row.served),
            row.owner,
            row.acl
        )
        .unwrap();
    }
    text
}

#[test]
fn the_support_matrix_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/support-matrix.md");
    let fresh = support_matrix();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "docs/support-matrix.md is stale: run UPDATE=1 cargo test -p ottla-broker");
}

#[test]
fn every_api_stands_in_the_table_once_and_tells_what_it_serves() {
    let all: Vec<&Row> = TABLE.iter().chain(PEER_TABLE).collect();
    for (at, row) in all.iter().enumerate() {
        assert!(all[..at].iter().all(|other| other.key != row.key), "{} twice", row.key.name());
        assert!(row.advertised.contains(row.served.start()) && row.advertised.contains(row.served.end()));
    }
}

/// Whether a request that only nodes are served is answered; else its connection is closed.
fn is_served<R: wire::Request>(node: &mut TestNode, conn: ConnId, request: &R) -> bool {
    let sent = node.send_on(conn, *R::VERSIONS.end(), request);
    let is_answered = node.reply::<R>(sent).is_some();
    assert_ne!(is_answered, node.closed.contains(&conn), "{}", R::KEY.name());
    is_answered
}

#[test]
fn only_nodes_are_served_what_nodes_say_to_each_other() {
    let mut node = TestNode::new();
    let greeting = PeerGreetRequest { node_id: 7, ..Default::default() };
    let outside = node.connect_by("OUTSIDE");
    assert!(!is_served(&mut node, outside, &greeting), "by a listener that is not for nodes");
    let stranger = node.connect();
    assert!(!is_served(&mut node, stranger, &PeerProgressRequest::default()), "before it says who it is");
    let stranger = node.connect();
    assert!(!is_served(&mut node, stranger, &BrokerHeartbeatRequest::default()), "before it says who it is");
    let peer = node.connect();
    assert!(is_served(&mut node, peer, &greeting));
    assert!(is_served(&mut node, peer, &BrokerHeartbeatRequest::default()));
}

#[test]
fn an_envelope_holds_what_clients_ask_and_nothing_else() {
    let mut node = TestNode::new();
    let peer = node.connect();
    assert!(is_served(&mut node, peer, &PeerGreetRequest { node_id: 7, ..Default::default() }));
    for key in [ApiKey::BrokerHeartbeat, ApiKey::PeerJoin, ApiKey::Fetch] {
        let head = RequestHead {
            api_key: key.code(),
            version: 4 * i16::from(key == ApiKey::Fetch),
            correlation_id: 1,
            client_id: None,
        };
        let request_data = wire::frame::join_request(&head, b"").unwrap();
        let sent = node.send_on(peer, 0, &EnvelopeRequest { request_data, ..Default::default() });
        let answer = node.reply::<EnvelopeRequest>(sent).unwrap_or_else(|| panic!("{}", key.name()));
        assert_eq!(answer.error_code, ErrorCode::InvalidRequest as i16, "{}", key.name());
    }
}
