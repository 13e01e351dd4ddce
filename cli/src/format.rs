//! The little language of `-f`: how records look as lines, in and out.
//!
//! `%t` topic, `%p` partition, `%o` offset, `%k` key, `%v` value, `%h` headers (`a=1,b=2`), `%T` timestamp in
//! milliseconds, `%%` a percent sign; `\n`, `\t`, `\r`, `\0`, `\\` as usual.

use bytes::Bytes;
use client::{ConsumerRecord, Header, ProducerRecord};
use std::io::{self, Write};

/// A parsed format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    Headers,
    Timestamp,
}

impl Field {
    const fn from_letter(letter: char) -> Option<Self> {
        Some(match letter {
            't' => Self::Topic,
            'p' => Self::Partition,
            'o' => Self::Offset,
            'k' => Self::Key,
            'v' => Self::Value,
            'h' => Self::Headers,
            'T' => Self::Timestamp,
            _ => return None,
        })
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => match chars.next() {
                    Some('%') => literal.push(b'%'),
                    Some(letter) => {
                        let field = Field::from_letter(letter)
                            .ok_or_else(|| format!("%{letter} is none of %t %p %o %k %v %h %T %%"))?;
                        flush(&mut literal, &mut parts);
                        parts.push(Part::Field(field));
                    }
                    None => return Err("a lone % at the end; %% prints one".to_owned()),
                },
                '\\' => literal.push(escape(chars.next())?),
                other => literal.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        flush(&mut literal, &mut parts);
        Ok(Self(parts))
    }
}

fn escape(letter: Option<char>) -> Result<u8, String> {
    match letter {
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some(other) => Err(format!("\\{other} is none of \\n \\t \\r \\0 \\\\")),
        None => Err("a lone \\ at the end".to_owned()),
    }
}

fn flush(literal: &mut Vec<u8>, parts: &mut Vec<Part>) {
    if !literal.is_empty() {
        parts.push(Part::Literal(std::mem::take(literal)));
    }
}

/// What a format can show.
pub(crate) struct Shown<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: Option<i64>,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [Header],
}

impl<'a> From<&'a ConsumerRecord> for Shown<'a> {
    fn from(record: &'a ConsumerRecord) -> Self {
        Self {
            topic: &record.topic,
            partition: record.partition,
            offset: Some(record.offset.0),
            timestamp: record.timestamp.0,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        }
    }
}

impl Format {
    /// Writes one record; nulls are empty.
    pub(crate) fn write(&self, out: &mut impl Write, record: &Shown<'_>) -> io::Result<()> {
        for part in &self.0 {
            match part {
                Part::Literal(bytes) => out.write_all(bytes)?,
                Part::Field(Field::Topic) => write!(out, "{}", record.topic)?,
                Part::Field(Field::Partition) => write!(out, "{}", record.partition)?,
                Part::Field(Field::Offset) => write!(out, "{}", record.offset.unwrap_or(-1))?,
                Part::Field(Field::Timestamp) => write!(out, "{}", record.timestamp)?,
                Part::Field(Field::Key) => out.write_all(record.key.unwrap_or_default())?,
                Part::Field(Field::Value) => out.write_all(record.value.unwrap_or_default())?,
                Part::Field(Field::Headers) => write_headers(out, record.headers)?,
            }
        }
        Ok(())
    }

    /// Reads one line into `record`; the text between fields must be there, the last field takes the rest.
    pub(crate) fn read(&self, line: &Bytes, record: &mut ProducerRecord) -> Result<(), String> {
        let mut at = 0;
        let mut parts = self.0.iter().peekable();
        while let Some(part) = parts.next() {
            let rest = &line[at..];
            match part {
                Part::Literal(literal) => {
                    if !rest.starts_with(literal) {
                        return Err(format!("{:?} is missing", String::from_utf8_lossy(literal)));
                    }
                    at += literal.len();
                }
                Part::Field(field) => {
                    let length = match parts.peek() {
                        Some(Part::Literal(literal)) => find(rest, literal)
                            .ok_or_else(|| format!("{:?} is missing", String::from_utf8_lossy(literal)))?,
                        Some(Part::Field(_)) => return Err("two fields with nothing between them".to_owned()),
                        None => rest.len(),
                    };
                    set(*field, line.slice(at..at + length), record)?;
                    at += length;
                }
            }
        }
        if at == line.len() { Ok(()) } else { Err("something follows the last field".to_owned()) }
    }

