//! Reissues a received batch under another producer, as it is or with another compression.

use super::{
    builder::{FinishOptions, seal},
    encoded::EncodedBatch,
    header::{Attributes, BatchHeader, HEADER_LEN, MAX_BATCH_LEN, ProducerIdentity},
    records::Records,
    trailer::TrailerState,
};
use crate::{WireError, compress::Codec};

impl EncodedBatch {
    /// Returns the batch with base offset 0 and the producer and compression of the options. The bytes of the records
    /// are kept. If neither batch is compressed, both share them without reading them: a wrong checksum stays wrong.
    ///
    /// ```
    /// use floe_wire::batch::{BatchBuilder, FinishOptions, ProducerIdentity};
    ///
    /// let mut builder = BatchBuilder::new(256);
    /// builder.append(1_700_000_000_000, Some(b"k"), b"cat", &[])?;
    /// let received = builder.finish(FinishOptions::default())?.with_base_offset(40);
    ///
    /// let producer = ProducerIdentity { id: 7, epoch: 0, first_sequence: 12 };
    /// let reissued = received.reissued(FinishOptions { producer, ..FinishOptions::default() })?;
    /// assert_eq!((reissued.base_offset(), reissued.header().producer), (0, producer));
    /// assert_eq!(reissued.verify_checksum(), Ok(()));
    /// # Ok::<(), floe_wire::WireError>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`EncodedBatch::records`]; [`WireError::Malformed`] if the batch has no records, or holes in its
    /// offsets, or an unreadable trailer; [`WireError::TooLarge`] above [`MAX_BATCH_LEN`]; [`WireError::Compression`]
    /// if the codec has no such level.
    pub fn reissued(&self, options: FinishOptions) -> Result<Self, WireError> {
        let FinishOptions { compression, producer } = options;
        let malformed = |problem: &str| WireError::malformed("record batch to reissue", problem);
        let records = self.records()?;
        if records.record_count() == 0 || !records.is_dense() {
            return Err(malformed("the records do not occupy one offset each"));
        }
        let attributes = match records.trailer_state() {
            TrailerState::Absent => 0,
            TrailerState::Read => Attributes::TRAILER,
            TrailerState::UnknownVersion(_) | TrailerState::Damaged => {
                return Err(malformed("the trailer is unreadable"));
            }
        };
        let last_offset_delta =
            i32::try_from(records.record_count() - 1).map_err(|_| malformed("too many records"))?;
        let header =
            BatchHeader::unsealed(Attributes(attributes), last_offset_delta, records.times(), producer);
        let compresses = compression.codec != Codec::None && records.section_len() >= compression.threshold;
        if !compresses && self.is_plain() {
            return Ok(self.with_other_header(header));
        }
        Ok(seal(header, buffer_of(&records)?, compression)?.dense())
    }

    /// Returns the batch under another producer, with base offset 0 and no leader epoch, as a producer sends it. All bytes
    /// after the header are kept, compressed or not, and so are attributes, times and the offsets that the batch
    /// occupies. The checksum is adapted without reading the records: a wrong one stays wrong.
    ///
    /// ```
    /// use floe_wire::batch::{BatchBuilder, FinishOptions, ProducerIdentity};
    ///
    /// let mut builder = BatchBuilder::new(256);
    /// builder.append(1_700_000_000_000, Some(b"k"), b"cat", &[])?;
    /// let stored = builder.finish(FinishOptions::default())?.with_base_offset(40);
    ///
    /// let producer = ProducerIdentity { id: 7, epoch: 0, first_sequence: 12 };
    /// let forwarded = stored.clone().with_producer(producer);
    /// assert_eq!((forwarded.base_offset(), forwarded.header().producer), (0, producer));
    /// assert_eq!(forwarded.rest(), stored.rest());
    /// assert_eq!(forwarded.verify_checksum(), Ok(()));
    /// # Ok::<(), floe_wire::WireError>(())
    /// ```
    #[must_use]
    pub fn with_producer(self, producer: ProducerIdentity) -> Self {
        let own = *self.header();
        let mut header = BatchHeader { base_offset: 0, leader_epoch: -1, producer, ..own };
        header.checksum = header.checksum_instead_of(&own, self.len() - HEADER_LEN);
        self.with_header(header)
    }

    /// Returns whether the uncompressed records follow the header directly.
    fn is_plain(&self) -> bool {
        let attributes = self.header().attributes;
        attributes.codec() == Ok(Codec::None) && !attributes.has_schema()
    }

    /// Replaces the header and shares the bytes of the records.
    fn with_other_header(&self, header: BatchHeader) -> Self {
        let own = self.header();
        let mut header = BatchHeader { batch_len: own.batch_len, ..header };
        header.checksum = header.checksum_instead_of(own, self.len() - HEADER_LEN);
        self.clone().with_header(header).dense()
    }
}

