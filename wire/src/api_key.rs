//! The APIs of the protocol, all that Kafka 4.4 knows, served or not, and what Ottla's nodes say to each other.

use core::fmt;

macro_rules! api_keys {
    (kafka { $($name:ident = $key:literal, $flexible:expr;)* } own { $($own:ident = $own_key:literal;)* }) => {
        /// An API, by Kafka's name; or one of our own, between nodes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        #[expect(missing_docs, reason = "the names are Kafka's and say all there is to say")]
        pub enum ApiKey { $($name = $key,)* $($own = $own_key,)* }

        impl ApiKey {
            /// Every API of Kafka in order of key.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Every API of our own in order of key. Kafka will not come so far: it counts them.
            pub const OWN: &'static [Self] = &[$(Self::$own,)*];

            /// Kafka's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* $(Self::$own => stringify!($own),)* }
            }

            /// The first version with compact lengths and tagged fields, `i16::MAX` if there is none.
            #[must_use]
            pub const fn flexible_from(self) -> i16 {
                match self { $(Self::$name => $flexible,)* $(Self::$own => 0,)* }
            }
        }
    };
}

// Name = key, first flexible version.
api_keys! {
    kafka {
        Produce = 0, 9;
        Fetch = 1, 12;
        ListOffsets = 2, 6;
        Metadata = 3, 9;
        LeaderAndIsr = 4, 4;
        StopReplica = 5, 2;
        UpdateMetadata = 6, 6;
        ControlledShutdown = 7, 3;
        OffsetCommit = 8, 8;
        OffsetFetch = 9, 6;
        FindCoordinator = 10, 3;
        JoinGroup = 11, 6;
        Heartbeat = 12, 4;
        LeaveGroup = 13, 4;
        SyncGroup = 14, 4;
        DescribeGroups = 15, 5;
        ListGroups = 16, 3;
        SaslHandshake = 17, i16::MAX;
        ApiVersions = 18, 3;
        CreateTopics = 19, 5;
        DeleteTopics = 20, 4;
        DeleteRecords = 21, 2;
        InitProducerId = 22, 2;
        OffsetForLeaderEpoch = 23, 4;
        AddPartitionsToTxn = 24, 3;
        AddOffsetsToTxn = 25, 3;
        EndTxn = 26, 3;
        WriteTxnMarkers = 27, 1;
        TxnOffsetCommit = 28, 3;
        DescribeAcls = 29, 2;
        CreateAcls = 30, 2;
        DeleteAcls = 31, 2;
        DescribeConfigs = 32, 4;
        AlterConfigs = 33, 2;
        AlterReplicaLogDirs = 34, 2;
        DescribeLogDirs = 35, 2;
        SaslAuthenticate = 36, 2;
        CreatePartitions = 37, 2;
        CreateDelegationToken = 38, 2;
        RenewDelegationToken = 39, 2;
        ExpireDelegationToken = 40, 2;
        DescribeDelegationToken = 41, 2;
        DeleteGroups = 42, 2;
        ElectLeaders = 43, 2;
        IncrementalAlterConfigs = 44, 1;
        AlterPartitionReassignments = 45, 0;
        ListPartitionReassignments = 46, 0;
        OffsetDelete = 47, i16::MAX;
        DescribeClientQuotas = 48, 1;
        AlterClientQuotas = 49, 1;
        DescribeUserScramCredentials = 50, 0;
        AlterUserScramCredentials = 51, 0;
        Vote = 52, 0;
        BeginQuorumEpoch = 53, 1;
        EndQuorumEpoch = 54, 1;
        DescribeQuorum = 55, 0;
        AlterPartition = 56, 0;
        UpdateFeatures = 57, 0;
        Envelope = 58, 0;
        FetchSnapshot = 59, 0;
        DescribeCluster = 60, 0;
        DescribeProducers = 61, 0;
        BrokerRegistration = 62, 0;
        BrokerHeartbeat = 63, 0;
        UnregisterBroker = 64, 0;
        DescribeTransactions = 65, 0;
        ListTransactions = 66, 0;
        AllocateProducerIds = 67, 0;
        ConsumerGroupHeartbeat = 68, 0;
        ConsumerGroupDescribe = 69, 0;
        ControllerRegistration = 70, 0;
        GetTelemetrySubscriptions = 71, 0;
        PushTelemetry = 72, 0;
        AssignReplicasToDirs = 73, 0;
        ListConfigResources = 74, 0;
        DescribeTopicPartitions = 75, 0;
        ShareGroupHeartbeat = 76, 0;
        ShareGroupDescribe = 77, 0;
        ShareFetch = 78, 0;
        ShareAcknowledge = 79, 0;
        AddRaftVoter = 80, 0;
        RemoveRaftVoter = 81, 0;
        UpdateRaftVoter = 82, 0;
        InitializeShareGroupState = 83, 0;
        ReadShareGroupState = 84, 0;
        WriteShareGroupState = 85, 0;
        DeleteShareGroupState = 86, 0;
        ReadShareGroupStateSummary = 87, 0;
        StreamsGroupHeartbeat = 88, 0;
        StreamsGroupDescribe = 89, 0;
        DescribeShareGroupOffsets = 90, 0;
        AlterShareGroupOffsets = 91, 0;
        DeleteShareGroupOffsets = 92, 0;
        StreamsGroupTopologyDescriptionUpdate = 93, 0;
        UnregisterController = 94, 0;
    }
    own {
        PeerGreet = 20000;
        PeerQuorum = 20001;
        PeerForm = 20002;
        PeerJoin = 20003;
        PeerSnapshot = 20004;
        PeerProgress = 20005;
    }
}

