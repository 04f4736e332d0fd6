//! Producer ids that logs fence, and the order of their epochs.
//!
//! A producer id with one of two reserved prefixes in its upper 16 bits is fenced: a log refuses its batches once it has
//! stored one of a newer epoch. No other producer of floe has such an id; those use epochs as they like.
//!
//! | prefix | producer | duplicates |
//! | --- | --- | --- |
//! | [`TASK_PREFIX`] | a task: one input partition of one processor | by sequence, over all epochs: in a partition the records of a task are numbered without holes. Logs do not store them again, and readers drop them |
//! | [`TOKEN_PREFIX`] | the holder of a fencing token | the same batch of the same epoch, in logs only |
//!
//! Ids are computed from names, so that every process that takes over writes under the same id.
//!
//! The header of a batch has room for 15 bits of an epoch, and the number that it comes from rises without end. Two epochs
//! are compared as serial numbers (RFC 1982): the larger one is the one that is less than half the circle ahead. So the
//! number has to count owners: of two epochs that are more than 16,383 apart, either may count as the older one.
//!
//! ```
//! use floe_wire::batch::producer_id::{folded_epoch, is_older, is_task, task_id};
//!
//! let id = task_id("billing", "orders", 1_700_000_000_000, 3);
//! assert!(is_task(id) && id > 0);
//! assert!(is_older(folded_epoch(41), folded_epoch(42)));
//! assert!(is_older(folded_epoch(32_767), folded_epoch(32_768)), "folded, and still older");
//! ```

/// Upper 16 bits of the producer id of a task.
pub const TASK_PREFIX: u16 = 0x464c;

/// Upper 16 bits of the producer id of the holder of a fencing token.
pub const TOKEN_PREFIX: u16 = 0x464d;

/// Bits of an id below the prefix.
const HASH_BITS: u32 = 48;

/// Epochs of a fenced producer are below this number.
const EPOCHS: i32 = 1 << 15;

/// Sequences are below this number.
const SEQUENCES: i64 = 1 << 31;

/// Returns whether a producer id is reserved for tasks.
#[must_use]
pub const fn is_task(id: i64) -> bool {
    id >> HASH_BITS == TASK_PREFIX as i64
}

/// Returns whether logs fence a producer id: it is that of a task or of a fencing token.
#[must_use]
pub const fn is_fenced(id: i64) -> bool {
    is_task(id) || id >> HASH_BITS == TOKEN_PREFIX as i64
}

/// Returns the producer id of a task.
///
/// `incarnation` tells topics of one name apart that were created one after the other, such as the time of creation;
/// a caller that does not know it passes the same number always. The same arguments give the same id in every version
/// of floe: stored batches are compared with it.
#[must_use]
pub fn task_id(processor: &str, topic: &str, incarnation: i64, partition: u32) -> i64 {
    let mut hash = NameHash::new();
    hash.add_name(processor);
    hash.add_name(topic);
    hash.add(&incarnation.to_le_bytes());
    hash.add(&partition.to_le_bytes());
    hash.id(TASK_PREFIX)
}

/// Returns the producer id of a fencing token. The same name gives the same id in every version of floe.
///
/// ```
/// use floe_wire::batch::producer_id::{is_fenced, is_task, token_id};
///
/// assert!(is_fenced(token_id("account-7")) && !is_task(token_id("account-7")));
/// ```
#[must_use]
pub fn token_id(name: &str) -> i64 {
    let mut hash = NameHash::new();
    hash.add_name(name);
    hash.id(TOKEN_PREFIX)
}

/// Returns the id itself, or one outside of the reserved ranges where it lies inside: the id of an ordinary producer,
/// drawn at random or computed.
///
/// ```
/// use floe_wire::batch::producer_id::{is_fenced, task_id, unreserved};
///
/// assert_eq!(unreserved(7), 7);
/// assert!(!is_fenced(unreserved(task_id("billing", "orders", 0, 0))));
/// ```
#[must_use]
pub const fn unreserved(id: i64) -> i64 {
    if is_fenced(id) { id ^ (1 << 60) } else { id }
}

/// FNV-1a over lengths and bytes, and then the last step of SplitMix64, which spreads the bits.
struct NameHash(u64);

impl NameHash {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn add_name(&mut self, name: &str) {
        self.add(&(name.len() as u64).to_le_bytes());
        self.add(name.as_bytes());
    }

