//! Lookup of the end of the leader's log. Servers report only the high watermark, which lags behind after a leader was lost:
//! its successor may hold records above the high watermark, and learns only later that they are committed.

use std::sync::Arc;

use floe_core::{Error, ErrorKind, Result, topic::TopicPartition};
use floe_wire::batch::{BatchHeader, HEADER_LEN, Tail};

use super::{offset_for_time::fetch, router::Router};

/// Bytes of records to scan per fetch.
const FETCH_BYTES: usize = 256 * 1024;

/// Returns the offset of the next record that the leader will append. Reads from `high` on until the log ends.
///
/// If the log grows meanwhile, the result lies between its end at the start and at the end of the call.
pub(super) async fn find(router: &Arc<Router>, at: &TopicPartition, high: i64) -> Result<i64> {
    let mut end = high;
    loop {
        let slice = fetch(router, at, end, FETCH_BYTES).await?;
        let mut split = slice.records.split();
        let mut next = end;
        for batch in split.by_ref() {
            next = next.max(batch?.next_offset());
        }
        if let Tail::Incomplete { .. } = split.tail()
            && next == end
        {
            // The slice holds no whole batch; the header has the end of the first one.
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
            let message = format!("a fetch from offset {end} on returned only earlier records");
            return Err(Error::new(ErrorKind::ProtocolError, message));
        }
    }
}
