//! Who has a vote in the cluster, and which brokers it knows.

use super::{Admin, AdminError};
use crate::core::Target;
use base::Uuid;
use wire::add_raft_voter::AddRaftVoterRequest;
use wire::remove_raft_voter::RemoveRaftVoterRequest;
use wire::unregister_broker::UnregisterBrokerRequest;
use wire::unregister_controller::UnregisterControllerRequest;

impl Admin {
    /// Gives a member a vote (KIP-853): `directory` is its data directory's id, as the quorum's description tells it.
    ///
    /// # Errors
    /// `DUPLICATE_VOTER`, `REQUEST_TIMED_OUT` while it has not caught up, `INVALID_REQUEST` for what is no member.
    pub async fn add_voter(&self, id: i32, directory: Uuid) -> Result<(), AdminError> {
        let request = AddRaftVoterRequest {
            cluster_id: None,
            timeout_ms: self.timeout_ms(),
            voter_id: id,
            voter_directory_id: directory,
            ..AddRaftVoterRequest::default()
        };
        let response = self.call(Target::Controller, 0..=1, request).await?;
        AdminError::check(response.error_code, &format!("voter {id}"), response.error_message.as_ref())
    }

    /// Takes a voter's vote; it follows on (KIP-853).
    ///
    /// # Errors
    /// `VOTER_NOT_FOUND`, `INVALID_REQUEST` for the last voter, `REQUEST_TIMED_OUT` while the controller hands over.
    pub async fn remove_voter(&self, id: i32, directory: Uuid) -> Result<(), AdminError> {
        let request = RemoveRaftVoterRequest {
            cluster_id: None,
            voter_id: id,
            voter_directory_id: directory,
            ..RemoveRaftVoterRequest::default()
        };
        let response = self.call(Target::Controller, 0..=0, request).await?;
        AdminError::check(response.error_code, &format!("voter {id}"), response.error_message.as_ref())
    }

    /// Lets the cluster forget a broker that is gone.
    ///
    /// # Errors
    /// `BROKER_ID_NOT_REGISTERED`; `INVALID_REQUEST` if it holds the only copy of a partition.
    pub async fn unregister_broker(&self, id: i32) -> Result<(), AdminError> {
        let request = UnregisterBrokerRequest { broker_id: id, ..UnregisterBrokerRequest::default() };
        let response = self.call(Target::Controller, 0..=0, request).await?;
        AdminError::check(response.error_code, &format!("broker {id}"), response.error_message.as_ref())
    }

    /// Lets the cluster forget a controller that has no vote any more and has ended (KIP-1312, Kafka 4.4).
    ///
    /// # Errors
    /// `INVALID_REQUEST` if it has a vote, `CONTROLLER_ID_NOT_REGISTERED`.
    pub async fn unregister_controller(&self, id: i32) -> Result<(), AdminError> {
        let request =
            UnregisterControllerRequest { controller_id: id, ..UnregisterControllerRequest::default() };
        let response = self.call(Target::Controller, 0..=0, request).await?;
        AdminError::check(response.error_code, &format!("controller {id}"), response.error_message.as_ref())
    }
}
