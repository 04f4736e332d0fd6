//! Values of the benchmark: a record number, and filler that follows from it.

use floe::Codec;

/// Bytes of the record number at the front of each value.
pub(super) const NUMBER_LEN: usize = 8;

/// Step between the filler positions of consecutive values, so that neighbours differ.
const STEP: u64 = 7919;

/// Number of filler positions.
const POSITIONS: usize = 64 * 1024;

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

/// Generates values and recognises unchanged ones.
#[derive(Debug)]
pub(super) struct Payload {
    size: usize,
    filler: Vec<u8>,
}

impl Payload {
    /// Prepares values of `size` bytes that follow from the seed: text that compresses like logs, or incompressible bytes.
    pub(super) fn new(size: usize, compressible: bool, seed: u64) -> Self {
        let length = size + POSITIONS;
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1));
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

    /// Returns a buffer for one value.
    #[cfg(test)]
    pub(super) fn buffer(&self) -> Vec<u8> {
        vec![0; self.size]
    }

    /// Generates the value with this number.
    #[inline]
    pub(super) fn fill(&self, number: u64, value: &mut [u8]) {
        let (head, body) = value.split_at_mut(NUMBER_LEN);
        head.copy_from_slice(&number.to_le_bytes());
        body.copy_from_slice(self.body(number));
    }

    /// Returns the number of a value, or `None` if its bytes changed.
    #[inline]
    pub(super) fn number_of(&self, value: &[u8]) -> Option<u64> {
        let (head, body) = value.split_first_chunk::<NUMBER_LEN>()?;
        let number = u64::from_le_bytes(*head);
        (value.len() == self.size && body == self.body(number)).then_some(number)
    }

    #[inline]
    fn body(&self, number: u64) -> &[u8] {
        let position = usize::try_from(number.wrapping_mul(STEP) % POSITIONS as u64).unwrap_or(0);
        &self.filler[position..position + self.size - NUMBER_LEN]
    }
}

/// xorshift64* generator: fast, and random enough not to compress.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Returns the kind of values for the report.
pub(super) fn describe(compression: Codec) -> &'static str {
    if compression == Codec::None { "random" } else { "compressible" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_from_the_seed() {
        let value = |seed| {
            let mut value = vec![0; 40];
            Payload::new(40, false, seed).fill(3, &mut value);
            value
        };
        assert_eq!(value(7), value(7));
        assert!(value(0) != value(1) && value(1) != value(2));
    }

    #[test]
    fn value_reveals_its_number_and_any_change() {
        for (size, compressible) in [(8, false), (9, true), (100, false), (5000, true)] {
            let payload = Payload::new(size, compressible, 1);
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