/// Copies the uncompressed records behind room for a header.
fn buffer_of(records: &Records) -> Result<Vec<u8>, WireError> {
    let section = records.section();
    let size = HEADER_LEN.saturating_add(section.len());
    if size > MAX_BATCH_LEN {
        return Err(WireError::TooLarge { what: "record batch", size, limit: MAX_BATCH_LEN });
    }
    let mut buffer = Vec::with_capacity(size);
    buffer.resize(HEADER_LEN, 0);
    buffer.extend_from_slice(section);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::{BatchBuilder, ProducerIdentity},
        compress::{Codec, Compression},
    };

    const T0: i64 = 1_700_000_000_000;

    fn built(options: FinishOptions) -> EncodedBatch {
        let mut builder = BatchBuilder::new(256);
        builder.append(T0, Some(b"k"), b"one", &[]).unwrap();
        builder.append(T0 + 7, None, &[b'a'; 500], &[("name", b"value")]).unwrap();
        builder.append(T0 + 3, None, b"three", &[]).unwrap();
        builder.finish(options).unwrap()
    }

    fn as_another(codec: Codec) -> FinishOptions {
        let producer = ProducerIdentity { id: 99, epoch: 1, first_sequence: 1000 };
        FinishOptions { compression: Compression { threshold: 0, ..Compression::new(codec) }, producer }
    }

    #[test]
    fn a_reissued_batch_equals_one_built_with_its_options() {
        for (from, to) in [
            (Codec::None, Codec::None),
            (Codec::None, Codec::Lz4),
            (Codec::Zstd, Codec::None),
            (Codec::Lz4, Codec::Zstd),
        ] {
            if !from.is_compiled_in() || !to.is_compiled_in() {
                continue;
            }
            let received = built(FinishOptions { producer: ProducerIdentity::NONE, ..as_another(from) });
            let received = EncodedBatch::parse(received.with_base_offset(77).to_bytes()).unwrap();
            let reissued = received.reissued(as_another(to)).unwrap();
            let expected = built(as_another(to));
            assert_eq!(reissued.to_bytes(), expected.to_bytes(), "{from:?} to {to:?}");
            assert_eq!(EncodedBatch::parse(reissued.to_bytes()), Ok(expected));
        }
    }

    #[test]
    fn uncompressed_records_are_shared_and_damage_stays_detectable() {
        let options = || as_another(Codec::None);
        let received = built(FinishOptions { producer: ProducerIdentity::NONE, ..options() });
        let reissued = received.reissued(options()).unwrap();
        assert_eq!(reissued.rest().as_ptr(), received.rest().as_ptr());
        let again = reissued.with_base_offset(5).reissued(options()).unwrap();
        assert_eq!(again.rest().as_ptr(), received.rest().as_ptr());

        let mut bytes = received.to_bytes().to_vec();
        let in_a_value = bytes.windows(3).position(|window| window == b"one").unwrap();
        bytes[in_a_value] ^= 1;
        let damaged = EncodedBatch::parse(bytes.into()).unwrap().reissued(options()).unwrap();
        assert!(matches!(damaged.verify_checksum(), Err(WireError::Checksum { .. })));
    }

    #[test]
    fn another_producer_changes_the_header_alone() {
        for codec in [Codec::None, Codec::Gzip, Codec::Lz4, Codec::Zstd] {
            if !codec.is_compiled_in() {
                continue;
            }
            let built = built(FinishOptions { producer: ProducerIdentity::NONE, ..as_another(codec) });
            let bytes = built.with_base_offset(77).with_leader_epoch(3).to_bytes();
            let stored = EncodedBatch::parse(bytes.clone()).unwrap();
            let producer = ProducerIdentity { id: 99, epoch: 1, first_sequence: 1000 };
            let forwarded = EncodedBatch::parse(stored.with_producer(producer).to_bytes()).unwrap();
            assert_eq!(forwarded.verify_checksum(), Ok(()), "{codec:?}");
            assert_eq!(forwarded.rest(), bytes.slice(HEADER_LEN..));
            assert_eq!(forwarded.header().attributes.codec(), Ok(codec));
            let expected: Vec<_> = stored_records(bytes.clone()).collect();
            assert_eq!(stored_records(forwarded.to_bytes()).collect::<Vec<_>>(), expected);

            let mut damaged = bytes.to_vec();
            *damaged.last_mut().unwrap() ^= 1;
            let damaged = EncodedBatch::parse(damaged.into()).unwrap().with_producer(producer);
            assert!(matches!(damaged.verify_checksum(), Err(WireError::Checksum { .. })));
        }
    }

    /// Contents and times of the records, without their offsets.
    fn stored_records(
        bytes: bytes::Bytes,
    ) -> impl Iterator<Item = (Option<i64>, Option<bytes::Bytes>, bytes::Bytes)> {
        let records = EncodedBatch::parse(bytes).unwrap().records().unwrap();
        records.map(Result::unwrap).map(|record| (record.timestamp, record.key, record.value))
    }

    #[test]
    fn damaged_trailers_and_holes_are_refused() {
        let mut bytes = built(FinishOptions::default()).to_bytes().to_vec();
        // The last byte of the trailer's magic.
        *bytes.last_mut().unwrap() ^= 0xff;
        let damaged = EncodedBatch::parse(bytes.into()).unwrap();
        assert_eq!(damaged.records().unwrap().trailer_state(), TrailerState::Damaged);
        assert!(matches!(damaged.reissued(FinishOptions::default()), Err(WireError::Malformed { .. })));

        let mut builder = BatchBuilder::new(64);
        builder.append(T0, None, b"one", &[]).unwrap();
        let mut bytes = builder.finish(FinishOptions::default()).unwrap().to_bytes().to_vec();
        // The offset delta, after count, length, attributes and time delta.
        bytes[HEADER_LEN + 7] = 2;
        let holed = EncodedBatch::parse(bytes.into()).unwrap();
        assert!(matches!(holed.reissued(FinishOptions::default()), Err(WireError::Malformed { .. })));
    }
}
