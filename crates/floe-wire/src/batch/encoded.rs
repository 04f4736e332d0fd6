//! A complete batch as bytes, with its header decoded.

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{BatchHeader, HEADER_LEN};
use crate::WireError;

/// Length of the prefix, the part of a batch that may differ from the received or encoded bytes: the header.
pub const PREFIX_LEN: usize = HEADER_LEN;

/// One complete record batch: its bytes and its decoded header. Cloning copies pointers, never records.
///
/// The header may differ from the bytes: [`EncodedBatch::with_base_offset`], [`EncodedBatch::with_producer`] and
/// [`EncodedBatch::reissued`] replace only the header. Write [`EncodedBatch::prefix`] followed by
/// [`EncodedBatch::rest`], or take [`EncodedBatch::to_bytes`].
#[derive(Debug, Clone)]
pub struct EncodedBatch {
    header: BatchHeader,
    bytes: Bytes,
    /// Whether this process has computed the checksum from these very bytes and need not verify it.
    verified: bool,
    /// Whether this process has given the records one offset each, or has checked that they occupy one each.
    dense: bool,
}

impl PartialEq for EncodedBatch {
    fn eq(&self, other: &Self) -> bool {
        self.header == other.header && self.bytes.get(PREFIX_LEN..) == other.bytes.get(PREFIX_LEN..)
    }
}

impl Eq for EncodedBatch {}

impl EncodedBatch {
    /// Parses exactly one complete batch. The checksum is not verified: see [`EncodedBatch::verify_checksum`].
    ///
    /// # Errors
    /// As [`BatchHeader::decode`]; also [`WireError::Truncated`] or [`WireError::Malformed`] when there are fewer or
    /// more bytes than the header says.
    pub fn parse(bytes: Bytes) -> Result<Self, WireError> {
        let header = BatchHeader::decode(&bytes)?;
        let total = header.total_len()?;
        if bytes.len() < total {
            return Err(WireError::Truncated { what: "record batch", needed: total, available: bytes.len() });
        }
        if bytes.len() > total {
            return Err(WireError::malformed(
                "record batch",
                format!("{} bytes follow its end", bytes.len() - total),
            ));
        }
        Ok(Self { header, bytes, verified: false, dense: false })
    }

    /// Wraps one complete batch whose header is already decoded.
    pub(super) fn from_parts(header: BatchHeader, bytes: Bytes) -> Self {
        Self { header, bytes, verified: false, dense: false }
    }

    /// Wraps bytes that this process has just encoded with their checksum.
    pub(super) fn built(header: BatchHeader, bytes: Bytes) -> Self {
        Self { header, bytes, verified: true, dense: false }
    }

    /// Marks the records as dense: one offset each, without holes.
    pub(super) fn dense(self) -> Self {
        Self { dense: true, ..self }
    }

    /// Replaces the header by one with a correct checksum.
    pub(super) fn with_header(self, header: BatchHeader) -> Self {
        Self { header, ..self }
    }

    /// Returns whether the records are known to be dense.
    pub(super) fn is_dense(&self) -> bool {
        self.dense
    }

