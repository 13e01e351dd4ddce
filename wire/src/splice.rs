//! The field type `records`: batches that a message carries but does not look into.

use bytes::Bytes;

/// Record batches of a Produce or Fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Here. Decoding always gives this.
    Bytes(Bytes),
    /// In a file: encoding writes only the length and notes a [`Splice`] where the bytes belong, so that they
    /// can go from the page cache to the socket.
    Elsewhere {
        /// Bytes.
        length: u32,
    },
}

impl Records {
    /// Bytes of the batches.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Elsewhere { length } => *length as usize,
        }
    }

    /// True when there is no batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Records {
    fn default() -> Self {
        Self::Bytes(Bytes::new())
    }
}

/// A place in encoded bytes where bytes from elsewhere go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splice {
    /// Index in the encoded bytes before which the foreign bytes go. Splices ascend.
    pub position: usize,
    /// Foreign bytes.
    pub length: u32,
}
