use super::*;
use wire::fetch::{FetchRequest, FetchResponse};
use wire::peer_join::{PeerJoinRequest, PeerJoinResponse};

const OWN: Uuid = Uuid([1; 16]);
const PEER: BrokerId = BrokerId(2);

fn links() -> Links<BrokerId> {
    let address = Address { host: "one".into(), port: 1 };
    let own = Identity {
        cluster_id: OWN,
        node: BrokerId(1),
        directory: Uuid([9; 16]),
        address,
        is_controller: true,
    };
    Links::new(own, Rng::new(1))
}

fn at(millis: u64) -> Instant {
    Instant::ZERO + Span::from_millis(millis)
}

fn dialled(links: &mut Links<BrokerId>, now: Instant) -> LinkId {
    let mut fx = Effects::default();
    links.want(PEER, &Address { host: "two".into(), port: 2 }, &mut fx);
    links.tick(now, &mut fx);
    let [Dial { link, host, port }] = fx.dials.as_slice() else { panic!("{:?}", fx.dials) };
    assert_eq!((host.as_str(), *port), ("two", 2));
    *link
}

/// Answers the only request that was sent.
fn answer<R: Request>(fx: &Effects, response: &R::Response) -> Bytes {
    let (_, frame) = fx.sends.last().unwrap();
    let mut reader = Reader::new(frame.slice(4..));
    let head = wire::RequestHead::decode(&mut reader).unwrap();
    assert_eq!(head.api_key, R::KEY.code());
    R::decode(&mut reader, head.version).unwrap();
    let encoded = wire::encode_response(R::KEY, head.version, head.correlation_id, response);
    encoded.unwrap().bytes.slice(4..)
}

fn greeting(cluster_id: Uuid) -> PeerGreetResponse {
    let apis = crate::api::taken_from_peers();
    PeerGreetResponse { cluster_id, node_id: PEER.0, directory_id: Uuid([8; 16]), apis, ..Default::default() }
}

fn up(links: &mut Links<BrokerId>) -> LinkId {
    up_with(links, &greeting(OWN))
}

fn up_with(links: &mut Links<BrokerId>, greeting: &PeerGreetResponse) -> LinkId {
    let link = dialled(links, at(0));
    let mut fx = Effects::default();
    links.linked(at(1), link, &mut fx);
    assert!(!links.is_up(PEER));
    let frame = answer::<PeerGreetRequest>(&fx, greeting);
    let heard = links.frame(at(2), link, &frame, &mut fx);
    let Some(Heard::Up { to: PEER, who }) = heard else { panic!("{heard:?}") };
    assert_eq!((who.cluster_id, who.node), (OWN, PEER));
    assert!(links.is_up(PEER));
    link
}

#[test]
fn nothing_is_said_before_both_have_greeted_and_every_answer_finds_its_question() {
    let mut links = links();
    let mut fx = Effects::default();
    let join = PeerJoinRequest::default();
    dialled(&mut links, at(0));
    assert_eq!(links.ask(PEER, &join, &mut fx), None);
    let mut links = self::links();
    let link = up(&mut links);
    let number = links.ask(PEER, &join, &mut fx).unwrap();
    let response = PeerJoinResponse { leader_id: 7, ..Default::default() };
    let frame = answer::<PeerJoinRequest>(&fx, &response);
    let Some(Heard::Answer { to: PEER, number: same, version: 0, mut body }) =
        links.frame(at(3), link, &frame, &mut fx)
    else {
        panic!("no answer")
    };
    assert_eq!((same, PeerJoinResponse::decode(&mut body, 0)), (number, Ok(response)));
    assert!(
        matches!(links.frame(at(4), link, &frame, &mut fx), Some(Heard::Down { was_up: true, .. })),
        "an answer that nobody waits for ends the link"
    );
    assert_eq!(fx.hang_ups, [link]);
}

#[test]
fn a_lost_link_is_dialled_again_at_once_and_then_more_and_more_seldom() {
    let mut links = links();
    let mut link = up(&mut links);
    let mut now = 1_000;
    let mut pauses = Vec::new();
    for turn in 0..8 {
        let mut fx = Effects::default();
        let heard = links.down(at(now), link, Down::Refused, &mut fx);
        assert!(
            matches!(heard, Some(Heard::Down { why: Down::Refused, was_up, .. }) if was_up == (turn == 0))
        );
        let due = fx.wake_at.unwrap();
        pauses.push(due.since(at(now)).as_millis());
        now += due.since(at(now)).as_millis() + 1;
        let mut fx = Effects::default();
        links.tick(at(now), &mut fx);
        link = fx.dials[0].link;
    }
    assert_eq!(pauses[0], 0);
    assert!(pauses.windows(2).all(|pair| pair[1] <= 500) && pauses[7] >= 250, "{pauses:?}");
    let mut fx = Effects::default();
    assert!(links.down(at(now), LinkId(1), Down::Lost, &mut fx).is_none(), "an earlier link is nobody's");
}

