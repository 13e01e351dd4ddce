//! `ottla cluster add|drain|remove`: who belongs to the cluster, and what it holds.

use crate::connect::{Connect, Done, Failure, block_on};
use crate::moves::{Brokers, Manner, carry_out, drain};
use crate::output::{list, note, say, table};
use clap::Args;
use client::{
    Admin, AdminError, AlterOp, BrokerDescription, ConfigResource, ErrorCode, QuorumDescription,
    QuorumMember, Reassignment,
};
use cluster::config::CORDON_KEY;
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The pause before the controller is asked again.
const AGAIN_AFTER: Duration = Duration::from_millis(300);

/// `ottla cluster add`
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The node, which has joined the cluster and follows without a vote.
    #[arg(long, value_name = "ID")]
    voter: i32,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: Connect,
}

/// `ottla cluster drain`
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// The node.
    id: i32,
    /// Wait until nothing is left there.
    #[arg(long)]
    wait: bool,
    /// Copy at most so many bytes a second from and to each broker.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    throttle: Option<u64>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: Connect,
}

/// `ottla cluster remove`
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The node, which holds nothing any more.
    id: i32,
    /// Wait until its process has ended.
    #[arg(long)]
    wait: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Add {
    pub(crate) fn run(self) -> Done {
        block_on(self.add())
    }

    async fn add(self) -> Done {
        let admin = self.connect.admin()?;
        let quorum = admin.describe_quorum().await?;
        let id = self.voter;
        let old = newest(&quorum.voters, id);
        // A node that came back with another disk is a learner, and its vote is with the old one.
        let learner = newest(&quorum.observers, id);
        let learner = learner.filter(|learner| old.is_none_or(|old| learner.log_end > old.log_end));
        if old.is_some() && learner.is_none() {
            return say(&format!("node {id} has a vote already"));
        }
        let member = learner.ok_or_else(|| {
            Failure::not_found(format!(
                "node {id} is no member of this cluster: start it with controller.quorum.bootstrap.servers naming a node of this cluster"
            ))
        })?;
        let after = quorum.voters.len() + usize::from(old.is_none());
        if self.dry_run {
            return say(&format!("node {id} would get a vote: {after} voters"));
        }
        if let Some(old) = old {
            patiently(&self.connect, || admin.remove_voter(id, old.directory)).await?;
            note(&format!("the disk that node {id} had before has no vote any more"));
        }
        patiently(&self.connect, || admin.add_voter(id, member.directory)).await?;
        say(&format!("node {id} has a vote: {after} voters"))
    }
}

/// A node that came with another disk stands there twice: the one that has more of the log lives.
fn newest(members: &[QuorumMember], id: i32) -> Option<&QuorumMember> {
    members.iter().filter(|member| member.id == id).max_by_key(|member| member.log_end)
}

