//! Kafka's UUIDs: sixteen bytes, shown as 22 characters of URL-safe base64 without padding.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A topic, directory or cluster id.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// The text is not a UUID as Kafka writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseUuidError;

impl Uuid {
    /// All zeros: "none" on the wire.
    pub const ZERO: Self = Self([0; 16]);
    /// The directory of a replica that is in no directory any more (KIP-858).
    pub const LOST: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// True for the all-zero id.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 16]
    }

    /// A version-4 id made of the given random bytes. The result is never zero and, as Kafka's tools
    /// require, its text never begins with a dash.
    #[must_use]
    pub fn random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        // The first character is the top six bits; 62 encodes '-'.
        if bytes[0] >> 2 == 62 {
            bytes[0] &= 0x7f;
        }
        Self(bytes)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(22);
        for chunk in self.0.chunks(3) {
            let mut word = [0u8; 4];
            word[1..=chunk.len()].copy_from_slice(chunk);
            let bits = u32::from_be_bytes(word);
            for k in 0..=chunk.len() {
                let six = (bits >> (18 - 6 * k)) & 0x3f;
                text.push(char::from(ALPHABET[six as usize]));
            }
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        if text.len() != 22 {
            return Err(ParseUuidError);
        }
        let mut bits: u128 = 0;
        for (k, c) in text.bytes().enumerate() {
            let six = ALPHABET.iter().position(|a| *a == c).ok_or(ParseUuidError)? as u128;
            // 22 characters carry 132 bits: the last four must be zero.
            bits = if k < 21 {
                (bits << 6) | six
            } else if six & 0xf == 0 {
                (bits << 2) | (six >> 4)
            } else {
                return Err(ParseUuidError);
            };
        }
        Ok(Self(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn shows_and_parses_as_kafka_does() {
        let id = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(id.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAQ".parse(), Ok(id));
        let mut rng = crate::Rng::new(7);
        for _ in 0..1_000 {
            let mut bytes = [0; 16];
            rng.fill(&mut bytes);
            let id = Uuid::random(bytes);
            assert!(!id.to_string().starts_with('-'), "{id}");
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn refuses_what_is_not_a_uuid() {
        for text in [
            "",
            "AAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAA+",
            "AAAAAAAAAAAAAAAAAAAAAR",
        ] {
            assert_eq!(text.parse::<Uuid>(), Err(ParseUuidError), "{text}");
        }
    }
}