#[test]
fn whoever_ends_a_link_at_once_is_not_dialled_at_once_again() {
    let mut links = links();
    let link = up(&mut links);
    let mut fx = Effects::default();
    links.down(at(10), link, Down::Lost, &mut fx);
    assert!(fx.wake_at.is_some_and(|due| due > at(10)), "{:?}", fx.wake_at);
}

#[test]
fn a_node_of_another_cluster_is_hung_up_on() {
    let mut links = links();
    let link = dialled(&mut links, at(0));
    let mut fx = Effects::default();
    links.linked(at(1), link, &mut fx);
    let frame = answer::<PeerGreetRequest>(&fx, &greeting(Uuid([5; 16])));
    let heard = links.frame(at(2), link, &frame, &mut fx);
    assert!(matches!(heard, Some(Heard::Down { was_up: false, .. })), "{heard:?}");
    assert_eq!((fx.hang_ups.as_slice(), links.is_up(PEER)), (&[link][..], false));
    assert!(fx.log[0].text.contains("no peer"), "{:?}", fx.log);
}

#[test]
fn who_does_not_greet_is_given_up_and_who_moves_is_looked_for_elsewhere() {
    let mut links = links();
    let link = dialled(&mut links, at(0));
    let mut fx = Effects::default();
    links.linked(at(1), link, &mut fx);
    let heard = links.tick(at(3_002), &mut fx);
    assert!(matches!(heard.as_slice(), [Heard::Down { .. }]), "{heard:?}");
    assert_eq!(fx.hang_ups, [link]);
    let mut links = self::links();
    let link = up(&mut links);
    let mut fx = Effects::default();
    links.want(PEER, &Address { host: "elsewhere".into(), port: 3 }, &mut fx);
    assert_eq!((fx.hang_ups.as_slice(), fx.dials[0].host.as_str()), (&[link][..], "elsewhere"));
    links.forget(PEER, &mut fx);
    assert_eq!((links.wanted().count(), fx.hang_ups.len()), (0, 2));
}

/// The version of the only request that was sent since.
fn version_sent(fx: &Effects) -> i16 {
    let [(_, frame)] = fx.sends.as_slice() else { panic!("{:?}", fx.sends) };
    wire::RequestHead::decode(&mut Reader::new(frame.slice(4..))).unwrap().version
}

#[test]
fn an_older_node_is_asked_as_it_understands_and_told_nothing_that_it_does_not_know() {
    let newest = *FetchRequest::VERSIONS.end();
    for (theirs, expected) in
        [(4..=15, Some(15)), (4..=newest, Some(newest)), (4..=99, Some(newest)), (60..=99, None)]
    {
        let mut older = greeting(OWN);
        for api in older.apis.iter_mut().filter(|api| api.api_key == ApiKey::Fetch as i16) {
            (api.min_version, api.max_version) = (*theirs.start(), *theirs.end());
        }
        let mut links = links();
        let link = up_with(&mut links, &older);
        let mut fx = Effects::default();
        let number = links.ask(PEER, &FetchRequest::default(), &mut fx);
        let Some(expected) = expected else {
            assert_eq!((number, fx.sends.len(), links.is_up(PEER)), (None, 0, true));
            assert!(fx.log[0].text.contains("Fetch"), "{:?}", fx.log);
            continue;
        };
        assert_eq!(version_sent(&fx), expected);
        let frame = answer::<FetchRequest>(&fx, &FetchResponse::default());
        let heard = links.frame(at(3), link, &frame, &mut fx);
        assert!(matches!(heard, Some(Heard::Answer { version, .. }) if version == expected), "{heard:?}");
    }
}

#[test]
fn what_a_node_takes_is_what_the_tables_serve() {
    let taken = crate::api::taken_from_peers();
    let has = |key: ApiKey| taken.iter().any(|api| api.api_key == key as i16);
    for key in
        [ApiKey::Fetch, ApiKey::Envelope, ApiKey::PeerQuorum, ApiKey::PeerSnapshot, ApiKey::AlterPartition]
    {
        assert!(has(key), "{key:?}");
    }
}

#[test]
fn who_is_greeted_again_and_does_not_answer_is_given_up() {
    let mut links = links();
    let link = up(&mut links);
    let mut fx = Effects::default();
    links.greet_again(at(5_000), &mut fx);
    let frame = answer::<PeerGreetRequest>(&fx, &greeting(OWN));
    assert!(links.frame(at(5_001), link, &frame, &mut fx).is_none(), "it was there all the time");
    assert!(links.tick(at(6_500), &mut Effects::default()).is_empty() && links.is_up(PEER));
    links.greet_again(at(7_000), &mut fx);
    let heard = links.tick(at(8_001), &mut fx);
    assert!(matches!(heard.as_slice(), [Heard::Down { was_up: true, why: Down::Lost, .. }]), "{heard:?}");
    assert_eq!(fx.hang_ups, [link]);
}
