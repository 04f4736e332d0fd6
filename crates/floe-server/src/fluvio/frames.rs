//! Frames of both Fluvio servers.

use bytes::Bytes;
use floe::memory::{MemoryAccount, MemoryReservation};
use floe_wire::{
    WireError,
    fluvio::{
        Input, Request,
        frame::{RequestHeader, encode_reply, split_frame},
    },
};

use crate::{
    memory::too_large,
    node::Node,
    request_reader::Framing,
    response_writer::{Disconnected, ResponseSender},
};

/// Frames of requests.
pub(super) const FRAMING: Framing = Framing { split: split_frame, length: u32::from_be_bytes };

/// Memory of a decoded element of a request up to its answer, in bytes: the element, what is prepared for it, and its part
/// of the answer.
pub(super) const ELEMENT_BYTES: usize = 512;

/// Elements that are decoded at once, without memory of their own.
const FEW_ELEMENTS: usize = 1000;

/// Bytes of the smallest element, an empty text, and of an element as they usually are at least.
const LEAST_ELEMENT: usize = 2;
const USUAL_ELEMENT: usize = 8;

/// Decodes a request. One of many elements first reserves the memory that they may take, which is returned with it, and is
/// decoded on a blocking thread, a few at a time: it keeps no other client waiting.
pub(super) async fn decode<T: Send + 'static>(
    (node, account): (&Node, &MemoryAccount),
    header: &RequestHeader,
    body: Input,
    decode: fn(&RequestHeader, Input) -> Result<T, WireError>,
) -> Result<(T, Option<MemoryReservation>), WireError> {
    if let Ok(request) = decode(header, body.clone().limit_elements(FEW_ELEMENTS)) {
        return Ok((request, None));
    }
    let most = node.limits.request_elements.min(body.remaining() / LEAST_ELEMENT);
    // Few elements are as small as they may be: memory is reserved for such ones only if it turns out that there are.
    for limit in [most.min(body.remaining() / USUAL_ELEMENT), most] {
        let room = account.reserve(limit.saturating_mul(ELEMENT_BYTES)).await;
        let room = room.map_err(too_large("decoded request"))?;
        let (turn, header, body) = (node.workers.turn().await, header.clone(), body.clone());
        let decoded = turn.run(move || decode(&header, body.limit_elements(limit)));
        let decoded = decoded.await.map_err(|stopped| WireError::Malformed {
            what: "request",
            problem: format!("decoding failed: {stopped}"),
        })?;
        match decoded {
            Err(_) if limit < most => {}
            decoded => return decoded.map(|request| (request, Some(room))),
        }
    }
    Err(WireError::Malformed { what: "request", problem: "too many elements".to_owned() })
}

/// Encodes the reply to a request. A reply that cannot be encoded ends the connection, as the protocol has no way to
/// report it.
pub(super) fn pieces<R: Request>(
    header: &RequestHeader,
    reply: &R::Reply,
) -> Result<Vec<Bytes>, Disconnected> {
    match encode_reply::<R>(reply, header.version, header.correlation_id) {
        Ok(frame) => Ok(frame.pieces()),
        Err(error) => {
            tracing::error!(%error, api = R::NAME, "cannot encode a reply");
            Err(Disconnected)
        }
    }
}

/// Sends the reply to a request.
pub(super) async fn reply<R: Request>(
    responses: &ResponseSender,
    header: &RequestHeader,
    reply: &R::Reply,
) -> Result<(), Disconnected> {
    responses.send(pieces::<R>(header, reply)?).await
}
