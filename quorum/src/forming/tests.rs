use super::*;

fn directory(number: u8) -> Uuid {
    Uuid([number; 16])
}

fn node(id: i32, voters: &[i32], standing: Standing) -> Forming {
    let own = Founder { node: BrokerId(id), directory: directory(u8::try_from(id).unwrap()) };
    Forming::new(own, voters.iter().copied().map(BrokerId).collect(), standing, directory(99))
}

/// Lets messages arrive and writes end until nothing follows. Returns what came of it, by node.
fn settle(nodes: &mut [Forming]) -> Vec<(BrokerId, Outcome)> {
    let mut outcomes = Vec::new();
    let mut open: Vec<(BrokerId, Output)> = Vec::new();
    for _ in 0..3 {
        open.extend(nodes.iter_mut().map(|node| (node.own.node, node.tick())));
        while let Some((from, output)) = open.pop() {
            outcomes.extend(output.outcome.map(|outcome| (from, outcome)));
            let mut at = |id: BrokerId| nodes.iter_mut().position(|node| node.own.node == id);
            let targets: Vec<_> =
                output.send.into_iter().filter_map(|(to, m)| at(to).map(|to| (to, m))).collect();
            if output.save.is_some() {
                let own = at(from).unwrap();
                open.push((from, nodes[own].saved()));
            }
            for (to, message) in targets {
                let output = nodes[to].handle(from, message);
                open.push((nodes[to].own.node, output));
            }
        }
    }
    outcomes
}

#[test]
fn three_empty_nodes_found_a_cluster() {
    let mut nodes = [3, 1, 2].map(|id| node(id, &[1, 2, 3], Standing::Empty));
    let outcomes = settle(&mut nodes);
    let founders =
        [1, 2, 3].map(|id| Founder { node: BrokerId(id), directory: directory(u8::try_from(id).unwrap()) });
    let charter = Charter { cluster_id: directory(99), founders: founders.to_vec() };
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Founded(charter.clone())));
    assert_eq!(charter.membership().voters.len(), 3);
}

#[test]
fn one_node_founds_its_own() {
    let mut nodes = [node(5, &[5], Standing::Empty)];
    assert!(matches!(settle(&mut nodes)[..], [(BrokerId(5), Outcome::Founded(_))]));
    assert_eq!(*nodes[0].standing(), Standing::Member(directory(99)));
}

#[test]
fn nothing_is_founded_while_one_is_silent() {
    let mut nodes = [1, 2].map(|id| node(id, &[1, 2, 3], Standing::Empty));
    assert_eq!(settle(&mut nodes), []);
    assert_eq!(nodes[0].silent().collect::<Vec<_>>(), [BrokerId(3)]);
    assert_eq!(*nodes[0].standing(), Standing::Empty);
}

#[test]
fn an_empty_node_that_hears_of_a_cluster_joins_it() {
    let member = Standing::Member(directory(7));
    let mut nodes = [node(1, &[1, 2, 3], Standing::Empty), node(2, &[2, 4], member)];
    let joins = Outcome::Join { cluster_id: directory(7), through: BrokerId(2) };
    assert!(settle(&mut nodes).iter().any(|(id, outcome)| *id == BrokerId(1) && *outcome == joins));
    assert_eq!(*nodes[0].standing(), Standing::Empty);
}

#[test]
fn files_that_name_different_voters_are_a_conflict_that_says_so() {
    let mut one = node(1, &[1, 2], Standing::Empty);
    let ask = Message::Ask { voters: vec![BrokerId(1), BrokerId(2), BrokerId(3)], charter: None };
    let conflict = one.handle(BrokerId(2), ask).conflict.unwrap();
    assert!(conflict.to_string().contains("give all of them the same list"), "{conflict}");
}

#[test]
fn a_disk_lost_in_the_middle_is_a_conflict_that_says_what_to_do() {
    let founder = |id: u8, disk: u8| Founder { node: BrokerId(id.into()), directory: directory(disk) };
    let charter = Charter { cluster_id: directory(9), founders: vec![founder(1, 1), founder(2, 20)] };
    let mut one = node(1, &[1, 2], Standing::Prepared(charter));
    let tell = Message::Tell {
        voters: vec![BrokerId(1), BrokerId(2)],
        directory: directory(2),
        standing: Standing::Empty,
    };
    let conflict = one.handle(BrokerId(2), tell).conflict.unwrap();
    assert!(conflict.to_string().contains("data directory of node 2"), "{conflict}");
}
