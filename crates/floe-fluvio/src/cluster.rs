//! Metadata of the cluster as the controller reported it: topics, partitions and their leaders, data servers and their
//! addresses.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use floe_core::{
    dial::Endpoint,
    engine::Placement,
    topic::{Topic, TopicInfo, TopicPartition},
};
use floe_wire::fluvio::{
    ChangeKind, CleanupPolicy, Endpoint as WireEndpoint, IngressEndpoint, Metadata as Described,
    MirrorAssignment, Object, PartitionSpec, ReplicaAssignment, SpuSpec, SpuStatus, TopicSpec, WatchReply,
    names::PartitionName,
};

use super::server::Address;

/// The objects of one kind, by name.
#[derive(Debug)]
pub(super) struct Store<O: Object> {
    objects: BTreeMap<String, Described<O>>,
    /// Whether the first snapshot was received.
    pub(super) complete: bool,
}

impl<O: Object> Default for Store<O> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), complete: false }
    }
}

impl<O: Object> Store<O> {
    /// Applies the push of a watch. True if a specification or a status changed.
    pub(super) fn apply(&mut self, reply: WatchReply<O>) -> bool {
        let mut changed = false;
        if !reply.all.is_empty() || !self.complete {
            changed |= self.replace(reply.all);
        }
        for change in reply.changes {
            match change.kind {
                ChangeKind::Update => changed |= self.put(change.object),
                ChangeKind::Delete => changed |= self.objects.remove(&change.object.name).is_some(),
            }
        }
        changed
    }

    /// Replaces all objects by a complete list.
    pub(super) fn replace(&mut self, all: Vec<Described<O>>) -> bool {
        let all: BTreeMap<_, _> = all.into_iter().map(|object| (object.name.clone(), object)).collect();
        let changed = self.objects != all || !self.complete;
        self.objects = all;
        self.complete = true;
        changed
    }

    /// Adds or replaces one object.
    pub(super) fn put(&mut self, object: Described<O>) -> bool {
        if self.objects.get(&object.name) == Some(&object) {
            return false;
        }
        self.objects.insert(object.name.clone(), object);
        true
    }

    pub(super) fn get(&self, name: &str) -> Option<&Described<O>> {
        self.objects.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Described<O>> {
        self.objects.values()
    }
}

/// The metadata of the cluster.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) topics: Store<TopicSpec>,
    pub(super) partitions: Store<PartitionSpec>,
    pub(super) spus: Store<SpuSpec>,
}

/// Location of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// The data server with this id leads it.
    Leader(i32, Address),
    /// The topic exists and has fewer partitions.
    NoPartition(u32),
    /// Unknown, at least for now.
    Unknown,
}

impl Cluster {
    pub(super) fn is_complete(&self) -> bool {
        self.topics.complete && self.partitions.complete && self.spus.complete
    }

    /// Locates a partition. The status of partitions lags behind; their specification does not.
    pub(super) fn route(&self, at: &TopicPartition, local: bool) -> Route {
        let Some(topic) = self.topics.get(at.topic.as_str()) else { return Route::Unknown };
        let Some(partition) = self.partitions.get(&partition_name(at)) else {
            let count = partitions(&topic.spec);
            return if at.partition < count { Route::Unknown } else { Route::NoPartition(count) };
        };
        match self.spu(partition.spec.leader, local) {
            Some(address) => Route::Leader(partition.spec.leader, address),
            None => Route::Unknown,
        }
    }

    /// Returns the address of a data server.
    fn spu(&self, id: i32, local: bool) -> Option<Address> {
        let spu = self.spus.iter().find(|spu| spu.spec.id == id)?;
        Some(Address { endpoint: endpoint(&spu.spec, local)?, name: Some(Arc::from(spu.name.as_str())) })
    }

    /// Returns how many data servers hold a partition.
    pub(super) fn replicas(&self, at: &TopicPartition) -> usize {
        self.partitions.get(&partition_name(at)).map_or(1, |partition| partition.spec.replicas.len().max(1))
    }

    /// Returns the data servers that hold a partition. One that the controller does not list appears by its number.
    pub(super) fn placement(&self, at: &TopicPartition) -> Option<Placement> {
        let spec = &self.partitions.get(&partition_name(at))?.spec;
        let name = |id: i32| -> Arc<str> {
            let spu = self.spus.iter().find(|spu| spu.spec.id == id);
            spu.map_or_else(|| id.to_string().into(), |spu| spu.name.as_str().into())
        };
        let leader = (spec.leader >= 0).then(|| name(spec.leader));
        Some(Placement::new(leader, spec.replicas.iter().map(|id| name(*id)).collect()))
    }

    /// Whether a topic has a deduplication filter, which drops records.
    pub(super) fn deduplicates(&self, topic: &Topic) -> bool {
        self.topics.get(topic.as_str()).is_some_and(|topic| topic.spec.deduplication.is_some())
    }

    /// Returns the size of a partition in bytes, as its leader last reported it.
    pub(super) fn size_bytes(&self, at: &TopicPartition) -> Option<u64> {
        let partition = self.partitions.get(&partition_name(at))?;
        u64::try_from(partition.status.size).ok()
    }

