//! The cluster, its brokers and their disks.

use super::{Admin, AdminError};
use crate::core::error::code_of;
use crate::core::{Address, CallError, Target};
use wire::describe_cluster::DescribeClusterRequest;
use wire::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResult};

/// The cluster as one broker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id.
    pub id: String,
    /// The broker that takes changes, if one is known.
    pub controller: Option<i32>,
    /// In order of id.
    pub brokers: Vec<BrokerDescription>,
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerDescription {
    /// Its `node.id`.
    pub id: i32,
    /// Where clients connect.
    pub address: Address,
    /// Its rack, if it has one.
    pub rack: Option<String>,
    /// It is registered and does not serve at present. Clusters before Kafka 4.0 do not tell of such brokers.
    pub is_fenced: bool,
}

/// A log directory of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    /// The broker.
    pub broker: i32,
    /// The path on that broker.
    pub path: String,
    /// Bytes of its file system, if the broker says.
    pub total_bytes: Option<i64>,
    /// Bytes that are free, if the broker says.
    pub usable_bytes: Option<i64>,
    /// What is in it.
    pub partitions: Vec<LogDirPartition>,
}

/// A partition in a log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirPartition {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Bytes of its log.
    pub bytes: i64,
}

impl Admin {
    /// The cluster and its brokers, those among them that do not serve at present.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, AdminError> {
        let verdict = |r: &wire::describe_cluster::DescribeClusterResponse| code_of(r.error_code);
        let all =
            DescribeClusterRequest { include_fenced_brokers: true, ..DescribeClusterRequest::default() };
        let response = match self.call_until(Target::Any, 2..=2, all, verdict).await {
            Err(CallError::UnsupportedVersion { .. }) => {
                self.call_until(Target::Any, 0..=1, DescribeClusterRequest::default(), verdict).await?
            }
            answered => answered?,
        };
        AdminError::check(response.error_code, "cluster", response.error_message.as_ref())?;
        let broker = |broker: &wire::describe_cluster::DescribeClusterBroker| {
            let port = u16::try_from(broker.port).ok()?;
            let address = Address { host: broker.host.to_string(), port };
            let rack = broker.rack.as_ref().map(ToString::to_string);
            Some(BrokerDescription { id: broker.broker_id, address, rack, is_fenced: broker.is_fenced })
        };
        let mut brokers: Vec<_> = response.brokers.iter().filter_map(broker).collect();
        brokers.sort_by_key(|broker| broker.id);
        let controller = Some(response.controller_id).filter(|id| *id >= 0);
        Ok(ClusterDescription { id: response.cluster_id.to_string(), controller, brokers })
    }

    /// What is on the disks of all brokers.
    ///
    /// # Errors
    /// When a broker does not answer or a directory has failed.
    pub async fn describe_log_dirs(&self) -> Result<Vec<LogDir>, AdminError> {
        let mut all = Vec::new();
        for broker in self.brokers().await? {
            all.extend(self.log_dirs_of(broker).await?);
        }
        Ok(all)
    }

    /// What is on the disks of one broker.
    ///
    /// # Errors
    /// When it does not answer or a directory has failed.
    pub async fn describe_log_dirs_of(&self, broker: i32) -> Result<Vec<LogDir>, AdminError> {
        self.brokers().await?;
        self.log_dirs_of(broker).await
    }

    async fn log_dirs_of(&self, broker: i32) -> Result<Vec<LogDir>, AdminError> {
        let request = DescribeLogDirsRequest { topics: None, ..DescribeLogDirsRequest::default() };
        let target = Target::Broker(broker);
        let response = self.call_until(target, 1..=5, request, |r| code_of(r.error_code)).await?;
        AdminError::check(response.error_code, "log directories", None)?;
        let dir = |result: &DescribeLogDirsResult| {
            AdminError::check(result.error_code, &result.log_dir, None)?;
            Ok(log_dir(broker, result))
        };
        response.results.iter().map(dir).collect()
    }

    /// The ids of all brokers; afterwards the client can call each.
    pub(super) async fn brokers(&self) -> Result<Vec<i32>, AdminError> {
        self.driver.act(|core, _, _| core.request_refresh());
        let (metadata, _) = self.metadata(Some(&[])).await?;
        self.wait_for_metadata().await?;
        Ok(metadata.brokers.keys().copied().collect())
    }

    /// Until the client has metadata of its own, or knows why not.
    pub(super) async fn wait_for_metadata(&self) -> Result<(), AdminError> {
        self.driver.act(|core, _, _| {
            if core.metadata().brokers.is_empty() {
                core.request_refresh();
            }
        });
        let known = self.driver.wait(|core, _, _| {
            if !core.metadata().brokers.is_empty() {
                return Some(Ok(()));
            }
            core.metadata_error().cloned().map(Err)
        });
        known.await.map_err(AdminError::Call)
    }
}

fn log_dir(broker: i32, result: &DescribeLogDirsResult) -> LogDir {
    let known = |bytes: i64| Some(bytes).filter(|bytes| *bytes >= 0);
    let partitions = result.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| LogDirPartition {
            topic: topic.name.to_string(),
            partition: partition.partition_index,
            bytes: partition.partition_size,
        })
    });
    LogDir {
        broker,
        path: result.log_dir.to_string(),
        total_bytes: known(result.total_bytes),
        usable_bytes: known(result.usable_bytes),
        partitions: partitions.collect(),
    }
}
