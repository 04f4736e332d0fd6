//! Sends records, without async.

use std::time::Duration;

use super::macros::{methods, settings, wrapper};
use crate::{
    Codec, Result, RetryPolicy, SmartModule,
    engine::Acks,
    payload::{PayloadCodec, RecordEncoder, Untyped, formats},
    producer::{
        self, AppendCondition, BatchOutcome, CloseReport, DeliveryMode, Partitioner, ProducerStats,
        RecordMetadata, WhenFull,
    },
    topic::Topic,
};

wrapper! {
    /// Configures a producer before it starts; from [`Client::producer`](super::Client::producer).
    #[must_use = "a builder does nothing until start"]
    ProducerBuilder<C = Untyped>: producer::ProducerBuilder<C>
}

impl ProducerBuilder {
    formats!(ProducerBuilder);

    /// Sends values of one type, encoded by `codec`.
    pub fn payload<C: PayloadCodec>(self, codec: C) -> ProducerBuilder<C> {
        ProducerBuilder::new(self.inner.payload(codec), self.runtime)
    }
}

impl<C> ProducerBuilder<C> {
    settings! { crate::producer::ProducerBuilder:
        linger(linger: Duration);
        batch_size(bytes: usize);
        max_request_size(bytes: usize);
        buffer_memory(bytes: usize);
        batch_queue(batches: usize);
        when_full(when_full: WhenFull);
        timeout(timeout: Duration);
        retry(policy: RetryPolicy);
        max_in_flight(batches: usize);
        partitioner(partitioner: impl Partitioner);
        compression(codec: Codec);
        compression_level(level: i32);
        compression_threshold(bytes: usize);
        delivery(mode: DeliveryMode);
        acks(acks: Acks);
        on_delivery(callback: impl Fn(&BatchOutcome) + Send + Sync + 'static);
        smartmodule(module: SmartModule);
    }

    methods! { crate::producer::ProducerBuilder:
        wrap start(self) -> Producer<C>;
    }
}

wrapper! {
    /// Sends records to one topic. Cheap to clone; all clones share batches, memory and settings.
    ///
    /// One thread that waits for each record sends records one by one; to fill batches, use [`enqueue`](Self::enqueue),
    /// [`send_all`](Self::send_all), or many threads.
    #[derive(Clone)]
    Producer<C = Untyped>: producer::Producer<C>
}

impl<C> Producer<C> {
    methods! { crate::producer::Producer:
        wait send<R>(&self, record: R) -> RecordMetadata where C: RecordEncoder<R>;
        wrap enqueue<R>(&self, record: R) -> Delivery where C: RecordEncoder<R>;
        wait send_all<I>(&self, records: I) -> Vec<RecordMetadata>
            where I: IntoIterator, C: RecordEncoder<I::Item>;
        wrap enqueue_all<I>(&self, records: I) -> Deliveries where I: IntoIterator, C: RecordEncoder<I::Item>;
        wait send_batch<I>(&self, partition: u32, records: I, condition: AppendCondition) -> i64
            where I: IntoIterator, C: RecordEncoder<I::Item>;
        wait flush(&self) -> ();
        wait flush_within(&self, limit: Duration) -> ();
        wait close(&self) -> CloseReport;
        wait close_within(&self, limit: Duration) -> CloseReport;
        get is_closed(&self) -> bool;
        get topic(&self) -> &Topic;
        get partitions(&self) -> u32;
        get stats(&self) -> ProducerStats;
    }

    /// The async producer inside.
    #[must_use]
    pub fn inner(&self) -> &producer::Producer<C> {
        &self.inner
    }
}

wrapper! {
    /// The outcome of a record, to be waited for or not. Dropping it does not cancel the record.
    #[must_use = "wait for it to learn the outcome; the next flush reports a failure that was not observed"]
    Delivery: producer::Delivery
}

impl Delivery {
    /// Waits for the outcome.
    ///
    /// # Errors
    /// The reason why the record was not acknowledged; see [`producer::Producer::send`].
    pub fn wait(self) -> Result<RecordMetadata> {
        self.runtime.wait(self.inner)?
    }
}

wrapper! {
    /// The outcomes of many records, to be waited for or not. Dropping it does not cancel the records.
    #[must_use = "wait for it to learn the outcomes; the next flush reports failures that were not observed"]
    Deliveries: producer::Deliveries
}

impl Deliveries {
    /// Waits for all outcomes.
    ///
    /// # Errors
    /// The error of the first record that was not acknowledged; all the others have their outcome by then.
    pub fn wait(self) -> Result<Vec<RecordMetadata>> {
        self.runtime.wait(self.inner)?
    }
}
