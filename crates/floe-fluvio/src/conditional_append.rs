//! Conditional appends, which `floe serve` offers and Fluvio does not.

use std::sync::Arc;

use floe_core::{
    Error, ErrorKind, Result,
    append_condition::NotAtEnd,
    engine::{Acks, AppendAck, AppendRequest, refuse_smartmodules},
};
use floe_wire::fluvio::{ConditionalAppendRequest, Isolation, RecordSet};

use super::{errors, router::Router};

/// Appends a batch to a partition that ends at `end`.
///
/// # Errors
/// [`ErrorKind::Unsupported`] before the request is sent, if the data server does not announce it.
pub(super) async fn append_at(router: &Arc<Router>, request: AppendRequest, end: i64) -> Result<AppendAck> {
    refuse_smartmodules(request.smartmodules.as_ref(), "fluvio")?;
    let at = request.target;
    let link = router.leader(&at).await?.control.link().await?;
    let settings = &router.connector.settings;
    let committed = request.acks == Acks::Committed;
    let append = ConditionalAppendRequest {
        topic: at.topic.to_string(),
        partition: at.partition,
        expected_end: end,
        isolation: if committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted },
        timeout_ms: i32::try_from(settings.commit_timeout.as_millis()).unwrap_or(i32::MAX),
        records: RecordSet::from_batches([&request.batch]),
    };
    let waits = if committed { settings.commit_timeout } else { std::time::Duration::ZERO };
    let reply = link.call(&append, settings.request_timeout.saturating_add(waits)).await?;
    router.learn(&at, errors::check(reply.error_code))?;
    match (reply.base_offset, reply.actual_end) {
        (0.., _) => Ok(AppendAck::new(Some(reply.base_offset))),
        (_, actual) if actual >= 0 => Err(NotAtEnd { expected: end, end: actual }.into_error()),
        _ => Err(Error::new(
            ErrorKind::ProtocolError,
            "the reply to a conditional append has neither an offset nor an end",
        )),
    }
}