    /// Describes all topics except system topics, ordered by name.
    pub(super) fn topic_infos(&self) -> Vec<TopicInfo> {
        let visible = self.topics.iter().filter(|topic| !topic.spec.system);
        visible.map(|topic| topic_info(&topic.name, &topic.spec)).collect()
    }

    /// Whether all partitions of a topic have a leader with a known address.
    pub(super) fn is_ready(&self, topic: &Topic, count: u32) -> bool {
        (0..count).all(|number| matches!(self.route(&topic.partition(number), false), Route::Leader(..)))
    }

    /// Returns how many partitions a data server leads.
    pub(super) fn led_by(&self, spu: i32) -> usize {
        self.partitions.iter().filter(|partition| partition.spec.leader == spu).count()
    }

    /// Lists data servers with their address and status.
    pub(super) fn servers(&self, local: bool) -> Vec<(i32, Option<Address>, SpuStatus)> {
        self.spus
            .iter()
            .map(|spu| {
                let name = Some(Arc::from(spu.name.as_str()));
                let address = endpoint(&spu.spec, local).map(|endpoint| Address { endpoint, name });
                (spu.spec.id, address, spu.status)
            })
            .collect()
    }
}

fn partition_name(at: &TopicPartition) -> String {
    PartitionName { topic: at.topic.to_string(), partition: at.partition }.to_string()
}

/// Returns the address of a data server for clients: the first one, the host name rather than the IP address, as official
/// clients do.
fn endpoint(spu: &SpuSpec, local: bool) -> Option<Endpoint> {
    if let (true, Some(WireEndpoint { host, port, .. })) = (local, &spu.public_endpoint_local) {
        return usable(host, *port);
    }
    let IngressEndpoint { port, ingress, .. } = &spu.public_endpoint;
    let first = ingress.first()?;
    let host = first.hostname.as_deref().filter(|host| !host.is_empty()).or(first.ip.as_deref())?;
    usable(host, *port)
}

fn usable(host: &str, port: u16) -> Option<Endpoint> {
    (!host.is_empty() && port != 0).then(|| Endpoint::new(host, port))
}

/// Returns how many partitions a topic has.
pub(super) fn partitions(spec: &TopicSpec) -> u32 {
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    match &spec.replicas {
        ReplicaAssignment::Computed { partitions, .. } => *partitions,
        ReplicaAssignment::Assigned(assigned) => count(assigned.len()),
        ReplicaAssignment::Mirror(MirrorAssignment::Remote(remote)) => count(remote.home_spus.len()),
        ReplicaAssignment::Mirror(MirrorAssignment::Home(home)) => count(home.partitions.len()),
    }
}

/// Lists the remote or home clusters of a mirrored topic.
fn mirrors(spec: &TopicSpec) -> impl Iterator<Item = &str> {
    let (home, remote) = match &spec.replicas {
        ReplicaAssignment::Mirror(MirrorAssignment::Home(home)) => (Some(home), None),
        ReplicaAssignment::Mirror(MirrorAssignment::Remote(remote)) => (None, Some(remote)),
        ReplicaAssignment::Computed { .. } | ReplicaAssignment::Assigned(_) => (None, None),
    };
    let remotes = home.into_iter().flat_map(|home| &home.partitions).map(|at| at.remote_cluster.as_str());
    let homes = remote.into_iter().flat_map(|at| at.home_spus.iter().map(|_| at.home_cluster.as_str()));
    remotes.chain(homes)
}

/// Converts the description of a topic.
pub(super) fn topic_info(name: &str, spec: &TopicSpec) -> TopicInfo {
    let mut info = TopicInfo::new(name, partitions(spec));
    info.retention_age = spec
        .cleanup_policy
        .map(|CleanupPolicy::Segment { time_in_seconds }| Duration::from_secs(u64::from(time_in_seconds)));
    info.retention_bytes = spec.storage.and_then(|storage| storage.max_partition_size);
    info.mirrors = mirrors(spec).map(Arc::from).collect();
    info.deduplicates = spec.deduplication.is_some();
    info
}

#[cfg(test)]
mod tests {
    use floe_wire::fluvio::{
        Change, HomeAssignment, HomePartition, HomeSpu, IngressAddress, PartitionStatus, RemoteAssignment,
        TopicStatus,
    };

    use super::*;

    fn topic(name: &str, partitions: u32) -> Described<TopicSpec> {
        let replicas = ReplicaAssignment::Computed { partitions, replication_factor: 1, ignore_rack: false };
        let spec = TopicSpec { replicas, ..TopicSpec::default() };
        Described { name: name.to_owned(), spec, status: TopicStatus::default() }
    }

    fn partition(name: &str, leader: i32) -> Described<PartitionSpec> {
        let spec = PartitionSpec { leader, replicas: vec![leader], ..PartitionSpec::default() };
        Described { name: name.to_owned(), spec, status: PartitionStatus::default() }
    }

