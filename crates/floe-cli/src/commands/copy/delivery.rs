//! The round that is on its way to the target, in a task of its own: the lane reads, filters and gathers the next one meanwhile.

use std::sync::Arc;

use floe::{
    Error, ErrorKind,
    engine::{Acks, AppendEpoch, AppendRequest, EncodedBatch},
};
use futures_util::future::join_all;
use tokio::task::JoinHandle;

use super::{plan::CopyPlan, round::ClosedRound};

/// Numbers of a round of which everything is acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeliveredRound {
    /// Offset of the source after the round.
    pub(super) next: i64,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// At most one round in flight.
#[derive(Debug, Default)]
pub(super) struct RoundInFlight(Option<JoinHandle<floe::Result<DeliveredRound>>>);

impl RoundInFlight {
    /// Begins to append a round of partition `lane` of the source. The one before must have ended.
    pub(super) fn begin(&mut self, plan: &Arc<CopyPlan>, lane: u32, round: ClosedRound) {
        self.0 = Some(tokio::spawn(deliver(Arc::clone(plan), lane, round)));
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Waits until all appends of the round in flight have ended, even if one fails; `None` if there is none. Dropping the
    /// future loses nothing.
    pub(super) async fn ended(&mut self) -> Option<floe::Result<DeliveredRound>> {
        let outcome = self.0.as_mut()?.await;
        self.0 = None;
        Some(outcome.unwrap_or_else(|stopped| {
            Err(Error::new(ErrorKind::Closed, "the task that appends a round stopped").with_source(stopped))
        }))
    }
}

async fn deliver(plan: Arc<CopyPlan>, lane: u32, round: ClosedRound) -> floe::Result<DeliveredRound> {
    let done = DeliveredRound { next: round.next, records: round.records, bytes: round.bytes };
    let sends = round.encoded()?.into_iter().map(|(target, batches)| append_all(&plan, target, batches));
    let outcomes = join_all(sends).await;
    outcomes.into_iter().collect::<floe::Result<()>>()?;
    if !plan.reads_target() {
        let stored = vec![(plan.source_at(lane), done.next)];
        plan.from.engine().commit(plan.identity.group().into(), stored).await?;
    }
    Ok(done)
}

/// Appends batches to a partition, each after the one before is acknowledged: a mark must not be stored before an earlier
/// record.
async fn append_all(plan: &CopyPlan, target: u32, batches: Vec<EncodedBatch>) -> floe::Result<()> {
    let settings = &plan.to.settings().producer;
    let acks = if settings.acks == Acks::None { Acks::Leader } else { settings.acks };
    let (at, epoch) = (plan.target.partition(target), AppendEpoch::begin());
    for batch in batches {
        let request = AppendRequest::new(at.clone(), batch, acks).epoch(&epoch);
        let append = plan.to.engine().append(request);
        match tokio::time::timeout(settings.timeout, append).await {
            Ok(outcome) => outcome.map(drop)?,
            Err(_) => {
                let message = format!("not acknowledged within {:?}", settings.timeout);
                return Err(Error::new(ErrorKind::RequestTimeout, message)
                    .with_topic(&at.topic)
                    .with_partition(at.partition));
            }
        }
    }
    Ok(())
}
