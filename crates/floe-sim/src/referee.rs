//! Judges the members of a shared group while they run, by the order of the coordination log.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use floe_group::{Beat, GroupPartition, GroupRecord, GroupState, MemberId};
use floe_wire::batch::EncodedBatch;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::handled::Handled;

/// Time within which a member under a strict fence notices that the log went backwards, or has lost its proof of life: 0.8 of
/// the longest session, by a clock that is 5 % too slow.
const NOTICED: Duration = Duration::from_millis(8_500);

/// Names a life of a member: its drain in milliseconds, which no two lives share, and which its join tells.
pub(crate) type LifeMark = u32;

/// Follows the coordination log as the store has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Referee(Arc<Mutex<RefereeState>>);

#[derive(Debug, Default)]
struct RefereeState {
    state: GroupState,
    /// Offset of the next record to apply.
    next: i64,
    members: BTreeMap<LifeMark, MemberId>,
    /// When the log last lost its end.
    lost_tail: Option<Instant>,
    violations: Vec<String>,
}

impl Referee {
    /// Returns the offset after the last record.
    pub(crate) fn next(&self) -> i64 {
        self.0.lock().next
    }

    /// Applies the records that are new in a partition of the coordination topic; the one of the group, as there is one group.
    pub(crate) fn judge(&self, batches: &[EncodedBatch], handled: &Handled) {
        let mut referee = self.0.lock();
        let from = referee.next;
        for batch in batches.iter().filter(|batch| batch.next_offset() > from) {
            let Ok(records) = batch.records() else { continue };
            for record in records.flatten().filter(|record| record.offset >= from) {
                referee.next = record.offset + 1;
                let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                match GroupRecord::decode(&record.value) {
                    Ok(decoded) => referee.take(record.offset, &key, &decoded, handled),
                    Err(_) => referee.state.pass_over(record.offset),
                }
            }
        }
    }

    /// Begins anew with a log that has lost its end.
    pub(crate) fn lose_tail(&self, kept: &[EncodedBatch], handled: &Handled) {
        {
            let mut referee = self.0.lock();
            (referee.state, referee.next) = (GroupState::default(), 0);
            referee.lost_tail = Some(Instant::now());
        }
        self.judge(kept, handled);
    }

    /// Notes that a life under a strict fence was handed a record. `has_just_woken` is set where its process was frozen up to
    /// now: it may run its next instructions.
    pub(crate) fn hand_out(&self, life: LifeMark, (topic, partition): (&str, u32), has_just_woken: bool) {
        let mut referee = self.0.lock();
        let at = GroupPartition::new(topic, partition);
        let owner = referee.state.partitions().get(&at).and_then(|partition| partition.owner);
        let member = referee.members.get(&life).copied();
        let has_lost = referee.lost_tail.is_some_and(|lost| lost.elapsed() < NOTICED);
        if (member.is_some() && owner == member) || has_just_woken || has_lost {
            return;
        }
        let violation = format!(
            "the member of life {life} got a record of partition {partition}, which the group has given to {owner:?}"
        );
        referee.violations.push(violation);
    }

    /// Returns all violations.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.0.lock().violations.clone()
    }
}

impl RefereeState {
    fn take(&mut self, offset: i64, group: &str, record: &GroupRecord, handled: &Handled) {
        self.state.apply(offset, record);
        let beat: &Beat = match record {
            GroupRecord::Join(join) => {
                self.members.insert(join.drain_ms, join.member);
                return;
            }
            GroupRecord::Beat(beat) | GroupRecord::Leave(beat) => beat,
            GroupRecord::Release(release) => &release.beat,
            _ => return,
        };
        for commit in &beat.commits {
            let (at, next) = (&commit.held.partition, commit.next);
            let before = handled.next(group, at.partition);
            if next > before {
                self.violations.push(format!(
                    "the group {group} stores {next} for partition {} at {offset}, and has handled up to {before}",
                    at.partition
                ));
            }
        }
    }
}
