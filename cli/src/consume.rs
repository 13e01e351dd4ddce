//! `ottla consume`: records become lines.

use crate::connect::{Connect, Done, Failure, block_on};
use crate::format::{Format, Shown};
use crate::output::{Json, Output, note};
use base::{EndOffset, Timestamp};
use clap::Args;
use client::{
    Admin, Assignor, Consumer, ConsumerEvent, ConsumerRecord, ConsumerSettings, GroupSettings, Isolation,
    OffsetReset, OffsetSpec, Seek, TopicPartition,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _, Write};
use std::str::FromStr;
use std::time::Duration;

/// Print the records of topics.
#[derive(Debug, Args)]
pub(crate) struct Consume {
    /// The topics.
    #[arg(required = true)]
    topics: Vec<String>,
    /// Only these partitions, separated by commas.
    #[arg(short, long, value_delimiter = ',', value_name = "N")]
    partitions: Vec<i32>,
    /// Where to begin: beginning, end, an offset, -N for the last N of each partition, @TIME in milliseconds
    /// since 1970.
    #[arg(short, long, default_value = "beginning", allow_hyphen_values = true, value_name = "WHERE")]
    offset: Place,
    /// Where to stop: an offset (not included), end for what is there now, or @TIME.
    #[arg(long, allow_hyphen_values = true, value_name = "WHERE")]
    to: Option<Place>,
    /// Exit at the end of what is there now: the same as --to end.
    #[arg(short, long, conflicts_with = "to")]
    exit: bool,
    /// Read as a member of this group: from where it left off, sharing the partitions with its other members.
    /// Then --offset says only where a group without committed offsets begins.
    #[arg(short = 'G', long, value_name = "NAME", conflicts_with_all = ["partitions", "to"])]
    group: Option<String>,
    /// How a group's partitions are shared: range, roundrobin, sticky, cooperative-sticky.
    #[arg(long, value_delimiter = ',', value_parser = assignor, default_value = "range,cooperative-sticky")]
    assignor: Vec<Assignor>,
    /// A name that stays: the member may come back within its session and finds its partitions (KIP-345).
    #[arg(long, value_name = "NAME", requires = "group")]
    instance_id: Option<String>,
    /// Exit after this many records.
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// What to print of each record: %t topic, %p partition, %o offset, %k key, %v value, %h headers, %T
    /// timestamp.
    #[arg(short, long, default_value = "%v\\n", value_name = "FORMAT")]
    format: Format,
    /// Skip what open and aborted transactions wrote.
    #[arg(long)]
    read_committed: bool,
    /// Lines in the format, or one JSON object per record.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// A place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Beginning,
    End,
    /// So many before the end.
    Last(i64),
    At(i64),
    Time(i64),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<i64>().map_err(|_| wrong(text));
        match text {
            "beginning" | "start" | "earliest" => Ok(Self::Beginning),
            "end" | "latest" => Ok(Self::End),
            _ => match (text.strip_prefix('@'), text.strip_prefix('-')) {
                (Some(time), _) => Ok(Self::Time(number(time)?)),
                (None, Some(count)) => Ok(Self::Last(number(count)?)),
                (None, None) => Ok(Self::At(number(text)?)),
            },
        }
    }
}

fn wrong(text: &str) -> String {
    format!("{text:?} is none of beginning, end, OFFSET, -N, @MILLISECONDS")
}

/// Records per poll.
const POLL_MAX: usize = 1_000;

impl Consume {
    pub(crate) fn run(self) -> Done {
        if self.group.is_some() { block_on(self.share()) } else { block_on(self.consume()) }
    }

    fn settings(&self) -> Done<ConsumerSettings> {
        let cluster = self.connect.settings()?;
        let isolation =
            if self.read_committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
        let fresh = ConsumerSettings::new(cluster.bootstrap.clone());
        let group = self.group.as_deref().map(|id| {
            let (assignors, instance_id) = (self.assignor.clone(), self.instance_id.clone());
            GroupSettings { assignors, instance_id, ..GroupSettings::new(id) }
        });
        let offset_reset =
            if self.offset == Place::End { OffsetReset::Latest } else { OffsetReset::Earliest };
        Ok(ConsumerSettings { cluster, isolation, offset_reset, group, ..fresh })
    }

    async fn share(&self) -> Done {
        if !matches!(self.offset, Place::Beginning | Place::End) {
            return Err(Failure::usage("with --group, --offset is beginning or end"));
        }
        // A group waits for topics that are not there yet; whoever types wants to know.
        let names: Vec<_> = self.topics.iter().map(String::as_str).collect();
        self.connect.admin()?.describe_topics(&names).await?;
        let consumer = Consumer::new(self.settings()?);
        let topics: Vec<_> = self.topics.iter().map(Into::into).collect();
        consumer.subscribe(&topics);
        let printed = self.print_shared(&consumer).await;
        // What was printed is committed, whatever ended the printing.
        let left = tokio::time::timeout(Duration::from_secs(10), consumer.leave()).await;
        printed?;
        left.map_err(|_| Failure::unhealthy("the group's coordinator does not answer"))
    }

