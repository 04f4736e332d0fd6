//! Frames of requests and replies.
//!
//! ```text
//! request   size i32 │ api key u16 │ version i16 │ correlation id i32 │ client id string │ body
//! reply     size i32 │ correlation id i32 │ body
//! ```
//!
//! The size counts the bytes after it. Only bodies depend on the version.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    input::Input,
    output::{EncodedFrame, Output},
    request::Request,
    wire::Wire,
};
use crate::WireError;

/// Length of the size field in front of a frame, in bytes.
pub const SIZE_LEN: usize = 4;

/// Default size limit of a frame, in bytes: several batches of the largest size that a data server accepts. The
/// protocol itself has no limit.
pub const DEFAULT_FRAME_LIMIT: usize = 128 * 1024 * 1024;

/// Least bytes of any frame after its size: the correlation id.
const MIN_FRAME: i32 = 4;

/// Takes the next complete frame off the front of `received`, without its size and without copying it. Returns `None`,
/// and takes nothing, if the frame is incomplete. Allocates nothing, whatever the size field claims.
///
/// After an error the connection is desynchronized and must be closed.
///
/// # Errors
/// [`WireError::Malformed`] for an impossible size; [`WireError::TooLarge`] for a size over `limit`. A TLS alert, or
/// another protocol, usually causes one of these.
pub fn split_frame(received: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, WireError> {
    let Some(size) = received.first_chunk::<SIZE_LEN>() else { return Ok(None) };
    let size = i32::from_be_bytes(*size);
    if size < MIN_FRAME {
        return Err(WireError::malformed("frame", format!("size {size}")));
    }
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > limit {
        return Err(WireError::TooLarge { what: "frame", size, limit });
    }
    if received.len() - SIZE_LEN < size {
        return Ok(None);
    }
    received.advance(SIZE_LEN);
    Ok(Some(received.split_to(size).freeze()))
}

/// Header of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Number of the API: [`Request::KEY`].
    pub api_key: u16,
    /// Version of the body, and of the reply's.
    pub version: i16,
    /// Chosen by the client; the reply carries it back.
    pub correlation_id: i32,
    /// Free text that identifies the client to the server's operator.
    pub client_id: String,
}

impl RequestHeader {
    /// Splits a frame, as [`split_frame`] returns it, into header and body.
    ///
    /// # Errors
    /// [`WireError::Truncated`] or [`WireError::Malformed`]; servers then close the connection.
    pub fn split(frame: Bytes) -> Result<(Self, Input), WireError> {
        let mut input = Input::new(frame);
        input.enter("request header");
        let header = Self {
            api_key: input.u16()?,
            version: input.i16()?,
            correlation_id: input.i32()?,
            client_id: input.string()?,
        };
        input.enter("request");
        Ok((header, input))
    }
}

/// Encodes a complete request frame.
///
/// # Errors
/// [`WireError::TooLarge`] or [`WireError::OutOfRange`] for values that the layout cannot carry,
/// [`WireError::OutOfRange`] for a version outside [`Request::VERSIONS`].
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: &str,
) -> Result<EncodedFrame, WireError> {
    check_version::<R>(version)?;
    let mut output = Output::new();
    let frame = output.begin_length();
    output.u16(R::KEY);
    output.i16(version);
    output.i32(correlation_id);
    output.string(client_id)?;
    request.encode(&mut output, version)?;
    output.end_length(frame)?;
    Ok(output.into_frame())
}

/// Decodes the body of a request. Bytes after it are ignored, as in official servers.
///
/// # Errors
/// [`WireError::Truncated`], [`WireError::Malformed`]; [`WireError::OutOfRange`] for a version outside
/// [`Request::VERSIONS`]. Servers then close the connection: the protocol has no reply for it.
pub fn decode_request<R: Request>(mut body: Input, version: i16) -> Result<R, WireError> {
    check_version::<R>(version)?;
    R::decode(&mut body, version)
}

/// Encodes a complete reply frame for a request of type `R`.
///
/// # Errors
/// The errors of [`encode_request`].
pub fn encode_reply<R: Request>(
    reply: &R::Reply,
    version: i16,
    correlation_id: i32,
) -> Result<EncodedFrame, WireError> {
    check_version::<R>(version)?;
    let mut output = Output::new();
    let frame = output.begin_length();
    output.i32(correlation_id);
    reply.encode(&mut output, version)?;
    output.end_length(frame)?;
    Ok(output.into_frame())
}

/// Splits a frame, as [`split_frame`] returns it, into correlation id and body.
///
/// # Errors
/// [`WireError::Truncated`] if the correlation id is incomplete.
pub fn split_reply(frame: Bytes) -> Result<(i32, Input), WireError> {
    let mut input = Input::new(frame);
    input.enter("reply header");
    let correlation_id = input.i32()?;
    input.enter("reply");
    Ok((correlation_id, input))
}

/// Decodes the body of the reply to a request of type `R` that was sent with `version`.
///
/// An error code that this crate does not know is kept as [`ErrorCode::Unknown`](super::ErrorCode::Unknown) if the
/// rest of the reply decodes without a payload for it.
///
/// # Errors
/// [`WireError::Truncated`], [`WireError::Malformed`], also when bytes follow the reply; [`WireError::Malformed`] with
/// the code if the payload of an unknown error code cannot be skipped. The connection stays usable: only this reply is
/// lost.
pub fn decode_reply<R: Request>(mut body: Input, version: i16) -> Result<R::Reply, WireError> {
    check_version::<R>(version)?;
    let outcome = R::Reply::decode(&mut body, version).and_then(|reply| body.finish().map(|()| reply));
    match (outcome, body.unknown_code()) {
        (Err(_), Some(code)) => Err(WireError::malformed(
            R::NAME,
            format!("unknown error code {code} with details that cannot be skipped"),
        )),
        (outcome, _) => outcome,
    }
}

pub(super) fn check_version<R: Request>(version: i16) -> Result<(), WireError> {
    if R::VERSIONS.contains(version) {
        return Ok(());
    }
    Err(WireError::OutOfRange {
        what: R::NAME,
        value: i64::from(version),
        min: i64::from(R::VERSIONS.min),
        max: i64::from(R::VERSIONS.max),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_one_by_one_once_complete() {
        let wire = [0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0, 4, 6, 7, 8, 9];
        let mut received = BytesMut::new();
        let mut frames = Vec::new();
        for (position, byte) in wire.iter().enumerate() {
            received.extend_from_slice(&[*byte]);
            let frame = split_frame(&mut received, 5).unwrap();
            assert_eq!(frame.is_some(), position == 8 || position == 16, "after byte {position}");
            frames.extend(frame);
        }
        assert_eq!(frames, [&[1, 2, 3, 4, 5][..], &[6, 7, 8, 9]]);
        assert!(received.is_empty());
    }

    #[test]
    fn impossible_and_oversized_frames_are_refused_by_their_size_field() {
        for size in [-1, i32::MIN, 0, 3] {
            let mut received = BytesMut::from(&i32::to_be_bytes(size)[..]);
            assert!(matches!(split_frame(&mut received, 100), Err(WireError::Malformed { .. })), "{size}");
        }
        let mut received = BytesMut::from(&101i32.to_be_bytes()[..]);
        assert_eq!(
            split_frame(&mut received, 100),
            Err(WireError::TooLarge { what: "frame", size: 101, limit: 100 })
        );
        let mut alert = BytesMut::from(&[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46][..]);
        assert!(matches!(
            split_frame(&mut alert, DEFAULT_FRAME_LIMIT),
            Err(WireError::TooLarge { size: 0x1503_0300, .. })
        ));
    }
}
