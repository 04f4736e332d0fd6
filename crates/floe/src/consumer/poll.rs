//! Hands records out, one by one or in batches: the one place where a consumer waits.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::{
    CommitPolicy, Consumer, Gap, GapPolicy, Message, Partition, RecordBatch,
    ack_tracker::MAX_RUNS,
    commit::CommitTrigger,
    message::Acknowledgement,
    offset_check::Found,
    prefetch_queue::{Polled, Prefetched},
};
use crate::{Error, ErrorKind, Result};

/// Gaps that [`Consumer::gaps`] remembers.
const MAX_GAPS: usize = 1000;

impl Consumer {
    pub(super) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        loop {
            match ready!(self.poll_record(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if let Some(message) = self.take_record(share) {
                return Poll::Ready(Some(Ok(message)));
            }
        }
    }

    /// Waits until [`Consumer::take_record`] may have a record, and finishes the one before; `false` at the end.
    ///
    /// Waiting and taking are apart because a message is large: made where it is wanted, it is not moved through the
    /// results of futures, which would cost more than most of what is done with it.
    #[inline]
    pub(crate) fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>> {
        if self.chunk.is_empty() { self.poll_current(cx) } else { Poll::Ready(self.first_of_chunk()) }
    }

    /// What a chunk that was given up has left comes first.
    #[cold]
    fn first_of_chunk(&mut self) -> Result<bool> {
        self.finish_handed_out();
        self.chunk.take_error().map_or(Ok(true), Err)
    }

    /// Takes the record that [`Consumer::poll_record`] waited for, with what `make` makes of its value; see
    /// [`floe_wire::batch::Records::next_as`]. `None` if it has to wait once more.
    #[inline]
    pub(crate) fn take_record<T>(&mut self, make: impl FnOnce(&[u8], &Bytes) -> T) -> Option<Message<T>> {
        if !self.chunk.is_empty() {
            let (place, message) = self.chunk.take_first()?;
            self.handed_out = Some(place);
            return Some(message.map(|value| make(&value, &value)));
        }
        self.take_from_batch(make)
    }

    /// As [`Consumer::poll_message`], for one more record of a chunk: those before it are not finished yet.
    pub(super) fn poll_one_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        loop {
            ready!(self.pace.poll(cx));
            match ready!(self.poll_available(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if let Some(message) = self.take_from_batch(share) {
                return Poll::Ready(Some(Ok(message)));
            }
        }
    }

    pub(super) fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        if !self.chunk.is_empty() {
            let message = "records of a chunk that was given up wait: take them by next_chunk or try_next";
            return Poll::Ready(Some(Err(Error::new(ErrorKind::InvalidCommand, message))));
        }
        loop {
            match ready!(self.poll_current(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if let Some((index, batch)) = self.current.take() {
                let acknowledgement = self.hand_out(index, batch.first_offset(), batch.next_offset());
                self.telemetry.hands_out(index, batch.len());
                self.pace.spend(batch.len());
                self.telemetry.stands_at(index, batch.next_offset());
                return Poll::Ready(Some(Ok(batch.with_acknowledgement(acknowledgement))));
            }
        }
    }

    #[inline]
    fn take_from_batch<T>(&mut self, make: impl FnOnce(&[u8], &Bytes) -> T) -> Option<Message<T>> {
        let (index, batch) = self.current.as_mut()?;
        let index = *index;
        let Some(record) = batch.pop_as(make) else {
            self.telemetry.stands_at(index, batch.next_offset());
            self.current = None;
            return None;
        };
        let topic = batch.topic.clone();
        let partition = batch.partition;
        let ((from, next), together) = (batch.finished_with(record.offset), batch.place());
        let acknowledgement = self.hand_out(index, from, next);
        let acknowledgement = acknowledgement.map(|given| Acknowledgement { together, ..given });
        self.telemetry.hands_out(index, 1);
        self.pace.spend(1);
        Some(Message::new(topic, partition, record, acknowledgement))
    }

    /// Notes that the records from `from` up to `next` go to the application.
    #[inline]
    fn hand_out(&mut self, index: usize, from: i64, next: i64) -> Option<Acknowledgement> {
        let partition = self.partitions.get_mut(index)?;
        partition.position = next;
        self.handed_out = Some((index, next));
        self.commit_due = true;
        let generation = partition.acks.hand_out(from, next)?;
        Some(Acknowledgement { acks: Arc::clone(&partition.acks), generation, together: None })
    }

    /// Waits until `current` has records; `false` at the end.
    fn poll_current(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>> {
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        self.finish_handed_out();
        ready!(self.poll_commit(cx))?;
        ready!(self.pace.poll(cx));
        self.poll_available(cx)
    }

    fn poll_available(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>> {
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        loop {
            if self.shared.queue.is_closed() {
                self.ended = true;
                return Poll::Ready(Err(Error::closed("consumer")));
            }
            if let Some((index, batch)) = &self.current {
                if !batch.is_empty() {
                    let full = self.partitions.get(*index).filter(|p| p.acks.is_full());
                    return Poll::Ready(full.map_or(Ok(true), |p| Err(too_many_unacknowledged(&p.at))));
                }
                self.telemetry.stands_at(*index, batch.next_offset());
                self.current = None;
            }
            let Poll::Ready(polled) = self.shared.queue.poll(cx) else {
                self.telemetry.waits();
                return Poll::Pending;
            };
            match polled {
                Polled::Item(index, Prefetched::Records(batch)) => match batch.settled() {
                    Ok(batch) => {
                        self.telemetry.received(index, &batch);
                        self.current = Some((index, batch));
                    }
                    Err(found) => self.put_back(index, found),
                },
                Polled::Joined(partition) => self.join(partition),
                Polled::Item(index, Prefetched::Gap(gap)) => self.pass(index, gap)?,
                Polled::Item(_, Prefetched::Error(error)) => return Poll::Ready(Err(error)),
                Polled::Deleted(error) => {
                    (self.ended, self.deleted) = (true, true);
                    self.telemetry.flush();
                    return Poll::Ready(Err(error));
                }
                Polled::End => {
                    self.ended = true;
                    self.telemetry.flush();
                    return Poll::Ready(Ok(false));
                }
                Polled::Closed => {}
            }
        }
    }

    /// Takes in a partition that the topic got meanwhile.
    fn join(&mut self, partition: Partition) {
        if let Some(commits) = &self.shared.commits {
            commits.join(partition.at.clone(), Arc::clone(&partition.acks));
        }
        self.telemetry.joins(partition.at.clone(), partition.position);
        self.indexes.insert(partition.at.partition, self.partitions.len());
        self.partitions.push(partition);
    }

    /// Puts into the queue what a batch turned out to be.
    fn put_back(&self, index: usize, found: Vec<Found>) {
        let Some(partition) = self.partitions.get(index) else { return };
        let at = &partition.at;
        for found in found.into_iter().rev() {
            let item = match found {
                Found::Records(part) => {
                    Prefetched::Records(RecordBatch::new(at.topic.clone(), at.partition, part))
                }
                Found::Gap(from, to, reason) => Prefetched::Gap(Gap { at: at.clone(), from, to, reason }),
            };
            self.shared.queue.put_back(index, item);
        }
    }

    /// With [`CommitPolicy::PerRecord`]: commits what became finished since a record was handed out.
    fn poll_commit(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(commits) = &self.shared.commits else { return Poll::Ready(Ok(())) };
        if self.settings.commit != CommitPolicy::PerRecord || !self.commit_due {
            return Poll::Ready(Ok(()));
        }
        let committing = self.committing.get_or_insert_with(|| {
            let commits = Arc::clone(commits);
            tokio::spawn(async move { commits.commit(CommitTrigger::Policy).await })
        });
        let outcome = ready!(Pin::new(committing).poll(cx));
        self.committing = None;
        let outcome = outcome.unwrap_or_else(|_| Err(Error::closed("runtime")));
        self.commit_due = outcome.is_err();
        Poll::Ready(outcome)
    }

    /// Goes past a gap, as the policy says.
    fn pass(&mut self, index: usize, gap: Gap) -> Result<()> {
        if let Some(partition) = self.partitions.get_mut(index) {
            partition.position = gap.to;
            self.telemetry.stands_at(index, gap.to);
        }
        self.telemetry.misses(&gap);
        let Gap { at, from, to, reason } = &gap;
        let (topic, partition, reason) = (&at.topic, at.partition, reason.as_str());
        if self.settings.gaps == GapPolicy::Skip {
            tracing::debug!(%topic, partition, from, to, reason, "gap");
            return Ok(());
        }
        tracing::warn!(%topic, partition, from, to, reason, "gap");
        if self.gaps.len() == MAX_GAPS {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap.clone());
        match self.settings.gaps {
            GapPolicy::Fail => Err(gap.into_error()),
            GapPolicy::Report | GapPolicy::Skip => Ok(()),
        }
    }
}

/// A value as it is: its share of the batch.
#[inline]
pub(super) fn share(value: &[u8], section: &Bytes) -> Bytes {
    section.slice_ref(value)
}

fn too_many_unacknowledged(at: &crate::TopicPartition) -> Error {
    Error::new(
        ErrorKind::BufferFull,
        format!("{MAX_RUNS} separate records are not acknowledged while others around them are"),
    )
    .with_topic(&at.topic)
    .with_partition(at.partition)
}
