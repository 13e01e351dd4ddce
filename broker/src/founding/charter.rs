//! What a directory says that belongs to no cluster yet: its own id, and the charter that it has agreed to.

use crate::metadata::StoreError;
use base::{BrokerId, Rng, Uuid};
use bytes::{BufMut, BytesMut};
use quorum::forming::{Charter, Founder};
use seglog::dir::LogDir;
use seglog::durable::{read_small, seal, unseal, write_small};

const FILE: &str = "quorum-charter";
const MAGIC: [u8; 4] = *b"OTQC";
const VERSION: u32 = 1;
/// Bytes of a founder: its node and its directory.
const FOUNDER_BYTES: usize = 4 + 16;

/// What the file holds.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    pub(super) directory: Uuid,
    pub(super) charter: Option<Charter>,
}

impl Promise {
    /// Gives the directory an id, durably: what others are told must be true after a crash.
    pub(super) fn new(dir: &LogDir, rng: &mut Rng) -> Result<Self, StoreError> {
        let promise = Self { directory: rng.uuid(), charter: None };
        promise.write(dir)?;
        Ok(promise)
    }

    fn write(&self, dir: &LogDir) -> Result<(), StoreError> {
        let mut body = BytesMut::new();
        body.put_slice(&self.directory.0);
        if let Some(charter) = &self.charter {
            body.put_slice(&charter.cluster_id.0);
            for founder in &charter.founders {
                body.put_i32(founder.node.0);
                body.put_slice(&founder.directory.0);
            }
        }
        Ok(write_small(&**dir.disk(), FILE, &seal(MAGIC, VERSION, &body))?)
    }
}

/// Agrees to a charter, for ever.
pub(super) fn promise(dir: &LogDir, directory: Uuid, charter: &Charter) -> Result<(), StoreError> {
    Promise { directory, charter: Some(charter.clone()) }.write(dir)
}

pub(super) fn read(dir: &LogDir) -> Result<Option<Promise>, StoreError> {
    let Some(sealed) = read_small(&**dir.disk(), FILE)? else { return Ok(None) };
    let body = unseal(MAGIC, &sealed).filter(|(version, _)| *version == VERSION).map(|(_, body)| body);
    body.and_then(parse).map(Some).ok_or(StoreError::Damaged(FILE))
}

fn parse(body: &[u8]) -> Option<Promise> {
    let (directory, rest) = body.split_first_chunk::<16>()?;
    let directory = Uuid(*directory);
    if rest.is_empty() {
        return Some(Promise { directory, charter: None });
    }
    let (cluster_id, rest) = rest.split_first_chunk::<16>()?;
    let (founders, left) = rest.as_chunks::<FOUNDER_BYTES>();
    let founder = |bytes: &[u8; FOUNDER_BYTES]| {
        let (node, directory) = bytes.split_first_chunk::<4>()?;
        let node = BrokerId(i32::from_be_bytes(*node));
        Some(Founder { node, directory: Uuid(directory.try_into().ok()?) })
    };
    let founders = founders.iter().map(founder).collect::<Option<Vec<_>>>()?;
    let charter = Charter { cluster_id: Uuid(*cluster_id), founders };
    (left.is_empty() && !charter.founders.is_empty()).then_some(Promise { directory, charter: Some(charter) })
}
