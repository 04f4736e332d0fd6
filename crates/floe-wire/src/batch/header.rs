//! The fixed header of a record batch.

use bytes::Buf;

use crate::{WireError, compress::Codec};

/// Bytes of the fixed header, from the base offset to the first sequence.
pub const HEADER_LEN: usize = 57;

/// The `batch_len` field counts the bytes after this position.
pub const LENGTH_END: usize = 12;

/// Largest whole batch that a Fluvio SPU (platform 0.18) accepts, in bytes; floe keeps the same limit everywhere.
pub const MAX_BATCH_LEN: usize = 33_554_432;

/// Position after the checksum field. The checksum covers the bytes from here to the end of the batch.
pub(crate) const CHECKSUM_START: usize = 21;

/// The magic of the only batch version.
pub(crate) const MAGIC: i8 = 2;

/// Attribute bits of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    /// A schema id of four bytes follows the header. Official servers mishandle such batches: never set it.
    pub const SCHEMA: i16 = 0x0010;
    /// The record section ends in a floe trailer with record headers. Fluvio servers and clients ignore the bit.
    pub const TRAILER: i16 = 0x0100;

    /// Returns the codec of the record section.
    ///
    /// # Errors
    /// [`WireError::Malformed`] for the codec numbers 5 to 7, which are unassigned.
    pub fn codec(self) -> Result<Codec, WireError> {
        Codec::from_code(self.0 & 0b111)
    }

    /// Returns whether a schema id follows the header.
    #[must_use]
    pub fn has_schema(self) -> bool {
        self.0 & Self::SCHEMA != 0
    }

    /// Returns whether a trailer with record headers ends the record section.
    #[must_use]
    pub fn has_trailer(self) -> bool {
        self.0 & Self::TRAILER != 0
    }
}

/// Producer of a batch and sequence number of its first record. A log recognises a retried batch by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProducerIdentity {
    /// Identifies one producer instance; -1 means none.
    pub id: i64,
    /// Raised when the same producer restarts; -1 means none.
    pub epoch: i16,
    /// Sequence number of the first record within this producer and partition; wraps within `0..=i32::MAX`; -1 means
    /// none.
    pub first_sequence: i32,
}

impl ProducerIdentity {
    /// The identity of a batch that names no producer.
    pub const NONE: Self = Self { id: -1, epoch: -1, first_sequence: -1 };

    /// Returns whether the identity names a producer.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.id >= 0
    }
}

impl Default for ProducerIdentity {
    fn default() -> Self {
        Self::NONE
    }
}

/// The decoded header of a record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; assigned by the leader that appends the batch to a partition.
    pub base_offset: i64,
    /// Bytes that follow the length field; the whole batch is 12 bytes longer.
    pub batch_len: i32,
    /// Leader epoch; -1 from clients.
    pub leader_epoch: i32,
    /// CRC-32C of everything after this field.
    pub checksum: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// Offsets that the batch occupies, less one. Authoritative for the offset of the next batch.
    pub last_offset_delta: i32,
    /// Milliseconds since the Unix epoch; zero or less means that the records have no time.
    pub first_timestamp: i64,
    /// Largest record timestamp, milliseconds since the Unix epoch.
    pub max_timestamp: i64,
    /// Producer of the batch.
    pub producer: ProducerIdentity,
}

impl BatchHeader {
    /// Creates the header of a batch that begins at offset 0 and has no leader epoch. Sealing the batch sets length
    /// and checksum.
    pub(super) fn unsealed(
        attributes: Attributes,
        last_offset_delta: i32,
        (first_timestamp, max_timestamp): (i64, i64),
        producer: ProducerIdentity,
    ) -> Self {
        Self {
            base_offset: 0,
            batch_len: 0,
            leader_epoch: -1,
            checksum: 0,
            attributes,
            last_offset_delta,
            first_timestamp,
            max_timestamp,
            producer,
        }
    }

