//! A large cluster on one thread: what its controller and its brokers cost, and whether it comes to rest.
//!
//! Nodes are whole, as in seeds, and nothing goes wrong but what is said; there are a hundred of them, and a hundred thousand
//! partitions. Times are the cluster's own; processor time is real, and that of this machine.

mod asking;
mod cost;
mod machines;

use asking::Write;
use base::{BrokerId, Instant, PartitionIndex, Span};
use cluster::{Delta, Image, PartitionState, Record};
use machines::Machines;
use std::sync::Arc;
use std::time::Duration;

/// How large the cluster is.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Its nodes; three of them are controllers, too.
    pub brokers: usize,
    /// Its partitions, of three replicas each.
    pub partitions: i32,
}

/// What a step took.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was done.
    pub name: &'static str,
    /// How long until it was done, for those within.
    pub took: Span,
    /// Processor time of the node that was the controller at the end.
    pub controller: Duration,
    /// Processor time of the other nodes, on average.
    pub others: Duration,
    /// Bytes of memory that all nodes and their disks take at the end.
    pub memory: u64,
    /// What else there is to say.
    pub note: String,
}

/// Partitions of a topic.
const PER_TOPIC: i32 = 1_000;
const FACTOR: i16 = 3;
/// Partitions that are written to, to see that they are alive.
const WRITTEN: usize = 200;
const PATIENCE: Span = Span::from_secs(600);
const OFTEN: Span = Span::from_millis(10);
const SELDOM: Span = Span::from_secs(1);
/// How long it is looked at what an idle cluster costs.
const IDLE: Span = Span::from_secs(60);

/// Runs through the life of a large cluster; `told` hears of each step as it is done.
///
/// # Errors
/// What did not come about in an hour of the cluster's time, or why a node ended itself.
pub fn run(scale: Scale, told: &mut dyn FnMut(&Step)) -> Result<(), String> {
    let image = measure_the_image(scale);
    let mut world = World { machines: Machines::new(), scale, told };
    let begun = world.begin("the metadata in memory");
    world.end(&begun, format!("{:.1} MiB", image as f64 / f64::from(1 << 20)));
    world.form()?;
    world.create()?;
    world.rest("idle for a minute")?;
    world.lose_a_broker()?;
    world.lose_the_controller()?;
    world.add_a_broker()
}

struct World<'a> {
    machines: Machines,
    scale: Scale,
    told: &'a mut dyn FnMut(&Step),
}

/// What was when a step began.
struct Begun {
    name: &'static str,
    at: Instant,
    busy: Vec<Duration>,
}

