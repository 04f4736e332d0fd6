//! [`RecordSet`], the record batches of one partition in a message.

use bytes::{BufMut, Bytes, BytesMut};

use super::{input::Input, output::Output, wire::Wire};
use crate::{
    WireError,
    batch::{EncodedBatch, PREFIX_LEN, Split},
};

/// Record batches back to back, with their length in bytes in front. The batches are not decoded; the last batch of a
/// reply may be truncated: see [`RecordSet::split`].
///
/// A received set is a slice of its frame; a set to be sent refers to the bytes of its batches.
#[derive(Debug, Clone, Default)]
pub struct RecordSet {
    first: Bytes,
    more: Vec<Bytes>,
}

impl RecordSet {
    /// Creates a set from the bytes of its batches.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self { first: bytes, more: Vec::new() }
    }

    /// Creates a set of batches. Copies nothing but replaced prefixes.
    #[must_use]
    pub fn from_batches<'a>(batches: impl IntoIterator<Item = &'a EncodedBatch>) -> Self {
        let mut set = Self::default();
        for batch in batches {
            let prefix = batch.prefix();
            if batch.raw().starts_with(&prefix) {
                set.push(batch.raw().clone());
            } else {
                debug_assert_eq!(prefix.len(), PREFIX_LEN);
                set.push(Bytes::copy_from_slice(&prefix));
                set.push(batch.rest());
            }
        }
        set
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces().map(Bytes::len).sum()
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces().all(Bytes::is_empty)
    }

    /// Returns all bytes in one piece. Copies only if the set has several pieces.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if self.more.is_empty() {
            return self.first.clone();
        }
        let mut joined = BytesMut::with_capacity(self.len());
        self.pieces().for_each(|piece| joined.put_slice(piece));
        joined.freeze()
    }

    /// Returns an iterator over the whole batches of the set.
    #[must_use]
    pub fn split(&self) -> Split {
        Split::new(self.to_bytes())
    }

    fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.more.push(piece);
        }
    }

    fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

/// Compares the bytes, however they are divided into pieces.
impl PartialEq for RecordSet {
    fn eq(&self, other: &Self) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}

impl Eq for RecordSet {}

impl Wire for RecordSet {
    fn encode(&self, output: &mut Output, _version: i16) -> Result<(), WireError> {
        output.count(self.len())?;
        self.pieces().for_each(|piece| output.blob(piece));
        Ok(())
    }

    fn decode(input: &mut Input, _version: i16) -> Result<Self, WireError> {
        let length = input.i32()?;
        let Ok(length) = usize::try_from(length) else {
            return Err(input.malformed(format!("{length} bytes of records")));
        };
        input.take(length).map(Self::from_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, FinishOptions, Tail};

    fn batch(value: &[u8]) -> EncodedBatch {
        let mut builder = BatchBuilder::new(256);
        builder.append(0, None, value, &[]).unwrap();
        builder.finish(FinishOptions::default()).unwrap()
    }

    #[test]
    fn batches_keep_their_bytes_and_have_their_assigned_offsets() {
        let batches = [batch(b"one"), batch(b"two").with_base_offset(7)];
        let set = RecordSet::from_batches(&batches);
        assert_eq!(set.len(), batches[0].len() + batches[1].len());
        let mut split = set.split();
        let offsets: Vec<_> = split.by_ref().map(|batch| batch.unwrap().base_offset()).collect();
        assert_eq!(offsets, [batches[0].base_offset(), 7]);
        assert_eq!(split.tail(), Tail::Empty);
        assert_eq!(set, RecordSet::from_bytes(set.to_bytes()));
        assert!(RecordSet::from_batches([]).is_empty());
    }

    #[test]
    fn a_received_set_is_a_slice_of_its_frame_and_may_end_within_a_batch() {
        let whole = batch(b"whole").to_bytes();
        let frame = Bytes::from([&60i32.to_be_bytes(), &whole[..60], b"rest"].concat());
        let mut input = Input::new(frame.clone());
        let set = RecordSet::decode(&mut input, 25).unwrap();
        assert_eq!(set.to_bytes().as_ptr(), frame[4..].as_ptr());
        assert_eq!(input.rest(), "rest");
        let mut split = set.split();
        assert!(split.next().is_none());
        assert_eq!(split.tail(), Tail::Incomplete { available: 60, needed: Some(whole.len()) });
    }

    #[test]
    fn a_negative_or_missing_length_is_refused() {
        let decode = |bytes: &'static [u8]| RecordSet::decode(&mut Input::new(Bytes::from_static(bytes)), 25);
        assert!(matches!(decode(&[0xff, 0xff, 0xff, 0xff]), Err(WireError::Malformed { .. })));
        assert!(matches!(decode(&[0, 0, 0, 2, 1]), Err(WireError::Truncated { needed: 2, .. })));
        assert!(matches!(decode(&[0]), Err(WireError::Truncated { .. })));
    }
}