    /// Decodes the header at the start of `input` and ignores the bytes after it.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if there are fewer than [`HEADER_LEN`] bytes; [`WireError::Malformed`] for a wrong
    /// magic or a length below the header's own; [`WireError::TooLarge`] above [`MAX_BATCH_LEN`].
    pub fn decode(input: &[u8]) -> Result<Self, WireError> {
        let Some(mut fields) = input.get(..HEADER_LEN) else {
            return Err(WireError::Truncated {
                what: "record batch header",
                needed: HEADER_LEN,
                available: input.len(),
            });
        };
        let base_offset = fields.get_i64();
        let batch_len = fields.get_i32();
        let leader_epoch = fields.get_i32();
        let magic = fields.get_i8();
        let checksum = fields.get_u32();
        let attributes = Attributes(fields.get_i16());
        let last_offset_delta = fields.get_i32();
        let first_timestamp = fields.get_i64();
        let max_timestamp = fields.get_i64();
        let id = fields.get_i64();
        let epoch = fields.get_i16();
        let first_sequence = fields.get_i32();
        if magic != MAGIC {
            return Err(WireError::malformed(
                "record batch header",
                format!("magic {magic}, expected {MAGIC}"),
            ));
        }
        let header = Self {
            base_offset,
            batch_len,
            leader_epoch,
            checksum,
            attributes,
            last_offset_delta,
            first_timestamp,
            max_timestamp,
            producer: ProducerIdentity { id, epoch, first_sequence },
        };
        header.total_len()?;
        Ok(header)
    }

    /// Returns the length of the whole batch in bytes, header included.
    ///
    /// # Errors
    /// As [`BatchHeader::decode`] for the length field.
    pub fn total_len(&self) -> Result<usize, WireError> {
        whole_len(self.batch_len)
    }

    /// Returns the offset after the last one that the batch occupies.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta.max(-1)) + 1)
    }

    /// Returns the number of offsets that the batch occupies. It may exceed the number of records after compaction or
    /// a SmartModule.
    #[must_use]
    pub fn offset_span(&self) -> u32 {
        (i64::from(self.last_offset_delta.max(-1)) + 1).unsigned_abs().try_into().unwrap_or(u32::MAX)
    }

    /// Computes the checksum of a batch of this header and `rest`. Ignores the checksum in the header.
    pub(super) fn checksum_before(&self, rest: &[u8]) -> u32 {
        let header = self.encode();
        let covered = header.get(CHECKSUM_START..).unwrap_or_default();
        crc32c::crc32c_append(crc32c::crc32c(covered), rest)
    }

    /// Computes the checksum of a batch of this header and the `len` bytes that follow `other`, without reading them.
    /// The checksum of `other` must be correct.
    pub(super) fn checksum_instead_of(&self, other: &Self, len: usize) -> u32 {
        // CRC is linear: the checksum of two pieces is the first one's, shifted by the length of the second, xor the
        // second one's. So the xor of two headers' checksums, shifted, is the xor of the batches' checksums.
        let difference = self.checksum_before(&[]) ^ other.checksum_before(&[]);
        other.checksum ^ crc32c::crc32c_combine(difference, 0, len)
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0u8; HEADER_LEN];
        let mut rest = &mut out[..];
        bytes::BufMut::put_i64(&mut rest, self.base_offset);
        bytes::BufMut::put_i32(&mut rest, self.batch_len);
        bytes::BufMut::put_i32(&mut rest, self.leader_epoch);
        bytes::BufMut::put_i8(&mut rest, MAGIC);
        bytes::BufMut::put_u32(&mut rest, self.checksum);
        bytes::BufMut::put_i16(&mut rest, self.attributes.0);
        bytes::BufMut::put_i32(&mut rest, self.last_offset_delta);
        bytes::BufMut::put_i64(&mut rest, self.first_timestamp);
        bytes::BufMut::put_i64(&mut rest, self.max_timestamp);
        bytes::BufMut::put_i64(&mut rest, self.producer.id);
        bytes::BufMut::put_i16(&mut rest, self.producer.epoch);
        bytes::BufMut::put_i32(&mut rest, self.producer.first_sequence);
        out
    }
}

/// Returns the length of a whole batch from its length field, checked against the header's size and the limit.
pub(crate) fn whole_len(batch_len: i32) -> Result<usize, WireError> {
    let after = usize::try_from(batch_len)
        .map_err(|_| WireError::malformed("record batch header", format!("negative length {batch_len}")))?;
    let total = after + LENGTH_END;
    if total < HEADER_LEN {
        return Err(WireError::malformed(
            "record batch header",
            format!("length {batch_len} is shorter than the header itself"),
        ));
    }
    if total > MAX_BATCH_LEN {
        return Err(WireError::TooLarge { what: "record batch", size: total, limit: MAX_BATCH_LEN });
    }
    Ok(total)
}