    /// Prints as a member of a group; with --exit until all partitions that are ours are at their ends.
    async fn print_shared(&self, consumer: &Consumer) -> Done {
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut ended: BTreeSet<TopicPartition> = BTreeSet::new();
        let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(POLL_MAX).min(POLL_MAX);
            let polled = tokio::select! {
                polled = consumer.poll(most) => polled,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            };
            for record in &polled.records {
                self.print(&mut out, record)?;
            }
            out.flush()?;
            left -= polled.records.len() as u64;
            for event in polled.events {
                if let ConsumerEvent::End(partition) = &event {
                    ended.insert(partition.clone());
                }
                heed(event)?;
            }
            let mine = consumer.assignment();
            if self.exit && !mine.is_empty() && mine.iter().all(|partition| ended.contains(partition)) {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn consume(self) -> Done {
        let consumer = Consumer::new(self.settings()?);
        let admin = self.connect.admin()?;
        let partitions = self.wanted(&admin).await?;
        let mut starts = Vec::new();
        let mut open = BTreeMap::new();
        for (topic, indexes) in &partitions {
            let begin = seeks(&admin, topic, indexes, self.offset).await?;
            starts.extend(begin);
            open.extend(self.stops(&admin, topic, indexes).await?);
        }
        let stops = (self.exit || self.to.is_some()).then_some(open);
        consumer.assign(&starts);
        self.print_until(&consumer, stops).await
    }

    /// Topics with their partitions, as far as they were asked for.
    async fn wanted(&self, admin: &Admin) -> Done<Vec<(String, Vec<i32>)>> {
        let names: Vec<_> = self.topics.iter().map(String::as_str).collect();
        let mut wanted = Vec::new();
        for topic in admin.describe_topics(&names).await? {
            let all: Vec<i32> = topic.partitions.iter().map(|p| p.index).collect();
            if let Some(missing) = self.partitions.iter().find(|index| !all.contains(index)) {
                return Err(Failure::not_found(format!("{} has no partition {missing}", topic.name)));
            }
            wanted.push((topic.name, if self.partitions.is_empty() { all } else { self.partitions.clone() }));
        }
        Ok(wanted)
    }

    /// The offsets at which to stop; partitions with nothing to read are left out.
    async fn stops(
        &self,
        admin: &Admin,
        topic: &str,
        indexes: &[i32],
    ) -> Done<BTreeMap<TopicPartition, EndOffset>> {
        let mut stops = BTreeMap::new();
        let place = self.to.unwrap_or(Place::End);
        if !self.exit && self.to.is_none() {
            return Ok(stops);
        }
        for (partition, seek) in seeks(admin, topic, indexes, place).await? {
            if let Seek::Offset(end) = seek {
                stops.insert(partition, end);
            }
        }
        Ok(stops)
    }

    /// Prints until every stop is reached, the count is, or the user has had enough.
    async fn print_until(
        &self,
        consumer: &Consumer,
        mut stops: Option<BTreeMap<TopicPartition, EndOffset>>,
    ) -> Done {
        let mut left = self.count.unwrap_or(u64::MAX);
        // Buffered, but what is there is shown before waiting for more.
        let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
        loop {
            drop_reached(consumer, stops.as_mut());
            if left == 0 || stops.as_ref().is_some_and(BTreeMap::is_empty) {
                return Ok(());
            }
            let polled = tokio::select! {
                polled = consumer.poll(POLL_MAX) => polled,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            };
            for record in &polled.records {
                if left > 0 && is_wanted(record, stops.as_ref()) {
                    self.print(&mut out, record)?;
                    left -= 1;
                }
            }
            out.flush()?;
            polled.events.into_iter().try_for_each(heed)?;
        }
    }

    fn print(&self, out: &mut impl Write, record: &ConsumerRecord) -> Done {
        match self.output {
            Output::Table => self.format.write(out, &Shown::from(record))?,
            Output::Json => writeln!(out, "{}", json(record))?,
        }
        Ok(())
    }
}

/// Where reading a partition begins (or ends) that is asked for as a place.
async fn seeks(
    admin: &Admin,
    topic: &str,
    indexes: &[i32],
    place: Place,
) -> Done<Vec<(TopicPartition, Seek)>> {
    let name = |partition: &i32| TopicPartition { topic: topic.into(), partition: *partition };
    let spec = match place {
        Place::Beginning => return Ok(indexes.iter().map(|index| (name(index), Seek::Beginning)).collect()),
        Place::At(offset) => {
            let seek = Seek::Offset(EndOffset(offset));
            return Ok(indexes.iter().map(|index| (name(index), seek)).collect());
        }
        Place::End | Place::Last(_) => OffsetSpec::Latest,
        Place::Time(time) => OffsetSpec::At(Timestamp(time)),
    };
    let back = if let Place::Last(count) = place { count } else { 0 };
    let ends = admin.list_offsets(topic, Some(indexes), OffsetSpec::Latest).await?;
    let starts = admin.list_offsets(topic, Some(indexes), OffsetSpec::Earliest).await?;
    let found = admin.list_offsets(topic, Some(indexes), spec).await?;
    let mut seeks = Vec::new();
    for ((at, end), start) in found.iter().zip(&ends).zip(&starts) {
        let offset = at.offset.or(end.offset).unwrap_or(EndOffset::ZERO).0 - back;
        let least = start.offset.unwrap_or(EndOffset::ZERO).0;
        seeks.push((name(&at.partition), Seek::Offset(EndOffset(offset.max(least)))));
    }
    Ok(seeks)
}

fn drop_reached(consumer: &Consumer, stops: Option<&mut BTreeMap<TopicPartition, EndOffset>>) {
    if let Some(stops) = stops {
        stops.retain(|partition, end| {
            // Position unknown: the beginning is still being looked up, so an empty log is not yet at its end.
            end.0 > 0 && consumer.position(partition).is_none_or(|position| position < *end)
        });
    }
}

fn is_wanted(record: &ConsumerRecord, stops: Option<&BTreeMap<TopicPartition, EndOffset>>) -> bool {
    let Some(stops) = stops else { return true };
    let partition = TopicPartition { topic: record.topic.clone(), partition: record.partition };
    stops.get(&partition).is_some_and(|end| record.offset.end() <= *end)
}

/// Tells what will pass, ends at what will not.
fn heed(event: ConsumerEvent) -> Done {
    match event {
        ConsumerEvent::End(_) => Ok(()),
        ConsumerEvent::Assigned(partitions) => tell("reading", &partitions),
        ConsumerEvent::Revoked(partitions) => tell("giving up", &partitions),
        ConsumerEvent::Lost(partitions) => tell("lost", &partitions),
        ConsumerEvent::Refused(code) => {
            Err(Failure::failed(format!("the group refuses us: {} ({})", code.message(), code.name())))
        }
        ConsumerEvent::Committed { outcome: Ok(()), .. } => Ok(()),
        ConsumerEvent::Committed { outcome: Err(code), .. } => {
            note(&format!("offsets were not committed: {}", code.name()));
            Ok(())
        }
        ConsumerEvent::Partition { partition, error } if error.is_retriable() => {
            if io::stderr().is_terminal() {
                note(&format!("{partition}: {error}; trying again"));
            }
            Ok(())
        }
        ConsumerEvent::Partition { partition, error } => {
            Err(Failure::failed(format!("{partition}: {error}")))
        }
    }
}

/// Tells people about a rebalance.
fn tell(what: &str, partitions: &[TopicPartition]) -> Done {
    if io::stderr().is_terminal() && !partitions.is_empty() {
        let names: Vec<_> = partitions.iter().map(ToString::to_string).collect();
        note(&format!("{what} {}", names.join(" ")));
    }
    Ok(())
}

fn assignor(name: &str) -> Result<Assignor, String> {
    Assignor::from_name(name)
        .ok_or_else(|| "expected range, roundrobin, sticky or cooperative-sticky".to_owned())
}

fn json(record: &ConsumerRecord) -> Json {
    let headers = record.headers.iter().map(|header| {
        let mut fields = text("key", "key_base64", Some(&header.key));
        fields.extend(text("value", "value_base64", header.value.as_deref()));
        Json::Object(fields)
    });
    let mut fields = vec![
        ("topic", record.topic.as_str().into()),
        ("partition", record.partition.into()),
        ("offset", record.offset.0.into()),
        ("timestamp", record.timestamp.0.into()),
    ];
    fields.extend(text("key", "key_base64", record.key.as_deref()));
    fields.extend(text("value", "value_base64", record.value.as_deref()));
    fields.push(("headers", headers.collect()));
    Json::Object(fields)
}

/// Bytes as text where they are text, else as base64 under a name that says so.
fn text(plain: &'static str, encoded: &'static str, bytes: Option<&[u8]>) -> Vec<(&'static str, Json)> {
    match bytes.map(std::str::from_utf8) {
        None => vec![(plain, Json::Null)],
        Some(Ok(text)) => vec![(plain, text.into())],
        Some(Err(_)) => vec![(encoded, base64(bytes.unwrap_or_default()).into())],
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut word = [0u8; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(word);
        for k in 0..4 {
            let six = (bits >> (18 - 6 * k)) & 0x3f;
            text.push(if k <= chunk.len() { char::from(ALPHABET[six as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_kcat_reads_them() {
        let known = [
            ("beginning", Place::Beginning),
            ("end", Place::End),
            ("-5", Place::Last(5)),
            ("12", Place::At(12)),
            ("@1700000000000", Place::Time(1_700_000_000_000)),
        ];
        for (text, place) in known {
            assert_eq!(text.parse(), Ok(place));
        }
        for wrong in ["", "x", "@", "-", "@x"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        for (bytes, text) in
            [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes), text);
        }
        assert_eq!(text("key", "key_base64", Some(&[0xff])), [("key_base64", "/w==".into())]);
    }
}
