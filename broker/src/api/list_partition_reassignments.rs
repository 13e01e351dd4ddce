//! ListPartitionReassignments (46): replicas on the move. A single node moves none.

use super::{Acl, Answer, Api, OnView, ViewContext};
use wire::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

pub(super) struct ListPartitionReassignments;

impl Api for ListPartitionReassignments {
    type Request = ListPartitionReassignmentsRequest;
    const ACL: Acl = Acl::DescribeCluster;
}

impl OnView for ListPartitionReassignments {
    fn handle(
        _cx: &ViewContext<'_>,
        _request: ListPartitionReassignmentsRequest,
    ) -> Answer<ListPartitionReassignmentsResponse> {
        Answer::Reply(ListPartitionReassignmentsResponse::default())
    }
}
