//! IncrementalAlterConfigs (44): set, unset, append to and subtract from single configs (KIP-339).

use super::alter::{Altered, Wanted, altered, command, refuse, without_value};
use super::{Acl, Answer, Api, OnController, ResponseOf, ViewContext};
use cluster::controller::{ConfigChange, ConfigOp, Outcome, Reply};
use wire::incremental_alter_configs::{
    AlterConfigsResourceResponse, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

pub(super) struct IncrementalAlterConfigs;

impl Api for IncrementalAlterConfigs {
    type Request = IncrementalAlterConfigsRequest;
    const ACL: Acl = Acl::AlterConfigs;
}

impl OnController for IncrementalAlterConfigs {
    fn ask(request: IncrementalAlterConfigsRequest) -> Answer<ResponseOf<Self>> {
        Answer::Ask(command(&wanted(&request), false, request.validate_only))
    }

    fn answer(
        cx: &ViewContext<'_>,
        request: IncrementalAlterConfigsRequest,
        reply: Reply,
    ) -> IncrementalAlterConfigsResponse {
        let altered = altered(&wanted(&request), (false, request.validate_only), cx, reply);
        let responses = altered.into_iter().map(response).collect();
        IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }
    }
}

fn wanted(request: &IncrementalAlterConfigsRequest) -> Vec<Wanted<'_>> {
    let resources = request.resources.iter();
    resources.map(|of| Wanted::new(of.resource_type, &of.resource_name, &of.configs, change)).collect()
}

fn change(config: &AlterableConfig) -> Outcome<ConfigChange> {
    let value = config.value.as_ref().map(|value| value.as_str().to_owned());
    let op = match (config.config_operation, value) {
        (1, _) => ConfigOp::Delete,
        (0, Some(value)) => ConfigOp::Set(value),
        (2, Some(value)) => ConfigOp::Append(value),
        (3, Some(value)) => ConfigOp::Subtract(value),
        (0 | 2 | 3, None) => return without_value(&config.name),
        (other, _) => return refuse(format!("Unknown operation type {other}.")),
    };
    Ok(ConfigChange { key: config.name.as_str().to_owned(), op })
}

fn response(altered: Altered) -> AlterConfigsResourceResponse {
    AlterConfigsResourceResponse {
        error_code: altered.error_code,
        error_message: altered.error_message,
        resource_type: altered.kind,
        resource_name: altered.name,
        ..AlterConfigsResourceResponse::default()
    }
}
