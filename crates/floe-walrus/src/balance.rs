//! Load balancing over the nodes of a cluster.

use std::{
    fmt,
    hash::Hasher,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use floe_core::setting::{Setting, not_one_of, one_of};
use siphasher::sip::SipHasher13;

/// A node to choose from.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// Its address, `host:port`.
    pub name: &'a str,
    /// Requests in flight to it.
    pub in_flight: usize,
    /// Whether it is up: it answered, or was not asked yet.
    pub up: bool,
}

/// Policy that spreads requests over the nodes of a cluster. [`Balancing::custom`] makes an option of one.
///
/// ```
/// use floe_walrus::{Balance, Balancing, Candidate, WalrusOptions};
///
/// /// Prefers the nodes of this rack.
/// #[derive(Debug)]
/// struct SameRack;
///
/// impl Balance for SameRack {
///     fn order(&self, _topic: &str, nodes: &[Candidate<'_>]) -> Vec<usize> {
///         let mut order: Vec<usize> = (0..nodes.len()).collect();
///         order.sort_by_key(|index| !nodes[*index].name.starts_with("rack1-"));
///         order
///     }
/// }
///
/// let options = WalrusOptions::default().balance(Balancing::custom(SameRack));
/// ```
pub trait Balance: fmt::Debug + Send + Sync + 'static {
    /// Returns the indexes of the nodes, best first. It is called for every request, so it must not wait. The engine moves
    /// nodes that are down behind the others and adds nodes that the order leaves out.
    fn order(&self, topic: &str, nodes: &[Candidate<'_>]) -> Vec<usize>;
}

/// The option `balance`: the node of a write, and of the first read of a topic.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Balancing {
    /// The node that leads the topic, which saves a hop inside the cluster; each node in turn while the leader is unknown.
    #[default]
    Leader,
    /// [`RoundRobin`].
    RoundRobin,
    /// [`LeastConnections`].
    LeastConnections,
    /// [`ConsistentHash`].
    ConsistentHash,
    /// A policy of the program.
    Custom(Arc<dyn Balance>),
}

impl Balancing {
    const WORDS: [&str; 4] = ["leader", "round-robin", "least-connections", "consistent-hash"];

    /// Returns the option for a policy of the program.
    pub fn custom(policy: impl Balance) -> Self {
        Self::Custom(Arc::new(policy))
    }

    /// The policy; `None` for the leader.
    pub(crate) fn policy(&self) -> Option<Arc<dyn Balance>> {
        match self {
            Self::Leader => None,
            Self::RoundRobin => Some(Arc::new(RoundRobin::default())),
            Self::LeastConnections => Some(Arc::new(LeastConnections::default())),
            Self::ConsistentHash => Some(Arc::new(ConsistentHash)),
            Self::Custom(policy) => Some(Arc::clone(policy)),
        }
    }
}

/// Policies of a program are equal if they are the same one.
impl PartialEq for Balancing {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Custom(one), Self::Custom(other)) => Arc::ptr_eq(one, other),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl Setting for Balancing {
    fn form() -> String {
        one_of(&Self::WORDS)
    }

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "leader" => Ok(Self::Leader),
            "round-robin" => Ok(Self::RoundRobin),
            "least-connections" => Ok(Self::LeastConnections),
            "consistent-hash" => Ok(Self::ConsistentHash),
            _ => Err(not_one_of(text, &Self::WORDS)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Leader => "leader".to_owned(),
            Self::RoundRobin => "round-robin".to_owned(),
            Self::LeastConnections => "least-connections".to_owned(),
            Self::ConsistentHash => "consistent-hash".to_owned(),
            Self::Custom(policy) => format!("{policy:?}"),
        }
    }
}

/// Each node in turn.
#[derive(Debug, Default)]
pub struct RoundRobin {
    turn: AtomicUsize,
}

