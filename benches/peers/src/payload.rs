//! Record payloads: a number, and text that compresses about as well as JSON events.

/// Length of the text from which payloads are cut.
const STOCK: usize = 64 * 1024;

/// Length of the number and the space behind it.
const NUMBER_LEN: usize = 12;

const WORDS: [&str; 14] = [
    "sensor",
    "temperature",
    "offset",
    "value",
    "ok",
    "warn",
    "stream",
    "\"id\":",
    "12",
    "7",
    "2026-11-22",
    ",",
    "{",
    "}",
];

#[derive(Debug)]
pub(crate) struct Payload {
    stock: Vec<u8>,
    value: Vec<u8>,
}

impl Payload {
    pub(crate) fn new(size: usize) -> Self {
        let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
        let mut stock = Vec::with_capacity(STOCK + size + 16);
        while stock.len() < STOCK + size {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            stock.extend_from_slice(WORDS[(noise >> 20) as usize % WORDS.len()].as_bytes());
            stock.push(b' ');
        }
        Self { stock, value: vec![0; size.max(NUMBER_LEN)] }
    }

    /// Returns the payload of a record; it is valid until the next call.
    pub(crate) fn record(&mut self, number: u64) -> &[u8] {
        let mut rest = number;
        for digit in self.value[..NUMBER_LEN - 1].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.value[NUMBER_LEN - 1] = b' ';
        let from = (number as usize).wrapping_mul(7919) % STOCK;
        let filler = &mut self.value[NUMBER_LEN..];
        filler.copy_from_slice(&self.stock[from..from + filler.len()]);
        &self.value
    }
}

/// Parses the number at the beginning of a payload.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    value
        .get(..NUMBER_LEN - 1)?
        .iter()
        .try_fold(0u64, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}
