//! Encoding and decoding with the official crate.

use fluvio_protocol::{
    Decoder, Encoder,
    record::{Batch, MemoryRecords, RawRecords, Record, RecordData, RecordKey, RecordSet},
};

use crate::generate::{GeneratedBatch, GeneratedRecord};

/// Encodes the batch with the official encoder and this codec number.
pub(crate) fn encode(batch: &GeneratedBatch, codec: i16) -> Vec<u8> {
    let mut official = Batch::<MemoryRecords>::default();
    for record in &batch.records {
        let value = RecordData::from(record.value.clone());
        let mut encoded = match &record.key {
            Some(key) => Record::new_key_value(RecordKey::from(key.clone()), value),
            None => Record::new(value),
        };
        encoded.preamble.set_timestamp_delta(record.timestamp - batch.first_timestamp());
        official.mut_records().push(encoded);
    }
    official.update_offset_deltas();
    let header = official.get_mut_header();
    header.first_timestamp = batch.first_timestamp();
    header.max_time_stamp = batch.max_timestamp();
    header.producer_id = batch.producer.id;
    header.producer_epoch = batch.producer.epoch;
    header.first_sequence = batch.producer.first_sequence;
    header.attributes = codec;
    let mut bytes = Vec::new();
    if codec == 0 {
        official.encode(&mut bytes, 0).unwrap();
    } else {
        Batch::<RawRecords>::try_from(official).unwrap().encode(&mut bytes, 0).unwrap();
    }
    bytes
}

/// Decodes the records like the official consumer, through a record set of raw batches.
pub(crate) fn decode(bytes: &[u8]) -> Vec<GeneratedRecord> {
    let mut set = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    set.extend_from_slice(bytes);
    let set = RecordSet::<RawRecords>::decode_from(&mut &set[..], 0).unwrap();
    let mut records = Vec::new();
    for raw in set.batches {
        let batch = Batch::<MemoryRecords>::try_from(raw).unwrap();
        let span = batch.records_len();
        assert_eq!(batch.records().len(), span, "the official reader reads every record");
        for (index, record) in batch.into_consumer_records_iter(0).enumerate() {
            assert_eq!(record.offset(), i64::try_from(index).unwrap());
            assert_eq!(record.inner().headers, 0);
            assert_eq!(record.inner().offset_delta(), record.offset());
            records.push(GeneratedRecord {
                timestamp: record.timestamp(),
                key: record.key().map(<[u8]>::to_vec),
                value: record.value().to_vec(),
                headers: Vec::new(),
            });
        }
    }
    records
}
