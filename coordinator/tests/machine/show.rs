//! Values as scripts write them: member ids by the name of who got them, errors by Kafka's names.

use base::Span;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use ottla_coordinator::group::{
    CommittedOffset, DescribedGroup, Event, FetchedOffset, FetchedTopic, GroupMetadata, InstanceId, Joined,
    JoinedMember, Label, Left, MemberId, OffsetKey, Reason, Record, Reply, TopicOutcome,
};
use std::collections::BTreeMap;
use std::fmt::{Debug, Display, Write as _};

/// The names of member ids.
#[derive(Default)]
pub(crate) struct Names {
    by_id: BTreeMap<String, String>,
    by_name: BTreeMap<String, MemberId>,
}

impl Names {
    /// Names an id after the asker that was told it: `@a`, then `@a2`.
    pub(crate) fn learn(&mut self, asker: &str, id: &MemberId) {
        if self.by_id.contains_key(id.as_str()) {
            return;
        }
        let name = (1..)
            .map(|n| if n == 1 { format!("@{asker}") } else { format!("@{asker}{n}") })
            .find(|name| !self.by_name.contains_key(name))
            .unwrap();
        self.by_id.insert(id.to_string(), name.clone());
        self.by_name.insert(name, id.clone());
    }

    /// The id that a script names; anything else stands for itself.
    pub(crate) fn id(&self, name: &str) -> MemberId {
        self.by_name.get(name).cloned().unwrap_or_else(|| MemberId::from(name))
    }

    fn of(&self, id: &MemberId) -> String {
        let is_made_up = id.as_str().len() < 36;
        self.by_id
            .get(id.as_str())
            .cloned()
            .unwrap_or_else(|| if is_made_up { id.to_string() } else { "@?".into() })
    }

    fn of_opt(&self, id: Option<&MemberId>) -> String {
        id.map_or("-".into(), |id| self.of(id))
    }

    fn with_instance(&self, id: Option<&MemberId>, instance: Option<&InstanceId>) -> String {
        let instance = instance.map(|name| format!("/{name}")).unwrap_or_default();
        id.map(|id| self.of(id)).unwrap_or_default() + &instance
    }

    pub(crate) fn record(&self, record: &Record) -> String {
        match record {
            Record::GroupMetadata { group, metadata: None } => format!("record group={group} tombstone"),
            Record::GroupMetadata { group, metadata: Some(metadata) } => {
                format!("record group={group} {}", self.metadata(metadata))
            }
            Record::OffsetCommit { key, value } => {
                let value = value.as_ref().map_or("tombstone".into(), committed);
                format!("record offset={} {value}", offset_key(key))
            }
            Record::StagedOffset { producer, key, value } => {
                format!("record offset={} {} producer={}", offset_key(key), committed(value), producer.id)
            }
            Record::TransactionEnd { producer, marker } => {
                format!("record {:?} producer={}", marker.end, producer.id)
            }
        }
    }

    fn metadata(&self, metadata: &GroupMetadata) -> String {
        let GroupMetadata { generation, protocol_type, protocol, leader, members, state_timestamp: _ } =
            metadata;
        let members = members.iter().map(|member| {
            let who = self.with_instance(Some(&member.member), member.instance.as_ref());
            format!("{who}:{}={}", payload(&member.subscription), payload(&member.assignment))
        });
        format!(
            "generation={generation} type={} protocol={} leader={} members=[{}]",
            opt(protocol_type.as_ref()),
            opt(protocol.as_ref()),
            self.of_opt(leader.as_ref()),
            join(members),
        )
    }

    pub(crate) fn event(&self, event: &Event) -> String {
        match event {
            Event::Rebalancing { group, generation, reason } => {
                format!("event {group} rebalances after generation={generation}: {}", self.reason(reason))
            }
            Event::Formed { group, generation, members } => {
                format!("event {group} formed generation={generation} members={members}")
            }
            Event::Assigned { group, generation } => {
                format!("event {group} assigned generation={generation}")
            }
            Event::Lost { group, member } => format!("event {group} lost {}", self.of(member)),
            Event::Expired { group, offsets } => format!("event {group} expired offsets={offsets}"),
        }
    }

