//! IncrementalAlterConfigs (44): set, unset, append to and subtract from single configs (KIP-339).

use super::{Acl, Answer, Api, OnController, ResponseOf, ViewContext, outcome};
use cluster::Resource;
use cluster::config::ResourceKind;
use cluster::controller::{Command, ConfigChange, ConfigOp, Outcome, Refusal, Reply, Subject};
use wire::ErrorCode;
use wire::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

pub(super) struct IncrementalAlterConfigs;

impl Api for IncrementalAlterConfigs {
    type Request = IncrementalAlterConfigsRequest;
    const ACL: Acl = Acl::AlterConfigs;
}

impl OnController for IncrementalAlterConfigs {
    fn ask(request: IncrementalAlterConfigsRequest) -> Answer<ResponseOf<Self>> {
        let subjects = request.resources.iter().filter_map(|resource| subject(resource).ok()).collect();
        Answer::Ask(Command::AlterConfigs { subjects, validate_only: request.validate_only })
    }

    fn answer(
        _cx: &ViewContext<'_>,
        request: IncrementalAlterConfigsRequest,
        reply: Reply,
    ) -> IncrementalAlterConfigsResponse {
        let Reply::Changed(outcomes) = reply else { return IncrementalAlterConfigsResponse::default() };
        let mut outcomes = outcomes.into_iter();
        // What could not even be asked is answered from the request, the rest in the order of asking.
        let mut answer = |resource: &AlterConfigsResource| match subject(resource) {
            Ok(_) => outcomes.next().unwrap_or(Ok(())),
            Err(refusal) => Err(refusal),
        };
        let responses =
            request.resources.iter().map(|resource| response(resource, &answer(resource))).collect();
        IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }
    }
}

fn subject(resource: &AlterConfigsResource) -> Outcome<Subject> {
    let refuse = |message: String| Refusal { code: ErrorCode::InvalidRequest, message };
    let kind = ResourceKind::from_wire(resource.resource_type)
        .ok_or_else(|| refuse(format!("Unexpected resource type {}.", resource.resource_type)))?;
    let changes = resource.configs.iter().map(change).collect::<Outcome<_>>()?;
    Ok(Subject {
        resource: Resource { kind, name: resource.resource_name.as_str().into() },
        changes,
        replace: false,
    })
}

fn change(config: &AlterableConfig) -> Outcome<ConfigChange> {
    let refuse = |message: String| Refusal { code: ErrorCode::InvalidRequest, message };
    let value = config.value.as_ref().map(|value| value.as_str().to_owned());
    let op = match (config.config_operation, value) {
        (1, _) => ConfigOp::Delete,
        (0, Some(value)) => ConfigOp::Set(value),
        (2, Some(value)) => ConfigOp::Append(value),
        (3, Some(value)) => ConfigOp::Subtract(value),
        (0 | 2 | 3, None) => return Err(refuse(format!("Null value not supported for : {}", config.name))),
        (other, _) => return Err(refuse(format!("Unknown operation type {other}."))),
    };
    Ok(ConfigChange { key: config.name.as_str().to_owned(), op })
}

fn response(resource: &AlterConfigsResource, changed: &Outcome<()>) -> AlterConfigsResourceResponse {
    let (error_code, error_message) = outcome(changed);
    AlterConfigsResourceResponse {
        error_code,
        error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..AlterConfigsResourceResponse::default()
    }
}
