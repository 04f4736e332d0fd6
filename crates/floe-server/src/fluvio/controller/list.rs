//! Lists objects.

use floe::{memory::MemoryReservation, units};
use floe_wire::fluvio::{AnyList, ListReply, ListRequest, Metadata, Object, frame::RequestHeader};

use tokio::task::coop::consume_budget;

use super::{objects, views::Watched};
use crate::{
    access::Session,
    fluvio::frames,
    node::Node,
    response_writer::{Disconnected, ResponseSender},
};

/// Memory of a listed object, with its encoding, in bytes.
const OBJECT_BYTES: usize = 1024;

pub(super) async fn answer(
    node: &Node,
    session: &Session,
    responses: &ResponseSender,
    (header, request): (&RequestHeader, AnyList),
) -> Result<(), Disconnected> {
    // The objects and their encoding are reserved before they are made.
    let room = responses.reserve(size(node, &request)).await?;
    let send = Sender { responses, header, room };
    match request {
        AnyList::Topic(request) => {
            for name in &request.name_filters {
                // Lookup by name finds a topic that another client has just created, before the watch reports it. A
                // partial name or an unreachable engine adds nothing to the catalog.
                let _ = node.catalog.find(name).await;
                consume_budget().await;
            }
            let mut topics = named(session, objects::topics(node), &request.name_filters).await;
            topics.retain(|topic| topic.spec.system == request.system);
            send.reply(topics).await
        }
        AnyList::Partition(request) => {
            let mut topics = objects::topics(node);
            retain_visible(session, &mut topics);
            let mut partitions: Vec<_> = topics.iter().flat_map(objects::partitions_of).collect();
            partitions.retain(|partition| partition.spec.system == request.system);
            for partition in &mut partitions {
                objects::measure(node, partition).await;
                consume_budget().await;
            }
            send.reply(partitions).await
        }
        AnyList::Spu(request) => {
            send.reply(named(session, objects::spus(node), &request.name_filters).await).await
        }
        AnyList::CustomSpu(request) => {
            send.reply(named(session, objects::custom_spus(node), &request.name_filters).await).await
        }
        AnyList::SmartModule(request) => {
            let mut modules = objects::smartmodules(node, &request.name_filters, request.summary);
            retain_visible(session, &mut modules);
            send.reply(modules).await
        }
        AnyList::TableFormat(request) => {
            send.reply(named(session, objects::table_formats(node), &request.name_filters).await).await
        }
        // A single process has no groups and no mirrors.
        AnyList::SpuGroup(_) => send.reply::<floe_wire::fluvio::SpuGroupSpec>(Vec::new()).await,
        AnyList::Mirror(_) => send.reply::<floe_wire::fluvio::MirrorSpec>(Vec::new()).await,
    }
}

/// Returns the memory of all objects of a kind. Modules are slices of what the registry holds.
fn size(node: &Node, request: &AnyList) -> usize {
    let number = match request {
        AnyList::Topic(_) | AnyList::Partition(_) => {
            node.catalog.all().iter().map(|entry| 1 + units::count(entry.info.partitions)).sum()
        }
        AnyList::CustomSpu(_) | AnyList::Spu(_) => {
            node.registry.read(|objects| objects.custom_spus.len()) + 1
        }
        AnyList::SmartModule(_) => node.registry.read(|objects| objects.smartmodules.len()),
        AnyList::TableFormat(_) => node.registry.read(|objects| objects.table_formats.len()),
        AnyList::SpuGroup(_) | AnyList::Mirror(_) => 1,
    };
    number.saturating_mul(match request {
        // A topic lists its partitions in little.
        AnyList::Topic(_) => OBJECT_BYTES / 8,
        _ => OBJECT_BYTES,
    })
}

struct Sender<'a> {
    responses: &'a ResponseSender,
    header: &'a RequestHeader,
    room: MemoryReservation,
}

impl Sender<'_> {
    async fn reply<O: Object>(self, objects: Vec<Metadata<O>>) -> Result<(), Disconnected> {
        let pieces = frames::pieces::<ListRequest<O>>(self.header, &ListReply { objects })?;
        self.responses.send_reserved(self.room, pieces).await
    }
}

/// Keeps the objects that the client may see.
fn retain_visible<O: Watched>(session: &Session, objects: &mut Vec<Metadata<O>>) {
    objects.retain(|object| O::is_visible(session, &object.name));
}

/// Returns the objects that the client may see and whose name contains one of `filters`, or all without filters, as a real
/// controller does.
async fn named<O: Watched>(
    session: &Session,
    mut objects: Vec<Metadata<O>>,
    filters: &[String],
) -> Vec<Metadata<O>> {
    retain_visible(session, &mut objects);
    if filters.is_empty() {
        return objects;
    }
    let mut wanted = Vec::new();
    for object in objects {
        // Each pair takes a short time, all pairs may take a long one.
        for some in filters.chunks(64) {
            if some.iter().any(|filter| object.name.contains(filter.as_str())) {
                wanted.push(object);
                break;
            }
            consume_budget().await;
        }
    }
    wanted
}
