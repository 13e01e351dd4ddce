//! Random messages for tests, fuzzers and simulations; behind the feature `testing`.
//!
//! A sample for version `v` uses only what `v` can say, so that it survives encoding and decoding unchanged.

use crate::message::Message;
use crate::splice::Records;
use crate::tags::UnknownTags;
use crate::text::Str;
use alloc::string::String;
use alloc::vec::Vec;
use base::{Rng, Uuid};
use bytes::Bytes;

/// A message that can be made at random.
pub trait Sample: Message {
    /// A message that `version` can say.
    fn sample(s: &mut Sampler, version: i16) -> Self;
}

/// Draws field values: mostly small ones, sometimes those at the edge of a type or of an encoding.
#[derive(Clone, Debug)]
pub struct Sampler {
    rng: Rng,
    shape: Shape,
}

/// What kind of messages to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Of everything a little.
    Mixed,
    /// The given number of elements in the outermost arrays, everything else empty, null or zero: the least
    /// bytes for the most structs.
    Sparse(usize),
}

macro_rules! integers {
    ($($name:ident),*) => {$(
        #[doc = concat!("Any `", stringify!($name), "`, often a special one.")]
        pub fn $name(&mut self) -> $name {
            let special = [0, 1, $name::MIN, $name::MAX, $name::MAX / 2];
            match self.shape {
                Shape::Sparse(_) => 0,
                Shape::Mixed if self.rng.chance(1, 3) => special[self.rng.index(special.len())],
                Shape::Mixed => {
                    let mut bytes = [0; size_of::<$name>()];
                    self.rng.fill(&mut bytes);
                    $name::from_le_bytes(bytes)
                }
            }
        }
    )*};
}

impl Sampler {
    /// A source of samples; equal seeds and shapes give equal samples.
    #[must_use]
    pub fn new(seed: u64, shape: Shape) -> Self {
        Self { rng: Rng::new(seed), shape }
    }

    integers!(i8, i16, i32, i64, u16, u32);

    /// Any number but NaN, which differs from itself.
    pub fn f64(&mut self) -> f64 {
        f64::from(self.i32()) / 8.0
    }

    /// True or false.
    pub fn bool(&mut self) -> bool {
        self.shape == Shape::Mixed && self.rng.chance(1, 2)
    }

    /// Any UUID, zero among them.
    pub fn uuid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        if self.bool() {
            self.rng.fill(&mut bytes);
        }
        Uuid(bytes)
    }

    /// A string of up to a few bytes, seldom of some hundred: lengths of one and two varint bytes.
    pub fn string(&mut self) -> Str {
        const LETTERS: [char; 6] = ['a', 'Z', '-', 'é', '水', '🦀'];
        let length = self.length();
        let text: String = (0..length).map(|_| LETTERS[self.rng.index(LETTERS.len())]).collect();
        Str::from(text)
    }

    /// Bytes, as long as strings.
    pub fn bytes(&mut self) -> Bytes {
        let mut bytes = alloc::vec![0; self.length()];
        self.rng.fill(&mut bytes);
        bytes.into()
    }

    /// Record batches that are none.
    pub fn records(&mut self) -> Records {
        Records::Bytes(self.bytes())
    }

    /// A value, or null if that is allowed.
    pub fn opt<T>(&mut self, nullable: bool, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let null = nullable && (self.shape != Shape::Mixed || self.rng.chance(1, 3));
        if null { None } else { Some(make(self)) }
    }

    /// A few elements.
    pub fn array<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        match self.shape {
            Shape::Mixed => {
                let count = self.rng.below(4);
                (0..count).map(|_| make(self)).collect()
            }
            Shape::Sparse(count) => {
                self.shape = Shape::Sparse(0);
                let elements = (0..count).map(|_| make(self)).collect();
                self.shape = Shape::Sparse(count);
                elements
            }
        }
    }

    /// Unknown tagged fields from tag `first` on, if the version is flexible.
    pub fn tags(&mut self, flexible: bool, first: u32) -> UnknownTags {
        let mut tags = UnknownTags::default();
        if flexible && self.shape == Shape::Mixed && self.rng.chance(1, 4) {
            for _ in 0..2 {
                let tag = first.saturating_add(self.u16().into());
                let value = self.bytes();
                tags.insert(tag, value);
            }
        }
        tags
    }

    fn length(&mut self) -> usize {
        match self.shape {
            Shape::Sparse(_) => 0,
            Shape::Mixed if self.rng.chance(1, 32) => 100 + self.rng.index(300),
            Shape::Mixed => self.rng.index(12),
        }
    }
}
