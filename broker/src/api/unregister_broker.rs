//! UnregisterBroker (64): a broker that is gone for good is forgotten. One that holds the only copy of a partition is not: a
//! real broker forgets it, and the partition with it.

use super::{Acl, Answer, Api, OnController, ResponseOf, ViewContext};
use base::BrokerId;
use cluster::controller::{Command, Reply};
use wire::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

pub(super) struct UnregisterBroker;

impl Api for UnregisterBroker {
    type Request = UnregisterBrokerRequest;
    const ACL: Acl = Acl::AlterCluster;
}

impl OnController for UnregisterBroker {
    fn ask(request: UnregisterBrokerRequest) -> Answer<ResponseOf<Self>> {
        Answer::Ask(Command::UnregisterBroker { id: BrokerId(request.broker_id) })
    }

    fn answer(_: &ViewContext<'_>, _: UnregisterBrokerRequest, reply: Reply) -> UnregisterBrokerResponse {
        match reply {
            Reply::Done(outcome) => {
                let (error_code, error_message) = super::outcome(&outcome);
                UnregisterBrokerResponse { error_code, error_message, ..UnregisterBrokerResponse::default() }
            }
            other @ (Reply::Created(_)
            | Reply::Deleted(_)
            | Reply::Changed(_)
            | Reply::ProducerIds { .. }
            | Reply::Registered { .. }
            | Reply::Alive(_)
            | Reply::Expired(_)
            | Reply::Partitions(_)
            | Reply::Elected(_)
            | Reply::Balanced { .. }) => UnregisterBrokerResponse {
                error_code: super::refusal_code(&other) as i16,
                ..UnregisterBrokerResponse::default()
            },
        }
    }
}
