//! DescribeConfigs (32): the settings of topics, brokers and groups with where each comes from.

use super::{Acl, Answer, Api, OnView, ViewContext, broker_loggers};
use cluster::config::{self, Described, Layers, Overrides, ResourceKind, Source, Synonym, Update};
use cluster::controller::{Outcome, Refusal, check_topic_name};
use wire::ErrorCode;
use wire::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

pub(super) struct DescribeConfigs;

impl Api for DescribeConfigs {
    type Request = DescribeConfigsRequest;
    const ACL: Acl = Acl::DescribeConfigs;
}

impl OnView for DescribeConfigs {
    fn handle(cx: &ViewContext<'_>, request: DescribeConfigsRequest) -> Answer<DescribeConfigsResponse> {
        let results = request.resources.iter().map(|resource| answer_one(cx, &request, resource)).collect();
        Answer::Reply(DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() })
    }
}

fn answer_one(
    cx: &ViewContext<'_>,
    request: &DescribeConfigsRequest,
    resource: &DescribeConfigsResource,
) -> DescribeConfigsResult {
    let described = describe(cx, request, resource);
    let (error_code, error_message) = super::outcome(&described);
    let wanted = |config: &DescribeConfigsResourceResult| match &resource.configuration_keys {
        // No keys are all keys.
        Some(keys) if !keys.is_empty() => keys.contains(&config.name),
        Some(_) | None => true,
    };
    let configs = described.unwrap_or_default().into_iter().filter(wanted);
    DescribeConfigsResult {
        error_code,
        error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        configs: configs.collect(),
        ..DescribeConfigsResult::default()
    }
}

fn describe(
    cx: &ViewContext<'_>,
    request: &DescribeConfigsRequest,
    resource: &DescribeConfigsResource,
) -> Outcome<Vec<DescribeConfigsResourceResult>> {
    let name = resource.resource_name.as_str();
    let refuse = |code, message: String| Err(Refusal { code, message });
    let kept = match ResourceKind::from_wire(resource.resource_type) {
        Some(ResourceKind::Topic) => describe_topic(cx, name),
        Some(ResourceKind::Broker) => describe_broker(cx, name),
        Some(ResourceKind::Group) if name.is_empty() => {
            refuse(ErrorCode::InvalidRequest, "The name of the group is empty.".into())
        }
        Some(ResourceKind::Group) => Ok(describe_group(cx, name)),
        Some(ResourceKind::BrokerLogger) => return broker_loggers::describe(cx, name),
        Some(ResourceKind::ClientMetrics) => refuse(
            ErrorCode::InvalidRequest,
            "Configs of this resource type are not served by this version.".into(),
        ),
        None => refuse(
            ErrorCode::InvalidRequest,
            format!("Unsupported resource type: {}", resource.resource_type),
        ),
    };
    Ok(kept?.into_iter().map(|item| result(request, item)).collect())
}

fn describe_topic(cx: &ViewContext<'_>, name: &str) -> Outcome<Vec<Described>> {
    check_topic_name(name)?;
    if cx.view.image.topic(name).is_none() {
        let code = ErrorCode::UnknownTopicOrPartition;
        return Err(code.into());
    }
    let none = Overrides::new();
    let own = cx.view.image.overrides(ResourceKind::Topic, name).map_or(&none, |set| set);
    Ok(cx
        .view
        .with_layers(|layers| config::topic_keys().map(|key| layers.describe_topic(own, key)).collect()))
}

fn describe_broker(cx: &ViewContext<'_>, name: &str) -> Outcome<Vec<Described>> {
    if name.is_empty() {
        return Ok(cluster_defaults(cx));
    }
    let own = cx.view.node.config.node_id;
    match name.parse::<i32>() {
        Ok(id) if id == own.0 => {
            Ok(told(cx.view.with_layers(|layers| {
                config::broker_keys().map(|key| layers.describe_broker(key)).collect()
            })))
        }
        Ok(_) => Err(Refusal {
            code: ErrorCode::InvalidRequest,
            message: format!("Unexpected broker id, expected {own} or empty string, but received {name}"),
        }),
        Err(_) => Err(Refusal {
            code: ErrorCode::InvalidRequest,
            message: format!("Broker id must be an integer, but it is: {name}"),
        }),
    }
}

/// Kafka does not know of some keys before they are set, and then of no default.
fn told(mut described: Vec<Described>) -> Vec<Described> {
    described.retain(|item| item.source != Source::Default || !config::is_hidden_unset(item.key));
    for item in described.iter_mut().filter(|item| config::is_hidden_unset(item.key)) {
        item.synonyms.retain(|synonym| synonym.source != Source::Default);
    }
    described
}

/// The dynamic defaults of all brokers: only what was set.
fn cluster_defaults(cx: &ViewContext<'_>) -> Vec<Described> {
    let none = Overrides::new();
    let set = cx.view.image.overrides(ResourceKind::Broker, "").map_or(&none, |set| set);
    let layers = Layers { broker: &none, cluster: set, fixed: &none };
    let keys = config::broker_keys().filter(|key| set.contains_key(key.name));
    let mut described: Vec<_> = keys.map(|key| layers.describe_broker(key)).collect();
    for item in &mut described {
        item.synonyms.retain(|synonym| synonym.source == Source::DynamicDefaultBroker);
    }
    described
}

fn describe_group(cx: &ViewContext<'_>, name: &str) -> Vec<Described> {
    let none = Overrides::new();
    let set = cx.view.image.overrides(ResourceKind::Group, name).map_or(&none, |set| set);
    let describe = |key: &'static config::ConfigKey| {
        let own = set.get(key.name).cloned();
        let source = if own.is_some() { Source::Group } else { Source::Default };
        let default = key.default.map(ToOwned::to_owned);
        let synonyms = vec![Synonym { name: key.name, value: default.clone(), source: Source::Default }];
        Described { key, value: own.or(default), source, synonyms }
    };
    config::group_keys().map(describe).collect()
}

fn result(request: &DescribeConfigsRequest, item: Described) -> DescribeConfigsResourceResult {
    let synonym = |synonym: Synonym| DescribeConfigsSynonym {
        name: synonym.name.into(),
        value: synonym.value.map(Into::into),
        source: synonym.source as i8,
        ..DescribeConfigsSynonym::default()
    };
    let synonyms = if request.include_synonyms { item.synonyms } else { Vec::new() };
    DescribeConfigsResourceResult {
        name: item.key.name.into(),
        value: item.value.map(Into::into),
        read_only: item.key.update == Update::ReadOnly,
        config_source: item.source as i8,
        is_sensitive: item.key.is_sensitive(),
        synonyms: synonyms.into_iter().map(synonym).collect(),
        config_type: item.key.kind as i8,
        documentation: request.include_documentation.then(|| item.key.documentation().into()),
        ..DescribeConfigsResourceResult::default()
    }
}
