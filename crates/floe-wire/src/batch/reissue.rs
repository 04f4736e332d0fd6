//! Sends a batch on under another name.

use super::{
    builder::{FinishOptions, seal},
    encoded::EncodedBatch,
    header::{Attributes, BatchHeader, HEADER_LEN, MAX_BATCH_LEN},
    records::Records,
    trailer::TrailerState,
};
use crate::WireError;

impl Records {
    /// The batch that these records are of, as somebody else sends it: base offset 0, and the producer and compression
    /// that the options say. The bytes of the records stay as they are, so this costs a copy and a checksum.
    ///
    /// ```
    /// use floe_wire::batch::{BatchBuilder, FinishOptions, ProducerIdentity};
    ///
    /// let mut builder = BatchBuilder::new(256);
    /// builder.append(1_700_000_000_000, Some(b"k"), b"cat", &[])?;
    /// let received = builder.finish(FinishOptions::default())?.with_base_offset(40);
    ///
    /// let producer = ProducerIdentity { id: 7, epoch: 0, first_sequence: 12 };
    /// let options = FinishOptions { producer, ..FinishOptions::default() };
    /// let sent_on = received.records()?.reissued(options)?;
    /// assert_eq!((sent_on.base_offset(), sent_on.header().producer), (0, producer));
    /// assert_eq!(sent_on.verify_checksum(), Ok(()));
    /// # Ok::<(), floe_wire::WireError>(())
    /// ```
    ///
    /// # Errors
    /// [`WireError::Malformed`] if the batch has no records, or holes in its offsets, or some of its records were taken,
    /// or it has a trailer that could not be read; [`WireError::TooLarge`] above [`MAX_BATCH_LEN`];
    /// [`WireError::Compression`] if the codec has no such level.
    pub fn reissued(&self, options: FinishOptions) -> Result<EncodedBatch, WireError> {
        let malformed = |problem: &str| WireError::malformed("record batch to send on", problem);
        if !self.is_untouched() {
            return Err(malformed("records were taken from it"));
        }
        if self.record_count() == 0 || !self.is_dense() {
            return Err(malformed("its records do not occupy one offset each"));
        }
        let attributes = match self.trailer_state() {
            TrailerState::Absent => 0,
            TrailerState::Read => Attributes::TRAILER,
            TrailerState::UnknownVersion(_) | TrailerState::Damaged => {
                return Err(malformed("its trailer cannot be read"));
            }
        };
        let section = self.section();
        let size = HEADER_LEN.saturating_add(section.len());
        if size > MAX_BATCH_LEN {
            return Err(WireError::TooLarge { what: "record batch", size, limit: MAX_BATCH_LEN });
        }
        let mut buffer = Vec::with_capacity(size);
        buffer.resize(HEADER_LEN, 0);
        buffer.extend_from_slice(section);
        let last_offset_delta =
            i32::try_from(self.record_count() - 1).map_err(|_| malformed("it has too many records"))?;
        let attributes = Attributes(attributes);
        let header = BatchHeader::unsealed(attributes, last_offset_delta, self.times(), options.producer);
        seal(header, buffer, options.compression)
    }
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
    fn it_is_what_the_other_would_have_built() {
        for (from, to) in [
            (Codec::None, Codec::None),
            (Codec::None, Codec::Lz4),
            (Codec::Zstd, Codec::None),
            (Codec::Lz4, Codec::Zstd),
        ] {
            let received = built(FinishOptions { producer: ProducerIdentity::NONE, ..as_another(from) });
            let received = EncodedBatch::parse(received.with_base_offset(77).to_bytes()).unwrap();
            let sent_on = received.records().unwrap().reissued(as_another(to)).unwrap();
            assert_eq!(sent_on, built(as_another(to)), "{from:?} to {to:?}");
        }
    }

    #[test]
    fn what_is_not_a_whole_batch_is_refused() {
        let mut records = built(FinishOptions::default()).records().unwrap();
        records.next();
        assert!(matches!(records.reissued(FinishOptions::default()), Err(WireError::Malformed { .. })));

        let mut bytes = built(FinishOptions::default()).to_bytes().to_vec();
        // Of the trailer's magic.
        *bytes.last_mut().unwrap() ^= 0xff;
        let damaged = EncodedBatch::parse(bytes.into()).unwrap().records().unwrap();
        assert_eq!(damaged.trailer_state(), TrailerState::Damaged);
        assert!(matches!(damaged.reissued(FinishOptions::default()), Err(WireError::Malformed { .. })));
    }
}
