//! The nodes of a cluster: the choice of a node for each request, and the leaders of topics.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use floe_core::{
    Effect, Error, ErrorKind, Result,
    dial::{Dial, Endpoint, all_failed},
    engine::{Health, NodeHealth},
    node_backoff::NodeState,
};
use floe_wire::walrus::{Command, NodeMetrics, Refusal, ReplyError, TopicState, parse_done, parse_state};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    errors,
    link::{NodeManager, encode},
    options::WalrusOptions,
};
use crate::{
    balance::{Balance, Candidate, ConsistentHash, RoundRobin, order},
    pool::{Lease, Pool, PoolSettings},
};

/// How long the leader of a topic is cached. Segments move between nodes when they roll over; a request to another node
/// costs one more hop.
const LEADER_AGE: Duration = Duration::from_secs(10);

/// Maximum number of cached leaders.
const MAX_LEADERS: usize = 4096;

/// Deadline for nodes to learn of an existing topic.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Maximum number of topics that are kept as known.
const MAX_KNOWN: usize = 65_536;

pub(super) type NodeLease = Lease<NodeManager>;

#[derive(Debug)]
pub(super) struct Cluster {
    nodes: Vec<Arc<Pool<NodeManager>>>,
    /// Policy of writes; `None` for the leader of the topic.
    balance: Option<Arc<dyn Balance>>,
    turns: RoundRobin,
    options: Arc<WalrusOptions>,
    /// Id of the leading node of a topic, and the time of the lookup.
    leaders: Mutex<HashMap<Arc<str>, (u64, Instant)>>,
    /// Topics that exist according to any node.
    known: Mutex<HashSet<Arc<str>>>,
}

