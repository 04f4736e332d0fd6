//! Encoded objects of the cluster, as watches show them. All watches of a kind share them, so that a watch whose client does
//! not read, or a change that many watches report, costs the encoding of what changed, once. Rules of access leave out
//! objects for each client, and do not encode them anew.

use std::{any::Any, collections::BTreeMap, fmt, sync::Arc};

use bytes::{Bytes, BytesMut};
use floe_wire::{
    WireError,
    fluvio::{
        ChangeKind, CustomSpuSpec, EncodedElements, Metadata, Object, Output, PartitionSpec, SmartModuleSpec,
        SpuGroupSpec, SpuSpec, TableFormatSpec, TopicSpec, Wire, names::CONSUMER_OFFSET_TOPIC,
    },
};
use tokio::sync::Mutex;

use super::objects;
use crate::{
    access::{
        Session,
        operation::{DESCRIBE, SEE_CLUSTER},
    },
    node::{Node, SPU_NAME},
};

/// All views.
#[derive(Debug, Default)]
pub(crate) struct Views(Mutex<BTreeMap<ViewKey, Arc<View>>>);

/// Kind of object, version of the encoding, and whether modules are summarized.
type ViewKey = (&'static str, i16, bool);

/// The objects of one kind in one version.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) epoch: i64,
    /// By name; the partitions of a topic are one group.
    groups: BTreeMap<String, Arc<ObjectGroup>>,
    pub(super) all: EncodedElements,
}

/// Objects that are encoded together.
struct ObjectGroup {
    /// Parts of the server that the objects are made of. A group of the same parts is reused.
    made_of: Parts,
    /// Ends of the objects within `pieces`.
    ends: Vec<usize>,
    pieces: Vec<Bytes>,
}

type Parts = Vec<Arc<dyn Any + Send + Sync>>;

impl fmt::Debug for ObjectGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectGroup").field("objects", &self.ends.len()).finish_non_exhaustive()
    }
}

/// A kind of object that can be watched.
pub(super) trait Watched: Object {
    /// Builds the view of this kind.
    fn build(builder: &mut Builder<'_>) -> Result<(), WireError>;

    /// Whether the rules let a client see an object of this name: topics on which it has any right, and objects that
    /// belong to no topic if it administers all topics. The name of a partition is that of its topic.
    fn is_visible(session: &Session, _name: &str) -> bool {
        session.may_all(SEE_CLUSTER)
    }
}

fn is_visible_topic(session: &Session, topic: &str) -> bool {
    topic == CONSUMER_OFFSET_TOPIC || session.may(DESCRIBE, topic)
}

/// Collects the groups of a view, and reuses those of the one before it.
pub(super) struct Builder<'a> {
    node: &'a Node,
    version: i16,
    summary: bool,
    before: &'a View,
    groups: BTreeMap<String, Arc<ObjectGroup>>,
}

