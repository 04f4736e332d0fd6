//! Frames of both Fluvio servers.

use bytes::{Bytes, BytesMut};
use floe_wire::{
    WireError,
    fluvio::{
        Request,
        frame::{RequestHeader, encode_reply, split_frame},
    },
};

use crate::response_writer::{Disconnected, ResponseSender};

/// Splits a whole frame off the received bytes.
pub(super) fn split(received: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, WireError> {
    split_frame(received, limit)
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