    fn id(self, prefix: u16) -> i64 {
        let hash = self.0;
        let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let hash = hash ^ (hash >> 31);
        (i64::from(prefix) << HASH_BITS) | (hash >> (64 - HASH_BITS)).cast_signed()
    }
}

/// Folds a number that rises with each owner into the epoch of a batch, `0..=32767`. The numbers of two successive owners
/// must be at most 16,383 apart, or [`is_older`] does not order them: leases, which are offsets, are not such numbers.
#[must_use]
pub fn folded_epoch(number: i64) -> i16 {
    i16::try_from(number & i64::from(EPOCHS - 1)).unwrap_or_default()
}

/// Returns whether an epoch of a task comes before another one, as serial numbers of 15 bits. Of two epochs that are
/// exactly half the circle apart, neither is older.
#[must_use]
pub fn is_older(epoch: i16, than: i16) -> bool {
    let ahead = (i32::from(than) - i32::from(epoch)).rem_euclid(EPOCHS);
    0 < ahead && ahead < EPOCHS / 2
}

/// Returns how many sequences `from` lies before `to`, negative if behind: sequences wrap after `i32::MAX`, and the
/// shorter way round counts.
///
/// ```
/// use floe_wire::batch::producer_id::sequences_between;
///
/// assert_eq!(sequences_between(3, 10), 7);
/// assert_eq!(sequences_between(10, 3), -7);
/// assert_eq!(sequences_between(i32::MAX, 4), 5);
/// ```
#[must_use]
pub fn sequences_between(from: i32, to: i32) -> i64 {
    let ahead = (i64::from(to) - i64::from(from)).rem_euclid(SEQUENCES);
    if ahead < SEQUENCES / 2 { ahead } else { ahead - SEQUENCES }
}

/// Returns the sequence that is `records` after this one.
#[must_use]
pub fn sequence_after(first: i32, records: u32) -> i32 {
    i32::try_from((i64::from(first) + i64::from(records)).rem_euclid(SEQUENCES)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_tasks_never_change_and_differ() {
        assert_eq!(task_id("billing", "orders", 1_700_000_000_000, 3), 5_065_519_402_175_787_706);
        let ids = [
            task_id("a", "bc", 0, 0),
            task_id("ab", "c", 0, 0),
            task_id("a", "bc", 1, 0),
            task_id("a", "bc", 0, 1),
            task_id("bc", "a", 0, 0),
        ];
        for (at, id) in ids.iter().enumerate() {
            assert!(is_task(*id) && *id > 0);
            assert!(!ids[..at].contains(id), "{ids:?}");
        }
    }

    #[test]
    fn other_ids_stay_outside_of_the_range() {
        let prefix = i64::from(TASK_PREFIX) << HASH_BITS;
        assert!(is_task(prefix) && is_task(prefix | ((1 << HASH_BITS) - 1)));
        for id in [-1, 0, 1, prefix - 1, prefix + (2 << HASH_BITS), i64::MAX, i64::MIN, -prefix] {
            assert!(!is_fenced(id), "{id}");
            assert_eq!(unreserved(id), id);
        }
        for id in [prefix, prefix | 5, prefix | ((1 << HASH_BITS) - 1), token_id("a"), token_id("b")] {
            assert!(is_fenced(id) && !is_fenced(unreserved(id)) && unreserved(id) > 0);
        }
        assert_eq!(token_id("account-7"), 5_065_973_738_057_553_794);
        assert!(!is_task(token_id("a")) && token_id("a") != token_id("b"));
    }

    #[test]
    fn epochs_are_serial_numbers() {
        assert_eq!([0, 32_767, 32_768, 65_537].map(folded_epoch), [0, 32_767, 0, 1]);
        assert_eq!(folded_epoch(-1), 32_767);
        for (older, newer) in [(0, 1), (0, 16_383), (32_767, 0), (32_767, 16_382), (20_000, 100)] {
            assert!(is_older(older, newer) && !is_older(newer, older), "{older} {newer}");
        }
        assert!(!is_older(5, 5));
        assert!(!is_older(0, 16_384) && !is_older(16_384, 0));
    }

    #[test]
    fn sequences_wrap() {
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 5), 3);
        assert_eq!(sequence_after(7, u32::MAX), 6);
        for (from, to, expected) in [(0, 0, 0), (0, 5, 5), (i32::MAX, 0, 1), (0, i32::MAX, -1)] {
            assert_eq!(sequences_between(from, to), expected);
        }
    }
}
