//! Zig-zag variable-length integers: seven bits a byte, least significant group first, the high bit set on every byte
//! but the last.
//!
//! Every number inside a record has this encoding. Lengths and deltas of real records fit in one or two bytes, which
//! are decoded without a loop.

use crate::WireError;

/// Largest length of one integer in bytes.
pub const MAX_LEN: usize = 10;

/// Returns the encoded length of `value` in bytes.
#[inline]
#[must_use]
pub fn encoded_len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Appends `value` to `out`.
#[inline]
pub fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(low_seven(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low_seven(rest));
}

/// Takes one integer off the front of `input`.
///
/// # Errors
/// [`WireError::Truncated`] if the input ends within the integer; [`WireError::Malformed`] if it has more than
/// [`MAX_LEN`] bytes or more than 64 bits. `input` is then unchanged.
#[inline]
pub fn take(input: &mut &[u8]) -> Result<i64, WireError> {
    match *input {
        [first, rest @ ..] if *first < 0x80 => {
            *input = rest;
            Ok(unzigzag(u64::from(*first)))
        }
        [first, second, rest @ ..] if *second < 0x80 => {
            *input = rest;
            Ok(unzigzag(u64::from(*first & 0x7f) | (u64::from(*second) << 7)))
        }
        _ => take_long(input),
    }
}

fn take_long(input: &mut &[u8]) -> Result<i64, WireError> {
    let mut value = 0u64;
    let mut rest = *input;
    for position in 0..MAX_LEN {
        let Some((byte, after)) = rest.split_first() else {
            return Err(WireError::Truncated {
                what: "variable-length integer",
                needed: position + 1,
                available: position,
            });
        };
        rest = after;
        if position == MAX_LEN - 1 && *byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * position);
        if *byte < 0x80 {
            *input = rest;
            return Ok(unzigzag(value));
        }
    }
    Err(WireError::malformed("variable-length integer", "more than 64 bits"))
}

/// Writes the small fields at the head of a record.
///
/// Gathers bytes in a register and stores eight at a time. Storing them one by one in a buffer and copying it, or
/// growing the batch byte by byte, doubles the time of encoding a small record.
pub(crate) struct HeadWriter<'a> {
    out: &'a mut Vec<u8>,
    /// Bytes not stored yet, the first one lowest.
    word: u64,
    /// Number of bytes in `word`.
    len: usize,
}

impl<'a> HeadWriter<'a> {
    /// Capacity to reserve beyond the written bytes: the writer stores whole words and truncates the excess.
    pub(crate) const EXCESS: usize = 8;

    #[inline]
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, word: 0, len: 0 }
    }

    #[inline]
    pub(crate) fn byte(&mut self, byte: u8) {
        self.add(u64::from(byte), 1);
    }

    #[inline]
    pub(crate) fn varint(&mut self, value: i64) {
        let bits = zigzag(value);
        if bits < 0x80 {
            self.add(bits, 1);
        } else if bits < 0x4000 {
            self.add((bits & 0x7f) | 0x80 | (bits >> 7 << 8), 2);
        } else {
            self.store();
            put(self.out, value);
        }
    }

    /// Stores the remaining bytes.
    #[inline]
    pub(crate) fn finish(mut self) {
        self.store();
    }

    #[inline]
    fn add(&mut self, bytes: u64, count: usize) {
        if self.len + count > size_of::<u64>() {
            self.store();
        }
        self.word |= bytes << (8 * self.len);
        self.len += count;
    }

    #[inline]
    fn store(&mut self) {
        let end = self.out.len() + self.len;
        self.out.extend_from_slice(&self.word.to_le_bytes());
        self.out.truncate(end);
        (self.word, self.len) = (0, 0);
    }
}

#[inline]
fn low_seven(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, value);
        out
    }

    #[test]
    fn documented_encodings() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (300, &[0xd8, 0x04]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            assert_eq!(encoded(value), bytes, "{value}");
            assert_eq!(take(&mut &*bytes), Ok(value));
        }
    }

    #[test]
    fn a_truncated_integer_is_an_error_and_takes_nothing() {
        for bytes in [&[][..], &[0x80], &[0xff, 0xff, 0xff]] {
            let mut input = bytes;
            assert_eq!(
                take(&mut input),
                Err(WireError::Truncated {
                    what: "variable-length integer",
                    needed: bytes.len() + 1,
                    available: bytes.len(),
                })
            );
            assert_eq!(input, bytes);
        }
    }

    #[test]
    fn an_integer_of_more_than_64_bits_is_refused() {
        let unterminated = [0x80u8; 64];
        assert!(matches!(take(&mut &unterminated[..]), Err(WireError::Malformed { .. })));
        let mut overflowing = [0xffu8; 10];
        overflowing[9] = 0x02;
        assert!(matches!(take(&mut &overflowing[..]), Err(WireError::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn every_value_round_trips(value in any::<i64>(), shift in 0u32..64) {
            let value = value >> shift;
            let mut bytes = encoded(value);
            prop_assert_eq!(bytes.len(), encoded_len(value));
            bytes.push(0xaa);
            let mut input = &bytes[..];
            prop_assert_eq!(take(&mut input), Ok(value));
            prop_assert_eq!(input, &[0xaa]);
        }

        #[test]
        fn a_head_is_the_concatenation_of_its_fields(
            fields in proptest::collection::vec((any::<i64>(), 0u32..64, any::<Option<u8>>()), 0..12),
        ) {
            let (mut written, mut expected) = (vec![7], vec![7]);
            let mut head = HeadWriter::new(&mut written);
            for (value, shift, byte) in fields {
                head.varint(value >> shift);
                expected.extend(encoded(value >> shift));
                if let Some(byte) = byte {
                    head.byte(byte);
                    expected.push(byte);
                }
            }
            head.finish();
            prop_assert_eq!(written, expected);
        }

        #[test]
        fn any_bytes_take_at_most_ten(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            let mut input = &bytes[..];
            if take(&mut input).is_ok() {
                let taken = bytes.len() - input.len();
                prop_assert!((1..=MAX_LEN).contains(&taken));
            } else {
                prop_assert_eq!(input.len(), bytes.len());
            }
        }
    }
}