/// The key of the first API of our own.
const FIRST_OWN: i16 = 20_000;

/// The key is not one of Kafka's, and not one of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownApiKey(
    /// The key.
    pub i16,
);

impl ApiKey {
    /// The key on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether `version` has compact lengths and tagged fields, in header and body.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from()
    }

    /// Whether the header of the response ends with tagged fields. That of ApiVersions never does (KIP-511):
    /// it must be readable before the versions are known.
    #[must_use]
    pub const fn is_response_header_flexible(self, version: i16) -> bool {
        !matches!(self, Self::ApiVersions) && self.is_flexible(version)
    }
}

impl TryFrom<i16> for ApiKey {
    type Error = UnknownApiKey;

    fn try_from(key: i16) -> Result<Self, UnknownApiKey> {
        // The keys have no gaps, so the key is the index.
        let (all, first) = if key < FIRST_OWN { (Self::ALL, 0) } else { (Self::OWN, FIRST_OWN) };
        usize::try_from(key - first).ok().and_then(|k| all.get(k)).copied().ok_or(UnknownApiKey(key))
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for UnknownApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown API key {}", self.0)
    }
}

impl core::error::Error for UnknownApiKey {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_no_gaps_and_convert_both_ways() {
        for (k, api) in ApiKey::ALL.iter().enumerate() {
            assert_eq!(usize::try_from(api.code()), Ok(k), "{api}");
            assert_eq!(ApiKey::try_from(api.code()), Ok(*api));
        }
        assert_eq!(ApiKey::ALL.len(), 95);
        assert_eq!(ApiKey::try_from(95), Err(UnknownApiKey(95)));
        assert_eq!(ApiKey::try_from(-1), Err(UnknownApiKey(-1)));
        for (key, api) in (FIRST_OWN..).zip(ApiKey::OWN) {
            assert_eq!((api.code(), ApiKey::try_from(key)), (key, Ok(*api)));
        }
        assert_eq!(ApiKey::try_from(i16::MIN), Err(UnknownApiKey(i16::MIN)));
    }

    #[test]
    fn response_headers_of_api_versions_have_no_tags() {
        assert!(ApiKey::ApiVersions.is_flexible(3));
        assert!(!ApiKey::ApiVersions.is_response_header_flexible(3));
        assert!(ApiKey::Metadata.is_response_header_flexible(9));
        assert!(!ApiKey::Metadata.is_response_header_flexible(8));
    }
}