impl Builder<'_> {
    /// Adds a group, which `objects` makes if it has changed.
    fn add<O: Object, I: IntoIterator<Item = Metadata<O>>>(
        &mut self,
        name: &str,
        made_of: Parts,
        objects: impl FnOnce() -> I,
    ) -> Result<(), WireError> {
        let known = self.before.groups.get(name).filter(|known| is_same(&known.made_of, &made_of));
        let group = match known {
            Some(known) => Arc::clone(known),
            None => {
                let mut output = Output::new();
                let mut ends = Vec::new();
                for object in objects() {
                    object.encode(&mut output, self.version)?;
                    ends.push(output.len());
                }
                Arc::new(ObjectGroup { made_of, ends, pieces: output.into_frame().pieces() })
            }
        };
        self.groups.insert(name.to_owned(), group);
        Ok(())
    }

    /// Adds a group for each topic.
    fn add_by_topic<O: Object, I: IntoIterator<Item = Metadata<O>>>(
        &mut self,
        objects: impl Fn(Metadata<TopicSpec>) -> I,
    ) -> Result<(), WireError> {
        let system = objects::system_topic();
        self.add(&system.name.clone(), Vec::new(), || objects(system))?;
        for entry in objects::entries(self.node) {
            let rules = objects::rules(self.node, &entry);
            let mut made_of: Parts = vec![entry.clone()];
            made_of.extend(rules.clone().map(|rules| -> Arc<dyn Any + Send + Sync> { rules }));
            let name = entry.info.name.to_string();
            self.add(&name, made_of, || objects(objects::topic(&entry, rules.as_deref())))?;
        }
        Ok(())
    }

    /// Adds objects that are made of nothing else. They are compared by their encoding.
    fn add_plain<O: Object>(&mut self, objects: Vec<Metadata<O>>) -> Result<(), WireError> {
        for object in objects {
            let name = object.name.clone();
            // A part that no other group has.
            self.add(&name, vec![Arc::new(())], || [object])?;
            if let (Some(known), Some(group)) = (self.before.groups.get(&name), self.groups.get_mut(&name))
                && known.pieces == group.pieces
            {
                *group = Arc::clone(known);
            }
        }
        Ok(())
    }
}

fn is_same(left: &Parts, right: &Parts) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| Arc::ptr_eq(left, right))
}

impl Watched for TopicSpec {
    fn build(builder: &mut Builder<'_>) -> Result<(), WireError> {
        builder.add_by_topic(|topic| [topic])
    }

    fn is_visible(session: &Session, topic: &str) -> bool {
        is_visible_topic(session, topic)
    }
}

impl Watched for PartitionSpec {
    fn build(builder: &mut Builder<'_>) -> Result<(), WireError> {
        builder.add_by_topic(|topic| objects::partitions_of(&topic).collect::<Vec<_>>())
    }

    fn is_visible(session: &Session, topic: &str) -> bool {
        is_visible_topic(session, topic)
    }
}

impl Watched for SmartModuleSpec {
    fn build(builder: &mut Builder<'_>) -> Result<(), WireError> {
        let summary = builder.summary;
        for (name, spec) in super::smartmodules::list(builder.node, &[]) {
            let shown = name.clone();
            builder.add(&name, vec![spec.clone()], || [objects::module(shown, &spec, summary)])?;
        }
        Ok(())
    }
}

impl Watched for SpuSpec {
    fn build(builder: &mut Builder<'_>) -> Result<(), WireError> {
        builder.add_plain(objects::spus(builder.node))
    }

    fn is_visible(session: &Session, name: &str) -> bool {
        name == SPU_NAME || session.may_all(SEE_CLUSTER)
    }
}

impl Watched for TableFormatSpec {
    fn build(builder: &mut Builder<'_>) -> Result<(), WireError> {
        builder.add_plain(objects::table_formats(builder.node))
    }
}

impl Watched for CustomSpuSpec {
    fn build(builder: &mut Builder<'_>) -> Result<(), WireError> {
        builder.add_plain(objects::custom_spus(builder.node))
    }
}

impl Watched for SpuGroupSpec {
    fn build(_: &mut Builder<'_>) -> Result<(), WireError> {
        Ok(())
    }
}

impl Views {
    /// Returns the view of a kind, which holds all changes up to `epoch`.
    pub(super) async fn get<O: Watched>(
        &self,
        node: &Node,
        (version, summary): (i16, bool),
        epoch: i64,
    ) -> Result<Arc<View>, WireError> {
        let mut views = self.0.lock().await;
        let key = (O::LABEL, version, summary);
        let before = views.get(&key).cloned().unwrap_or_default();
        if before.epoch >= epoch {
            return Ok(before);
        }
        let mut builder = Builder { node, version, summary, before: &before, groups: BTreeMap::new() };
        O::build(&mut builder)?;
        let view = Arc::new(View::new(epoch, builder.groups));
        views.insert(key, Arc::clone(&view));
        Ok(view)
    }
}

