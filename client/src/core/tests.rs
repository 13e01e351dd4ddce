use super::*;

#[test]
fn addresses_are_read_as_in_bootstrap_servers() {
    let all = parse_addresses("a:1, PLAINTEXT://b:2,[::1]:3").unwrap();
    let shown: Vec<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["a:1", "b:2", "[::1]:3"]);
    for wrong in ["", "a", ":1", "a:b", "a:70000"] {
        assert!(parse_addresses(wrong).is_err(), "{wrong}");
    }
}