/// Asks until the controller has time for it.
async fn patiently<F>(connect: &Connect, ask: impl Fn() -> F) -> Done
where
    F: Future<Output = Result<(), AdminError>>,
{
    let until = Instant::now() + connect.patience();
    loop {
        match ask().await {
            Err(error) if error.code() == ErrorCode::RequestTimedOut && Instant::now() < until => {
                note(&format!("{error}"));
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            other => return Ok(other?),
        }
    }
}

impl Drain {
    pub(crate) fn run(self) -> Done {
        block_on(self.drain())
    }

    async fn drain(self) -> Done {
        let admin = self.connect.admin()?;
        let (cluster, topics) = (admin.describe_cluster().await?, admin.describe_all_topics().await?);
        if !cluster.brokers.iter().any(|broker| broker.id == self.id) {
            return Err(Failure::not_found(format!("there is no broker {}", self.id)));
        }
        let usable = usable(&admin, &cluster.brokers, Some(self.id)).await?;
        if usable.is_empty() {
            return Err(Failure::failed("there is no other broker that could take what is here"));
        }
        let moves = drain(self.id, &topics, &mut Brokers::new(usable, &topics));
        if self.dry_run {
            return say(&shown(&moves));
        }
        if cluster.brokers.iter().any(|broker| broker.id == self.id && !broker.is_fenced) {
            // One that does not serve gets none anyway.
            let cordon = [(CORDON_KEY.to_owned(), AlterOp::Set("*".to_owned()))];
            admin.alter_configs(&ConfigResource::Broker(self.id), &cordon).await?;
            note(&format!("node {} gets no new replicas any more ({CORDON_KEY})", self.id));
        }
        carry_out(&admin, &moves, &topics, Manner { waits: self.wait, throttle: self.throttle }).await?;
        let state = if self.wait { "holds nothing any more" } else { "is being drained" };
        say(&format!("node {} {state}", self.id))
    }
}

/// Brokers that serve and take new replicas.
pub(crate) async fn usable(
    admin: &Admin,
    brokers: &[BrokerDescription],
    beside: Option<i32>,
) -> Done<Vec<i32>> {
    let mut usable = Vec::new();
    for broker in brokers.iter().filter(|broker| !broker.is_fenced && Some(broker.id) != beside) {
        let configs = admin.describe_configs(&ConfigResource::Broker(broker.id), Some(&[CORDON_KEY])).await?;
        let is_cordoned = configs.iter().any(|config| {
            config.name == CORDON_KEY && config.value.as_ref().is_some_and(|value| !value.is_empty())
        });
        if !is_cordoned {
            usable.push(broker.id);
        }
    }
    Ok(usable)
}

fn shown(moves: &[Reassignment]) -> String {
    let ids = |m: &Reassignment| list(m.replicas.as_deref().unwrap_or_default());
    let row = |m: &Reassignment| vec![m.topic.clone(), m.partition.to_string(), ids(m)];
    table(&["topic", "partition", "would go to"], moves.iter().map(row))
}

impl Remove {
    pub(crate) fn run(self) -> Done {
        block_on(self.remove())
    }

    async fn remove(self) -> Done {
        let admin = self.connect.admin()?;
        let id = self.id;
        let quorum = admin.describe_quorum().await?;
        self.check(&admin).await?;
        let voter = quorum.voters.iter().find(|voter| voter.id == id);
        if self.dry_run {
            let vote = if voter.is_some() { "lose its vote and " } else { "" };
            return say(&format!("node {id} would {vote}be forgotten"));
        }
        if let Some(voter) = voter {
            self.check_quorum(&quorum)?;
            patiently(&self.connect, || admin.remove_voter(id, voter.directory)).await?;
            note(&format!("node {id} has no vote any more"));
        }
        self.gone(&admin).await?;
        let is_member = voter.is_some() || quorum.observers.iter().any(|observer| observer.id == id);
        match admin.unregister_broker(id).await {
            Err(error) if error.code() == ErrorCode::BrokerIdNotRegistered && is_member => {
                self.forget_controller(&admin).await?;
            }
            other => other?,
        }
        say(&format!("node {id} is forgotten"))
    }

    /// A node that was a controller and no broker follows on without its vote, until it is forgotten. Kafka knows how since 4.4.
    async fn forget_controller(&self, admin: &Admin) -> Done {
        let ask = || async {
            match admin.unregister_controller(self.id).await {
                Err(error)
                    if matches!(
                        error.code(),
                        ErrorCode::ControllerIdNotRegistered | ErrorCode::UnsupportedVersion
                    ) =>
                {
                    Ok(())
                }
                other => other,
            }
        };
        patiently(&self.connect, ask).await
    }

    /// Who holds something is not removed.
    async fn check(&self, admin: &Admin) -> Done {
        let id = self.id;
        let topics = admin.describe_all_topics().await?;
        let partitions = topics.iter().flat_map(|topic| &topic.partitions);
        match partitions.filter(|partition| partition.replicas.contains(&id)).count() {
            0 => Ok(()),
            held => Err(Failure::failed(format!(
                "node {id} holds {held} partitions: run `ottla cluster drain {id} --wait` first"
            ))),
        }
    }

    /// Who lives would come back. Its vote is taken before: one of two is needed for that as long as it is there.
    async fn gone(&self, admin: &Admin) -> Done {
        let id = self.id;
        let mut is_told = false;
        loop {
            let cluster = admin.describe_cluster().await?;
            if !cluster.brokers.iter().any(|broker| broker.id == id && !broker.is_fenced) {
                return Ok(());
            }
            if !self.wait {
                let text = format!("node {id} lives: end its process, then run this again (or use --wait)");
                return Err(Failure::failed(text));
            }
            if !is_told {
                note(&format!("node {id} is forgotten as soon as its process has ended: end it now"));
                is_told = true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn check_quorum(&self, quorum: &QuorumDescription) -> Done {
        if quorum.voters.len() > 1 {
            return Ok(());
        }
        Err(Failure::failed(format!("node {} is the last one with a vote: give another one first", self.id)))
    }
}
