//! AllocateProducerIds (67): a broker needs numbers for its producers. Also how this node asks for its own.

use super::{Acl, Answer, Api, OnController, ResponseOf, ToController, ViewContext};
use base::{BrokerId, ProducerId};
use cluster::controller::{Command, Reply};
use wire::allocate_producer_ids::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};

pub(crate) struct AllocateProducerIds;

impl Api for AllocateProducerIds {
    type Request = AllocateProducerIdsRequest;
    const ACL: Acl = Acl::Node;
}

impl OnController for AllocateProducerIds {
    fn ask(request: AllocateProducerIdsRequest) -> Answer<ResponseOf<Self>> {
        Answer::Ask(Command::AllocateProducerIds { broker: BrokerId(request.broker_id) })
    }

    fn answer(
        _: &ViewContext<'_>,
        _: AllocateProducerIdsRequest,
        reply: Reply,
    ) -> AllocateProducerIdsResponse {
        let Reply::ProducerIds { first, count } = reply else {
            let error_code = super::refusal_code(&reply) as i16;
            return AllocateProducerIdsResponse { error_code, ..AllocateProducerIdsResponse::default() };
        };
        AllocateProducerIdsResponse {
            producer_id_start: first.0,
            producer_id_len: i32::try_from(count).unwrap_or(i32::MAX),
            ..AllocateProducerIdsResponse::default()
        }
    }
}

impl ToController for AllocateProducerIds {
    fn request(command: &Command) -> Option<AllocateProducerIdsRequest> {
        let Command::AllocateProducerIds { broker } = command else { return None };
        Some(AllocateProducerIdsRequest { broker_id: broker.0, ..AllocateProducerIdsRequest::default() })
    }

    fn reply(response: AllocateProducerIdsResponse) -> Reply {
        let AllocateProducerIdsResponse { error_code, producer_id_start, producer_id_len, .. } = response;
        let ids = Reply::ProducerIds { first: ProducerId(producer_id_start), count: producer_id_len.into() };
        super::refusal(error_code).map_or(ids, super::refused)
    }
}
