//! ApiVersions (18): which APIs, in which versions, and which features the cluster has finalized.
//!
//! Version notes: a client asks with its newest version before it knows ours. A version we do not know is
//! answered in version 0 with UNSUPPORTED_VERSION and the row of ApiVersions alone (KIP-511). Version 5 names
//! the node that the client believes to have reached (KIP-1242). Before version 4, clients refuse features whose lowest
//! level is 0 and are not told them (KAFKA-17011).

use super::{Acl, Answer, Api, OnView, TABLE, ViewContext};
use cluster::controller::FEATURES;
use wire::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use wire::{ApiKey, ErrorCode};

pub(super) struct ApiVersions;

impl Api for ApiVersions {
    type Request = ApiVersionsRequest;
    const ACL: Acl = Acl::Open;

    fn upgrade(version: i16, request: &mut ApiVersionsRequest) {
        // Before version 3 clients did not say their name; an empty one is an error only since then.
        if version < 3 {
            request.client_software_name = "unknown".into();
            request.client_software_version = "unknown".into();
        }
    }

    fn downgrade(version: i16, response: &mut ApiVersionsResponse) {
        if version < 4 {
            response.supported_features.retain(|feature| feature.min_version > 0);
        }
    }
}

impl OnView for ApiVersions {
    fn handle(cx: &ViewContext<'_>, request: ApiVersionsRequest) -> Answer<ApiVersionsResponse> {
        let mut response = all(cx);
        if let Some(code) = refuse(cx, &request) {
            response = ApiVersionsResponse { error_code: code as i16, ..ApiVersionsResponse::default() };
        }
        Answer::Reply(response)
    }
}

fn refuse(cx: &ViewContext<'_>, request: &ApiVersionsRequest) -> Option<ErrorCode> {
    if !is_software_name(&request.client_software_name) || !is_software_name(&request.client_software_version)
    {
        return Some(ErrorCode::InvalidRequest);
    }
    let node = &cx.view.node;
    match (&request.cluster_id, request.node_id) {
        (None, -1) => None,
        (None, _) => Some(ErrorCode::InvalidRequest),
        (Some(cluster), _) if cluster.as_str() != node.cluster_id => Some(ErrorCode::RebootstrapRequired),
        (Some(_), id) if id != -1 && id != node.config.node_id.0 => Some(ErrorCode::RebootstrapRequired),
        (Some(_), _) => None,
    }
}

/// Letters, digits, dots and dashes, beginning and ending with a letter or digit (KIP-511).
fn is_software_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
}

fn all(cx: &ViewContext<'_>) -> ApiVersionsResponse {
    let version = |row: &super::Row| ApiVersion {
        api_key: row.key as i16,
        min_version: *row.advertised.start(),
        max_version: *row.advertised.end(),
        ..ApiVersion::default()
    };
    let supported = |(name, low, high): &(&'static str, i16, i16)| SupportedFeatureKey {
        name: (*name).into(),
        min_version: *low,
        max_version: *high,
        ..SupportedFeatureKey::default()
    };
    let finalized = |(name, level): (&str, i16)| FinalizedFeatureKey {
        name: name.into(),
        max_version_level: level,
        min_version_level: level,
        ..FinalizedFeatureKey::default()
    };
    ApiVersionsResponse {
        api_keys: TABLE.iter().map(version).collect(),
        supported_features: FEATURES.iter().map(supported).collect(),
        finalized_features_epoch: i64::try_from(cx.view.image.index).unwrap_or(-1),
        finalized_features: cx.view.image.features().map(finalized).collect(),
        ..ApiVersionsResponse::default()
    }
}

/// The answer to a version that is not known here: version 0, naming only what to ask with.
pub(crate) fn unsupported() -> ApiVersionsResponse {
    let row = TABLE.iter().find(|row| row.key == ApiKey::ApiVersions);
    let own = row.map(|row| ApiVersion {
        api_key: row.key as i16,
        min_version: *row.advertised.start(),
        max_version: *row.advertised.end(),
        ..ApiVersion::default()
    });
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion as i16,
        api_keys: own.into_iter().collect(),
        ..ApiVersionsResponse::default()
    }
}