impl View {
    fn new(epoch: i64, groups: BTreeMap<String, Arc<ObjectGroup>>) -> Self {
        let mut all = EncodedElements::default();
        for group in groups.values() {
            all.push(group.ends.len(), group.pieces.iter().cloned());
        }
        Self { epoch, groups, all }
    }

    /// Returns what a client may see of a view by the rules of now. The encodings stay shared.
    pub(super) fn visible_to<O: Watched>(self: &Arc<Self>, session: &Session) -> Arc<Self> {
        let mut groups = self.groups.clone();
        groups.retain(|name, _| O::is_visible(session, name));
        if groups.len() == self.groups.len() {
            Arc::clone(self)
        } else {
            Arc::new(Self::new(self.epoch, groups))
        }
    }

    /// Returns the size of the changes since an earlier view, at most.
    pub(super) fn size_since(&self, before: &Self) -> usize {
        let sizes = self.groups.iter().map(|(name, group)| match before.groups.get(name) {
            Some(known) if Arc::ptr_eq(known, group) => 0,
            Some(known) => known.size() + group.size(),
            None => group.size(),
        });
        let deleted = before.groups.iter().filter(|(name, _)| !self.groups.contains_key(*name));
        sizes.sum::<usize>() + deleted.map(|(_, group)| group.size()).sum::<usize>()
    }

    /// Returns updates, then deletions, which carry the last version of the object.
    pub(super) fn changes_since(&self, before: &Self) -> EncodedElements {
        let (mut updated, mut deleted) = (Changes::default(), Changes::default());
        for (name, group) in &self.groups {
            match before.groups.get(name) {
                Some(known) if Arc::ptr_eq(known, group) => {}
                Some(known) => group.compare(known, &mut updated, &mut deleted),
                None => group.each(|object| updated.put(ChangeKind::Update, object)),
            }
        }
        let gone = before.groups.iter().filter(|(name, _)| !self.groups.contains_key(*name));
        gone.for_each(|(_, group)| group.each(|object| deleted.put(ChangeKind::Delete, object)));
        let mut changes = EncodedElements::default();
        changes.push(updated.count, [updated.bytes.freeze()]);
        changes.push(deleted.count, [deleted.bytes.freeze()]);
        changes
    }
}

#[derive(Default)]
struct Changes {
    count: usize,
    bytes: BytesMut,
}

impl Changes {
    fn put(&mut self, kind: ChangeKind, object: &[u8]) {
        let mut output = Output::new();
        // A kind is one byte in every version, and cannot fail to encode.
        if kind.encode(&mut output, 0).is_ok() {
            self.count += 1;
            self.bytes.extend_from_slice(&output.into_frame().to_bytes());
            self.bytes.extend_from_slice(object);
        }
    }
}

impl ObjectGroup {
    /// Bytes of the objects, each with the kind of its change.
    fn size(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum::<usize>() + self.ends.len()
    }

    fn objects(&self) -> Vec<Bytes> {
        let bytes = match &self.pieces[..] {
            [only] => only.clone(),
            pieces => Bytes::from(pieces.concat()),
        };
        let mut from = 0;
        let object = |end: &usize| {
            let object = bytes.slice(from..*end);
            from = *end;
            object
        };
        self.ends.iter().map(object).collect()
    }

    fn each(&self, mut put: impl FnMut(&[u8])) {
        self.objects().iter().for_each(|object| put(object));
    }

    /// Compares objects with those at the same place of an earlier group.
    fn compare(&self, before: &Self, updated: &mut Changes, deleted: &mut Changes) {
        let (now, before) = (self.objects(), before.objects());
        for (index, object) in now.iter().enumerate() {
            if before.get(index) != Some(object) {
                updated.put(ChangeKind::Update, object);
            }
        }
        before.iter().skip(now.len()).for_each(|object| deleted.put(ChangeKind::Delete, object));
    }
}
