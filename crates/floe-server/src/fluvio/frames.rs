//! Frames of both Fluvio servers.

use bytes::Bytes;
use floe_wire::fluvio::{
    Request,
    frame::{RequestHeader, encode_reply, split_frame},
};

use crate::{
    request_reader::Framing,
    response_writer::{Disconnected, ResponseSender},
};

/// Frames of requests.
pub(super) const FRAMING: Framing = Framing { split: split_frame, length: u32::from_be_bytes };

/// Memory of a decoded element of a request up to its answer, in bytes: the element, what is prepared for it, and its part
/// of the answer.
pub(super) const ELEMENT_BYTES: usize = 512;

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
