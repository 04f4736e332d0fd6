//! Watches: a snapshot first, then changes.

use std::{collections::BTreeMap, sync::Arc};

use floe_wire::fluvio::{
    AnyWatch, Change, ChangeKind, Metadata, Object, SpuGroupSpec, WatchReply, WatchRequest,
    frame::RequestHeader,
};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::objects;
use crate::{
    access::Session,
    fluvio::frames,
    node::Node,
    response_writer::{Disconnected, ResponseSender},
};

/// Returns the task that serves a watch; `None` for kinds that cannot be watched, for which the caller closes the
/// connection.
pub(super) fn open(
    (node, session): (Arc<Node>, Arc<Session>),
    responses: ResponseSender,
    header: RequestHeader,
    request: AnyWatch,
    flushed: watch::Sender<i64>,
) -> Option<BoxFuture<'static, ()>> {
    let watch = Watch { node, session, responses, header, flushed };
    Some(match request {
        AnyWatch::Topic(_) => Box::pin(watch.run(objects::topics)),
        AnyWatch::Partition(_) => Box::pin(watch.run(objects::partitions)),
        AnyWatch::Spu(_) => Box::pin(watch.run(objects::spus)),
        AnyWatch::SmartModule(request) => {
            let summary = request.summary;
            Box::pin(watch.run(move |node, session| objects::smartmodules(node, session, &[], summary)))
        }
        AnyWatch::TableFormat(_) => Box::pin(watch.run(objects::table_formats)),
        AnyWatch::SpuGroup(_) => Box::pin(watch.run(|_, _| Vec::<Metadata<SpuGroupSpec>>::new())),
        AnyWatch::CustomSpu(_) | AnyWatch::Mirror(_) => return None,
    })
}

struct Watch {
    node: Arc<Node>,
    session: Arc<Session>,
    responses: ResponseSender,
    header: RequestHeader,
    /// Epoch up to which the client has received all changes.
    flushed: watch::Sender<i64>,
}

impl Watch {
    async fn run<O: Object>(self, snapshot: impl Fn(&Node, &Session) -> Vec<Metadata<O>>) {
        // The only end of a watch is a closed connection, which leaves no client to inform.
        let Err(Disconnected) = self.push_changes(snapshot).await;
    }

    async fn push_changes<O: Object>(
        &self,
        snapshot: impl Fn(&Node, &Session) -> Vec<Metadata<O>>,
    ) -> Result<std::convert::Infallible, Disconnected> {
        let mut epochs = self.node.catalog.epoch();
        // The epoch is read before the snapshot: a change in between is reported twice rather than lost.
        let mut epoch = *epochs.borrow_and_update();
        let all = snapshot(&self.node, &self.session);
        let mut known = by_name(&all);
        self.send(WatchReply { epoch, changes: Vec::new(), all }).await?;
        loop {
            self.flushed.send_replace(epoch);
            epochs.changed().await.map_err(|_| Disconnected)?;
            epoch = *epochs.borrow_and_update();
            let now = by_name(&snapshot(&self.node, &self.session));
            let changes = differences(&known, &now);
            known = now;
            if !changes.is_empty() {
                self.send(WatchReply { epoch, changes, all: Vec::new() }).await?;
            }
        }
    }

    async fn send<O: Object>(&self, reply: WatchReply<O>) -> Result<(), Disconnected> {
        frames::reply::<WatchRequest<O>>(&self.responses, &self.header, &reply).await
    }
}

fn by_name<O: Object>(objects: &[Metadata<O>]) -> BTreeMap<String, Metadata<O>> {
    objects.iter().map(|object| (object.name.clone(), object.clone())).collect()
}

/// Returns updates, then deletions, which carry the last version of the object.
fn differences<O: Object>(
    before: &BTreeMap<String, Metadata<O>>,
    now: &BTreeMap<String, Metadata<O>>,
) -> Vec<Change<O>> {
    let change = |kind, object: &Metadata<O>| Change { kind, object: object.clone() };
    let updated = now.iter().filter(|(name, object)| before.get(*name) != Some(object));
    let deleted = before.iter().filter(|(name, _)| !now.contains_key(*name));
    let updated = updated.map(|(_, object)| change(ChangeKind::Update, object));
    updated.chain(deleted.map(|(_, object)| change(ChangeKind::Delete, object))).collect()
}

#[cfg(test)]
mod tests {
    use floe_wire::fluvio::{TableFormatSpec, TableFormatStatus};

    use super::*;

    fn object(name: &str, label: &str) -> Metadata<TableFormatSpec> {
        let spec = TableFormatSpec { name: label.to_owned(), ..TableFormatSpec::default() };
        Metadata { name: name.to_owned(), spec, status: TableFormatStatus::default() }
    }

    #[test]
    fn only_changes_are_reported() {
        let before = by_name(&[object("kept", "1"), object("changed", "1"), object("gone", "1")]);
        let now = by_name(&[object("kept", "1"), object("changed", "2"), object("new", "1")]);
        let changes: Vec<_> = differences(&before, &now)
            .into_iter()
            .map(|change| (change.kind, change.object.name, change.object.spec.name))
            .collect();
        let expected = [
            (ChangeKind::Update, "changed", "2"),
            (ChangeKind::Update, "new", "1"),
            (ChangeKind::Delete, "gone", "1"),
        ];
        assert_eq!(changes, expected.map(|(kind, name, label)| (kind, name.to_owned(), label.to_owned())));
        assert!(differences(&now, &now).is_empty());
    }
}