    /// Returns the decoded header, with the base offset as assigned.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Returns the offset of the first record.
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        self.header.base_offset
    }

    /// Returns the offset after the last one that the batch occupies.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.header.next_offset()
    }

    /// Returns the size of the whole batch in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch always has a header")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Moves the batch to another offset. Copies nothing.
    #[must_use]
    pub fn with_base_offset(mut self, base_offset: i64) -> Self {
        self.header.base_offset = base_offset;
        self
    }

    /// Sets another leader epoch. Copies nothing.
    #[must_use]
    pub fn with_leader_epoch(mut self, leader_epoch: i32) -> Self {
        self.header.leader_epoch = leader_epoch;
        self
    }

    /// Returns the first [`PREFIX_LEN`] bytes, with the base offset and leader epoch as assigned.
    #[must_use]
    pub fn prefix(&self) -> [u8; PREFIX_LEN] {
        self.header.encode()
    }

    /// Returns everything after the prefix.
    #[must_use]
    pub fn rest(&self) -> Bytes {
        self.bytes.slice(PREFIX_LEN..)
    }

    /// Copies the batch into memory of its own. A batch that was split off a larger buffer keeps all of that in memory.
    #[must_use]
    pub fn detached(self) -> Self {
        Self { bytes: Bytes::copy_from_slice(&self.bytes), ..self }
    }

    /// Returns the whole batch in one piece. Copies only if the prefix differs from the bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let prefix = self.prefix();
        if self.bytes.starts_with(&prefix) {
            return self.bytes.clone();
        }
        let mut out = BytesMut::with_capacity(self.bytes.len());
        out.put_slice(&prefix);
        out.put_slice(self.bytes.get(PREFIX_LEN..).unwrap_or_default());
        out.freeze()
    }

    /// Compares the stored checksum with the bytes. Costs nothing for a batch that this process has built, or that
    /// [`EncodedBatch::verified`] has returned.
    ///
    /// # Errors
    /// [`WireError::Checksum`] when they differ.
    pub fn verify_checksum(&self) -> Result<(), WireError> {
        if self.verified {
            return Ok(());
        }
        let computed = self.header.checksum_before(self.bytes.get(PREFIX_LEN..).unwrap_or_default());
        if computed == self.header.checksum {
            return Ok(());
        }
        Err(WireError::Checksum {
            base_offset: self.header.base_offset,
            stored: self.header.checksum,
            computed,
        })
    }

    /// Verifies the checksum and returns the batch marked as verified: later verifications of it cost nothing.
    ///
    /// # Errors
    /// [`WireError::Checksum`] when the checksum is wrong.
    pub fn verified(mut self) -> Result<Self, WireError> {
        self.verify_checksum()?;
        self.verified = true;
        Ok(self)
    }

    /// Returns the bytes as received or encoded; their prefix may hold another base offset.
    pub(crate) fn raw(&self) -> &Bytes {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, FinishOptions};

    fn batch() -> EncodedBatch {
        let mut builder = BatchBuilder::new(128);
        builder.append(5, None, b"one", &[]).unwrap();
        builder.append(5, None, b"two", &[]).unwrap();
        builder.finish(FinishOptions::default()).unwrap()
    }

    #[test]
    fn another_offset_or_epoch_changes_the_prefix_alone() {
        let batch = batch();
        let moved = batch.clone().with_base_offset(0x0102_0304).with_leader_epoch(9);
        assert_eq!((moved.base_offset(), moved.next_offset()), (0x0102_0304, 0x0102_0306));
        assert_eq!(moved.prefix()[..8], [0, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(moved.prefix()[12..16], [0, 0, 0, 9]);
        assert_eq!(moved.prefix()[16..], batch.to_bytes()[16..PREFIX_LEN]);
        assert_eq!(moved.rest().as_ptr(), batch.rest().as_ptr(), "nothing is copied");
        let bytes = moved.to_bytes();
        assert_eq!(bytes, [&moved.prefix()[..], &moved.rest()].concat());
        let parsed = EncodedBatch::parse(bytes).unwrap();
        assert_eq!(parsed.header(), moved.header());
        assert_eq!(parsed.verify_checksum(), Ok(()), "the prefix lies outside the checksum");
        let offsets: Vec<_> = moved.records().unwrap().map(|record| record.unwrap().offset).collect();
        assert_eq!(offsets, [0x0102_0304, 0x0102_0305]);
    }

    #[test]
    fn an_unchanged_batch_is_not_copied() {
        let batch = batch();
        assert_eq!(batch.to_bytes().as_ptr(), batch.raw().as_ptr());
        assert_eq!(batch.len(), batch.raw().len());
    }

    #[test]
    fn a_verified_checksum_is_remembered_and_a_wrong_one_refused() {
        let good = batch().to_bytes();
        let verified = EncodedBatch::parse(good.clone()).unwrap().verified().unwrap();
        assert!(verified.verified);
        assert_eq!(verified.verify_checksum(), Ok(()));
        let mut bad = good.to_vec();
        *bad.last_mut().unwrap() ^= 1;
        let bad = EncodedBatch::parse(Bytes::from(bad)).unwrap();
        assert!(matches!(bad.verified(), Err(WireError::Checksum { .. })));
    }

    #[test]
    fn parse_takes_exactly_one_batch() {
        let bytes = batch().to_bytes();
        for cut in 0..bytes.len() {
            let needed = if cut < HEADER_LEN { HEADER_LEN } else { bytes.len() };
            match EncodedBatch::parse(bytes.slice(..cut)) {
                Err(WireError::Truncated { needed: told, available, .. }) => {
                    assert_eq!((told, available), (needed, cut));
                }
                other => panic!("cut at {cut}: {other:?}"),
            }
        }
        let longer = Bytes::from([&bytes[..], &[0]].concat());
        assert!(matches!(EncodedBatch::parse(longer), Err(WireError::Malformed { .. })));
    }
}
