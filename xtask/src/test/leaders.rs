//! Who leads, as the nodes themselves say: asked in Kafka's protocol and no program in between, so that milliseconds
//! can be told.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Metadata in a version whose fields have fixed places.
const METADATA: i16 = 3;
const VERSION: i16 = 1;

/// A connection to a node.
pub(super) struct Oracle(TcpStream);

impl Oracle {
    pub(super) fn of(address: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| format!("{address}: {error}"))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        Ok(Self(stream))
    }

    /// The leader of each partition of a topic; −1 where there is none.
    pub(super) fn leaders(&mut self, topic: &str) -> Result<Vec<i32>, String> {
        let failed = |error: std::io::Error| error.to_string();
        self.0.write_all(&question(topic)).map_err(failed)?;
        let mut size = [0; 4];
        self.0.read_exact(&mut size).map_err(failed)?;
        let mut answer = vec![0; u32::from_be_bytes(size) as usize];
        self.0.read_exact(&mut answer).map_err(failed)?;
        leaders_in(&answer).ok_or_else(|| "an answer that is no Metadata".to_owned())
    }
}

fn question(topic: &str) -> Vec<u8> {
    let text =
        |text: &str| [&u16::try_from(text.len()).unwrap_or(0).to_be_bytes()[..], text.as_bytes()].concat();
    let head = [&METADATA.to_be_bytes()[..], &VERSION.to_be_bytes(), &1_i32.to_be_bytes()].concat();
    let body = [head, text("xtask"), 1_i32.to_be_bytes().to_vec(), text(topic)].concat();
    [&u32::try_from(body.len()).unwrap_or(0).to_be_bytes()[..], &body].concat()
}

fn leaders_in(answer: &[u8]) -> Option<Vec<i32>> {
    let mut fields = Fields(answer.get(4..)?);
    for _ in 0..fields.i32()? {
        fields.i32()?;
        fields.text()?;
        fields.i32()?;
        fields.text()?;
    }
    fields.i32()?;
    fields.i32()?;
    fields.take(2)?;
    fields.text()?;
    fields.take(1)?;
    let mut leaders = Vec::new();
    for _ in 0..fields.i32()? {
        fields.take(2)?;
        let (index, leader) = (fields.i32()?, fields.i32()?);
        for _ in 0..2 {
            let count = usize::try_from(fields.i32()?).ok()?;
            fields.take(4 * count)?;
        }
        leaders.push((index, leader));
    }
    leaders.sort_unstable();
    Some(leaders.into_iter().map(|(_, leader)| leader).collect())
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    /// A text, or none.
    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.take(2)?.try_into().ok().map(i16::from_be_bytes)?;
        self.take(usize::try_from(length).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaders_are_found_in_an_answer() {
        let part = |index: i32, leader: i32| -> Vec<u8> {
            let numbers = [index, leader, 2, 1, 2, 1, 1];
            [&[0, 0][..], &numbers.map(i32::to_be_bytes).concat()].concat()
        };
        let brokers = [&[0, 0, 0, 1, 0, 0, 0, 7, 0, 1, b'h', 0, 0, 35, 132][..], &[255, 255]].concat();
        let topic = [&[0, 0, 0, 7, 0, 0, 0, 1][..], &[0, 0], &[0, 1, b't'], &[0], &[0, 0, 0, 2]].concat();
        let answer = [vec![0, 0, 0, 1], brokers, topic, part(1, -1), part(0, 7)].concat();
        assert_eq!(leaders_in(&answer), Some(vec![7, -1]));
        assert_eq!(leaders_in(&answer[..answer.len() - 1]), None);
    }
}
