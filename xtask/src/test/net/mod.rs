//! A cluster of three real processes whose network is bad: every byte between nodes, and between clients and nodes, goes
//! through a proxy of our own that cuts, delays, drips and ends connections in the middle of a frame, one way or both.
//! Unmodified idempotent clients write all the time; at the end every acknowledged line is there once and in order.
//!
//! What is drawn is drawn from one seed, which is printed: `cargo xtask net SEED` draws the same again. Who meets it when is
//! real time and not repeated.

mod proxy;
mod weather;

pub(super) use proxy::{Listener, Net};

use super::cluster::{SAFE, controller, gap_titles, gaps, taken_over, whole};
use super::leaders::Oracle;
use super::load::{Client, Loads, check, create_topics};
use super::members::Cluster;
use crate::shell::say;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};
use weather::{End, Rng, Way, Weather};

/// How long a cut lasts: longer than a broker's session (9 s).
const CUT: Duration = Duration::from_secs(12);
/// How long other bad weather lasts.
const BAD: Duration = Duration::from_secs(8);
/// How long the storm at the end lasts, and its changes.
const STORM: Duration = Duration::from_secs(30);
const CHANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(2_500));
/// Delays of a bad network.
const LATE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(80));
/// A drip.
const BYTES_PER_SECOND: u64 = 20_000;
/// Between two connections that end.
const TEARS: Duration = Duration::from_millis(300);
const NODES: [i32; 3] = [1, 2, 3];
/// Leaders go back to where they were between two rows.
const SETTINGS: &str = "leader.imbalance.check.interval.seconds=3";
/// How long that may take, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOKS: Duration = Duration::from_millis(200);

/// Only this: from a seed or one that is drawn, and all rows or those whose name contains a text.
pub(crate) fn alone(arguments: &[&str]) -> Result<(), String> {
    let seed = match arguments.first() {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| format!("{text} is no seed"))?),
    };
    crate::shell::run("cargo", &["build", "--quiet", "--locked", "-p", "ottla-cli"])?;
    run(seed, arguments.get(1).copied().unwrap_or_default())
}

/// The rows whose name contains a text.
pub(super) fn run(seed: Option<u64>, named: &str) -> Result<(), String> {
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()) >> 32);
    say(&format!("a bad network: `cargo xtask net {seed}`"));
    let mut net = Net::new(seed);
    let mut cluster = Cluster::start_behind("net", NODES.len(), SETTINGS, &mut net)?;
    create_topics(&cluster, &Client::ALL, &SAFE)?;
    let mut loads = Loads::start("net", &Client::ALL, &cluster.fronts())?;
    let mut table = Table { net, rng: Rng::new(seed), rows: Vec::new() };
    let mut rows = ROWS.iter().filter(|row| row.name.contains(named));
    let outcome = rows.try_for_each(|row| table.row(row, &mut cluster, &mut loads));
    table.print();
    outcome?;
    loads.no_failures()?;
    let lines = check(&loads.end()?, &cluster.fronts())?;
    say(&format!("a bad network: {lines} lines acknowledged, 0 lost, 0 duplicated, 0 reordered"));
    Ok(())
}

/// Who is who when a row begins. Each leads a partition.
struct Roles {
    controller: i32,
    /// Is not the controller.
    leader: i32,
    /// A follower of both.
    third: i32,
}

impl Roles {
    /// Once every node leads what it is preferred for.
    fn of(cluster: &Cluster) -> Result<Self, String> {
        let start = now();
        while !each_leads_one(cluster)? {
            if start.elapsed() > PATIENCE {
                return Err("the preferred replicas do not lead again".into());
            }
            sleep(LOOKS);
        }
        let controller = id(controller(cluster)?);
        let mut others = NODES.into_iter().filter(|node| *node != controller);
        let (leader, third) = others.next().zip(others.next()).ok_or("there are not three nodes")?;
        Ok(Self { controller, leader, third })
    }
}

