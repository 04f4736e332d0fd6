//! Splits a run of bytes, as read from a file or a reply, into whole batches.

use bytes::Bytes;

use super::{
    encoded::EncodedBatch,
    header::{BatchHeader, HEADER_LEN, LENGTH_END, MAGIC, whole_len},
};
use crate::WireError;

/// Position of the magic in a batch.
const MAGIC_AT: usize = 16;

/// Bytes after the last whole batch of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// No bytes.
    Empty,
    /// A truncated batch.
    Incomplete {
        /// Number of bytes of it in the run.
        available: usize,
        /// Length of the whole batch; `None` if its length field is truncated, too.
        needed: Option<usize>,
    },
}

/// Iterator over the whole batches at the front of a run of bytes; they are slices of it.
///
/// Ends at the first incomplete batch, which [`Split::tail`] then describes, or after one error for a malformed
/// header. Checksums are not verified.
///
/// ```
/// use bytes::Bytes;
/// use floe_wire::batch::{BatchBuilder, FinishOptions, Split, Tail};
///
/// let mut builder = BatchBuilder::new(256);
/// builder.append(0, None, b"a record", &[])?;
/// let batch = builder.finish(FinishOptions::default())?.to_bytes();
/// let run = [&batch[..], &batch[..20]].concat();
///
/// let mut split = Split::new(Bytes::from(run));
/// assert_eq!(split.by_ref().count(), 1);
/// assert_eq!(split.tail(), Tail::Incomplete { available: 20, needed: Some(batch.len()) });
/// # Ok::<(), floe_wire::WireError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Split {
    rest: Bytes,
    failed: bool,
}

impl Split {
    /// Creates an iterator over `run`.
    #[must_use]
    pub fn new(run: Bytes) -> Self {
        Self { rest: run, failed: false }
    }

    /// Returns the bytes that were not returned as batches yet.
    #[must_use]
    pub fn remaining(&self) -> &Bytes {
        &self.rest
    }

    /// Returns a description of the bytes after the batches returned so far. Meant to be called when the iterator has
    /// ended: before that, and after an error, it describes the next batch or the malformed bytes by their length
    /// field.
    #[must_use]
    pub fn tail(&self) -> Tail {
        if self.rest.is_empty() {
            return Tail::Empty;
        }
        Tail::Incomplete { available: self.rest.len(), needed: batch_len_at(&self.rest).ok().flatten() }
    }
}

impl Iterator for Split {
    type Item = Result<EncodedBatch, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        let outcome = match batch_len_at(&self.rest) {
            Ok(Some(total)) if total <= self.rest.len() => BatchHeader::decode(&self.rest)
                .map(|header| EncodedBatch::from_parts(header, self.rest.split_to(total))),
            Ok(_) => return None,
            Err(error) => Err(error),
        };
        self.failed = outcome.is_err();
        Some(outcome)
    }
}

impl std::iter::FusedIterator for Split {}

/// Returns the length of the whole batch at the start of `input`, header included; `None` if the length field is
/// incomplete. Checks the magic if `input` reaches it.
///
/// # Errors
/// The errors of [`BatchHeader::decode`] for the length field and the magic.
pub(super) fn batch_len_at(input: &[u8]) -> Result<Option<usize>, WireError> {
    let Some(length) = input.get(LENGTH_END - 4..LENGTH_END).and_then(|field| field.first_chunk::<4>())
    else {
        return Ok(None);
    };
    let total = whole_len(i32::from_be_bytes(*length))?;
    debug_assert!(total >= HEADER_LEN, "whole_len refuses less");
    match input.get(MAGIC_AT) {
        Some(magic) if magic.cast_signed() != MAGIC => Err(WireError::malformed(
            "record batch header",
            format!("magic {}, expected {MAGIC}", magic.cast_signed()),
        )),
        _ => Ok(Some(total)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, FinishOptions};

    fn batch(value: &[u8]) -> Bytes {
        let mut builder = BatchBuilder::new(128);
        builder.append(5, None, value, &[]).unwrap();
        builder.finish(FinishOptions::default()).unwrap().to_bytes()
    }

    #[test]
    fn a_run_cut_anywhere_gives_its_whole_batches_and_the_missing_length() {
        let batches = [batch(b"one"), batch(b"the second"), batch(b"")];
        let run = Bytes::from(batches.concat());
        for end in 0..=run.len() {
            let mut split = Split::new(run.slice(..end));
            let mut start = 0;
            for expected in &batches {
                if end < start + expected.len() {
                    break;
                }
                let found = split.next().unwrap().unwrap();
                assert_eq!(&found.to_bytes(), expected);
                assert_eq!(found.raw().as_ptr(), run[start..].as_ptr(), "batches are slices of the run");
                start += expected.len();
            }
            assert_eq!(split.next(), None, "cut at {end}");
            let tail = match end - start {
                0 => Tail::Empty,
                available => {
                    let next = batches.iter().scan(0, |sum, batch| {
                        *sum += batch.len();
                        Some((*sum, batch.len()))
                    });
                    let needed = next.into_iter().find(|(sum, _)| *sum > start).map(|(_, length)| length);
                    Tail::Incomplete { available, needed: needed.filter(|_| available >= LENGTH_END) }
                }
            };
            assert_eq!(split.tail(), tail, "cut at {end}");
        }
    }

    #[test]
    fn a_malformed_header_yields_one_error_and_ends_the_iteration() {
        let good = batch(b"good");
        let change = |at: usize, bytes: &[u8]| {
            let mut bad = good.to_vec();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            bad
        };
        for (bad, visible) in [
            (change(16, &[1]), 17),
            (change(8, &44i32.to_be_bytes()), 12),
            (change(8, &(-1i32).to_be_bytes()), 12),
            (change(8, &i32::MAX.to_be_bytes()), 12),
        ] {
            // The error is reported as soon as its bytes arrive, not only with the whole header.
            for end in [visible, bad.len()] {
                let run = [&good[..], &bad[..end]].concat();
                let mut split = Split::new(Bytes::from(run));
                assert!(split.next().unwrap().is_ok());
                assert!(split.next().unwrap().is_err());
                assert_eq!(split.next(), None);
                assert_eq!(split.remaining().len(), end);
            }
        }
    }
}
