//! Walrus front-end: the text protocol, answered as a Walrus node does, and its batch extension.

mod commands;
mod cursor;
mod packed;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use floe_wire::{
    WireError,
    walrus::{LENGTH_LEN, MAX_BATCH_FRAME_LEN, MAX_FRAME_LEN, Refused, Reply, take_frame},
};
use tokio::{sync::watch, task::JoinSet};

pub(crate) use self::cursor::{SharedCursors, is_reserved};
use crate::{
    access::Session,
    connection_slots::Activity,
    memory::Tenant,
    metrics::Frontend,
    node::{Node, log_panic},
    request_reader::{Framing, ReadEnd, ReceivedRequest, RequestReader, read_until_end},
    response_writer::{Disconnected, ResponseSender, response_queue},
    socket::Socket,
};

/// The only command that may be longer than [`MAX_FRAME_LEN`].
const LONG_COMMAND: &[u8] = b"BATCH_PUT ";

/// Serves one connection until it ends.
pub(crate) async fn serve(
    node: Arc<Node>,
    session: Arc<Session>,
    cursors: Arc<SharedCursors>,
    (socket, activity): (Socket, Activity),
    mut stop: watch::Receiver<bool>,
) {
    let (reading, writing) = socket.into_split();
    let limits = &node.limits;
    let tenant = node.memory.tenant(session.client(), limits);
    let framing = Framing { split, length: u32::from_le_bytes };
    let mut reader =
        RequestReader::new(reading, framing, MAX_BATCH_FRAME_LEN, limits.frame_timeout, &tenant.requests);
    let (responses, writer) = response_queue(&tenant.responses);
    // The connection owns its writer, so dropping it ends the writer.
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(writer.run(writing).await) });
    let shared = (&*session, &*cursors);
    let reading = answer_all((&node, &tenant), shared, (&mut reader, &activity), &responses);
    let ended = read_until_end(&node, (Frontend::Walrus, &tenant), reading, &mut stop, &mut tasks).await;
    match ended {
        Some(ReadEnd::Broken | ReadEnd::Idle | ReadEnd::CutOff) => return,
        Some(ReadEnd::Malformed(_)) => {
            // The body was not read, so the next request cannot be located.
            let refused = Reply::Refused(Refused::new("invalid frame length"));
            let _ = send(&responses, &refused).await;
        }
        _ => {}
    }
    drop(responses);
    while let Some(ended) = tasks.join_next().await {
        log_panic(ended);
    }
    // Closing a socket with unread bytes would reset the connection and drop the response.
    reader.discard().await;
}

async fn answer_all(
    (node, tenant): (&Node, &Tenant),
    (session, cursors): (&Session, &SharedCursors),
    (reader, activity): (&mut RequestReader, &Activity),
    responses: &ResponseSender,
) -> Option<ReadEnd> {
    loop {
        let frame = match reader.next_unless_idle(node.limits.idle_timeout, || false).await {
            Ok(frame) => frame,
            Err(ended) => return Some(ended),
        };
        activity.note(true);
        // The memory of the request is held up to the answer.
        let ReceivedRequest { bytes, room: _room } = frame;
        let reply = commands::answer((node, tenant), session, cursors, &bytes).await;
        if send(responses, &reply).await.is_err() {
            return None;
        }
        activity.note(false);
    }
}

/// Sends a response in one piece: with two, a client with delayed TCP acknowledgements would wait 40 ms for the
/// second.
async fn send(responses: &ResponseSender, reply: &Reply) -> Result<(), Disconnected> {
    let mut out = BytesMut::new();
    if let Err(error) = reply.encode(&mut out) {
        let refused = Reply::Refused(Refused::new(error.to_string()));
        refused.encode(&mut out).map_err(|_| Disconnected)?;
    }
    responses.send(vec![out.freeze()]).await
}

/// Splits a request off the received bytes. A request above Walrus' limit is refused at its length, unless it begins
/// with the one command that may be longer.
fn split(received: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, WireError> {
    let Some(length) = received.first_chunk::<LENGTH_LEN>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length <= MAX_FRAME_LEN || length > limit {
        return take_frame(received, limit);
    }
    let start = received.get(LENGTH_LEN..).unwrap_or_default();
    let compared = start.len().min(LONG_COMMAND.len());
    if start.get(..compared) == LONG_COMMAND.get(..compared) {
        take_frame(received, limit)
    } else {
        take_frame(received, MAX_FRAME_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(length: usize, start: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::from(&u32::try_from(length).unwrap().to_le_bytes()[..]);
        bytes.extend_from_slice(start);
        bytes
    }

    #[test]
    fn only_batches_may_be_long() {
        let take = |mut bytes: BytesMut| split(&mut bytes, MAX_BATCH_FRAME_LEN);
        let limit = MAX_FRAME_LEN;
        assert!(take(received(3, b"GET")).unwrap().is_some());
        assert!(take(received(limit, &vec![b'x'; limit])).unwrap().is_some());
        for refused in [
            received(0, b""),
            received(limit + 1, b"PUT t "),
            received(limit + 1, b"B PUT"),
            received(MAX_BATCH_FRAME_LEN + 1, b"BATCH_PUT "),
            received(u32::MAX as usize, b""),
        ] {
            assert!(take(refused.clone()).is_err(), "{refused:?}");
        }
        for waiting in [received(limit + 1, b""), received(limit + 1, b"BATCH"), received(limit, b"PUT")] {
            assert_eq!(take(waiting), Ok(None));
        }
        let long = [&b"BATCH_PUT "[..], &vec![b'x'; limit]].concat();
        assert_eq!(take(received(long.len(), &long)).unwrap().unwrap(), long);
    }
}