    /// Drops a line feed at the end: lines come without.
    pub(crate) fn for_lines(mut self) -> Self {
        if let Some(Part::Literal(literal)) = self.0.last_mut()
            && literal.last() == Some(&b'\n')
        {
            literal.pop();
            if literal.is_empty() {
                self.0.pop();
            }
        }
        self
    }

    /// Whether the format says the topic.
    pub(crate) fn has_topic(&self) -> bool {
        self.0.contains(&Part::Field(Field::Topic))
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn set(field: Field, bytes: Bytes, record: &mut ProducerRecord) -> Result<(), String> {
    let text = || std::str::from_utf8(&bytes).map_err(|_| "not UTF-8".to_owned());
    let number = |what: &str| text()?.parse::<i64>().map_err(|_| format!("{bytes:?} is no {what}"));
    match field {
        Field::Topic => record.topic = text()?.into(),
        Field::Partition => {
            let partition =
                i32::try_from(number("partition")?).map_err(|_| "no such partition".to_owned())?;
            record.partition = Some(partition);
        }
        // An offset cannot be chosen; formats that were written by `consume` may carry one.
        Field::Offset => {}
        Field::Timestamp => record.timestamp = Some(base::Timestamp(number("timestamp")?)),
        Field::Key => record.key = Some(bytes),
        Field::Value => record.value = Some(bytes),
        Field::Headers => record.headers.extend(read_headers(text()?)?),
    }
    Ok(())
}

fn read_headers(text: &str) -> Result<Vec<Header>, String> {
    text.split(',').filter(|part| !part.is_empty()).map(header).collect()
}

/// A header as `KEY=VALUE`; without `=` its value is null.
pub(crate) fn header(text: &str) -> Result<Header, String> {
    let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
    if key.is_empty() {
        return Err(format!("{text:?} is not KEY=VALUE"));
    }
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    Ok(Header { key: Bytes::copy_from_slice(key.as_bytes()), value })
}

fn write_headers(out: &mut impl Write, headers: &[Header]) -> io::Result<()> {
    for (k, header) in headers.iter().enumerate() {
        out.write_all(if k == 0 { b"" } else { b"," })?;
        out.write_all(&header.key)?;
        if let Some(value) = &header.value {
            out.write_all(b"=")?;
            out.write_all(value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ProducerRecord {
        ProducerRecord::default()
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let format: Format = "%t|%p|%o|%T|%h|%k\\t%v\\n".parse().unwrap();
        let headers = [header("a=1").unwrap(), header("b").unwrap()];
        let shown = Shown {
            topic: "t",
            partition: 3,
            offset: Some(7),
            timestamp: 99,
            key: Some(b"key"),
            value: Some(b"va\tlue %"),
            headers: &headers,
        };
        let mut out = Vec::new();
        format.write(&mut out, &shown).unwrap();
        assert_eq!(out, b"t|3|7|99|a=1,b|key\tva\tlue %\n");

        out.pop();
        let mut read = record();
        format.for_lines().read(&out.into(), &mut read).unwrap();
        assert_eq!(read.topic, "t");
        assert_eq!(read.partition, Some(3));
        assert_eq!(read.timestamp, Some(base::Timestamp(99)));
        assert_eq!(read.key.as_deref(), Some(&b"key"[..]));
        assert_eq!(read.value.as_deref(), Some(&b"va\tlue %"[..]));
        assert_eq!(read.headers, headers);
    }

    #[test]
    fn what_a_line_lacks_is_named() {
        let format: Format = "%k: %v".parse().unwrap();
        let error = format.read(&Bytes::from_static(b"no separator"), &mut record()).unwrap_err();
        assert_eq!(error, "\": \" is missing");
        let format: Format = "%p %v".parse().unwrap();
        assert!(format.read(&Bytes::from_static(b"x y"), &mut record()).is_err());
    }

    #[test]
    fn wrong_formats_are_refused() {
        for wrong in ["%x", "%", "\\", "\\q"] {
            assert!(wrong.parse::<Format>().is_err(), "{wrong}");
        }
    }
}
