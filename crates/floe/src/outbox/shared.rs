//! The parts of an outbox that its handles, its supervisor and its deliveries share.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    checkpoint::{Checkpoint, advance},
    routing::{RouteHint, Router},
    settings::OutboxSettings,
    spool::Spool,
    status::{OutboxReport, OutboxStats},
};
use crate::{Error, ErrorKind, Producer, Result, topic::Topic};

/// Request to end the deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopRequest {
    None,
    /// End when the spool is drained, at this time at the latest.
    By(Instant),
    Now,
}

/// Progress that waiting handles watch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) position: i64,
    pub(super) dropped: u64,
    pub(super) rejected: u64,
    pub(super) ended: bool,
}

/// The checkpoint, with the position of its last version on disk.
#[derive(Debug)]
pub(super) struct TrackedCheckpoint {
    pub(super) current: Checkpoint,
    stored_position: i64,
}

/// See the module.
pub(super) struct OutboxShared {
    pub(super) settings: OutboxSettings,
    pub(super) spool: Spool,
    pub(super) checkpoint: tokio::sync::Mutex<TrackedCheckpoint>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) stop: watch::Sender<StopRequest>,
    /// Wakes senders that wait for room.
    pub(super) room: Notify,
    /// Bytes that may be accepted without a check of the room.
    pub(super) granted: AtomicU64,
    /// Set when no more records are accepted.
    pub(super) closed: AtomicBool,
    pub(super) delivered: AtomicU64,
    pub(super) last_error: parking_lot::Mutex<Option<Error>>,
    /// Producer of the running session.
    pub(super) active: parking_lot::Mutex<Option<Producer>>,
    /// Task of the supervisor, until it is closed.
    pub(super) task: tokio::sync::Mutex<Option<JoinHandle<Result<()>>>>,
    pub(super) report: tokio::sync::Mutex<Option<OutboxReport>>,
}

impl OutboxShared {
    /// Reads the checkpoint, and reconciles it with the spool.
    pub(super) fn load(settings: OutboxSettings, spool: Spool) -> Result<Arc<Self>> {
        let topic = &settings.topic;
        let mut current = spool.stored_checkpoint()?.unwrap_or_else(|| Checkpoint::new(topic.as_str()));
        if current.topic != topic.as_str() {
            let message = format!("the path holds the outbox of the topic {:?}", current.topic);
            return Err(Error::new(ErrorKind::InvalidConfig, message).with_topic(topic));
        }
        // Only a loss of power cuts off the end of the spool.
        current.position = current.position.min(spool.end());
        if current.position < spool.start() {
            tracing::error!(
                %topic, from = current.position, to = spool.start(),
                "records are missing from the spool of the outbox"
            );
            current.position = spool.start();
            // The partitions of the missing records are unknown, and so are the numbers of those after them.
            current.partitions.clear();
        }
        let progress = Progress {
            position: current.position,
            dropped: current.dropped,
            rejected: current.rejected,
            ended: false,
        };
        let stored_position = current.position;
        Ok(Arc::new(Self {
            settings,
            spool,
            checkpoint: tokio::sync::Mutex::new(TrackedCheckpoint { current, stored_position }),
            progress: watch::Sender::new(progress),
            stop: watch::Sender::new(StopRequest::None),
            room: Notify::new(),
            granted: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            delivered: AtomicU64::new(0),
            last_error: parking_lot::Mutex::default(),
            active: parking_lot::Mutex::default(),
            task: tokio::sync::Mutex::default(),
            report: tokio::sync::Mutex::default(),
        }))
    }

    pub(super) fn topic(&self) -> &Topic {
        &self.settings.topic
    }

    pub(super) fn router(&self, checkpoint: &Checkpoint) -> Router<'_> {
        let partitioner = &*self.settings.partitioner;
        Router { partitioner, partitions: checkpoint.partitions.len() as u32 }
    }

    /// Assigns its number to a record that is not sent, so that the numbers of the records after it stay the same.
    pub(super) fn skip_record(
        &self,
        checkpoint: &mut Checkpoint,
        hint: RouteHint,
        (key, value): (Option<&[u8]>, &[u8]),
    ) {
        let partition = self.router(checkpoint).route(hint, key, value);
        let partitions = &mut checkpoint.partitions;
        if let Some(partition) = partition.and_then(|partition| partitions.get_mut(partition as usize)) {
            partition.sequence = advance(partition.sequence, 1);
        }
    }

    /// Publishes the checkpoint, and writes it to disk.
    pub(super) async fn store(&self, checkpoint: &mut TrackedCheckpoint) -> Result<()> {
        self.publish(&checkpoint.current);
        self.spool.store_checkpoint(&checkpoint.current).await?;
        checkpoint.stored_position = checkpoint.current.position;
        Ok(())
    }

    pub(super) fn publish(&self, checkpoint: &Checkpoint) {
        self.progress.send_modify(|progress| {
            progress.position = checkpoint.position;
            progress.dropped = checkpoint.dropped;
            progress.rejected = checkpoint.rejected;
        });
    }

    /// Deletes the records before the checkpoint on disk; those after it must be found after a crash.
    pub(super) async fn trim(&self, checkpoint: &TrackedCheckpoint) -> Result<()> {
        self.spool.trim(checkpoint.stored_position).await?;
        self.room.notify_waiters();
        Ok(())
    }

    /// Refuses records from now on, and requests the end of the deliveries, unless an earlier request stands.
    pub(super) fn begin_stop(&self, request: StopRequest) {
        self.closed.store(true, Ordering::Relaxed);
        self.stop.send_if_modified(|stop| {
            let begins = *stop == StopRequest::None;
            if begins {
                *stop = request;
            }
            begins
        });
        self.room.notify_waiters();
    }

    /// As [`OutboxShared::begin_stop`], overriding earlier requests.
    pub(super) fn stop_now(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.stop.send_replace(StopRequest::Now);
        self.room.notify_waiters();
    }

    /// Waits until every record that the spool holds now is delivered, dropped or rejected.
    pub(super) async fn drained(&self) -> Result<()> {
        self.spool.flush().await?;
        let goal = self.spool.end();
        let mut progress = self.progress.subscribe();
        match progress.wait_for(|progress| progress.position >= goal || progress.ended).await {
            Ok(progress) if progress.position >= goal => Ok(()),
            Ok(_) | Err(_) => Err(Error::closed("outbox").with_topic(self.topic())),
        }
    }

    pub(super) fn stats(&self) -> OutboxStats {
        let progress = *self.progress.borrow();
        OutboxStats {
            accepted: self.spool.appended(),
            delivered: self.delivered.load(Ordering::Relaxed),
            waiting: u64::try_from(self.spool.end() - progress.position).unwrap_or(0),
            bytes: self.spool.used_bytes(),
            dropped: progress.dropped,
            rejected: progress.rejected,
            last_error: self.last_error.lock().clone(),
        }
    }
}

/// Resolves when the deliveries must end, even if records wait.
pub(super) async fn must_stop(stop: &mut watch::Receiver<StopRequest>) {
    loop {
        let request = *stop.borrow_and_update();
        match request {
            StopRequest::Now => return,
            StopRequest::By(deadline) => tokio::select! {
                () = sleep_until(deadline) => return,
                changed = stop.changed() => if changed.is_err() { return },
            },
            StopRequest::None => {
                if stop.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

impl fmt::Debug for OutboxShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxShared")
            .field("topic", self.topic())
            .field("spool", &self.spool)
            .finish_non_exhaustive()
    }
}
