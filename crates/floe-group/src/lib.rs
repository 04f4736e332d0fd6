//! Consumer groups as a replicated state machine over an ordinary log.
//!
//! Members of a group append [`GroupRecord`]s to a coordination partition, all of them read it from a snapshot to the end, and
//! each applies the same function [`GroupState::apply`]. A record that is not valid at its place in the log has no effect,
//! so that the order of the log decides every race, and the server needs to know nothing about groups. Leases are offsets
//! of the coordination partition: unique, rising, and assigned by the log.
//!
//! | file | holds |
//! | --- | --- |
//! | `identity` | names of members, partitions and leases |
//! | `record` | the records and their encoding |
//! | `state` | the state of a group, and questions to it |
//! | `apply` | the effect of each record |
//! | `assignment` | the distribution of partitions among members |
//!
//! The crate does no I/O and reads no clock. The encoding is described in `docs/formats/groups.md`.
//!
//! ```
//! use floe_group::{GroupRecord, GroupState, Join, MemberId};
//!
//! let mut state = GroupState::default();
//! let join = Join::new(MemberId(1)).topic("orders", 4);
//! state.apply(0, &GroupRecord::Join(join));
//! assert_eq!(state.owned_by(MemberId(1)).count(), 4);
//!
//! // The second member gets its partitions when the first one releases them.
//! state.apply(1, &GroupRecord::Join(Join::new(MemberId(2)).topic("orders", 4)));
//! assert_eq!(state.owned_by(MemberId(2)).count(), 0);
//! assert_eq!(state.to_release(MemberId(1)).count(), 2);
//! ```

mod apply;
mod assignment;
mod identity;
mod record;
mod state;

pub use apply::{Applied, Ignored};
pub use identity::{GroupPartition, Held, MemberId};
pub use record::{
    Beat, Commit, DecodeError, Evict, GroupRecord, Join, MAX_RECORD_LEN, Release, Reset, Revoke,
};
pub use state::{GroupState, MAX_MEMBERS, MAX_PARTITIONS, Member, PartitionState, Snapshot};
