//! A file's bytes in shared chunks, so that states after a crash cost little to clone.

use std::sync::Arc;

const CHUNK: usize = 4096;

/// Bytes with holes, which read as zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    chunks: Vec<Option<Arc<[u8; CHUNK]>>>,
    length: u64,
}

impl Content {
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Reads as much as there is.
    pub(super) fn read(&self, buffer: &mut [u8], at: u64) -> usize {
        let there = self.length.saturating_sub(at);
        let total = usize::try_from(there).unwrap_or(usize::MAX).min(buffer.len());
        let mut done = 0;
        while done < total {
            let (chunk, start) = locate(at + done as u64);
            let take = (CHUNK - start).min(total - done);
            let target = &mut buffer[done..done + take];
            match self.chunks.get(chunk).and_then(Option::as_ref) {
                Some(bytes) => target.copy_from_slice(&bytes[start..start + take]),
                None => target.fill(0),
            }
            done += take;
        }
        total
    }

    /// Writes, extending the file if need be.
    pub(super) fn write(&mut self, data: &[u8], at: u64) {
        if data.is_empty() {
            return;
        }
        self.length = self.length.max(at + data.len() as u64);
        self.chunks.resize(locate(self.length - 1).0 + 1, None);
        let mut done = 0;
        while done < data.len() {
            let (chunk, start) = locate(at + done as u64);
            let take = (CHUNK - start).min(data.len() - done);
            let bytes = Arc::make_mut(self.chunks[chunk].get_or_insert_with(|| Arc::new([0; CHUNK])));
            bytes[start..start + take].copy_from_slice(&data[done..done + take]);
            done += take;
        }
    }

    /// Cuts or extends with zeros.
    pub(super) fn truncate(&mut self, length: u64) {
        let (chunk, start) = locate(length);
        if length < self.length {
            self.chunks.truncate(chunk + 1);
            if let Some(Some(bytes)) = self.chunks.get_mut(chunk) {
                Arc::make_mut(bytes)[start..].fill(0);
            }
        }
        self.chunks.resize(chunk + 1, None);
        self.length = length;
    }

    /// Flips one bit if the file reaches so far.
    pub(super) fn flip(&mut self, bit: u64) {
        let at = bit / 8;
        let mut byte = [0];
        if self.read(&mut byte, at) == 1 {
            byte[0] ^= 1 << (bit % 8);
            self.write(&byte, at);
        }
    }
}

fn locate(at: u64) -> (usize, usize) {
    let chunk = usize::try_from(at / CHUNK as u64).unwrap_or(usize::MAX);
    (chunk, usize::try_from(at % CHUNK as u64).unwrap_or(0))
}
