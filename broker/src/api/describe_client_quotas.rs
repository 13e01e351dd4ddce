//! DescribeClientQuotas (48): Kafka's tools ask whenever they describe a client or user. None can be set yet, but
//! a filter that makes no sense is refused.

use super::{Acl, Answer, Api, OnView, ViewContext};
use wire::ErrorCode;
use wire::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
};

pub(super) struct DescribeClientQuotas;

const USER: &str = "user";
const CLIENT: &str = "client-id";
const ADDRESS: &str = "ip";

/// Match types: this name; the default; any.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

impl Api for DescribeClientQuotas {
    type Request = DescribeClientQuotasRequest;
    const ACL: Acl = Acl::DescribeConfigs;
}

impl OnView for DescribeClientQuotas {
    fn handle(
        _cx: &ViewContext<'_>,
        request: DescribeClientQuotasRequest,
    ) -> Answer<DescribeClientQuotasResponse> {
        Answer::Reply(match check(&request.components) {
            Ok(()) => DescribeClientQuotasResponse {
                entries: Some(Vec::new()),
                ..DescribeClientQuotasResponse::default()
            },
            Err((code, message)) => DescribeClientQuotasResponse {
                error_code: code as i16,
                error_message: Some(message.into()),
                entries: None,
                ..DescribeClientQuotasResponse::default()
            },
        })
    }
}

type Checked = Result<(), (ErrorCode, &'static str)>;

fn check(components: &[ComponentData]) -> Checked {
    for (at, component) in components.iter().enumerate() {
        check_one(component)?;
        if components[..at].iter().any(|earlier| earlier.entity_type == component.entity_type) {
            return Err((ErrorCode::InvalidRequest, "An entity type is named twice."));
        }
    }
    let has = |kind: &str| components.iter().any(|component| component.entity_type.as_str() == kind);
    if has(ADDRESS) && (has(USER) || has(CLIENT)) {
        return Err((ErrorCode::InvalidRequest, "Addresses do not go together with users and clients."));
    }
    Ok(())
}

fn check_one(component: &ComponentData) -> Checked {
    match component.entity_type.as_str() {
        USER | CLIENT | ADDRESS => {}
        "" => return Err((ErrorCode::InvalidRequest, "The entity type is empty.")),
        _ => return Err((ErrorCode::UnsupportedVersion, "This entity type is not known.")),
    }
    match (component.match_type, &component.r#match) {
        (EXACT, Some(_)) | (DEFAULT | ANY, None) => Ok(()),
        (EXACT, None) => Err((ErrorCode::InvalidRequest, "An exact match needs a name.")),
        (DEFAULT | ANY, Some(_)) => Err((ErrorCode::InvalidRequest, "This match takes no name.")),
        _ => Err((ErrorCode::InvalidRequest, "This type of match does not exist.")),
    }
}
