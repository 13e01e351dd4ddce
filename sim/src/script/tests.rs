use super::*;
use crate::report::{NO_CLIENT, NOT_DEMANDED};

#[test]
fn every_script_holds_on_the_machine() {
    let mut said = String::new();
    drop(base::marks::take());
    let tally = campaign(&Runner::Machine, &[folder()], false, &mut |text| said.push_str(text)).unwrap();
    assert!(tally.failed == 0 && tally.scripts > 0, "{said}");
    let reached = base::marks::take();
    let excused = NOT_DEMANDED.iter().filter(|(_, why)| *why == NO_CLIENT);
    let unreached: Vec<_> = excused.filter(|(mark, _)| !reached.contains_key(mark)).collect();
    assert!(
        unreached.is_empty(),
        "the simulator is excused from these, and no script reaches them: {unreached:?}"
    );
}

#[test]
fn the_page_of_deviations_is_fresh() {
    let fresh = deviations::page().unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(deviations::path(), &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(deviations::path()).unwrap_or_default();
    assert!(
        committed == fresh,
        "docs/deviations.md is stale: run UPDATE=1 cargo test -p ottla-sim deviations"
    );
}

#[test]
fn a_script_is_printed_as_it_was_read() {
    let text = "# why\na: Metadata v1 {}\n----\na: {\nottla|   one: 1,\nkafka|   one: 2,\n  two: 2,\nottla|   three: 3,\nwhy| Both for this.\n}\n";
    let script = Script::parse(text).unwrap();
    assert_eq!(script.print(), text);
    assert_eq!(script.blocks[0].expected(Side::Kafka), ["a: {", "  one: 2,", "  two: 2,", "}"]);
    assert_eq!(script.unexplained(), None);
}

#[test]
fn a_difference_without_a_reason_is_refused() {
    let script = Script::parse("a: Metadata v1 {}\n----\nottla| a: {}\nkafka| a: closed\n").unwrap();
    assert_eq!(script.unexplained().as_deref(), Some("a: {} / a: closed"));
}

#[test]
fn a_new_outcome_keeps_the_reasons_of_the_old_one() {
    let text = "a: Metadata v1 {}\n----\nottla| a: {one: 1}\nkafka| a: {one: 2}\nwhy| We count from one.\n";
    let mut script = Script::parse(text).unwrap();
    script.blocks[0].learn(Side::Ottla, vec!["a: {one: 3}".into()]);
    assert_eq!(script.print(), text.replace("one: 1", "one: 3"));
    script.blocks[0].learn(Side::Kafka, vec!["a: {one: 3}".into()]);
    assert_eq!(script.print(), "a: Metadata v1 {}\n----\na: {one: 3}\n");
}

/// The text encoder and the generated one must agree, or one of them is wrong.
#[test]
fn requests_are_encoded_as_the_generated_code_encodes_them() {
    use wire::metadata::{MetadataRequest, MetadataRequestTopic};
    let schemas = Schemas::load(&repository().join("wire/schema")).unwrap();
    let api = schemas.find("Metadata").unwrap();
    let (value, _) =
        literal::read(r#"{topics: [{name: "t"}], include_topic_authorized_operations: true}"#).unwrap();
    let head = encode::Head { version: 12, correlation: 7, client: "script" };
    let ours = encode::request(api, &head, 12, &value).unwrap();
    let topic = MetadataRequestTopic { name: Some("t".into()), ..MetadataRequestTopic::default() };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        include_topic_authorized_operations: true,
        ..MetadataRequest::default()
    };
    let theirs = wire::encode_request(7, Some(&"script".into()), 12, &request).unwrap();
    assert_eq!(ours, theirs.bytes[4..]);
}