impl Balance for RoundRobin {
    fn order(&self, _: &str, nodes: &[Candidate<'_>]) -> Vec<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut order: Vec<usize> = (0..nodes.len()).collect();
        order.rotate_left(turn.checked_rem(nodes.len()).unwrap_or(0));
        order
    }
}

/// The node with the fewest requests in flight.
#[derive(Debug, Default)]
pub struct LeastConnections {
    equals: RoundRobin,
}

impl Balance for LeastConnections {
    fn order(&self, topic: &str, nodes: &[Candidate<'_>]) -> Vec<usize> {
        // Equal nodes take turns; otherwise the first one would get all requests under light load.
        let mut order = self.equals.order(topic, nodes);
        order.sort_by_key(|index| nodes.get(*index).map_or(usize::MAX, |node| node.in_flight));
        order
    }
}

/// Always the same node for a topic, as long as it is up; when nodes come and go, few topics move.
#[derive(Debug, Default)]
pub struct ConsistentHash;

impl Balance for ConsistentHash {
    fn order(&self, topic: &str, nodes: &[Candidate<'_>]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..nodes.len()).collect();
        order.sort_by_key(|index| {
            std::cmp::Reverse(nodes.get(*index).map_or(0, |node| weight(node.name, topic)))
        });
        order
    }
}

/// Returns the indexes of all nodes in the order of a policy; nodes that are down come last.
pub(crate) fn order(policy: &dyn Balance, topic: &str, nodes: &[Candidate<'_>]) -> Vec<usize> {
    let mut seen = vec![false; nodes.len()];
    // A policy of a program may leave out nodes, or name one twice or none.
    let chosen = policy.order(topic, nodes).into_iter().chain(0..nodes.len());
    let mut order: Vec<usize> = chosen
        .filter(|index| seen.get_mut(*index).is_some_and(|seen| !std::mem::replace(seen, true)))
        .collect();
    // A stable sort keeps the order among nodes that are up and among nodes that are down.
    order.sort_by_key(|index| !nodes.get(*index).is_some_and(|node| node.up));
    order
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
        let policy = RoundRobin::default();
        let mut nodes = nodes();
        let first: Vec<_> = (0..4).map(|_| order(&policy, "t", &nodes)[0]).collect();
        assert_eq!(first, [0, 1, 2, 0]);
        nodes[1].up = false;
        for _ in 0..4 {
            let order = order(&policy, "t", &nodes);
            assert_eq!((order.len(), order[2]), (3, 1), "the last resort");
        }
    }

    #[test]
    fn least_connections_prefers_the_idlest() {
        let policy = LeastConnections::default();
        let mut nodes = nodes();
        nodes[0].in_flight = 4;
        nodes[1].in_flight = 1;
        nodes[2].in_flight = 2;
        assert_eq!(order(&policy, "t", &nodes), [1, 2, 0]);
        let idle = self::nodes();
        let firsts: std::collections::BTreeSet<_> = (0..3).map(|_| order(&policy, "t", &idle)[0]).collect();
        assert_eq!(firsts.len(), 3, "equals take turns");
    }

    #[test]
    fn only_topics_of_a_lost_node_move() {
        let all = nodes();
        let mut without = nodes();
        without[2].up = false;
        let mut counts = [0; 3];
        for topic in (0..300).map(|number| format!("topic-{number}")) {
            let before = order(&ConsistentHash, &topic, &all);
            assert_eq!(before, order(&ConsistentHash, &topic, &all));
            let after = order(&ConsistentHash, &topic, &without)[0];
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
    fn empty_cluster_has_no_order() {
        assert!(order(&RoundRobin::default(), "t", &[]).is_empty());
    }

    /// Returns an order that names nodes twice, others not at all, and some that do not exist.
    #[derive(Debug)]
    struct Careless;

    impl Balance for Careless {
        fn order(&self, _: &str, _: &[Candidate<'_>]) -> Vec<usize> {
            vec![7, 2, 2]
        }
    }

    #[test]
    fn a_careless_policy_of_a_program_loses_no_node() {
        let mut nodes = nodes();
        assert_eq!(order(&Careless, "t", &nodes), [2, 0, 1]);
        nodes[2].up = false;
        assert_eq!(order(&Careless, "t", &nodes), [0, 1, 2]);
        let custom = Balancing::custom(Careless);
        assert_eq!(custom, custom.clone());
        assert_ne!(custom, Balancing::custom(Careless));
        assert_eq!(custom.show(), "Careless");
    }
}
