//! Load balancing over the nodes of a cluster.

use std::{
    hash::Hasher,
    sync::atomic::{AtomicUsize, Ordering},
};

use siphasher::sip::SipHasher13;

/// Policy that spreads requests over the nodes that are up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Balance {
    /// Each node in turn.
    RoundRobin,
    /// The node with the fewest requests in flight.
    LeastInFlight,
    /// Always the same node for a topic, as long as it is up; when nodes come and go, few topics move.
    TopicHash,
}

/// A node to choose from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'a str,
    pub(crate) in_flight: usize,
    pub(crate) up: bool,
}

/// Orders nodes by preference.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    turn: AtomicUsize,
}

impl Balancer {
    /// Returns the indexes of all candidates, best first; nodes that are down come last.
    pub(crate) fn order(&self, balance: Balance, topic: &str, candidates: &[Candidate<'_>]) -> Vec<usize> {
        let count = candidates.len();
        let mut order: Vec<usize> = (0..count).collect();
        let at = |index: &usize| candidates.get(*index);
        match balance {
            Balance::RoundRobin => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                order.rotate_left(turn.checked_rem(count).unwrap_or(0));
            }
            Balance::LeastInFlight => {
                // Equal nodes take turns; otherwise the first one would get all requests under light load.
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                order.rotate_left(turn.checked_rem(count).unwrap_or(0));
                order.sort_by_key(|index| at(index).map_or(usize::MAX, |node| node.in_flight));
            }
            Balance::TopicHash => {
                order.sort_by_key(|index| {
                    std::cmp::Reverse(at(index).map_or(0, |node| weight(node.name, topic)))
                });
            }
        }
        // A stable sort keeps the order among nodes that are up and among nodes that are down.
        order.sort_by_key(|index| !at(index).is_some_and(|node| node.up));
        order
    }
}

/// Returns the weight of a node for a topic. Rendezvous hashing: the heaviest node gets the topic. Without that node its
/// topics move to their second heaviest, and no others move.
fn weight(node: &str, topic: &str) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(node.as_bytes());
    hasher.write_u8(0);
    hasher.write(topic.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> [Candidate<'static>; 3] {
        ["a:1", "b:1", "c:1"].map(|name| Candidate { name, in_flight: 0, up: true })
    }

    #[test]
    fn round_robin_takes_turns_and_skips_nodes_that_are_down() {
        let balancer = Balancer::default();
        let mut nodes = nodes();
        let first: Vec<_> = (0..4).map(|_| balancer.order(Balance::RoundRobin, "t", &nodes)[0]).collect();
        assert_eq!(first, [0, 1, 2, 0]);
        nodes[1].up = false;
        for _ in 0..4 {
            let order = balancer.order(Balance::RoundRobin, "t", &nodes);
            assert_eq!((order.len(), order[2]), (3, 1), "the last resort");
        }
    }

    #[test]
    fn least_in_flight_prefers_the_idlest() {
        let balancer = Balancer::default();
        let mut nodes = nodes();
        nodes[0].in_flight = 4;
        nodes[1].in_flight = 1;
        nodes[2].in_flight = 2;
        assert_eq!(balancer.order(Balance::LeastInFlight, "t", &nodes), [1, 2, 0]);
        let idle = self::nodes();
        let firsts: std::collections::BTreeSet<_> =
            (0..3).map(|_| balancer.order(Balance::LeastInFlight, "t", &idle)[0]).collect();
        assert_eq!(firsts.len(), 3, "equals take turns");
    }

    #[test]
    fn a_topic_stays_and_only_topics_of_a_lost_node_move() {
        let balancer = Balancer::default();
        let all = nodes();
        let mut without = nodes();
        without[2].up = false;
        let mut counts = [0; 3];
        for topic in (0..300).map(|number| format!("topic-{number}")) {
            let before = balancer.order(Balance::TopicHash, &topic, &all);
            assert_eq!(before, balancer.order(Balance::TopicHash, &topic, &all));
            let after = balancer.order(Balance::TopicHash, &topic, &without)[0];
            if before[0] != 2 {
                assert_eq!(after, before[0], "{topic} did not have to move");
            } else {
                assert_eq!(after, before[1]);
            }
            counts[before[0]] += 1;
        }
        assert!(counts.iter().all(|count| *count > 60), "{counts:?}");
    }

    #[test]
    fn no_nodes_no_order() {
        assert!(Balancer::default().order(Balance::RoundRobin, "t", &[]).is_empty());
    }
}
