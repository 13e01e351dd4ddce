//! Rows about three brokers, ours and Kafka's: what clients notice when one goes, and what replication costs.

mod changes;
mod gaps;
mod loads;
mod nodes;
mod sizes;
mod watch;

pub(crate) use nodes::Nodes;

use super::Bench;
use super::broker::On;
pub(in crate::bench) use changes::controller;
pub(in crate::bench) use gaps::gap;
pub(in crate::bench) use loads::{flushed, replicated, single};
pub(in crate::bench) use sizes::{memory, start};

impl Bench {
    /// The long-lived cluster of a kind, started when first needed.
    fn cluster(&mut self, on: On) -> Result<&Nodes, String> {
        let dir = self.data.join(format!("cluster-{on:?}").to_lowercase());
        if self.cluster_place(on).is_none() {
            let started = Nodes::start(on, &dir, "")?;
            *self.cluster_place(on) = Some(started);
        }
        self.cluster_place(on).as_ref().ok_or_else(|| "a cluster has vanished".to_owned())
    }

    /// True if it runs already.
    fn has_cluster(&mut self, on: On) -> bool {
        self.cluster_place(on).is_some()
    }

    /// User and system time so far of the cluster that is quiet while this kind is measured.
    fn quiet_cpu(&mut self, measured: On) -> Result<f64, String> {
        let quiet = if measured == On::Kafka { On::Ours } else { On::Kafka };
        self.cluster_place(quiet).as_ref().map_or(Ok(0.0), Nodes::cpu)
    }

    fn cluster_place(&mut self, on: On) -> &mut Option<Nodes> {
        match on {
            On::Ours | On::Floor => &mut self.our_nodes,
            On::Kafka => &mut self.kafka_nodes,
        }
    }
}
