//! Watches: a snapshot first, then changes.
//!
//! A watch takes its objects from the shared [`views`](super::views), and reserves memory for a reply before it is made. A
//! client that does not read holds its watches up, and later gets all changes since in one reply.

use std::sync::Arc;

use floe_wire::fluvio::{
    AnyWatch, EncodedElements, PartitionSpec, SmartModuleSpec, SpuGroupSpec, SpuSpec, TableFormatSpec,
    TopicSpec, encode_watch_reply, frame::RequestHeader,
};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::views::{View, Views, Watched};
use crate::{
    access::Session,
    node::Node,
    response_writer::{Disconnected, ResponseSender},
};

/// Returns the task that serves a watch; `None` for kinds that cannot be watched, for which the caller closes the
/// connection.
pub(super) fn open(
    (node, session, views): (Arc<Node>, Arc<Session>, Arc<Views>),
    responses: ResponseSender,
    header: RequestHeader,
    request: AnyWatch,
    flushed: watch::Sender<i64>,
) -> Option<BoxFuture<'static, ()>> {
    let watch = Watch { node, session, views, responses, header, flushed };
    Some(match request {
        AnyWatch::Topic(_) => Box::pin(watch.run::<TopicSpec>(false)),
        AnyWatch::Partition(_) => Box::pin(watch.run::<PartitionSpec>(false)),
        AnyWatch::Spu(_) => Box::pin(watch.run::<SpuSpec>(false)),
        AnyWatch::SmartModule(request) => Box::pin(watch.run::<SmartModuleSpec>(request.summary)),
        AnyWatch::TableFormat(_) => Box::pin(watch.run::<TableFormatSpec>(false)),
        AnyWatch::SpuGroup(_) => Box::pin(watch.run::<SpuGroupSpec>(false)),
        AnyWatch::CustomSpu(_) | AnyWatch::Mirror(_) => return None,
    })
}

struct Watch {
    node: Arc<Node>,
    session: Arc<Session>,
    views: Arc<Views>,
    responses: ResponseSender,
    header: RequestHeader,
    /// Epoch up to which the client has received all changes.
    flushed: watch::Sender<i64>,
}

impl Watch {
    async fn run<O: Watched>(self, summary: bool) {
        // The only end of a watch is a closed connection, which leaves no client to inform.
        let Err(Disconnected) = self.push_changes::<O>(summary).await;
    }

    async fn push_changes<O: Watched>(
        &self,
        summary: bool,
    ) -> Result<std::convert::Infallible, Disconnected> {
        let mut epochs = self.node.catalog.epoch();
        let mut known: Option<Arc<View>> = None;
        loop {
            // The epoch is read before the objects: a change in between is reported twice rather than lost.
            let epoch = *epochs.borrow_and_update();
            let version = (self.header.version, summary);
            let view = self.views.get::<O>(&self.node, version, epoch).await;
            let view = view.map_err(|error| {
                tracing::error!(%error, kind = O::LABEL, "cannot encode the objects of a watch");
                Disconnected
            })?;
            let view = view.visible_to::<O>(&self.session);
            self.push::<O>(epoch, known.as_deref(), &view).await?;
            known = Some(view);
            self.flushed.send_replace(epoch);
            epochs.changed().await.map_err(|_| Disconnected)?;
        }
    }

    /// Sends the difference of two views; all objects at first.
    async fn push<O: Watched>(
        &self,
        epoch: i64,
        known: Option<&View>,
        view: &View,
    ) -> Result<(), Disconnected> {
        let size = known.map_or_else(|| view.all.len(), |known| view.size_since(known));
        if known.is_some() && size == 0 {
            return Ok(());
        }
        let room = self.responses.reserve(size.saturating_add(FRAME_BYTES)).await?;
        let none = EncodedElements::default();
        let changes = known.map_or_else(EncodedElements::default, |known| view.changes_since(known));
        if known.is_some() && changes.is_empty() {
            return Ok(());
        }
        let all = if known.is_some() { &none } else { &view.all };
        let (version, correlation_id) = (self.header.version, self.header.correlation_id);
        let frame = encode_watch_reply::<O>(epoch, &changes, all, version, correlation_id);
        let frame = frame.map_err(|error| {
            tracing::error!(%error, kind = O::LABEL, "cannot encode the reply of a watch");
            Disconnected
        })?;
        self.responses.send_reserved(room, frame.pieces()).await
    }
}

/// Bytes of a reply besides its objects, at most.
const FRAME_BYTES: usize = 256;
