//! `ottla group …`

use crate::connect::{Connect, Done, block_on};
use crate::output::{Json, Output, note, say, show, table};
use clap::{Args, Subcommand};
use client::{Admin, GroupDescription, GroupOffset, OffsetSpec};
use std::collections::BTreeMap;

/// `ottla group …`
#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// List groups.
    List(List),
    /// Show members, committed offsets and lag of a group.
    Describe(Describe),
    /// Delete groups that have no members, with their offsets.
    Delete(Delete),
}

/// `ottla group list`
#[derive(Debug, Args)]
pub(crate) struct List {
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// `ottla group describe`
#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// The group.
    name: String,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// `ottla group delete`
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The groups.
    #[arg(required = true)]
    names: Vec<String>,
    /// Take it for success if a group does not exist.
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Group {
    pub(crate) fn run(self) -> Done {
        match self {
            Self::List(list) => block_on(list.run()),
            Self::Describe(describe) => block_on(describe.run()),
            Self::Delete(delete) => block_on(delete.run()),
        }
    }
}

impl List {
    async fn run(self) -> Done {
        let groups = self.connect.admin()?.list_groups().await?;
        let row = |group: &client::GroupListing| {
            vec![group.id.clone(), group.state.clone(), group.protocol_type.clone()]
        };
        let json = |group: &client::GroupListing| {
            Json::Object(vec![
                ("group", group.id.as_str().into()),
                ("state", group.state.as_str().into()),
                ("protocol_type", group.protocol_type.as_str().into()),
            ])
        };
        show(
            self.output,
            || table(&["group", "state", "type"], groups.iter().map(row)),
            || groups.iter().map(json).collect(),
        )
    }
}

/// A partition that the group has to do with.
struct Line {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    end: Option<i64>,
    member: Option<String>,
}

impl Line {
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

impl Describe {
    async fn run(self) -> Done {
        let admin = self.connect.admin()?;
        let group = admin.describe_group(&self.name).await?;
        let offsets = admin.group_offsets(&self.name).await?;
        let lines = lines(&admin, &group, &offsets).await?;
        show(self.output, || text(&group, &lines), || json(&group, &lines))
    }
}

async fn lines(admin: &Admin, group: &GroupDescription, offsets: &[GroupOffset]) -> Done<Vec<Line>> {
    let mut lines: BTreeMap<(String, i32), Line> = BTreeMap::new();
    let blank = |(topic, partition): (String, i32)| Line {
        topic,
        partition,
        committed: None,
        end: None,
        member: None,
    };
    for offset in offsets {
        let key = (offset.topic.clone(), offset.partition);
        lines.entry(key.clone()).or_insert_with(|| blank(key)).committed = Some(offset.offset.0);
    }
    for member in &group.members {
        for key in &member.partitions {
            lines.entry(key.clone()).or_insert_with(|| blank(key.clone())).member = Some(member.id.clone());
        }
    }
    let mut topics: Vec<String> = lines.keys().map(|(topic, _)| topic.clone()).collect();
    topics.dedup();
    for topic in topics {
        match admin.list_offsets(&topic, None, OffsetSpec::Latest).await {
            Ok(ends) => {
                for end in ends {
                    if let Some(line) = lines.get_mut(&(topic.clone(), end.partition)) {
                        line.end = end.offset.map(|offset| offset.0);
                    }
                }
            }
            // Offsets outlive their topic for a while.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(lines.into_values().collect())
}

fn text(group: &GroupDescription, lines: &[Line]) -> String {
    let GroupDescription { id, state, protocol, coordinator, members, .. } = group;
    let number = |n: Option<i64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let row = |line: &Line| {
        let member = line.member.clone().unwrap_or_else(|| "-".to_owned());
        let (committed, end, lag) = (number(line.committed), number(line.end), number(line.lag()));
        vec![line.topic.clone(), line.partition.to_string(), committed, end, lag, member]
    };
    let columns = ["topic", "partition", "committed", "end", "lag", "member"];
    let partitions = table(&columns, lines.iter().map(row));
    let protocol = if protocol.is_empty() { "-" } else { protocol };
    let count = members.len();
    format!(
        "group {id}  {state}  members {count}  assignor {protocol}  coordinator {coordinator}\n{partitions}"
    )
}

fn json(group: &GroupDescription, lines: &[Line]) -> Json {
    let member = |member: &client::GroupMember| {
        Json::Object(vec![
            ("member", member.id.as_str().into()),
            ("instance", member.instance_id.as_deref().into()),
            ("client_id", member.client_id.as_str().into()),
            ("host", member.host.as_str().into()),
        ])
    };
    let line = |line: &Line| {
        Json::Object(vec![
            ("topic", line.topic.as_str().into()),
            ("partition", line.partition.into()),
            ("committed", line.committed.into()),
            ("end_offset", line.end.into()),
            ("lag", line.lag().into()),
            ("member", line.member.as_deref().into()),
        ])
    };
    Json::Object(vec![
        ("group", group.id.as_str().into()),
        ("state", group.state.as_str().into()),
        ("protocol_type", group.protocol_type.as_str().into()),
        ("assignor", group.protocol.as_str().into()),
        ("coordinator", group.coordinator.into()),
        ("members", group.members.iter().map(member).collect()),
        ("partitions", lines.iter().map(line).collect()),
    ])
}

impl Delete {
    async fn run(self) -> Done {
        let admin = self.connect.admin()?;
        for name in &self.names {
            match admin.delete_group(name).await {
                Ok(()) => say(&format!("deleted {name}"))?,
                Err(error) if self.if_exists && error.is_not_found() => {
                    note(&format!("{name} does not exist"))
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
