//! The values that are written: a number, and bytes that follow from it.

use floe::Codec;

/// Bytes of the number at the front of each value.
pub(super) const NUMBER_LEN: usize = 8;

/// Values begin at different places of the filler, so that neighbours differ.
const STEP: u64 = 7919;

/// Filler beyond the largest value; places to begin at.
const PLACES: usize = 64 * 1024;

const WORDS: [&str; 16] = [
    "order",
    "customer",
    "status",
    "shipped",
    "pending",
    "amount",
    "total",
    "item",
    "quantity",
    "address",
    "invoice",
    "paid",
    "warehouse",
    "created",
    "updated",
    "user",
];

/// Makes values and tells whether a value is as it was made.
#[derive(Debug)]
pub(super) struct Payload {
    size: usize,
    filler: Vec<u8>,
}

impl Payload {
    /// Values of `size` bytes; text that compresses as logs do, or else bytes that do not compress.
    pub(super) fn new(size: usize, compressible: bool) -> Self {
        let length = size + PLACES;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut filler = Vec::with_capacity(length + 16);
        while filler.len() < length {
            let next = random.next();
            if compressible {
                let word = WORDS[usize::try_from(next % WORDS.len() as u64).unwrap_or(0)];
                filler.extend_from_slice(format!("{word}={} ", next >> 56).as_bytes());
            } else {
                filler.extend_from_slice(&next.to_le_bytes());
            }
        }
        Self { size, filler }
    }

    /// A value to fill.
    #[cfg(test)]
    pub(super) fn buffer(&self) -> Vec<u8> {
        vec![0; self.size]
    }

    /// Makes the value with this number.
    #[inline]
    pub(super) fn fill(&self, number: u64, value: &mut [u8]) {
        let (head, body) = value.split_at_mut(NUMBER_LEN);
        head.copy_from_slice(&number.to_le_bytes());
        body.copy_from_slice(self.body(number));
    }

    /// The number of a value, if it is as it was made.
    #[inline]
    pub(super) fn number_of(&self, value: &[u8]) -> Option<u64> {
        let (head, body) = value.split_first_chunk::<NUMBER_LEN>()?;
        let number = u64::from_le_bytes(*head);
        (value.len() == self.size && body == self.body(number)).then_some(number)
    }

    #[inline]
    fn body(&self, number: u64) -> &[u8] {
        let place = usize::try_from(number.wrapping_mul(STEP) % PLACES as u64).unwrap_or(0);
        &self.filler[place..place + self.size - NUMBER_LEN]
    }
}

/// xorshift64*: quick, and random enough not to compress.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// How the values are described in the report.
pub(super) fn describe(compression: Codec) -> &'static str {
    if compression == Codec::None { "random" } else { "compressible" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_its_number_and_whether_it_was_changed() {
        for (size, compressible) in [(8, false), (9, true), (100, false), (5000, true)] {
            let payload = Payload::new(size, compressible);
            let mut value = payload.buffer();
            for number in [0, 1, 65_536, u64::MAX] {
                payload.fill(number, &mut value);
                assert_eq!(payload.number_of(&value), Some(number));
                assert_eq!(payload.number_of(&value[..size - 1]), None);
                if size > 8 {
                    value[size - 1] ^= 1;
                    assert_eq!(payload.number_of(&value), None);
                }
            }
        }
    }
}
