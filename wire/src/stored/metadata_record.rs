//! The records of the metadata log as one enum, so that whoever replays them matches exhaustively.

use super::metadata::*;
use super::*;

macro_rules! metadata_records {
    ($($variant:ident($record:ident);)*) => {
        /// A record of the metadata log.
        #[derive(Clone, Debug, PartialEq)]
        pub enum MetadataRecord {
            $(
                #[doc = concat!("See [`", stringify!($record), "`].")]
                $variant($record),
            )*
        }

        impl MetadataRecord {
            /// The record with its frame, in the latest version of its type that is not above `version_max`
            /// (a finalized feature level may hold it back; `i16::MAX` for the latest).
            ///
            /// # Errors
            /// When the version cannot say it.
            pub fn to_bytes(&self, version_max: i16) -> Result<Bytes, EncodeError> {
                match self {
                    $(Self::$variant(record) => {
                        framed(record, version_max.min(*$record::VERSIONS.end()))
                    })*
                }
            }

            /// Reads a record with its frame.
            ///
            /// # Errors
            /// When the frame, the type or the version is unknown, or the bytes are no such record.
            pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
                let mut r = Reader::new(bytes);
                let (number, version) = frame(&mut r)?;
                match number {
                    $($record::NUMBER => $record::decode(&mut r, version).map(Self::$variant),)*
                    _ => Err(r.error(DecodeReason::UnsupportedVersion)),
                }
            }

            /// The name of the record's type, as Kafka has it.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($record),)*
                }
            }
        }

        $(
            impl From<$record> for MetadataRecord {
                fn from(record: $record) -> Self {
                    Self::$variant(record)
                }
            }
        )*
    };
}

metadata_records! {
    RegisterBroker(RegisterBrokerRecord);
    UnregisterBroker(UnregisterBrokerRecord);
    Topic(TopicRecord);
    Partition(PartitionRecord);
    Config(ConfigRecord);
    PartitionChange(PartitionChangeRecord);
    FenceBroker(FenceBrokerRecord);
    UnfenceBroker(UnfenceBrokerRecord);
    RemoveTopic(RemoveTopicRecord);
    FeatureLevel(FeatureLevelRecord);
    ProducerIds(ProducerIdsRecord);
    BrokerRegistrationChange(BrokerRegistrationChangeRecord);
    NoOp(NoOpRecord);
    BeginTransaction(BeginTransactionRecord);
    EndTransaction(EndTransactionRecord);
    AbortTransaction(AbortTransactionRecord);
    RegisterController(RegisterControllerRecord);
    ClearElr(ClearElrRecord);
}

fn framed<M: Stored>(record: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut w = Writer::default();
    w.uvarint(METADATA_FRAME_VERSION);
    for number in [M::NUMBER, version] {
        match u32::try_from(number) {
            Ok(number) => w.uvarint(number),
            Err(_) => w.refuse(EncodeReason::UnsupportedVersion, ""),
        }
    }
    record.encode(&mut w, version);
    Ok(w.finish()?.bytes)
}

/// Type and version of the record that follows.
fn frame(r: &mut Reader) -> Result<(i16, i16), DecodeError> {
    let unsupported = r.error(DecodeReason::UnsupportedVersion);
    if r.uvarint()? != METADATA_FRAME_VERSION {
        return Err(unsupported);
    }
    let number = i16::try_from(r.uvarint()?).map_err(|_| unsupported)?;
    let version = i16::try_from(r.uvarint()?).map_err(|_| unsupported)?;
    Ok((number, version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Uuid;

    #[test]
    fn a_record_is_framed_by_three_varints() {
        let record = MetadataRecord::from(TopicRecord {
            name: "t".into(),
            topic_id: Uuid([9; 16]),
            ..Default::default()
        });
        let bytes = record.to_bytes(i16::MAX).unwrap();
        // Frame 1, type 2, version 0, compact "t", the id, no tags.
        assert_eq!(&bytes[..5], [1, 2, 0, 2, b't']);
        assert_eq!(bytes.len(), 5 + 16 + 1);
        assert_eq!(MetadataRecord::from_bytes(bytes), Ok(record));
    }

    #[test]
    fn unknown_frames_types_and_versions_are_refused() {
        for bytes in [&[0u8, 2, 0][..], &[2, 2, 0], &[1, 127, 0], &[1, 2, 9], &[1, 0x80, 0x80, 4, 0]] {
            let refused = MetadataRecord::from_bytes(Bytes::copy_from_slice(bytes)).unwrap_err();
            assert_eq!(refused.reason, DecodeReason::UnsupportedVersion, "{bytes:?}");
        }
    }

    #[test]
    fn a_held_back_version_loses_no_set_field() {
        let directories = alloc::vec![Uuid([1; 16])];
        let record = MetadataRecord::from(PartitionRecord { directories, ..Default::default() });
        assert_eq!(record.to_bytes(0).unwrap_err().field, "Directories");
        assert!(record.to_bytes(1).is_ok());
    }
}
