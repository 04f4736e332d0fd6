//! Consumer offsets, which the cluster stores as the offset of the last processed record.
//!
//! A commit goes over the connection of a stream that was opened in the name of the group, so there is one idle stream for
//! each group and partition. Lists and deletions go to the data server that leads the single partition of the system topic
//! in which the cluster keeps the offsets.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use floe_core::{
    Effect, Error, ErrorKind, Result,
    engine::CommittedOffset,
    topic::{Topic, TopicPartition},
};
use floe_wire::fluvio::{
    ConsumerOffset, ConsumerOffsetFilter, DeleteConsumerOffsetRequest, FetchConsumerOffsetsRequest,
    ReplicaKey, StreamFetchReply, StreamFetchRequest, UpdateConsumerOffsetRequest,
    names::CONSUMER_OFFSET_TOPIC,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    errors,
    router::{Router, Spu},
    server::choose,
};
use crate::mux::{Mux, Replies};

/// Most connections for commits that are kept.
const MAX_SESSIONS: usize = 256;

/// Idle time after which a connection is closed.
const IDLE: Duration = Duration::from_secs(120);

/// Id of the first stream on a connection.
const FIRST_STREAM: u32 = 1;

/// How long to wait for a new cluster to create the system topic.
const SYSTEM_TOPIC_WAIT: Duration = Duration::from_secs(15);

type Key = (Arc<str>, TopicPartition);

/// Connections for commits.
#[derive(Debug, Default)]
pub(super) struct CommitSessions(Mutex<BTreeMap<Key, KeptSession>>);

#[derive(Debug)]
struct KeptSession {
    session: Arc<tokio::sync::Mutex<Option<CommitSession>>>,
    used: Instant,
}

/// One connection with one stream in the name of the group.
#[derive(Debug)]
struct CommitSession {
    mux: Mux,
    version: i16,
    spu: Arc<Spu>,
    /// Keeps the stream open. It may push one slice, of which only the stream id matters.
    replies: Replies<StreamFetchRequest>,
}

impl CommitSessions {
    /// Stores the offset of the next record to read.
    pub(super) async fn commit(
        &self,
        router: &Arc<Router>,
        group: &Arc<str>,
        at: &TopicPartition,
        next: i64,
    ) -> Result<()> {
        let slot = self.slot(group, at);
        let mut slot = slot.lock().await;
        let leader = router.leader(at).await?;
        // The connection of an idle session may be dead, or its topic recreated. One attempt finds out.
        if let Some(session) = &mut *slot
            && Arc::ptr_eq(&session.spu, &leader)
        {
            match session.store(next).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::debug!(%at, %error, "the stream for commits is opened again"),
            }
        }
        *slot = None;
        let mut session = CommitSession::open(router, leader, group, at).await?;
        session.store(next).await?;
        *slot = Some(session);
        Ok(())
    }

    fn slot(&self, group: &Arc<str>, at: &TopicPartition) -> Arc<tokio::sync::Mutex<Option<CommitSession>>> {
        let now = Instant::now();
        let mut kept = self.0.lock();
        kept.retain(|_, kept| now.duration_since(kept.used) < IDLE || Arc::strong_count(&kept.session) > 1);
        if kept.len() >= MAX_SESSIONS
            && let Some(oldest) = kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone())
        {
            kept.remove(&oldest);
        }
        let entry = kept
            .entry((Arc::clone(group), at.clone()))
            .or_insert_with(|| KeptSession { session: Arc::default(), used: now });
        entry.used = now;
        Arc::clone(&entry.session)
    }

    /// Closes all connections.
    pub(super) fn close(&self) {
        self.0.lock().clear();
    }
}

impl CommitSession {
    async fn open(
        router: &Arc<Router>,
        spu: Arc<Spu>,
        group: &Arc<str>,
        at: &TopicPartition,
    ) -> Result<Self> {
        // The stream starts at the end with a limit of one byte, so that the server sends next to nothing.
        let marks = super::watermarks(router, at).await?;
        let versions = Arc::clone(&spu.control.link().await?.versions);
        let mux = spu.server.open_without_handshake(floe_wire::fluvio::frame::DEFAULT_FRAME_LIMIT).await?;
        let request = StreamFetchRequest {
            topic: at.topic.to_string(),
            partition: at.partition,
            fetch_offset: marks.high,
            max_bytes: 1,
            consumer_id: Some(group.to_string()),
            ..StreamFetchRequest::default()
        };
        let replies = mux.stream(&request, choose::<StreamFetchRequest>(&versions)?).await?;
        let version = choose::<UpdateConsumerOffsetRequest>(&versions)?;
        Ok(Self { mux, version, spu, replies })
    }

