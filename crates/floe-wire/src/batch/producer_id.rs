//! Producer ids of the tasks of exactly-once processors, and the order of their epochs.
//!
//! A task is one input partition of one processor. Its id is computed from its name, so that every process that takes
//! the task over writes under the same id. The upper 16 bits of the id are [`TASK_PREFIX`], which no other producer of
//! floe uses: logs fence such ids and readers drop their duplicates, while other producers number as they like.
//!
//! The epoch of a task's batches is the lease under which it runs. Leases are offsets and rise without end; the header
//! of a batch has room for 15 bits of them. Two epochs are compared as serial numbers (RFC 1982): the larger one is
//! the one that is less than half the circle ahead.
//!
//! ```
//! use floe_wire::batch::producer_id::{epoch_of_lease, is_older, is_task, task_id};
//!
//! let id = task_id("billing", "orders", 1_700_000_000_000, 3);
//! assert!(is_task(id) && id > 0);
//! assert!(is_older(epoch_of_lease(41), epoch_of_lease(42)));
//! assert!(is_older(epoch_of_lease(32_767), epoch_of_lease(32_768)), "folded, and still older");
//! ```

/// Upper 16 bits of the producer id of a task.
pub const TASK_PREFIX: u16 = 0x464c;

/// Bits of an id below the prefix.
const HASH_BITS: u32 = 48;

/// Epochs of a task are below this number.
const EPOCHS: i32 = 1 << 15;

/// Returns whether a producer id is reserved for tasks.
#[must_use]
pub const fn is_task(id: i64) -> bool {
    id >> HASH_BITS == TASK_PREFIX as i64
}

/// Returns the producer id of a task.
///
/// `incarnation` tells topics of one name apart that were created one after the other, such as the time of creation;
/// a caller that does not know it passes the same number always. The same arguments give the same id in every version
/// of floe: stored batches are compared with it.
#[must_use]
pub fn task_id(processor: &str, topic: &str, incarnation: i64, partition: u32) -> i64 {
    // FNV-1a over lengths and bytes, then the last step of SplitMix64, which spreads the bits.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for name in [processor, topic] {
        (name.len() as u64).to_le_bytes().into_iter().for_each(&mut add);
        name.bytes().for_each(&mut add);
    }
    incarnation.to_le_bytes().into_iter().for_each(&mut add);
    partition.to_le_bytes().into_iter().for_each(&mut add);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    (i64::from(TASK_PREFIX) << HASH_BITS) | (hash >> (64 - HASH_BITS)).cast_signed()
}

/// Returns the id itself, or one outside of the reserved range where it lies inside: the id of a producer that is not
/// a task, drawn at random or computed.
///
/// ```
/// use floe_wire::batch::producer_id::{is_task, not_a_task, task_id};
///
/// assert_eq!(not_a_task(7), 7);
/// assert!(!is_task(not_a_task(task_id("billing", "orders", 0, 0))));
/// ```
#[must_use]
pub const fn not_a_task(id: i64) -> i64 {
    if is_task(id) { id ^ (1 << HASH_BITS) } else { id }
}

/// Folds a lease into the epoch of a batch, `0..=32767`.
#[must_use]
pub fn epoch_of_lease(lease: i64) -> i16 {
    i16::try_from(lease & i64::from(EPOCHS - 1)).unwrap_or_default()
}

/// Returns whether an epoch of a task comes before another one, as serial numbers of 15 bits. Of two epochs that are
/// exactly half the circle apart, neither is older.
#[must_use]
pub fn is_older(epoch: i16, than: i16) -> bool {
    let ahead = (i32::from(than) - i32::from(epoch)).rem_euclid(EPOCHS);
    0 < ahead && ahead < EPOCHS / 2
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
        for id in [-1, 0, 1, prefix - 1, prefix + (1 << HASH_BITS), i64::MAX, i64::MIN, -prefix] {
            assert!(!is_task(id), "{id}");
            assert_eq!(not_a_task(id), id);
        }
        for id in [prefix, prefix | 5, prefix | ((1 << HASH_BITS) - 1)] {
            assert!(!is_task(not_a_task(id)) && not_a_task(id) > 0);
        }
    }

    #[test]
    fn epochs_are_serial_numbers() {
        assert_eq!([0, 32_767, 32_768, 65_537].map(epoch_of_lease), [0, 32_767, 0, 1]);
        assert_eq!(epoch_of_lease(-1), 32_767);
        for (older, newer) in [(0, 1), (0, 16_383), (32_767, 0), (32_767, 16_382), (20_000, 100)] {
            assert!(is_older(older, newer) && !is_older(newer, older), "{older} {newer}");
        }
        assert!(!is_older(5, 5));
        assert!(!is_older(0, 16_384) && !is_older(16_384, 0));
    }
}
