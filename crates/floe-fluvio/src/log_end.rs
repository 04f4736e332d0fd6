//! Where the leader's log ends. Servers tell only how far all replicas are, and that lags behind after a leader was lost:
//! its successor may hold records above the high watermark, and gets to know that they are committed only later.

use std::sync::Arc;

use floe_core::{Error, ErrorKind, Result, topic::TopicPartition};
use floe_wire::batch::{BatchHeader, HEADER_LEN, Tail};

use super::{offset_for_time::fetch, router::Router};

/// Bytes of records to look through at once.
const LOOK_BYTES: usize = 256 * 1024;

/// Offset of the next record that the leader will append: reads from `high` on, until there is nothing more.
///
/// The log may grow meanwhile; it ends then somewhere between where it ended at the start and where it ends at the end.
pub(super) async fn find(router: &Arc<Router>, at: &TopicPartition, high: i64) -> Result<i64> {
    let mut end = high;
    loop {
        let slice = fetch(router, at, end, LOOK_BYTES).await?;
        let mut split = slice.records.split();
        let mut next = end;
        for batch in split.by_ref() {
            next = next.max(batch?.next_offset());
        }
        if let Tail::Incomplete { .. } = split.tail()
            && next == end
        {
            // Not even one whole batch: its header tells where it ends.
            let bytes = slice.records.to_bytes();
            if bytes.len() >= HEADER_LEN {
                next = next.max(BatchHeader::decode(&bytes)?.next_offset());
            }
        }
        if next > end {
            end = next;
        } else if slice.records.to_bytes().is_empty() {
            return Ok(end);
        } else {
            let message = format!("a fetch from offset {end} on gives what lies before it");
            return Err(Error::new(ErrorKind::ProtocolError, message));
        }
    }
}
