//! The messages of [`quorum::forming`] as requests.

use base::{BrokerId, Uuid};
use quorum::forming::{Charter, Founder, Message, Standing};
use wire::peer_form::{Founder as WireFounder, PeerFormRequest};

/// Asks; a charter that is asked for comes along.
const ASK: i8 = 0;
/// Tells of a disk that says nothing.
const EMPTY: i8 = 1;
/// Tells of a charter that was agreed to.
const PREPARED: i8 = 2;
/// Tells of a cluster.
const MEMBER: i8 = 3;

pub(crate) fn to_wire(message: &Message) -> PeerFormRequest {
    let numbers = |voters: &[BrokerId]| voters.iter().map(|voter| voter.0).collect();
    match message {
        Message::Ask { voters, charter } => {
            let (cluster_id, founders) = charter.as_ref().map(parts).unwrap_or_default();
            PeerFormRequest { voters: numbers(voters), kind: ASK, cluster_id, founders, ..Default::default() }
        }
        Message::Tell { voters, directory, standing } => {
            let (kind, (cluster_id, founders)) = match standing {
                Standing::Empty => (EMPTY, Default::default()),
                Standing::Prepared(charter) => (PREPARED, parts(charter)),
                Standing::Member(cluster_id) => (MEMBER, (*cluster_id, Vec::new())),
            };
            PeerFormRequest {
                voters: numbers(voters),
                kind,
                directory_id: *directory,
                cluster_id,
                founders,
                ..Default::default()
            }
        }
    }
}

fn parts(charter: &Charter) -> (Uuid, Vec<WireFounder>) {
    let founder = |founder: &Founder| WireFounder {
        node_id: founder.node.0,
        directory_id: founder.directory,
        ..Default::default()
    };
    (charter.cluster_id, charter.founders.iter().map(founder).collect())
}

/// `None` for what no node says.
pub(crate) fn from_wire(request: PeerFormRequest) -> Option<Message> {
    let charter = || Charter {
        cluster_id: request.cluster_id,
        founders: request
            .founders
            .iter()
            .map(|founder| Founder { node: BrokerId(founder.node_id), directory: founder.directory_id })
            .collect(),
    };
    let voters = request.voters.iter().copied().map(BrokerId).collect();
    let standing = match request.kind {
        ASK => {
            let charter = (!request.founders.is_empty()).then(charter);
            return Some(Message::Ask { voters, charter });
        }
        EMPTY => Standing::Empty,
        PREPARED => Standing::Prepared(charter()),
        MEMBER => Standing::Member(request.cluster_id),
        _ => return None,
    };
    Some(Message::Tell { voters, directory: request.directory_id, standing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_comes_out_as_it_went_in() {
        let voters = vec![BrokerId(1), BrokerId(2)];
        let (cluster_id, directory) = (Uuid([7; 16]), Uuid([9; 16]));
        let founders = vec![Founder { node: BrokerId(1), directory }];
        let charter = Charter { cluster_id, founders };
        let tell = |standing| Message::Tell { voters: voters.clone(), directory, standing };
        let messages = [
            Message::Ask { voters: voters.clone(), charter: None },
            Message::Ask { voters: voters.clone(), charter: Some(charter.clone()) },
            tell(Standing::Empty),
            tell(Standing::Prepared(charter)),
            tell(Standing::Member(cluster_id)),
        ];
        for message in messages {
            assert_eq!(from_wire(to_wire(&message)), Some(message));
        }
        assert_eq!(from_wire(PeerFormRequest { kind: 9, ..Default::default() }), None);
    }
}
