//! Frames: the length before every message.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::WireError;

/// Length of the length field in bytes.
pub const LENGTH_LEN: usize = 4;

/// Longest request, in bytes after the length, that a Walrus node reads. The node refuses a longer one without reading
/// it, which desynchronizes the connection.
pub const MAX_FRAME_LEN: usize = 65_536;

/// Longest request with a batch, in bytes after the length, on servers with the batch extension.
pub const MAX_BATCH_FRAME_LEN: usize = 4 * 1024 * 1024;

/// Longest answer that a client accepts, in bytes after the length. No server has a reason to send more; a larger
/// length means that the connection is desynchronized.
pub const MAX_REPLY_LEN: usize = 16 * 1024 * 1024;

/// Appends one message: length, then body.
///
/// # Errors
/// [`WireError::TooLarge`] if the body is longer than `limit`, [`WireError::Malformed`] if it is empty. `out` is then
/// unchanged.
pub fn put_frame(
    out: &mut BytesMut,
    limit: usize,
    body: impl FnOnce(&mut BytesMut),
) -> Result<(), WireError> {
    let start = out.len();
    out.put_u32_le(0);
    body(out);
    let length = out.len() - start - LENGTH_LEN;
    let checked = if length == 0 {
        Err(WireError::malformed("Walrus frame", "empty"))
    } else if length > limit {
        Err(WireError::TooLarge { what: "Walrus frame", size: length, limit })
    } else {
        u32::try_from(length).map_err(|_| WireError::TooLarge { what: "Walrus frame", size: length, limit })
    };
    match checked {
        Ok(length) => {
            if let Some(field) = out.get_mut(start..start + LENGTH_LEN) {
                field.copy_from_slice(&length.to_le_bytes());
            }
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// Takes the next whole message off the front of `received`; returns `None` if the message is incomplete.
///
/// # Errors
/// [`WireError::TooLarge`] for a length above `limit`, [`WireError::Malformed`] for a length of 0. The connection is
/// then desynchronized and must be closed.
pub fn take_frame(received: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, WireError> {
    let Some((length, _)) = received.split_first_chunk::<LENGTH_LEN>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 {
        return Err(WireError::malformed("Walrus frame", "empty"));
    }
    if length > limit {
        return Err(WireError::TooLarge { what: "Walrus frame", size: length, limit });
    }
    if received.len() - LENGTH_LEN < length {
        return Ok(None);
    }
    received.advance(LENGTH_LEN);
    Ok(Some(received.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_little_endian() {
        let mut out = BytesMut::new();
        put_frame(&mut out, MAX_FRAME_LEN, |out| out.put_slice(b"METRICS")).unwrap();
        assert_eq!(&out[..], b"\x07\0\0\0METRICS");
    }

    #[test]
    fn frames_split_at_every_byte_are_reassembled() {
        let mut run = BytesMut::new();
        for body in [&b"OK"[..], b"OK one\ntwo", b"EMPTY"] {
            put_frame(&mut run, MAX_REPLY_LEN, |out| out.put_slice(body)).unwrap();
        }
        for cut in 0..=run.len() {
            let mut received = BytesMut::new();
            let mut found = Vec::new();
            for part in [&run[..cut], &run[cut..]] {
                received.extend_from_slice(part);
                while let Some(frame) = take_frame(&mut received, MAX_REPLY_LEN).unwrap() {
                    found.push(frame);
                }
            }
            assert_eq!(found, [&b"OK"[..], b"OK one\ntwo", b"EMPTY"], "cut at {cut}");
            assert!(received.is_empty());
        }
    }

    #[test]
    fn impossible_lengths_are_refused_before_the_body_arrives() {
        let mut long = BytesMut::from(&[1, 0, 1, 0][..]);
        assert_eq!(
            take_frame(&mut long, MAX_FRAME_LEN),
            Err(WireError::TooLarge { what: "Walrus frame", size: 65_537, limit: 65_536 })
        );
        let mut empty = BytesMut::from(&[0, 0, 0, 0][..]);
        assert!(matches!(take_frame(&mut empty, MAX_FRAME_LEN), Err(WireError::Malformed { .. })));
        assert_eq!(take_frame(&mut BytesMut::from(&[0, 0, 1, 0][..]), MAX_FRAME_LEN), Ok(None));
    }

    #[test]
    fn a_refused_frame_leaves_the_buffer_unchanged() {
        let mut out = BytesMut::from(&b"before"[..]);
        let error = put_frame(&mut out, 3, |out| out.put_slice(b"four")).unwrap_err();
        assert_eq!(error, WireError::TooLarge { what: "Walrus frame", size: 4, limit: 3 });
        assert!(put_frame(&mut out, 3, |_| ()).is_err());
        assert_eq!(&out[..], b"before");
    }
}
