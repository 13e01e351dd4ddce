//! `Str`: a string that shares the buffer it was decoded from.
//!
//! Cloning is a reference count, never a copy. The price is that a short string keeps the whole frame
//! alive: whoever stores one for longer than a request calls [`Str::detached`].

use alloc::string::String;
use bytes::Bytes;
use core::borrow::Borrow;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;

/// Text that was checked to be UTF-8 when it was made.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Str(Bytes);

impl Str {
    /// The empty text.
    pub const EMPTY: Self = Self::from_static("");

    /// Text of the program itself; nothing is copied or counted.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Takes `bytes` as text without a copy; gives them back when they are not UTF-8.
    ///
    /// # Errors
    /// The bytes, unchanged.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, Bytes> {
        if core::str::from_utf8(&bytes).is_ok() { Ok(Self(bytes)) } else { Err(bytes) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // The check runs again because `unsafe` is forbidden here; names are short. The fallback is
        // unreachable: every constructor has checked.
        core::str::from_utf8(&self.0).unwrap_or("")
    }

    /// The same text in a buffer of its own, so that it does not keep a frame alive.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The bytes of the text, shared.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl Deref for Str {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self
    }
}

// Lawful: UTF-8 compares as its bytes do, and `Hash` is that of `str`.
impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self
    }
}

impl Hash for Str {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<&String> for Str {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::string::ToString;
    use std::collections::HashMap;

    #[test]
    fn maps_keyed_by_it_are_searched_by_plain_text() {
        let names = ["", "a", "b", "ä", "🦀"];
        let ordered: BTreeMap<Str, usize> = names.iter().map(|n| Str::from(*n)).zip(0..).collect();
        let hashed: HashMap<Str, usize> = names.iter().map(|n| Str::from(*n)).zip(0..).collect();
        for (k, name) in names.iter().enumerate() {
            assert_eq!((ordered.get(*name), hashed.get(*name)), (Some(&k), Some(&k)), "{name}");
        }
        assert!(ordered.keys().map(Str::as_str).is_sorted());
    }

    #[test]
    fn only_utf8_becomes_text() {
        let bytes = Bytes::from_static(&[b'a', 0xff]);
        assert_eq!(Str::from_utf8(bytes.clone()), Err(bytes));
        assert_eq!(Str::from_utf8(Bytes::from_static("é".as_bytes())).unwrap(), "é");
    }

    #[test]
    fn it_shows_as_text() {
        let text = Str::from("a\"b".to_string());
        assert_eq!(alloc::format!("{text:>4} {text:?}"), " a\"b \"a\\\"b\"");
    }
}
