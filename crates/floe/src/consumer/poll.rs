//! Hands out records, one by one or in batches. The only place where a consumer waits.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use floe_core::{invariant, process};

use super::{
    ConsumerCore,
    ack_tracker::MAX_RUNS,
    checked_batch::{CheckedBatch, Found},
    commit::CommitTrigger,
    gap::Gap,
    group::MemberHandle,
    message::{Acknowledgement, Message, RecordBatch},
    partition::Partition,
    prefetch_queue::{Change, Polled, Prefetched},
    settings::{CommitPolicy, GapPolicy},
};
use crate::{
    Error, ErrorKind, Result,
    payload::{RecordDecoder, Untyped},
    telemetry::ReceivedBatch,
    topic::TopicPartition,
};

/// Gaps that [`Consumer::gaps`](super::Consumer::gaps) remembers.
const MAX_GAPS: usize = 1000;

/// A message with its decoded value, or without a value and the failure.
type Decoded<C> =
    Result<Message<<C as RecordDecoder>::Value>, Box<(Message<()>, <C as RecordDecoder>::Failure)>>;

impl ConsumerCore {
    pub(super) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        loop {
            match ready!(self.poll_record(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if let Some(Ok(message)) = self.take_record(&Untyped) {
                return Poll::Ready(Some(Ok(message)));
            }
        }
    }

    /// Waits until [`ConsumerCore::take_record`] may have a record, and finishes the previous one; `false` at the end.
    ///
    /// Waiting and taking are separate because a message is large. Made where it is needed, it does not move through the
    /// results of futures, which would cost more than the rest of the work.
    #[inline]
    pub(super) fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>> {
        if self.chunk.is_empty() { self.poll_current(cx) } else { Poll::Ready(self.first_of_chunk()) }
    }

    /// Prepares for the remaining records of a chunk whose call was dropped.
    #[cold]
    fn first_of_chunk(&mut self) -> Result<bool> {
        self.finish_handed_out();
        self.chunk.take_error().map_or(Ok(true), Err)
    }

    /// Takes the record that [`ConsumerCore::poll_record`] waited for. `None` if the caller has to wait once more.
    #[inline]
    pub(super) fn take_record<C: RecordDecoder>(&mut self, codec: &C) -> Option<Decoded<C>> {
        if !self.chunk.is_empty() {
            let (position, message) = self.chunk.take_first()?;
            self.handed_out = Some(position);
            return Some(message.map(|bytes| codec.decode_bytes(bytes)).transpose());
        }
        let message = self.take_from_batch(|value, section| codec.decode_record(value, section))?;
        Some(message.transpose())
    }

    /// As [`ConsumerCore::poll_message`], for a further record of a chunk: the previous ones are not finished.
    pub(super) fn poll_one_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        loop {
            ready!(self.rate_limit.poll(cx));
            match ready!(self.poll_available(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if let Some(message) = self.take_from_batch(|value, section| section.slice_ref(value)) {
                return Poll::Ready(Some(Ok(message)));
            }
        }
    }

    pub(super) fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        if !self.chunk.is_empty() {
            let message = "a dropped next_chunk left records: take them with next_chunk or try_next first";
            return Poll::Ready(Some(Err(Error::new(ErrorKind::InvalidCommand, message))));
        }
        loop {
            match ready!(self.poll_current(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if let Some((index, batch)) = self.current.take() {
                self.note_polled(index, &batch);
                let acknowledgement = self.hand_out(index, batch.first_offset(), batch.next_offset());
                self.telemetry.hands_out(index, batch.len());
                self.rate_limit.spend(batch.len());
                self.telemetry.stands_at(index, batch.next_offset());
                return Poll::Ready(Some(Ok(batch.with_acknowledgement(acknowledgement))));
            }
        }
    }

    #[inline]
    fn take_from_batch<T>(&mut self, make: impl FnOnce(&[u8], &Bytes) -> T) -> Option<Message<T>> {
        let (index, batch) = self.current.as_mut()?;
        let index = *index;
        let acks = self.partitions.get(index).map(|partition| &partition.acks);
        let recorded = acks.filter(|acks| acks.history().is_on());
        let mut value_of = None;
        let popped = batch.pop_as(|value, section| {
            if recorded.is_some() {
                value_of = Some(section.slice_ref(value));
            }
            make(value, section)
        });
        let Some(record) = popped else {
            self.telemetry.stands_at(index, batch.next_offset());
            self.current = None;
            return None;
        };
        if let Some((acks, value)) = recorded.zip(value_of) {
            acks.history().polled(record.offset, record.key.as_deref(), &value, acks.is_auto());
        }
        let topic = batch.topic.clone();
        let partition = batch.partition;
        let ((from, next), group) = (batch.handed_out_with(record.offset), batch.group_of_last());
        let acknowledgement = self.hand_out(index, from, next);
        let acknowledgement = acknowledgement.map(|given| Acknowledgement { group, ..given });
        self.telemetry.hands_out(index, 1);
        self.rate_limit.spend(1);
        Some(Message::new(topic, partition, record, acknowledgement))
    }

    /// Tells the history of a batch that goes to the application.
    #[inline]
    fn note_polled(&self, index: usize, batch: &RecordBatch) {
        let Some(acks) = self.partitions.get(index).map(|partition| &partition.acks) else { return };
        let history = acks.history();
        if history.is_on() {
            for record in batch.borrowed() {
                history.polled(record.offset, record.key, record.value, acks.is_auto());
            }
        }
    }

    /// Notes that the records from `from` up to `next` go to the application.
    #[inline]
    fn hand_out(&mut self, index: usize, from: i64, next: i64) -> Option<Acknowledgement> {
        let partition = self.partition(index)?;
        partition.position = next;
        let acks = &partition.acks;
        // Without explicit acknowledgements no reference count changes.
        let acknowledgement = acks.hand_out(from, next).map(|generation| Acknowledgement {
            acks: Arc::clone(acks),
            generation,
            group: None,
        });
        self.handed_out = Some((index, next));
        self.commit_due = true;
        acknowledgement
    }

    /// Waits until `current` has records; `false` at the end.
    fn poll_current(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>> {
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        self.finish_handed_out();
        ready!(self.poll_commit(cx))?;
        ready!(self.rate_limit.poll(cx));
        self.poll_available(cx)
    }

    /// The path of nearly all records: the current batch has another one.
    #[inline]
    fn poll_available(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>> {
        if let Some((index, batch)) = &self.current
            && !batch.is_empty()
            && !self.shared.queue.has_changed()
            && !self.partitions.get(*index).is_some_and(|partition| partition.acks.is_full())
        {
            return Poll::Ready(Ok(true));
        }
        self.poll_next_batch(cx)
    }

    /// Not inlined: in the loop of an application it would take the registers of the message that follows.
    #[inline(never)]
    fn poll_next_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>> {
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        loop {
            if self.shared.queue.has_changed() {
                ready!(self.poll_change(cx))?;
                continue;
            }
            if let Some((index, batch)) = &self.current {
                if !batch.is_empty() {
                    let full = self.partitions.get(*index).filter(|p| p.acks.is_full());
                    return Poll::Ready(full.map_or(Ok(true), |p| Err(too_many_unacknowledged(&p.at))));
                }
                self.telemetry.stands_at(*index, batch.next_offset());
                self.current = None;
            }
            if self.shared.member.as_ref().is_some_and(MemberHandle::is_fenced) {
                self.shared.queue.fence(true);
                continue;
            }
            let Poll::Ready(polled) = self.shared.queue.poll(cx) else {
                self.telemetry.waits();
                return Poll::Pending;
            };
            match polled {
                Polled::Item(index, Prefetched::Records(received)) => match received.check() {
                    Ok(checked) => self.receive(index, checked),
                    Err(found) => self.put_back(index, found),
                },
                Polled::Item(index, Prefetched::Rest(batch)) => self.current = Some((index, batch)),
                Polled::Changed => {}
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
            }
        }
    }

    /// Makes a batch the current one.
    fn receive(&mut self, index: usize, checked: CheckedBatch) {
        let Some(partition) = self.partition(index) else { return };
        let batch = RecordBatch::new(&partition.at, checked);
        let time = batch.borrowed().next().and_then(|record| record.timestamp);
        let headers = batch.has_headers().then(|| batch.borrowed().map(|record| record.headers));
        let first_offset = batch.first_offset();
        let received = ReceivedBatch { index, first_offset, records: batch.len(), time };
        self.telemetry.received(received, headers);
        self.current = Some((index, batch));
    }

    /// Takes one change of the partitions.
    #[cold]
    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Poll::Ready(change) = self.shared.queue.poll_change(cx) else {
            self.telemetry.waits();
            return Poll::Pending;
        };
        match change {
            Some(Change::Joined(index, partition)) => self.join(index, partition),
            Some(Change::Left(index)) => self.leave(index),
            Some(Change::Failed(error)) => {
                (self.ended, self.deleted) = (true, true);
                self.telemetry.flush();
                return Poll::Ready(Err(error));
            }
            Some(Change::Closed) => {
                self.ended = true;
                return Poll::Ready(Err(Error::closed("consumer")));
            }
            None => {}
        }
        Poll::Ready(Ok(()))
    }

    /// Adds a partition, or takes one up again that was left.
    fn join(&mut self, index: usize, partition: Partition) {
        if let Some(commits) = &self.shared.commits {
            commits.join(partition.at.clone(), Arc::clone(&partition.acks));
        }
        partition.acks.history().begins(partition.position, false);
        self.telemetry.joins(index, partition.at.clone(), partition.position);
        self.indexes.insert(partition.at.partition, index);
        match self.partitions.get_mut(index) {
            Some(left) => *left = partition,
            None => self.partitions.push(partition),
        }
    }

    /// Gives up a partition. All records of it that went to the application before this call were finished by it, unless
    /// they need an acknowledgement.
    fn leave(&mut self, index: usize) {
        self.current.take_if(|(current, _)| *current == index);
        self.handed_out.take_if(|(handed_out, _)| *handed_out == index);
        self.chunk.forget(index);
        self.telemetry.leaves(index);
        if let Some(partition) = self.partitions.get_mut(index) {
            partition.task = None;
            partition.acks.leave();
            self.indexes.remove(&partition.at.partition);
        }
    }

    /// Puts the parts of a batch back into the queue, where its records differ from its header.
    fn put_back(&mut self, index: usize, found: Vec<Found<CheckedBatch>>) {
        let Some(partition) = self.partition(index) else { return };
        let at = partition.at.clone();
        for found in found.into_iter().rev() {
            let item = match found {
                Found::Records(checked) => Prefetched::Records(checked.into()),
                Found::Gap(from, to, reason) => Prefetched::Gap(Gap::new(at.clone(), from..to, reason)),
            };
            self.shared.queue.put_back(index, item);
        }
    }

    /// With [`CommitPolicy::PerRecord`]: commits the records that were finished since a record was handed out.
    #[inline]
    fn poll_commit(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.settings.commit != CommitPolicy::PerRecord || !self.commit_due || !self.shared.commits() {
            return Poll::Ready(Ok(()));
        }
        self.poll_due_commit(cx)
    }

    #[inline(never)]
    fn poll_due_commit(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let committing = self.committing.get_or_insert_with(|| {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(process::inherit(async move { shared.commit(CommitTrigger::Policy).await }))
        });
        let outcome = ready!(Pin::new(committing).poll(cx));
        self.committing = None;
        let outcome = outcome.unwrap_or_else(|_| Err(Error::closed("runtime")));
        self.commit_due = outcome.is_err();
        Poll::Ready(outcome)
    }

    /// Moves past a gap and applies the gap policy.
    fn pass(&mut self, index: usize, gap: Gap) -> Result<()> {
        if let Some(partition) = self.partition(index) {
            partition.position = gap.to;
            partition.acks.history().missing(gap.from, gap.to);
            self.telemetry.stands_at(index, gap.to);
        }
        let Gap { at, from, to, reason, .. } = &gap;
        let (topic, partition, reason) = (&at.topic, at.partition, reason.as_str());
        self.telemetry.misses(partition, reason, gap.offsets());
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

    /// The partition with this index, which the queue has reported before its first item.
    #[inline]
    pub(super) fn partition(&mut self, index: usize) -> Option<&mut Partition> {
        let partition = self.partitions.get_mut(index);
        invariant!(partition.is_some(), "partition {index} joined before its first item");
        partition
    }
}

fn too_many_unacknowledged(at: &TopicPartition) -> Error {
    Error::new(
        ErrorKind::BufferFull,
        format!("{MAX_RUNS} separate runs of records await their acknowledgement"),
    )
    .with_topic(&at.topic)
    .with_partition(at.partition)
}
