//! AlterConfigs (33): replaces all configs of a resource. Superseded by IncrementalAlterConfigs, still used.

use super::alter::{Altered, Wanted, altered, command, without_value};
use super::{Acl, Answer, Api, OnController, ResponseOf, ViewContext};
use cluster::controller::{ConfigChange, ConfigOp, Outcome, Reply};
use wire::alter_configs::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse, AlterableConfig,
};

pub(super) struct AlterConfigs;

impl Api for AlterConfigs {
    type Request = AlterConfigsRequest;
    const ACL: Acl = Acl::AlterConfigs;
}

impl OnController for AlterConfigs {
    fn ask(request: AlterConfigsRequest) -> Answer<ResponseOf<Self>> {
        Answer::Ask(command(&wanted(&request), true, request.validate_only))
    }

    fn answer(cx: &ViewContext<'_>, request: AlterConfigsRequest, reply: Reply) -> AlterConfigsResponse {
        let responses = altered(&wanted(&request), (true, request.validate_only), cx, reply)
            .into_iter()
            .map(response)
            .collect();
        AlterConfigsResponse { responses, ..AlterConfigsResponse::default() }
    }
}

fn wanted(request: &AlterConfigsRequest) -> Vec<Wanted<'_>> {
    let resources = request.resources.iter();
    resources.map(|of| Wanted::new(of.resource_type, &of.resource_name, &of.configs, change)).collect()
}

fn change(config: &AlterableConfig) -> Outcome<ConfigChange> {
    match &config.value {
        Some(value) => Ok(ConfigChange {
            key: config.name.as_str().to_owned(),
            op: ConfigOp::Set(value.as_str().to_owned()),
        }),
        None => without_value(&config.name),
    }
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
