//! Records by content: how often each was sent, and how often it is stored.

use std::io;

use crate::{
    names::Names,
    sorter::{Sorted, Sorter},
    verdict::{Anomaly, Finding, HistoryVerdict},
};

/// Kinds of entries.
pub(crate) const ACKNOWLEDGED: u64 = 0;
/// Acknowledged without an offset.
pub(crate) const ACKNOWLEDGED_SOMEWHERE: u64 = 1;
pub(crate) const UNKNOWN: u64 = 2;
pub(crate) const FAILED: u64 = 3;
/// Stored at an offset.
pub(crate) const STORED: u64 = 4;
/// Read without an offset.
pub(crate) const SEEN: u64 = 5;

/// Entries: `[topic, identity, kind, line]`.
pub(crate) type Copies = Sorter<4>;

/// Numbers of entries with one content.
#[derive(Debug, Default)]
struct Tally {
    counts: [u64; 6],
    /// Last line of each kind.
    lines: [u64; 6],
}

impl Tally {
    fn judge(&self, drained: bool, mut found: impl FnMut(Anomaly, u64, String)) -> u64 {
        let [acknowledged, somewhere, unknown, failed, stored, seen] = self.counts;
        let copies = stored + seen;
        let succeeded = acknowledged + somewhere;
        let line = self.lines[STORED as usize].max(self.lines[SEEN as usize]);
        let sent = succeeded + unknown + failed;
        if sent == 0 {
            found(Anomaly::Unsent, line, "a record is stored that was never sent".to_owned());
            return 0;
        }
        if failed > 0 && copies > succeeded + unknown {
            let line = self.lines[FAILED as usize];
            found(
                Anomaly::AbortedRead,
                line,
                "a record is stored whose sending failed without effect".to_owned(),
            );
        }
        if copies > sent {
            found(
                Anomaly::Duplicate,
                line,
                format!("a record is stored {copies} times, and was sent {sent} times"),
            );
        }
        // Without offsets a record can only be told from its copies.
        let missing = somewhere.saturating_sub(copies.saturating_sub(acknowledged));
        if missing > 0 && drained {
            let line = self.lines[ACKNOWLEDGED_SOMEWHERE as usize];
            found(Anomaly::Unseen, line, "an acknowledged record was not read".to_owned());
        }
        missing
    }
}

/// Compares, for each content, what was sent with what is stored. Only topics whose sends were recorded are judged.
pub(crate) fn compare(
    mut entries: Sorted<4>,
    judged: impl Fn(u64) -> bool,
    drained: bool,
    topics: &Names,
    verdict: &mut HistoryVerdict,
) -> io::Result<()> {
    while let Some([topic, identity, ..]) = entries.peek().copied() {
        let mut tally = Tally::default();
        while let Some(next) = entries.peek()
            && (next[0], next[1]) == (topic, identity)
            && let Some([_, _, kind, line]) = entries.pop()?
        {
            tally.counts[kind as usize] += 1;
            tally.lines[kind as usize] = line;
        }
        if !judged(topic) {
            continue;
        }
        let name = || topics.name(u32::try_from(topic).unwrap_or(u32::MAX)).to_owned();
        verdict.unseen += tally.judge(drained, |anomaly, line, detail| {
            verdict.add(anomaly, || Finding {
                anomaly,
                topic: name(),
                partition: None,
                offset: None,
                line,
                detail,
            });
        });
    }
    Ok(())
}