    fn reason(&self, reason: &Reason) -> String {
        match reason {
            Reason::Joined { member, client } => {
                format!("{} joined ({})", self.of(member), opt(client.as_ref()))
            }
            Reason::Rejoined { member, client } => {
                format!("{} joined again ({})", self.of(member), opt(client.as_ref()))
            }
            Reason::Replaced { instance } => format!("{instance} was replaced"),
            Reason::Left { client } => format!("left ({})", opt(client.as_ref())),
            Reason::SessionEnded { member } => format!("session of {} ended", self.of(member)),
            Reason::AssignmentIgnored { members } => format!("{members} ignored their assignment"),
            Reason::AssignmentTooLarge => "assignment too large".into(),
            Reason::TooLarge => "too large".into(),
        }
    }

    pub(crate) fn reply(&self, reply: &Reply) -> String {
        match reply {
            Reply::Join(Ok(joined)) => self.joined(joined),
            Reply::Join(Err(refused)) => {
                format!("{} member={}", code(&refused.error), self.of_opt(refused.member.as_ref()))
            }
            Reply::Sync(Ok(synced)) => {
                format!(
                    "assignment={} protocol={}",
                    payload(&synced.assignment),
                    opt(synced.protocol.as_ref())
                )
            }
            Reply::Sync(Err(error)) => code(error),
            Reply::Heartbeat(result) => outcome(result.as_ref().err()),
            Reply::Leave(Ok(left)) => format!("left=[{}]", join(left.iter().map(|left| self.left(left)))),
            Reply::Leave(Err(error)) => code(error),
            Reply::CommitOffsets(topics) => outcomes(topics),
            Reply::TransactionEnded => "ok".into(),
            Reply::FetchOffsets(topics) => fetched(topics),
            Reply::List(groups) => {
                let groups = groups.iter().map(|listed| {
                    format!("{}:{}:{}", listed.group, listed.state.name(), opt(listed.protocol_type.as_ref()))
                });
                format!("groups=[{}]", join(groups))
            }
            Reply::Describe(groups) => join(groups.iter().map(|group| self.described(group))),
            Reply::Delete(results) => join(
                results.iter().map(|(group, result)| format!("{group}:{}", outcome(result.as_ref().err()))),
            ),
            Reply::DeleteOffsets(Ok(topics)) => outcomes(topics),
            Reply::DeleteOffsets(Err(error)) => code(error),
            Reply::Expired { is_more } => if *is_more { "more" } else { "done" }.into(),
        }
    }

    fn joined(&self, joined: &Joined) -> String {
        let Joined { member, generation, protocol_type: _, protocol, leader, members, skip_assignment } =
            joined;
        let list = members.iter().map(|JoinedMember { member, instance, metadata }| {
            format!("{}:{}", self.with_instance(Some(member), instance.as_ref()), payload(metadata))
        });
        let mut text = format!(
            "generation={generation} member={} leader={} protocol={}",
            self.of(member),
            self.of_opt(leader.as_ref()),
            opt(protocol.as_ref())
        );
        if !members.is_empty() {
            write!(text, " members=[{}]", join(list)).unwrap();
        }
        if *skip_assignment {
            text.push_str(" skip_assignment");
        }
        text
    }

    fn left(&self, left: &Left) -> String {
        let who = self.with_instance(left.member.as_ref(), left.instance.as_ref());
        format!("{who}:{}", outcome(left.error.as_ref()))
    }

    fn described(&self, group: &DescribedGroup) -> String {
        let DescribedGroup { group, state, protocol_type, protocol, members } = group;
        let members = members.iter().map(|member| {
            let who = self.with_instance(Some(&member.member), member.instance.as_ref());
            let (client, host) = (&member.client_id, &member.client_host);
            format!("{who}:{client}@{host}:{}={}", payload(&member.metadata), payload(&member.assignment))
        });
        let (kind, protocol) = (opt(protocol_type.as_ref()), opt(protocol.as_ref()));
        format!("{group} state={} type={kind} protocol={protocol} members=[{}]", state.name(), join(members))
    }
}

fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(" ")
}

fn opt(value: Option<&impl Display>) -> String {
    value.map_or("-".into(), ToString::to_string)
}

fn outcome<E: Debug>(error: Option<&E>) -> String {
    error.map_or("ok".into(), code)
}

/// The variants are named as Kafka's codes, in Rust's spelling.
pub(crate) fn code(error: &impl Debug) -> String {
    let mut text = String::new();
    for (at, c) in format!("{error:?}").chars().enumerate() {
        if c.is_ascii_uppercase() && at > 0 {
            text.push('_');
        }
        text.push(c.to_ascii_uppercase());
    }
    text
}

fn outcomes<E: Debug>(topics: &[TopicOutcome<E>]) -> String {
    let all = topics.iter().flat_map(|topic| topic.partitions.iter().map(move |entry| (topic, entry)));
    join(
        all.map(|(topic, (partition, error))| {
            format!("{}-{partition}:{}", topic.name, outcome(error.as_ref()))
        }),
    )
}

fn fetched(topics: &[FetchedTopic]) -> String {
    let all = topics.iter().flat_map(|topic| topic.partitions.iter().map(move |entry| (topic, entry)));
    let text = join(all.map(|(topic, (partition, offset))| {
        let offset = match offset {
            FetchedOffset::None => "none".into(),
            FetchedOffset::Unstable => "UNSTABLE_OFFSET_COMMIT".into(),
            FetchedOffset::Committed(value) => committed(value),
        };
        format!("{}-{partition}:{offset}", topic.name)
    }));
    format!("offsets=[{text}]")
}

fn offset_key(key: &OffsetKey) -> String {
    format!("{}/{}-{}", key.group, key.topic, key.partition)
}

fn committed(value: &CommittedOffset) -> String {
    let mut text = value.offset.to_string();
    if let Some(epoch) = value.leader_epoch {
        write!(text, ",epoch={epoch}").unwrap();
    }
    if !value.metadata.as_str().is_empty() {
        let metadata: Label = value.metadata.clone();
        write!(text, ",metadata={metadata}").unwrap();
    }
    if let Some(at) = value.expire_timestamp {
        let after = at.since(value.commit_timestamp);
        write!(text, ",expires={after:?}").unwrap();
    }
    text
}

/// A subscription to topics `a` and `b` is written `a+b`; other payloads are text.
pub(crate) fn payload(bytes: &Bytes) -> String {
    topics_of(bytes.clone()).unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned())
}

fn topics_of(mut bytes: Bytes) -> Option<String> {
    if bytes.try_get_i16().ok()? != 1 {
        return None;
    }
    let mut names = Vec::new();
    for _ in 0..bytes.try_get_i32().ok()? {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        names.push(String::from_utf8(bytes.split_to(length).to_vec()).ok()?);
    }
    Some(names.join("+"))
}

pub(crate) fn subscription(topics: &str) -> Bytes {
    let topics: Vec<_> = topics.split('+').filter(|topic| !topic.is_empty()).collect();
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    bytes.put_i32(i32::try_from(topics.len()).unwrap());
    for topic in topics {
        bytes.put_i16(i16::try_from(topic.len()).unwrap());
        bytes.put_slice(topic.as_bytes());
    }
    bytes.put_i32(-1);
    bytes.put_i32(0);
    bytes.freeze()
}

/// `10s`, `250ms`, `7d`, `2m`.
pub(crate) fn span(text: &str) -> Span {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or_else(|| panic!("{text}: no unit"));
    let number: u64 = text[..digits].parse().unwrap();
    let unit = match &text[digits..] {
        "ms" => Span::from_millis(1),
        "s" => Span::from_secs(1),
        "m" => Span::from_secs(60),
        "d" => Span::from_secs(86_400),
        other => panic!("{other}: no unit of time"),
    };
    unit * number
}