    fn spu(id: i32, hosts: &[(Option<&str>, Option<&str>)], local: Option<&str>) -> Described<SpuSpec> {
        let owned = |host: &Option<&str>| host.map(str::to_owned);
        let ingress =
            hosts.iter().map(|(name, ip)| IngressAddress { hostname: owned(name), ip: owned(ip) }).collect();
        let spec = SpuSpec {
            id,
            public_endpoint: IngressEndpoint { port: 9005, ingress, ..IngressEndpoint::default() },
            public_endpoint_local: local.map(|host| WireEndpoint {
                host: host.to_owned(),
                port: 7,
                ..WireEndpoint::default()
            }),
            ..SpuSpec::default()
        };
        Described { name: format!("spu-{id}"), spec, status: SpuStatus::Online }
    }

    fn all<O: Object>(all: Vec<Described<O>>) -> WatchReply<O> {
        WatchReply { epoch: 1, changes: Vec::new(), all }
    }

    fn change<O: Object>(kind: ChangeKind, object: Described<O>) -> WatchReply<O> {
        WatchReply { epoch: 2, changes: vec![Change { kind, object }], all: Vec::new() }
    }

    #[test]
    fn routes_follow_the_specification() {
        let mut cluster = Cluster::default();
        assert!(!cluster.is_complete());
        assert!(cluster.topics.apply(all(vec![topic("a-1", 2)])));
        assert!(cluster.partitions.apply(all(vec![partition("a-1-0", 5), partition("a-1-1", 6)])));
        let hosts = [(Some("h"), Some("10.0.0.1")), (Some("other"), None)];
        assert!(cluster.spus.apply(all(vec![spu(5, &hosts, Some("near")), spu(6, &[], None)])));
        assert!(cluster.is_complete());
        let topic = Topic::from("a-1");
        let address = |host: &str, port| Address {
            endpoint: Endpoint::new(host, port),
            name: Some(Arc::from("spu-5")),
        };
        assert_eq!(cluster.route(&topic.partition(0), false), Route::Leader(5, address("h", 9005)));
        assert_eq!(cluster.route(&topic.partition(0), true), Route::Leader(5, address("near", 7)));
        assert_eq!(cluster.route(&topic.partition(1), false), Route::Unknown, "no address");
        assert_eq!(cluster.route(&topic.partition(2), false), Route::NoPartition(2));
        assert_eq!(cluster.route(&Topic::from("b").partition(0), false), Route::Unknown);
        assert!(!cluster.is_ready(&topic, 2));
        // The leader moves.
        assert!(cluster.partitions.apply(change(ChangeKind::Update, partition("a-1-1", 5))));
        assert_eq!(cluster.route(&topic.partition(1), false), Route::Leader(5, address("h", 9005)));
        assert!(cluster.is_ready(&topic, 2));
        let placed = cluster.placement(&topic.partition(0)).unwrap();
        assert_eq!((placed.leader, placed.replicas), (Some("spu-5".into()), vec![Arc::from("spu-5")]));
        assert!(cluster.placement(&topic.partition(2)).is_none());
    }

    #[test]
    fn repeated_updates_change_nothing_and_snapshots_replace_everything() {
        let mut store = Store::default();
        assert!(store.apply(all::<TopicSpec>(Vec::new())), "even an empty first snapshot is a change");
        assert!(store.complete);
        assert!(store.apply(change(ChangeKind::Update, topic("a", 1))));
        assert!(!store.apply(change(ChangeKind::Update, topic("a", 1))));
        assert!(!store.apply(all(Vec::new())), "an empty list beside changes is no snapshot");
        assert!(store.apply(all(vec![topic("b", 1)])));
        assert!(store.get("a").is_none() && store.get("b").is_some());
        assert!(store.apply(change(ChangeKind::Delete, topic("b", 1))));
        assert!(!store.apply(change(ChangeKind::Delete, topic("b", 1))));
    }

    #[test]
    fn mirrored_partitions_name_their_clusters() {
        let home =
            |cluster: &str| HomePartition { remote_cluster: cluster.to_owned(), ..HomePartition::default() };
        let home = HomeAssignment { partitions: vec![home("edge-1"), home("edge-2")], source: false };
        let mut topic = topic("t", 1);
        topic.spec.replicas = ReplicaAssignment::Mirror(MirrorAssignment::Home(home));
        let info = topic_info(&topic.name, &topic.spec);
        assert_eq!((info.partitions, info.mirrors), (2, vec![Arc::from("edge-1"), Arc::from("edge-2")]));
        let remote = RemoteAssignment {
            home_cluster: "home".to_owned(),
            home_spus: vec![HomeSpu::default(); 3],
            target: false,
        };
        topic.spec.replicas = ReplicaAssignment::Mirror(MirrorAssignment::Remote(remote));
        assert_eq!(topic_info(&topic.name, &topic.spec).mirrors, vec![Arc::from("home"); 3]);
    }

    #[test]
    fn system_topics_are_hidden() {
        let mut cluster = Cluster::default();
        let mut system = topic("consumer-offset", 1);
        system.spec.system = true;
        cluster.topics.apply(all(vec![system, topic("mine", 3)]));
        assert_eq!(cluster.topic_infos(), [TopicInfo::new("mine", 3)]);
    }
}
