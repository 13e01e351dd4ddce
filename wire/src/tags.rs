//! Tagged fields that this build has no name for (KIP-482): kept, and written again as they came.

use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

/// Unknown tagged fields of one struct, in ascending order of tag. Almost always empty, hence one word.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnknownTags(Option<Box<Fields>>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Fields(Vec<(u32, Bytes)>);

impl UnknownTags {
    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// True when there is none, which is the rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The fields in ascending order of tag.
    #[must_use]
    pub fn as_slice(&self) -> &[(u32, Bytes)] {
        self.0.as_ref().map_or(&[], |fields| fields.0.as_slice())
    }

    /// Adds a field at its place. False when the tag is there already; nothing is changed then.
    pub fn insert(&mut self, tag: u32, value: Bytes) -> bool {
        let fields = &mut self.0.get_or_insert_with(Box::default).0;
        match fields.binary_search_by_key(&tag, |(tag, _)| *tag) {
            Ok(_) => false,
            Err(place) => {
                fields.insert(place, (tag, value));
                true
            }
        }
    }
}
