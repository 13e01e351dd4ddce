use super::*;
use std::fmt::Write as _;
use std::path::Path;

/// The support matrix as the docs show it.
fn support_matrix() -> String {
    let mut text = String::from(
        "# Which APIs are served\n\nGenerated from the API table (`UPDATE=1 cargo test -p ottla-broker support_matrix`); Kafka 4.4's keys and\nranges. \"Told\" is what ApiVersions says where it differs from what is served.\n\n| key | API | served | told | whose state | guarded by |\n|---:|---|---|---|---|---|\n",
    );
    let mut rows: Vec<&Row> = TABLE.iter().collect();
    rows.sort_by_key(|row| row.key as i16);
    for row in rows {
        let range = |range: &RangeInclusive<i16>| format!("{}–{}", range.start(), range.end());
        let told = if row.advertised == row.served { String::new() } else { range(&row.advertised) };
        let (key, name) = (row.key as i16, row.key.name());
        writeln!(
            text,
            "| {key} | {name} | {} | {told} | {:?} | {:?} |",
            range(&row.served),
            row.owner,
            row.acl
        )
        .unwrap();
    }
    text
}

#[test]
fn the_support_matrix_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/support-matrix.md");
    let fresh = support_matrix();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "docs/support-matrix.md is stale: run UPDATE=1 cargo test -p ottla-broker");
}

#[test]
fn every_api_stands_in_the_table_once_and_tells_what_it_serves() {
    for (at, row) in TABLE.iter().enumerate() {
        assert!(TABLE[..at].iter().all(|other| other.key != row.key), "{} twice", row.key.name());
        assert!(row.advertised.contains(row.served.start()) && row.advertised.contains(row.served.end()));
    }
}
