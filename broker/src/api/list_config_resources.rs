//! ListConfigResources (74): who has configs (KIP-1142).
//!
//! Version notes: version 0 knows only client metrics, of which there are none.

use super::{Acl, Answer, Api, OnView, ViewContext};
use cluster::config::ResourceKind;
use wire::ErrorCode;
use wire::list_config_resources::{ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse};

pub(super) struct ListConfigResources;

impl Api for ListConfigResources {
    type Request = ListConfigResourcesRequest;
    const ACL: Acl = Acl::DescribeConfigs;

    fn upgrade(version: i16, request: &mut ListConfigResourcesRequest) {
        if version == 0 {
            request.resource_types = vec![ResourceKind::ClientMetrics as i8];
        }
    }
}

const ALL: [ResourceKind; 5] = [
    ResourceKind::Topic,
    ResourceKind::Broker,
    ResourceKind::BrokerLogger,
    ResourceKind::ClientMetrics,
    ResourceKind::Group,
];

impl OnView for ListConfigResources {
    fn handle(
        cx: &ViewContext<'_>,
        request: ListConfigResourcesRequest,
    ) -> Answer<ListConfigResourcesResponse> {
        let asked: Option<Vec<ResourceKind>> =
            request.resource_types.iter().map(|kind| ResourceKind::from_wire(*kind)).collect();
        let Some(mut kinds) = asked else {
            let error_code = ErrorCode::UnsupportedVersion as i16;
            return Answer::Reply(ListConfigResourcesResponse {
                error_code,
                ..ListConfigResourcesResponse::default()
            });
        };
        if kinds.is_empty() {
            kinds = ALL.to_vec();
        }
        let config_resources = kinds.into_iter().flat_map(|kind| named(cx, kind)).collect();
        Answer::Reply(ListConfigResourcesResponse {
            config_resources,
            ..ListConfigResourcesResponse::default()
        })
    }
}

fn named(cx: &ViewContext<'_>, kind: ResourceKind) -> Vec<ConfigResource> {
    let names: Vec<String> = match kind {
        ResourceKind::Topic => cx.view.image.topics().map(|topic| topic.name.to_string()).collect(),
        ResourceKind::Broker | ResourceKind::BrokerLogger => {
            cx.view.image.brokers().map(|broker| broker.id.to_string()).collect()
        }
        ResourceKind::ClientMetrics | ResourceKind::Group => {
            let of_kind = cx.view.image.configs().filter(|(resource, _)| resource.kind == kind);
            of_kind.map(|(resource, _)| resource.name.to_string()).collect()
        }
    };
    let resource = |name: String| ConfigResource {
        resource_name: name.into(),
        resource_type: kind as i8,
        ..ConfigResource::default()
    };
    names.into_iter().map(resource).collect()
}
