//! AlterConfigs (33): replaces all configs of a resource. Superseded by IncrementalAlterConfigs, still used.

use super::{Acl, Answer, Api, OnController, ResponseOf, ViewContext, outcome};
use cluster::Resource;
use cluster::config::ResourceKind;
use cluster::controller::{Command, ConfigChange, ConfigOp, Outcome, Refusal, Reply, Subject};
use wire::ErrorCode;
use wire::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};

pub(super) struct AlterConfigs;

impl Api for AlterConfigs {
    type Request = AlterConfigsRequest;
    const ACL: Acl = Acl::AlterConfigs;
}

impl OnController for AlterConfigs {
    fn ask(request: AlterConfigsRequest) -> Answer<ResponseOf<Self>> {
        let subjects = request.resources.iter().filter_map(|resource| subject(resource).ok()).collect();
        Answer::Ask(Command::AlterConfigs { subjects, validate_only: request.validate_only })
    }

    fn answer(_cx: &ViewContext<'_>, request: AlterConfigsRequest, reply: Reply) -> AlterConfigsResponse {
        let Reply::Changed(outcomes) = reply else { return AlterConfigsResponse::default() };
        let mut outcomes = outcomes.into_iter();
        let mut answer = |resource: &AlterConfigsResource| match subject(resource) {
            Ok(_) => outcomes.next().unwrap_or(Ok(())),
            Err(refusal) => Err(refusal),
        };
        let responses =
            request.resources.iter().map(|resource| response(resource, &answer(resource))).collect();
        AlterConfigsResponse { responses, ..AlterConfigsResponse::default() }
    }
}

fn subject(resource: &AlterConfigsResource) -> Outcome<Subject> {
    let refuse = |message: String| Refusal { code: ErrorCode::InvalidRequest, message };
    let kind = ResourceKind::from_wire(resource.resource_type)
        .ok_or_else(|| refuse(format!("Unexpected resource type {}.", resource.resource_type)))?;
    let change = |config: &wire::alter_configs::AlterableConfig| match &config.value {
        Some(value) => Ok(ConfigChange {
            key: config.name.as_str().to_owned(),
            op: ConfigOp::Set(value.as_str().to_owned()),
        }),
        None => Err(refuse(format!("Null value not supported for : {}", config.name))),
    };
    let changes = resource.configs.iter().map(change).collect::<Outcome<_>>()?;
    Ok(Subject {
        resource: Resource { kind, name: resource.resource_name.as_str().into() },
        changes,
        replace: true,
    })
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
