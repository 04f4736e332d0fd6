//! Which node to ask.

use std::{
    hash::Hasher,
    sync::atomic::{AtomicUsize, Ordering},
};

use siphasher::sip::SipHasher13;

/// How requests are spread over the nodes that are up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Balance {
    /// One node after the other.
    RoundRobin,
    /// The node with the fewest requests without an answer.
    LeastInFlight,
    /// Always the same node for a topic, as long as it is up; when nodes come and go, few topics move.
    TopicHash,
}

/// What a choice needs to know about a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'a str,
    pub(crate) in_flight: usize,
    pub(crate) up: bool,
}

/// Puts nodes in the order in which they are to be tried.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    turn: AtomicUsize,
}

impl Balancer {
    /// Indexes of all candidates, best first; those that are down come last.
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
                // Among equals the turn decides, or the first node would get everything while there is little to do.
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
        // Stable: the order among the nodes that are up, and among those that are not, stays.
        order.sort_by_key(|index| !at(index).is_some_and(|node| node.up));
        order
    }
}

/// Rendezvous hashing: every pair of node and topic has a weight, and the heaviest node gets the topic. Without the
/// node its topics go to their second heaviest, and no others move.
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
    fn round_robin_takes_turns_and_skips_what_is_down() {
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
    fn least_in_flight_takes_the_idlest() {
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
