//! DescribeCluster (60): the cluster's id, its brokers, its controller.
//!
//! Version notes: version 1 may ask for the controllers instead (KIP-919), which a broker's listener refuses;
//! version 2 shows fenced brokers on request (KIP-1073).

use super::{Acl, Answer, Api, OnView, ViewContext, operations};
use wire::ErrorCode;
use wire::describe_cluster::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};

pub(super) struct DescribeCluster;

/// "Brokers" as the endpoint type.
const BROKERS: i8 = 1;
/// "Controllers" as the endpoint type.
const CONTROLLERS: i8 = 2;

impl Api for DescribeCluster {
    type Request = DescribeClusterRequest;
    const ACL: Acl = Acl::DescribeCluster;
}

impl OnView for DescribeCluster {
    fn handle(cx: &ViewContext<'_>, request: DescribeClusterRequest) -> Answer<DescribeClusterResponse> {
        let refused = |code: ErrorCode, message: &'static str| {
            Answer::Reply(DescribeClusterResponse {
                error_code: code as i16,
                error_message: Some(message.into()),
                cluster_authorized_operations: operations::NOT_ASKED,
                ..DescribeClusterResponse::default()
            })
        };
        match request.endpoint_type {
            BROKERS => Answer::Reply(brokers(cx, &request)),
            CONTROLLERS => refused(
                ErrorCode::MismatchedEndpointType,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
            ),
            _ => refused(ErrorCode::UnsupportedEndpointType, "Unsupported endpoint type"),
        }
    }
}

fn brokers(cx: &ViewContext<'_>, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    let include_fenced = request.include_fenced_brokers;
    let asked = request.include_cluster_authorized_operations;
    let describe = |endpoint: crate::view::BrokerEndpoint<'_>| DescribeClusterBroker {
        broker_id: endpoint.id.0,
        host: endpoint.host.into(),
        port: i32::from(endpoint.port),
        rack: endpoint.rack.map(Into::into),
        is_fenced: endpoint.fenced,
        ..DescribeClusterBroker::default()
    };
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: cx.view.node.cluster_id.as_str().into(),
        controller_id: cx.view.any_live_broker(cx.listener).map_or(-1, |id| id.0),
        brokers: cx
            .view
            .brokers(cx.listener)
            .filter(|broker| include_fenced || !broker.fenced)
            .map(describe)
            .collect(),
        cluster_authorized_operations: operations::if_asked(asked, operations::ON_CLUSTER),
        ..DescribeClusterResponse::default()
    }
}
