//! The search for the end of JSON containers and texts.

use memchr::memchr2;

/// Arrays and objects inside each other at most, as the common parsers of JSON limit them.
pub(super) const MAX_DEPTH: usize = 128;

/// Words of a text that are searched in place; a longer text is worth the start of a vector search.
const SHORT_WORDS: usize = 4;

/// Bytes whose marks fit one integer.
const BLOCK: usize = 64;

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);
const QUOTES: u64 = u64::from_ne_bytes([b'"'; 8]);
const BACKSLASHES: u64 = u64::from_ne_bytes([b'\\'; 8]);

/// Moves the lowest bit of each byte of a word to the highest byte, in order.
const GATHER: u64 = 0x0102_0408_1020_4080;

/// The place behind the end of containers, so that `target` of the `depth` open ones stay open.
///
/// Blocks of bytes become bits, one for each byte, which takes no branch for each text or bracket.
pub(super) fn containers_end(bytes: &[u8], mut at: usize, mut depth: usize, target: usize) -> Option<usize> {
    // All bits are set while a block begins inside of a text.
    let mut inside = 0;
    while depth > target {
        let block = bytes.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>());
        let Some(block) = block.filter(|block| marks(block, |byte| byte == b'\\') == 0) else {
            if inside != 0 {
                at = text_end(bytes, at)?.0 + 1;
                inside = 0;
            }
            (at, depth) = bytewise(bytes, at, depth, target)?;
            continue;
        };
        let texts = parity(marks(block, |byte| byte == b'"')) ^ inside;
        // The bit 0x20 is the only difference between the two kinds of brackets.
        let opens = marks(block, |byte| byte | 0x20 == b'{') & !texts;
        let closes = marks(block, |byte| byte | 0x20 == b'}') & !texts;
        let (open, closed) = (opens.count_ones() as usize, closes.count_ones() as usize);
        if depth > target + closed && depth + open <= MAX_DEPTH {
            depth = depth + open - closed;
        } else {
            let mut brackets = opens | closes;
            while brackets != 0 {
                let place = brackets.trailing_zeros();
                if opens >> place & 1 == 1 {
                    depth += 1;
                } else {
                    depth -= 1;
                }
                if depth == target {
                    return Some(at + place as usize + 1);
                }
                if depth > MAX_DEPTH {
                    return None;
                }
                brackets &= brackets - 1;
            }
        }
        inside = 0_u64.wrapping_sub(texts >> (BLOCK - 1));
        at += BLOCK;
    }
    Some(at)
}

/// Moves byte by byte for about a block, and returns the place and the depth there.
fn bytewise(bytes: &[u8], mut at: usize, mut depth: usize, target: usize) -> Option<(usize, usize)> {
    let end = at + BLOCK;
    while depth > target && at < end {
        match *bytes.get(at)? {
            b'"' => at = text_end(bytes, at + 1)?.0,
            b'{' | b'[' if depth == MAX_DEPTH => return None,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    Some((at, depth))
}

/// Marks the bytes of a block for which the test holds; the first byte is the lowest bit.
#[inline]
fn marks(block: &[u8; BLOCK], test: impl Fn(u8) -> bool) -> u64 {
    let mut flags = [0_u8; BLOCK];
    for (flag, byte) in flags.iter_mut().zip(block) {
        *flag = u8::from(test(*byte));
    }
    let (words, _) = flags.as_chunks::<8>();
    words
        .iter()
        .rev()
        .fold(0, |marks, word| marks << 8 | u64::from_le_bytes(*word).wrapping_mul(GATHER) >> 56)
}

/// Sets each bit to the parity of the bits up to it: the bytes from an opening quote to before its closing one.
#[inline]
const fn parity(mut marks: u64) -> u64 {
    marks ^= marks << 1;
    marks ^= marks << 2;
    marks ^= marks << 4;
    marks ^= marks << 8;
    marks ^= marks << 16;
    marks ^ marks << 32
}

/// The place of the closing quote of a text that begins at `at`, and whether a backslash stands before it.
#[inline]
pub(super) fn text_end(bytes: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let mut escaped = false;
    loop {
        at += quote_or_backslash(bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some((at, escaped));
        }
        escaped = true;
        at += 2;
    }
}

#[inline]
fn quote_or_backslash(text: &[u8]) -> Option<usize> {
    let mut rest = text;
    let mut passed = 0;
    for _ in 0..SHORT_WORDS {
        let Some((word, after)) = rest.split_first_chunk::<8>() else { break };
        let word = u64::from_le_bytes(*word);
        // The lowest mark is exact in both: false ones appear only above a true one.
        let marks = zero_bytes(word ^ QUOTES) | zero_bytes(word ^ BACKSLASHES);
        if marks != 0 {
            return Some(passed + (marks.trailing_zeros() / 8) as usize);
        }
        passed += 8;
        rest = after;
    }
    memchr2(b'"', b'\\', rest).map(|at| passed + at)
}

/// Marks the high bits of bytes that are zero.
#[inline]
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The end, found with one byte after the other.
    fn naive_end(bytes: &[u8], mut at: usize, mut depth: usize, target: usize) -> Option<usize> {
        while depth > target {
            match *bytes.get(at)? {
                b'"' => {
                    at += 1;
                    while *bytes.get(at)? != b'"' {
                        at += 1 + usize::from(bytes[at] == b'\\');
                    }
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            if depth > MAX_DEPTH {
                return None;
            }
            at += 1;
        }
        Some(at)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

        #[test]
        fn blocks_find_the_end_that_bytes_find(
            text in prop::collection::vec(prop::sample::select(
                &b"{[{[}]\"\"\"\\aaaaaaaaaaaaaaaaaaaaaaaaaaa::,,  1234567890\xc3\x7b\x5b\x02\xa2"[..]), 0..500),
            depth in 1_usize..12,
            target in 0_usize..3,
        ) {
            let depth = depth.max(target);
            prop_assert_eq!(containers_end(&text, 0, depth, target), naive_end(&text, 0, depth, target));
        }

        #[test]
        fn deep_nesting_ends_the_search(opens in 100_usize..200, gap in 0_usize..10) {
            let text = [vec![b'['; opens], vec![b' '; gap], vec![b']'; opens]].concat();
            let end = containers_end(&text, 1, 1, 0);
            prop_assert_eq!(end, (opens <= MAX_DEPTH).then_some(text.len()));
        }
    }
}