/// True if all nodes say so.
fn each_leads_one(cluster: &Cluster) -> Result<bool, String> {
    let all = NODES.into_iter().collect::<BTreeSet<_>>();
    for node in cluster.all() {
        let leaders = Oracle::of(node)?.leaders(Client::Librdkafka.topic())?;
        if leaders.into_iter().collect::<BTreeSet<_>>() != all {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What happens to the network.
enum Bad {
    /// These ways are cut.
    Cut(fn(&Roles) -> Vec<Way>),
    /// This node is cut off until others lead what it led.
    Isolated {
        who: fn(&Roles) -> i32,
        from_clients: bool,
    },
    /// This node is cut off and killed behind that, as when its machine loses power: nothing says that it is gone.
    Vanished(fn(&Roles) -> i32),
    Everywhere(Weather),
    Tears,
    Storm,
}

struct Row {
    name: &'static str,
    bad: Bad,
}

const ROWS: &[Row] = &[
    Row { name: "a leader's bytes do not reach a follower", bad: Bad::Cut(|r| one_way(r.leader, r.third)) },
    Row { name: "a follower's bytes do not reach its leader", bad: Bad::Cut(|r| one_way(r.third, r.leader)) },
    Row {
        name: "a leader's bytes do not reach the controller",
        bad: Bad::Cut(|r| one_way(r.leader, r.controller)),
    },
    Row {
        name: "the controller's bytes do not reach a leader",
        bad: Bad::Cut(|r| one_way(r.controller, r.leader)),
    },
    Row {
        name: "a leader and the controller do not reach each other",
        bad: Bad::Cut(|r| both_ways(r.leader, r.controller)),
    },
    Row { name: "the controller reaches no node", bad: Bad::Cut(|r| from(r.controller)) },
    Row { name: "no node reaches the controller", bad: Bad::Cut(|r| to(r.controller)) },
    Row {
        name: "a leader is cut off from all",
        bad: Bad::Isolated { who: |r| r.leader, from_clients: true },
    },
    Row {
        name: "a leader is cut off from the nodes",
        bad: Bad::Isolated { who: |r| r.leader, from_clients: false },
    },
    Row {
        name: "the controller is cut off from all",
        bad: Bad::Isolated { who: |r| r.controller, from_clients: true },
    },
    Row {
        name: "the controller is cut off from the nodes",
        bad: Bad::Isolated { who: |r| r.controller, from_clients: false },
    },
    Row { name: "a leader vanishes, its connections half open", bad: Bad::Vanished(|r| r.leader) },
    Row { name: "the controller vanishes, its connections half open", bad: Bad::Vanished(|r| r.controller) },
    Row {
        name: "20 to 80 ms everywhere",
        bad: Bad::Everywhere(Weather { is_cut: false, delay: LATE, bytes_per_second: None }),
    },
    Row {
        name: "20 KB/s on every connection",
        bad: Bad::Everywhere(Weather {
            is_cut: false,
            delay: (Duration::ZERO, Duration::ZERO),
            bytes_per_second: Some(BYTES_PER_SECOND),
        }),
    },
    Row { name: "connections end in the middle of frames", bad: Bad::Tears },
    Row { name: "a storm: all of it, anywhere", bad: Bad::Storm },
];

fn one_way(from: i32, to: i32) -> Vec<Way> {
    vec![(End::Node(from), End::Node(to))]
}

fn both_ways(one: i32, other: i32) -> Vec<Way> {
    [one_way(one, other), one_way(other, one)].concat()
}

fn from(node: i32) -> Vec<Way> {
    NODES.into_iter().filter(|other| *other != node).flat_map(|other| one_way(node, other)).collect()
}

fn to(node: i32) -> Vec<Way> {
    from(node).into_iter().map(|(from, to)| (to, from)).collect()
}

fn around(node: i32, with_clients: bool) -> Vec<Way> {
    let clients = [(End::Clients, End::Node(node)), (End::Node(node), End::Clients)];
    let clients = clients.into_iter().filter(|_| with_clients);
    from(node).into_iter().chain(to(node)).chain(clients).collect()
}

fn everywhere() -> Vec<Way> {
    NODES.into_iter().flat_map(|node| [from(node), around(node, true).split_off(4)].concat()).collect()
}

struct Table {
    net: Net,
    rng: Rng,
    rows: Vec<String>,
}

impl Table {
    fn row(&mut self, row: &Row, cluster: &mut Cluster, loads: &mut Loads) -> Result<(), String> {
        let roles = Roles::of(cluster)?;
        loads.mark()?;
        let led = self.strike(&row.bad, &roles, cluster).map_err(|error| format!("{}: {error}", row.name))?;
        // What was held up arrives after all, or its connections end: either is drawn.
        let ends = self.rng.below(2) == 0;
        self.net.heal(ends);
        let start = now();
        cluster.restart_gone()?;
        loads.wait_until_written().map_err(|error| format!("{}: {error}", row.name))?;
        let healed = start.elapsed().as_millis();
        whole(cluster).map_err(|error| format!("{}: {error}", row.name))?;
        let led = led.map_or_else(String::new, |led| led.as_millis().to_string());
        let held = match row.bad {
            Bad::Cut(_) | Bad::Isolated { .. } | Bad::Vanished(_) | Bad::Storm if ends => {
                "its connections ended"
            }
            Bad::Cut(_) | Bad::Isolated { .. } | Bad::Vanished(_) | Bad::Storm => "came late",
            Bad::Everywhere(_) | Bad::Tears => "",
        };
        let line = format!("| {} | {led} | {} | {healed} | {held} |", row.name, gaps(&loads.mark()?));
        say(&line);
        self.rows.push(line);
        Ok(())
    }

    /// Lets it happen; where others are to take over, how long that took.
    fn strike(
        &mut self,
        bad: &Bad,
        roles: &Roles,
        cluster: &mut Cluster,
    ) -> Result<Option<Duration>, String> {
        match bad {
            Bad::Cut(ways) => {
                self.net.set(&ways(roles), CUT_OFF);
                sleep(CUT);
                Ok(None)
            }
            Bad::Isolated { who, from_clients } => {
                self.net.set(&around(who(roles), *from_clients), CUT_OFF);
                led_by_others(cluster, who(roles)).map(Some)
            }
            Bad::Vanished(who) => {
                self.net.set(&around(who(roles), true), CUT_OFF);
                cluster.kill(place(who(roles)));
                led_by_others(cluster, who(roles)).map(Some)
            }
            Bad::Everywhere(weather) => {
                self.net.set(&everywhere(), *weather);
                sleep(BAD);
                Ok(None)
            }
            Bad::Tears => {
                self.tears();
                Ok(None)
            }
            Bad::Storm => {
                self.storm();
                Ok(None)
            }
        }
    }

    fn tears(&mut self) {
        let (start, ways) = (now(), everywhere());
        while start.elapsed() < BAD {
            self.net.tear(ways[self.rng.below(ways.len())]);
            sleep(TEARS);
        }
    }

    fn storm(&mut self) {
        let (start, ways) = (now(), everywhere());
        while start.elapsed() < STORM {
            let way = ways[self.rng.below(ways.len())];
            match self.rng.below(8) {
                0 | 1 => self.net.set(&[way], CUT_OFF),
                2 => self.net.set(&[way], Weather { delay: LATE, ..Weather::default() }),
                3 => self
                    .net
                    .set(&[way], Weather { bytes_per_second: Some(BYTES_PER_SECOND), ..Weather::default() }),
                4 => self.net.tear(way),
                _ => self.net.heal(self.rng.below(2) == 0),
            }
            let pause = self.rng.between(CHANGE);
            sleep(pause);
        }
    }

    fn print(&self) {
        let titles = gap_titles(&Client::ALL);
        say(&format!(
            "\n| a bad network | led again after, ms | {titles} | written again after, ms | what was held up |"
        ));
        say("|---|---:|---:|---:|---:|---:|---|");
        self.rows.iter().for_each(|row| say(row));
    }
}

const CUT_OFF: Weather =
    Weather { is_cut: true, delay: (Duration::ZERO, Duration::ZERO), bytes_per_second: None };

/// The id of the node at a place in the row, and the other way round.
fn id(at: usize) -> i32 {
    i32::try_from(at + 1).unwrap_or(0)
}

fn place(id: i32) -> usize {
    usize::try_from(id - 1).unwrap_or(0)
}

/// Waits until the others say that they lead what this node led; at least as long as a cut lasts.
fn led_by_others(cluster: &Cluster, id: i32) -> Result<Duration, String> {
    let start = now();
    let oracles: Result<Vec<_>, _> = cluster.others(place(id)).into_iter().map(Oracle::of).collect();
    let led = taken_over(&mut oracles?, place(id))?;
    sleep(CUT.saturating_sub(start.elapsed()));
    Ok(led)
}

#[expect(clippy::disallowed_methods, reason = "a bad network takes real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a bad network takes real time")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}