impl World<'_> {
    fn begin(&self, name: &'static str) -> Begun {
        let busy = (0..self.machines.len()).map(|node| self.machines.busy(node)).collect();
        Begun { name, at: self.machines.time(), busy }
    }

    fn end(&mut self, begun: &Begun, note: String) {
        let controller = self.controller();
        let since = |node: usize| {
            let before = begun.busy.get(node).copied().unwrap_or(Duration::ZERO);
            self.machines.busy(node).saturating_sub(before)
        };
        let others: Vec<_> =
            (0..self.machines.len()).filter(|node| Some(*node) != controller).map(since).collect();
        let count = u32::try_from(others.len()).unwrap_or(1).max(1);
        let step = Step {
            name: begun.name,
            took: self.machines.time().since(begun.at),
            controller: controller.map_or(Duration::ZERO, since),
            others: others.iter().sum::<Duration>() / count,
            memory: cost::resident(),
            note,
        };
        (self.told)(&step);
    }

    fn wait(
        &mut self,
        what: &str,
        look: Span,
        is_so: impl FnMut(&mut Machines) -> bool,
    ) -> Result<(), String> {
        if self.machines.wait(look, PATIENCE, is_so) {
            return Ok(());
        }
        Err(self.machines.fatal.take().unwrap_or_else(|| format!("{what}: it does not come about")))
    }

    fn controller(&self) -> Option<usize> {
        controller(&self.machines)
    }

    /// All nodes serve, and none is fenced.
    fn form(&mut self) -> Result<(), String> {
        let begun = self.begin("form a cluster");
        for _ in 0..self.scale.brokers {
            self.machines.add()?;
        }
        let brokers = self.scale.brokers;
        self.wait("all nodes serve", OFTEN, |machines| all_serve(machines, brokers))?;
        self.end(&begun, format!("{brokers} nodes"));
        Ok(())
    }

    /// All partitions are there, known to all nodes, and those that are written to take it.
    fn create(&mut self) -> Result<(), String> {
        let begun = self.begin("create topics");
        let mut left = self.scale.partitions;
        for topic in 0.. {
            if left == 0 {
                break;
            }
            let count = left.min(PER_TOPIC);
            asking::create(&mut self.machines, 0, &format!("topic-{topic}"), count, FACTOR)?;
            left -= count;
        }
        self.all_known()?;
        let created = self.machines.time().since(begun.at);
        self.write_some()?;
        let image = image_of(&self.machines).ok_or("there is no controller")?;
        let spread = Spread::of(&image);
        self.end(&begun, format!("all nodes know after {:.1} s; {spread}", seconds(created)));
        Ok(())
    }

    fn all_known(&mut self) -> Result<(), String> {
        self.wait("all nodes know all", OFTEN, |machines| {
            let Some(index) = image_of(machines).map(|image| image.index) else { return false };
            machines.living().all(|(_, node)| node.metadata.view().image.index >= index)
        })
    }

    /// Writes to partitions all over the cluster until each write is acknowledged by all its replicas.
    fn write_some(&mut self) -> Result<(), String> {
        let image = image_of(&self.machines).ok_or("there is no controller")?;
        let all = partitions(&image).map(|(topic, index, _)| (topic, index));
        let all: Vec<_> = all.collect();
        let step = (all.len() / WRITTEN).max(1);
        let mut writes: Vec<_> = all
            .iter()
            .step_by(step)
            .map(|(topic, index)| ((*topic, *index), Write::new(*topic, index.0)))
            .collect();
        let mut failed = None;
        self.wait("writes are acknowledged", OFTEN, |machines| {
            let Some(image) = image_of(machines) else { return false };
            let mut are_done = true;
            for ((topic, index), write) in &mut writes {
                let state = image.topic_by_id(*topic).and_then(|topic| topic.partition(*index));
                let leader = state.and_then(|state| state.leader).and_then(index_of);
                match write.drive(machines, leader) {
                    Ok(is_done) => are_done &= is_done,
                    Err(error) => failed = Some(error),
                }
            }
            are_done || failed.is_some()
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn rest(&mut self, name: &'static str) -> Result<(), String> {
        let begun = self.begin(name);
        let until = self.machines.time() + IDLE;
        self.wait("time passes", SELDOM, |machines| machines.time() >= until)?;
        self.end(&begun, String::new());
        Ok(())
    }

    /// A node is killed that is no controller; then it comes back.
    fn lose_a_broker(&mut self) -> Result<(), String> {
        let victim = self.scale.brokers - 1;
        let begun = self.begin("lose a broker");
        let led = image_of(&self.machines).map_or(0, |image| led_by(&image, id_of(victim)));
        self.machines.kill(victim);
        let others_lead = self.others_lead(victim, &begun)?;
        self.end(&begun, format!("it led {led}; others do after {others_lead:.2} s"));
        self.come_back(victim, "it comes back")
    }

    /// The node is killed that is the controller, and a broker like others.
    fn lose_the_controller(&mut self) -> Result<(), String> {
        let victim = self.controller().ok_or("there is no controller")?;
        let asked = (victim + 1) % VOTERS;
        let begun = self.begin("lose the controller");
        self.machines.kill(victim);
        while !asking::change(&mut self.machines, asked, "topic-0", "1000000000")? {
            if self.machines.time().since(begun.at) > PATIENCE {
                return Err("nothing can be changed any more".into());
            }
        }
        let changed = seconds(self.machines.time().since(begun.at));
        let others_lead = self.others_lead(victim, &begun)?;
        let note = format!("metadata changes after {changed:.2} s, others lead after {others_lead:.2} s");
        self.end(&begun, note);
        self.come_back(victim, "it comes back, too")
    }

    /// Waits until others lead what a node has led, and take writes. Says after how many seconds they led.
    fn others_lead(&mut self, victim: usize, begun: &Begun) -> Result<f64, String> {
        let leads_nothing = |image: Arc<Image>| led_by(&image, id_of(victim)) == 0;
        self.wait("others lead", OFTEN, |machines| image_of(machines).is_some_and(leads_nothing))?;
        let took = seconds(self.machines.time().since(begun.at));
        self.all_known()?;
        self.write_some()?;
        Ok(took)
    }

    fn come_back(&mut self, victim: usize, name: &'static str) -> Result<(), String> {
        let begun = self.begin(name);
        self.machines.start(victim)?;
        self.wait("all are in sync", OFTEN, |machines| {
            image_of(machines).is_some_and(|image| is_whole(&image))
        })?;
        self.all_known()?;
        self.end(&begun, "until every replica is in sync".into());
        Ok(())
    }

    /// An empty node joins and gets its share.
    fn add_a_broker(&mut self) -> Result<(), String> {
        let begun = self.begin("add a broker, and balance");
        self.machines.add()?;
        let brokers = self.scale.brokers + 1;
        self.wait("it serves", OFTEN, |machines| all_serve(machines, brokers))?;
        self.wait("it has its share", SELDOM, |machines| {
            image_of(machines).is_some_and(|image| is_whole(&image) && Spread::of(&image).is_even())
        })
        .map_err(|error| match image_of(&self.machines) {
            Some(image) => format!("{error}: {}, whole {}", Spread::of(&image), is_whole(&image)),
            None => error,
        })?;
        self.all_known()?;
        self.write_some()?;
        let image = image_of(&self.machines).ok_or("there is no controller")?;
        let has = partitions(&image).filter(|(_, _, state)| state.is_on(id_of(brokers - 1))).count();
        self.end(&begun, format!("it has {has} replicas then; {}", Spread::of(&image)));
        self.rest("idle again")
    }
}

/// What the metadata themselves take in memory. To be asked before anything else: what was freed is used again.
fn measure_the_image(scale: Scale) -> u64 {
    let mut image = Image::new(base::Uuid([1; 16]));
    let brokers = i32::try_from(scale.brokers).unwrap_or(i32::MAX);
    let before = cost::resident();
    for at in 0..scale.partitions {
        let id = base::TopicId(base::Uuid([1 + u8::try_from(at / PER_TOPIC % 255).unwrap_or(0); 16]));
        let index = PartitionIndex(at % PER_TOPIC);
        if index.0 == 0 {
            let name = format!("topic-{}", at / PER_TOPIC).into();
            image.replay(&Record::Topic { name, id, implicit_factor: false }, &mut Delta::default());
        }
        let replicas = (0..i32::from(FACTOR)).map(|next| BrokerId((at + next) % brokers)).collect();
        let state = PartitionState::new(replicas);
        image.replay(&Record::Partition { topic: id, index, state }, &mut Delta::default());
    }
    let bytes = cost::resident().saturating_sub(before);
    drop(image);
    bytes
}

fn seconds(span: Span) -> f64 {
    span.as_nanos() as f64 / 1e9
}

/// Nodes that are controllers.
const VOTERS: usize = crate::node::VOTERS;

fn id_of(node: usize) -> BrokerId {
    BrokerId(i32::try_from(node + 1).unwrap_or(i32::MAX))
}

fn index_of(id: BrokerId) -> Option<usize> {
    usize::try_from(id.0).ok()?.checked_sub(1)
}

fn controller(machines: &Machines) -> Option<usize> {
    let mut all = machines.living().filter(|(_, node)| node.shared.counters.is_controller());
    all.next().map(|(index, _)| index)
}

fn image_of(machines: &Machines) -> Option<Arc<Image>> {
    machines.node(controller(machines)?).map(|node| node.metadata.view().image.clone())
}

fn all_serve(machines: &Machines, brokers: usize) -> bool {
    let Some(image) = image_of(machines) else { return false };
    image.brokers().filter(|broker| !broker.fenced).count() == brokers
        && machines.living().filter(|(_, node)| node.metadata.is_serving()).count() == brokers
}

fn partitions(image: &Image) -> impl Iterator<Item = (base::TopicId, PartitionIndex, &PartitionState)> {
    let all = image.topics().flat_map(|topic| topic.partitions.iter().zip(0..).map(move |at| (topic.id, at)));
    all.map(|(topic, (state, index))| (topic, PartitionIndex(index), &**state))
}

fn led_by(image: &Image, id: BrokerId) -> usize {
    partitions(image).filter(|(_, _, state)| state.leader == Some(id)).count()
}

/// Every replica is in sync, and none is on the move.
fn is_whole(image: &Image) -> bool {
    partitions(image).all(|(_, _, state)| state.isr.len() == state.replicas.len() && !state.is_moving())
}

/// How alike brokers are.
struct Spread {
    /// Replicas of a broker.
    mean: usize,
    replicas: (usize, usize),
    leaders: (usize, usize),
}

impl Spread {
    fn of(image: &Image) -> Self {
        let mut counts: std::collections::BTreeMap<BrokerId, (usize, usize)> =
            image.brokers().map(|broker| (broker.id, (0, 0))).collect();
        for (_, _, state) in partitions(image) {
            for id in &state.replicas {
                counts.entry(*id).or_default().0 += 1;
            }
            if let Some(leader) = state.leader {
                counts.entry(leader).or_default().1 += 1;
            }
        }
        let span = |of: fn(&(usize, usize)) -> usize| {
            let all = || counts.values().map(of);
            (all().min().unwrap_or(0), all().max().unwrap_or(0))
        };
        let sum: usize = counts.values().map(|count| count.0).sum();
        Self {
            mean: sum / counts.len().max(1),
            replicas: span(|count| count.0),
            leaders: span(|count| count.1),
        }
    }

    /// They differ by a tenth of the mean at most, as the balancer has it.
    fn is_even(&self) -> bool {
        let (least, most) = self.replicas;
        most - least <= (self.mean / 10).max(1)
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ((least, most), (fewest, leads)) = (self.replicas, self.leaders);
        write!(f, "{least} to {most} replicas per broker, {fewest} to {leads} led")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_lives_through_all_of_it() {
        let mut steps = Vec::new();
        run(Scale { brokers: 5, partitions: 60 }, &mut |step| steps.push(step.name)).unwrap();
        assert_eq!(steps.len(), 10, "{steps:?}");
    }
}