impl Cluster {
    pub(super) fn new(hosts: &[Endpoint], dial: &Arc<dyn Dial>, options: &Arc<WalrusOptions>) -> Self {
        let nodes = hosts
            .iter()
            .map(|host| {
                let manager = NodeManager::new(host.clone(), Arc::clone(dial), Arc::clone(options));
                Pool::new(manager, PoolSettings::of(options), Arc::new(NodeState::default()))
            })
            .collect();
        Self {
            nodes,
            balance: options.balance.policy(),
            turns: RoundRobin::default(),
            options: Arc::clone(options),
            leaders: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// Connects to the first node that replies.
    pub(super) async fn connect(&self) -> Result<()> {
        let order: Vec<usize> = (0..self.nodes.len()).collect();
        self.lease(&order).await.map(drop)
    }

    pub(super) fn node(&self, index: usize) -> Option<&Arc<Pool<NodeManager>>> {
        self.nodes.get(index)
    }

    /// Orders the nodes by preference.
    pub(super) fn order(&self, policy: &dyn Balance, topic: &str) -> Vec<usize> {
        let candidates: Vec<_> = self
            .nodes
            .iter()
            .map(|node| Candidate {
                name: node.manager().name(),
                in_flight: node.manager().in_flight(),
                up: node.state().down_for().is_none(),
            })
            .collect();
        order(policy, topic, &candidates)
    }

    /// Leases a connection for appends to a topic.
    pub(super) async fn lease_for_write(&self, topic: &Arc<str>) -> Result<NodeLease> {
        let order = match &self.balance {
            Some(policy) => self.order(&**policy, topic),
            None => self.leader_first(&self.turns, topic).await,
        };
        self.lease(&order).await.map(|(_, lease)| lease)
    }

    /// Orders the nodes for reads of a topic: its leader first, which serves twice as many entries a second as a node that
    /// forwards the request, or the node that the topic hashes to.
    pub(super) async fn read_order(&self, topic: &Arc<str>) -> Vec<usize> {
        let mut order = match &self.balance {
            Some(_) => self.order(&ConsistentHash, topic),
            None => self.leader_first(&ConsistentHash, topic).await,
        };
        // A read from a node without a leader would have to wait.
        order.sort_by_key(|index| {
            let metrics = self.nodes.get(*index).and_then(|node| node.manager().metrics());
            metrics.is_some_and(|metrics| metrics.current_leader.is_none())
        });
        order
    }

    async fn leader_first(&self, policy: &dyn Balance, topic: &Arc<str>) -> Vec<usize> {
        let mut order = self.order(policy, topic);
        if let Some(leader) = self.leader_of(topic).await
            && let Some(at) = order.iter().position(|index| *index == leader)
            && self.nodes.get(leader).is_some_and(|node| node.state().down_for().is_none())
        {
            order.remove(at);
            order.insert(0, leader);
        }
        order
    }

    /// Leases a connection to the first reachable of these nodes, and returns its index. Nodes that are down are tried only
    /// if no other is up.
    pub(super) async fn lease(&self, order: &[usize]) -> Result<(usize, NodeLease)> {
        let mut failures = Vec::new();
        for index in order {
            let Some(node) = self.nodes.get(*index) else { continue };
            let name = node.manager().name();
            if node.state().down_for().is_some() {
                failures.extend(node.state().last_error().map(|error| error.with_endpoint(Arc::clone(name))));
                continue;
            }
            match node.lease().await {
                Ok(lease) => return Ok((*index, lease)),
                Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
                Err(error) => {
                    tracing::debug!(node = %name, %error, "the node is unreachable");
                    failures.push(error.with_endpoint(Arc::clone(name)));
                }
            }
        }
        let soonest = self.nodes.iter().filter_map(|node| node.state().down_for()).min();
        let error = all_failed(failures)
            .unwrap_or_else(|| Error::new(ErrorKind::ConnectionRefused, "no node is reachable"))
            .with_effect(Effect::None)
            .with_retriable(true);
        Err(match soonest {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        })
    }

    /// Sends an idempotent request to one node after the other until one replies. An unknown topic is the reply only if no
    /// node knows it: a node that was just started learns of the topics later.
    async fn call(&self, order: &[usize], frame: &Bytes) -> Result<Bytes> {
        let mut left = order.to_vec();
        let mut broke_at = None;
        let mut unknown = None;
        loop {
            let (index, lease) = match self.lease(&left).await {
                Ok(leased) => leased,
                Err(error) => return unknown.ok_or(error),
            };
            match exchange(&lease, frame.clone(), Instant::now() + self.options.request_timeout).await {
                Ok(reply) if left.len() > 1 && reply.starts_with(b"ERR unknown topic") => {
                    left.retain(|other| *other != index);
                    unknown = Some(reply);
                }
                Ok(reply) => return Ok(reply),
                // An idle connection may be dead: the node is retried once with a new one.
                Err(error) if error.kind() == ErrorKind::NetworkError && broke_at != Some(index) => {
                    broke_at = Some(index);
                    left.retain(|other| *other != index);
                    left.insert(0, index);
                }
                Err(error) => {
                    left.retain(|other| *other != index);
                    if left.is_empty() {
                        return unknown.ok_or(error);
                    }
                    tracing::debug!(%error, "trying the next node");
                }
            }
        }
    }

    /// Creates a topic (`REGISTER`).
    pub(super) async fn register(&self, topic: &str) -> Result<()> {
        let frame = encode(&Command::Register { topic })?;
        let reply = self.call(&self.order(&self.turns, topic), &frame).await?;
        parse_done(&reply).map_err(errors::reply)?;
        self.remember(topic);
        // A follower replies OK when the leader has the topic, and learns of it a little later itself.
        let known = join_all(self.nodes.iter().map(|node| self.wait_for_topic(node, topic)));
        let _ = tokio::time::timeout(CATCH_UP, known).await;
        Ok(())
    }

    /// Waits until a node knows a topic, if the node is reachable.
    async fn wait_for_topic(&self, node: &Arc<Pool<NodeManager>>, topic: &str) {
        let Ok(frame) = encode(&Command::State { topic }) else { return };
        let mut pause = Duration::from_millis(2);
        while node.state().down_for().is_none() {
            let Ok(lease) = node.lease().await else { return };
            let asked = exchange(&lease, frame.clone(), Instant::now() + self.options.request_timeout).await;
            drop(lease);
            match asked.map(|reply| parse_state(&reply)) {
                Ok(Err(ReplyError::Refused(refused))) if refused.refusal == Refusal::UnknownTopic => {}
                _ => return,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    fn remember(&self, topic: &str) {
        let mut known = self.known.lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        if !known.contains(topic) {
            known.insert(Arc::from(topic));
        }
    }

    /// Requests the state of a topic (`STATE`).
    pub(super) async fn state_of(&self, topic: &Arc<str>) -> Result<TopicState> {
        let give_up_at = Instant::now() + CATCH_UP;
        loop {
            match self.ask_state(topic).await {
                // The topic exists, and no reachable node has caught up.
                Err(error) if error.kind() == ErrorKind::NotLeader && Instant::now() < give_up_at => {
                    tokio::time::sleep(error.retry_after().unwrap_or(Duration::from_millis(100))).await;
                }
                asked => return asked,
            }
        }
    }

    async fn ask_state(&self, topic: &Arc<str>) -> Result<TopicState> {
        let frame = encode(&Command::State { topic })?;
        let reply = self.call(&self.order(&ConsistentHash, topic), &frame).await?;
        let state = parse_state(&reply).map_err(|error| self.doubt(topic, error))?;
        self.remember(topic);
        let mut leaders = self.leaders.lock();
        if leaders.len() >= MAX_LEADERS {
            leaders.clear();
        }
        leaders.insert(Arc::clone(topic), (state.leader_node, Instant::now()));
        Ok(state)
    }

    /// Returns the index of the node that leads the topic, if the URL names it and the leader is known.
    async fn leader_of(&self, topic: &Arc<str>) -> Option<usize> {
        if self.nodes.len() < 2 {
            return None;
        }
        let known = self.leaders.lock().get(topic).copied();
        let id = match known {
            Some((id, at)) if at.elapsed() < LEADER_AGE => id,
            _ => self.state_of(topic).await.ok()?.leader_node,
        };
        let id_of = |node: &Arc<Pool<NodeManager>>| node.manager().metrics().map(|metrics| metrics.id);
        self.nodes.iter().position(|node| id_of(node) == Some(id))
    }

    /// Converts an error reply, adds the endpoint, and drops the connection after a protocol desync.
    pub(super) fn refuse(&self, topic: &str, lease: &NodeLease, error: ReplyError) -> Error {
        let Some(link) = lease.link() else { return self.doubt(topic, error) };
        if errors::poisons(&error) {
            link.abort();
        }
        let error = self.doubt(topic, error).with_endpoint(Arc::clone(link.endpoint()));
        if error.kind() == ErrorKind::NotLeader {
            self.forget_leader(topic);
        }
        error
    }

    /// Converts an error reply. Walrus never deletes a topic, so a node that does not know an existing one has not caught up
    /// since its start.
    fn doubt(&self, topic: &str, error: ReplyError) -> Error {
        match &error {
            ReplyError::Refused(refused)
                if refused.refusal == Refusal::UnknownTopic && self.known.lock().contains(topic) =>
            {
                errors::behind(refused)
            }
            _ => errors::reply(error),
        }
    }

    /// Removes a cached leader after it refused a request.
    pub(super) fn forget_leader(&self, topic: &str) {
        self.leaders.lock().remove(topic);
    }

    /// Waits until the node of this connection knows a leader. Without one it may skip unread entries.
    pub(super) async fn wait_for_leader(&self, index: usize, lease: &NodeLease) -> Result<()> {
        let Some(node) = self.nodes.get(index) else { return Ok(()) };
        let manager = node.manager();
        let has_leader = |metrics: &NodeMetrics| metrics.current_leader.is_some();
        if manager.metrics().as_ref().is_some_and(has_leader) {
            return Ok(());
        }
        let give_up_at = Instant::now() + self.options.leader_wait;
        let mut pause = Duration::from_millis(50);
        loop {
            let Some(link) = lease.link() else { return Ok(()) };
            let metrics = manager.ask_metrics(link, Instant::now() + self.options.request_timeout).await?;
            if has_leader(&metrics) {
                return Ok(());
            }
            if Instant::now() + pause >= give_up_at {
                let message = format!(
                    "node {} has had no leader for {:?}; a read could lose records",
                    metrics.id, self.options.leader_wait
                );
                return Err(
                    Error::new(ErrorKind::NotLeader, message).with_endpoint(Arc::clone(manager.name()))
                );
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Maintains the pools until the future is dropped.
    pub(super) async fn maintain(self: Arc<Self>) {
        loop {
            join_all(self.nodes.iter().map(Pool::maintain)).await;
            tokio::time::sleep(self.options.health_interval).await;
        }
    }

    /// Checks all nodes concurrently.
    pub(super) async fn health(&self) -> Health {
        let nodes: Vec<NodeHealth> = join_all(self.nodes.iter().map(|node| async move {
            let name = node.manager().name().to_string();
            let deadline = Instant::now() + self.options.connect_timeout;
            let ask = || async {
                let lease = node.lease().await?;
                let Some(link) = lease.link() else { return Err(Error::closed("connection")) };
                node.manager().ask_metrics(link, deadline).await
            };
            let asked = match ask().await {
                // As in `call`.
                Err(error) if error.kind() == ErrorKind::NetworkError => ask().await,
                asked => asked,
            };
            match asked {
                Ok(metrics) => {
                    let leads = metrics.current_leader.map(|leader| leader == metrics.id);
                    NodeHealth::new(name, leads.is_some(), describe(&metrics)).leads(leads)
                }
                Err(error) => NodeHealth::new(name, false, error.message()),
            }
        }))
        .await;
        Health::new(nodes.iter().any(|node| node.ready), nodes)
    }

    pub(super) fn close(&self) {
        for node in &self.nodes {
            node.close();
        }
    }
}

/// Marks a node that does not reply as down. A broken connection does not prove it; the next one tells.
pub(super) fn blame(lease: &NodeLease, error: &Error) {
    if error.kind() == ErrorKind::RequestTimeout {
        lease.state().failed(error);
    }
}

/// Sends one request and waits for its reply.
pub(super) async fn exchange(lease: &NodeLease, frame: Bytes, deadline: Instant) -> Result<Bytes> {
    let Some(link) = lease.link() else { return Err(Error::closed("connection")) };
    let outcome = async { link.send(frame, deadline).await?.await };
    match outcome.await {
        Ok(reply) => {
            lease.state().worked();
            Ok(reply)
        }
        Err(error) => {
            blame(lease, &error);
            Err(error)
        }
    }
}

/// Describes a node, such as `node 2, follower of 1, term 3`.
fn describe(metrics: &NodeMetrics) -> String {
    let state = metrics.state.to_lowercase();
    let role = match metrics.current_leader {
        Some(leader) if leader != metrics.id => format!("{state} of {leader}"),
        Some(_) => state,
        None => format!("{state}, no leader"),
    };
    format!("node {}, {role}, term {}", metrics.id, metrics.current_term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_described() {
        let mut metrics = NodeMetrics {
            id: 2,
            state: "Follower".to_owned(),
            current_leader: Some(1),
            current_term: 3,
            last_log_index: None,
        };
        assert_eq!(describe(&metrics), "node 2, follower of 1, term 3");
        metrics.current_leader = Some(2);
        metrics.state = "Leader".to_owned();
        assert_eq!(describe(&metrics), "node 2, leader, term 3");
        metrics.current_leader = None;
        metrics.state = "Candidate".to_owned();
        assert_eq!(describe(&metrics), "node 2, candidate, no leader, term 3");
    }
}
