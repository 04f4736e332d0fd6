//! Checks arbitrary bytes as the batches of a producer. A batch that passes must read back whole, within its span, and
//! within the limit.

#![no_main]

use bytes::Bytes;
use floe_wire::{
    WireError,
    batch::{EncodedBatch, Split},
    compress::Decompressor,
};
use libfuzzer_sys::fuzz_target;

/// Limit of the decompressed records.
const LIMIT: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let mut decompressor = Decompressor::default();
    for batch in Split::new(Bytes::copy_from_slice(data)).map_while(Result::ok) {
        let Ok(batch) = sealed(batch).validated(&mut decompressor, LIMIT) else { continue };
        let batch = batch.with_base_offset(1000);
        let records = batch.records_with_limit(LIMIT).expect("a checked batch decompresses");
        let count = records.record_count();
        let mut next = batch.base_offset();
        let mut read = 0;
        for record in records {
            let offset = record.expect("a checked record decodes").offset;
            assert!((next..batch.next_offset()).contains(&offset), "{offset} is outside {next}..");
            next = offset + 1;
            read += 1;
        }
        assert_eq!(read, count);
    }
});

/// Fills in the correct checksum, which a fuzzer does not find.
fn sealed(batch: EncodedBatch) -> EncodedBatch {
    let Err(WireError::Checksum { computed, .. }) = batch.verify_checksum() else { return batch };
    let mut bytes = batch.to_bytes().to_vec();
    bytes[17..21].copy_from_slice(&computed.to_be_bytes());
    EncodedBatch::parse(Bytes::from(bytes)).expect("the header is the same")
}
