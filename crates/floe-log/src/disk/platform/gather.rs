//! Vectored writes for systems that lack a positional one.

use std::io::{self, IoSlice};

/// Bytes collected for one write. The 16-byte prefix of every batch is a slice of its own, so without collecting a
/// run of small batches would take two system calls a batch; a larger buffer costs more to fill than a call saves.
pub(super) const GATHER_BYTES: usize = 64 << 10;

/// Writes the first slices with one call of `write` and returns how many bytes that took, which may be less than all.
/// Small slices are copied together; a slice of at least [`GATHER_BYTES`] is written from where it is.
pub(super) fn write_gathered(
    slices: &[IoSlice<'_>],
    write: impl FnOnce(&[u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut filled = slices.iter().filter(|slice| !slice.is_empty());
    let Some(first) = filled.next() else { return Ok(0) };
    if first.len() >= GATHER_BYTES {
        return write(first);
    }
    let mut gathered = first.to_vec();
    for slice in filled {
        let room = GATHER_BYTES - gathered.len();
        gathered.extend_from_slice(slice.get(..room).unwrap_or(slice));
        if gathered.len() == GATHER_BYTES {
            break;
        }
    }
    write(&gathered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(parts: &[&[u8]]) -> Vec<u8> {
        let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut bytes = Vec::new();
        let count = write_gathered(&slices, |part| {
            bytes.extend_from_slice(part);
            Ok(part.len())
        });
        assert_eq!(count.unwrap(), bytes.len());
        bytes
    }

    #[test]
    fn small_slices_share_one_write_and_large_ones_are_not_copied() {
        let large = vec![1; GATHER_BYTES];
        assert_eq!(written(&[]), b"");
        assert_eq!(written(&[b"", b"ab", b"", b"c"]), b"abc");
        assert_eq!(written(&[b"", &large, b"c"]), large);
        let mixed = written(&[b"ab", &large]);
        assert_eq!(mixed.len(), GATHER_BYTES);
        assert!(mixed.starts_with(&[b'a', b'b', 1]));
    }

    #[test]
    fn errors_and_short_writes_are_passed_on() {
        let slices = [IoSlice::new(b"ab"), IoSlice::new(b"cd")];
        assert_eq!(write_gathered(&slices, |_| Ok(1)).unwrap(), 1);
        let refused = write_gathered(&slices, |_| Err(io::ErrorKind::StorageFull.into()));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