    async fn store(&mut self, next: i64) -> Result<()> {
        let request = UpdateConsumerOffsetRequest { offset: next - 1, stream_id: FIRST_STREAM };
        let limit = self.spu.server.settings().request_timeout;
        let endpoint = self.spu.server.address.endpoint.to_string();
        let with_endpoint = |error: Error| error.with_endpoint(endpoint.as_str());
        let storing = self.mux.call(&request, self.version, limit);
        tokio::pin!(storing);
        loop {
            tokio::select! {
                // A push may report that the topic was deleted, in which case there may be no reply.
                biased;
                pushed = self.replies.next() => check_push(pushed?).map_err(with_endpoint)?,
                reply = &mut storing => {
                    let code = reply.map_err(with_endpoint)?.error_code;
                    return errors::check(code).map_err(with_endpoint);
                }
            }
        }
    }
}

/// Checks that a push belongs to the first stream of the connection and reports no error.
fn check_push(pushed: StreamFetchReply) -> Result<()> {
    errors::check(pushed.partition.error_code)?;
    if pushed.stream_id == FIRST_STREAM {
        return Ok(());
    }
    let message = format!("the first stream of a connection has id {}", pushed.stream_id);
    Err(Error::new(ErrorKind::ProtocolError, message))
}

/// Returns the partition in which the cluster keeps the offsets.
fn system_partition() -> TopicPartition {
    Topic::from(CONSUMER_OFFSET_TOPIC).partition(0)
}

/// Sends a request to the leader of the system topic, which a new cluster creates after a while.
async fn ask<R: floe_wire::fluvio::Request>(router: &Router, request: &R) -> Result<R::Reply> {
    let deadline = Instant::now() + SYSTEM_TOPIC_WAIT;
    loop {
        let outcome = router.call(&system_partition(), request).await;
        match outcome {
            Err(error) if error.kind() == ErrorKind::TopicNotFound && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Err(error) if error.kind() == ErrorKind::TopicNotFound => {
                let message =
                    format!("the cluster stores no offsets: it has no topic {CONSUMER_OFFSET_TOPIC}");
                return Err(Error::new(ErrorKind::ServerError, message)
                    .with_retriable(true)
                    .with_effect(Effect::None));
            }
            outcome => return outcome,
        }
    }
}

/// Lists stored offsets that match.
pub(super) async fn list(
    router: &Router,
    group: Option<&str>,
    at: Option<&TopicPartition>,
) -> Result<Vec<CommittedOffset>> {
    let filter = ConsumerOffsetFilter { replica: at.map(replica), consumer_id: group.map(str::to_owned) };
    let filter = (filter.replica.is_some() || filter.consumer_id.is_some()).then_some(filter);
    let reply = ask(router, &FetchConsumerOffsetsRequest { filter }).await?;
    router.learn(&system_partition(), errors::check(reply.error_code))?;
    let wanted = |row: &ConsumerOffset| {
        group.is_none_or(|group| row.consumer_id == group) && at.is_none_or(|at| row.replica == replica(at))
    };
    Ok(reply.consumers.into_iter().filter(wanted).map(committed).collect())
}

/// Deletes a stored offset.
pub(super) async fn forget(router: &Router, group: &str, at: &TopicPartition) -> Result<()> {
    let request = DeleteConsumerOffsetRequest { replica: replica(at), consumer_id: group.to_owned() };
    let reply = ask(router, &request).await?;
    router.learn(&system_partition(), errors::check(reply.error_code))
}

fn replica(at: &TopicPartition) -> ReplicaKey {
    ReplicaKey { topic: at.topic.to_string(), partition: at.partition }
}

fn committed(row: ConsumerOffset) -> CommittedOffset {
    let at = Topic::from(row.replica.topic).partition(row.replica.partition);
    let modified_at = i64::try_from(row.modified_time).ok().and_then(|seconds| seconds.checked_mul(1000));
    CommittedOffset::new(row.consumer_id, at, row.offset.saturating_add(1)).modified_at(modified_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_offset_is_that_of_the_last_record() {
        let row = ConsumerOffset {
            consumer_id: "g".to_owned(),
            replica: ReplicaKey { topic: "t".to_owned(), partition: 3 },
            offset: 41,
            modified_time: 1_700_000_000,
        };
        let found = committed(row);
        assert_eq!((found.next, found.modified_at), (42, Some(1_700_000_000_000)));
        assert_eq!(found.at, Topic::from("t").partition(3));
    }
}
