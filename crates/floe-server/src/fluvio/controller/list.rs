//! Lists objects.

use floe_wire::fluvio::{AnyList, ListReply, ListRequest, Metadata, Object, frame::RequestHeader};

use super::objects;
use crate::{
    access::Session,
    fluvio::frames,
    node::Node,
    response_writer::{Disconnected, ResponseSender},
};

pub(super) async fn answer(
    node: &Node,
    session: &Session,
    responses: &ResponseSender,
    (header, request): (&RequestHeader, AnyList),
) -> Result<(), Disconnected> {
    match request {
        AnyList::Topic(request) => {
            for name in &request.name_filters {
                // Lookup by name finds a topic that another client has just created, before the watch reports it. A
                // partial name or an unreachable engine adds nothing to the catalog.
                let _ = node.catalog.find(name).await;
            }
            let mut topics = named(objects::topics(node, session), &request.name_filters);
            topics.retain(|topic| topic.spec.system == request.system);
            send(responses, header, topics).await
        }
        AnyList::Partition(request) => {
            let mut partitions = objects::partitions(node, session);
            partitions.retain(|partition| partition.spec.system == request.system);
            for partition in &mut partitions {
                objects::measure(node, partition).await;
            }
            send(responses, header, partitions).await
        }
        AnyList::Spu(request) => {
            send(responses, header, named(objects::spus(node, session), &request.name_filters)).await
        }
        AnyList::CustomSpu(request) => {
            send(responses, header, named(objects::custom_spus(node, session), &request.name_filters)).await
        }
        AnyList::SmartModule(request) => {
            let modules = objects::smartmodules(node, session, &request.name_filters, request.summary);
            send(responses, header, modules).await
        }
        AnyList::TableFormat(request) => {
            send(responses, header, named(objects::table_formats(node, session), &request.name_filters)).await
        }
        // A single process has no groups and no mirrors.
        AnyList::SpuGroup(_) => send::<floe_wire::fluvio::SpuGroupSpec>(responses, header, Vec::new()).await,
        AnyList::Mirror(_) => send::<floe_wire::fluvio::MirrorSpec>(responses, header, Vec::new()).await,
    }
}

async fn send<O: Object>(
    responses: &ResponseSender,
    header: &RequestHeader,
    objects: Vec<Metadata<O>>,
) -> Result<(), Disconnected> {
    frames::reply::<ListRequest<O>>(responses, header, &ListReply { objects }).await
}

/// Returns the objects whose name contains one of `filters`, or all without filters, as a real controller does.
fn named<O: Object>(objects: Vec<Metadata<O>>, filters: &[String]) -> Vec<Metadata<O>> {
    let is_wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    objects.into_iter().filter(|object| is_wanted(&object.name)).collect()
}
