//! [`Output`], a writer that builds one frame.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{WireError, varint};

/// Longest string of the protocol, in bytes: writers encode the length as `u16`, and readers decode it as `i16`.
pub const MAX_STRING_LEN: usize = 32_767;

/// Least size in bytes of blobs that a frame keeps by reference instead of copying them.
const SHARE_FROM: usize = 1024;

/// Writer of one frame. Copies small values into one buffer and keeps large blobs (record batches, modules) by
/// reference.
#[derive(Debug, Default)]
pub struct Output {
    written: BytesMut,
    /// Large blobs, each with its position in `written`.
    shared: Vec<(usize, Bytes)>,
    shared_len: usize,
}

/// Position of a length to be filled in: see [`Output::begin_length`].
#[derive(Debug)]
#[must_use = "a length that is not ended stays zero"]
pub struct PendingLength {
    at: usize,
    start: usize,
}

impl Output {
    /// Creates an empty output.
    #[must_use]
    pub fn new() -> Self {
        Self { written: BytesMut::with_capacity(256), shared: Vec::new(), shared_len: 0 }
    }

    /// Returns the number of bytes written, large blobs included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.written.len() + self.shared_len
    }

    /// Returns whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends bytes without a length.
    pub fn put(&mut self, bytes: &[u8]) {
        self.written.put_slice(bytes);
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) {
        self.written.put_u8(value);
    }

    /// Appends a big-endian `u16`.
    pub fn u16(&mut self, value: u16) {
        self.written.put_u16(value);
    }

    /// Appends a big-endian `i16`.
    pub fn i16(&mut self, value: i16) {
        self.written.put_i16(value);
    }

    /// Appends a big-endian `i32`.
    pub fn i32(&mut self, value: i32) {
        self.written.put_i32(value);
    }

    /// Appends a number of elements or bytes.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] if the number does not fit an `i32`.
    pub fn count(&mut self, count: usize) -> Result<(), WireError> {
        self.i32(length_of("count", count)?);
        Ok(())
    }

    /// Appends a string with its length in front.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] over [`MAX_STRING_LEN`] bytes, which official peers would misread.
    pub fn string(&mut self, text: &str) -> Result<(), WireError> {
        let length = u16::try_from(text.len()).ok().filter(|length| usize::from(*length) <= MAX_STRING_LEN);
        let Some(length) = length else {
            return Err(WireError::TooLarge { what: "string", size: text.len(), limit: MAX_STRING_LEN });
        };
        self.u16(length);
        self.put(text.as_bytes());
        Ok(())
    }

    /// Appends a blob with a variable-length integer in front.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] over 2 GiB.
    pub fn varint_blob(&mut self, blob: &Bytes) -> Result<(), WireError> {
        let mut length = Vec::with_capacity(varint::MAX_LEN);
        varint::put(&mut length, i64::from(length_of("blob", blob.len())?));
        self.put(&length);
        self.blob(blob);
        Ok(())
    }

    /// Appends a blob without a length. Keeps large blobs by reference.
    pub fn blob(&mut self, blob: &Bytes) {
        if blob.len() < SHARE_FROM {
            self.put(blob);
        } else {
            self.shared.push((self.written.len(), blob.clone()));
            self.shared_len += blob.len();
        }
    }

    /// Appends a placeholder of four bytes for the number of bytes written until [`Output::end_length`].
    pub fn begin_length(&mut self) -> PendingLength {
        let at = self.written.len();
        self.i32(0);
        PendingLength { at, start: self.len() }
    }

    /// Fills in a length.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] if it does not fit an `i32`.
    #[expect(clippy::needless_pass_by_value, reason = "each length is filled in once")]
    pub fn end_length(&mut self, pending: PendingLength) -> Result<(), WireError> {
        let PendingLength { at, start } = pending;
        let length = length_of("message", self.len() - start)?;
        if let Some(field) = self.written.get_mut(at..at + 4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    /// Returns the finished frame.
    #[must_use]
    pub fn into_frame(self) -> EncodedFrame {
        EncodedFrame { len: self.len(), written: self.written.freeze(), shared: self.shared }
    }
}

/// One encoded frame: one or more pieces, to be written to a socket in order.
#[derive(Debug, Clone)]
pub struct EncodedFrame {
    written: Bytes,
    shared: Vec<(usize, Bytes)>,
    len: usize,
}

impl EncodedFrame {
    /// Returns the size in bytes, including the size field.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a frame always has a size field")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the pieces of the frame in order, none empty. Large record batches are not copied.
    #[must_use]
    pub fn pieces(&self) -> Vec<Bytes> {
        let mut pieces = Vec::with_capacity(2 * self.shared.len() + 1);
        let mut from = 0;
        for (at, blob) in &self.shared {
            if *at > from {
                pieces.push(self.written.slice(from..*at));
                from = *at;
            }
            pieces.push(blob.clone());
        }
        if from < self.written.len() {
            pieces.push(self.written.slice(from..));
        }
        pieces
    }

    /// Appends the frame to `buffer`.
    pub fn write_to(&self, buffer: &mut BytesMut) {
        buffer.reserve(self.len);
        for piece in self.pieces() {
            buffer.put_slice(&piece);
        }
    }

    /// Returns the frame in one piece. Copies only if it has several.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if self.shared.is_empty() {
            return self.written.clone();
        }
        let mut buffer = BytesMut::with_capacity(self.len);
        self.write_to(&mut buffer);
        buffer.freeze()
    }
}

fn length_of(what: &'static str, length: usize) -> Result<i32, WireError> {
    i32::try_from(length).map_err(|_| WireError::TooLarge {
        what,
        size: length,
        limit: usize::try_from(i32::MAX).unwrap_or(usize::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_filled_in_around_shared_blobs() {
        let small = Bytes::from_static(b"small");
        let large = Bytes::from(vec![7u8; SHARE_FROM]);
        let mut output = Output::new();
        let outer = output.begin_length();
        output.blob(&small);
        let inner = output.begin_length();
        output.blob(&large);
        output.blob(&large);
        output.end_length(inner).unwrap();
        output.u8(9);
        output.end_length(outer).unwrap();
        let frame = output.into_frame();

        let mut expected = BytesMut::new();
        expected.put_i32(5 + 4 + 2048 + 1);
        expected.put_slice(b"small");
        expected.put_i32(2048);
        expected.put_slice(&large);
        expected.put_slice(&large);
        expected.put_u8(9);
        assert_eq!(frame.to_bytes(), expected);
        assert_eq!(frame.len(), expected.len());
        let pieces = frame.pieces();
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [13, 1024, 1024, 1]);
        assert_eq!(pieces[1].as_ptr(), large.as_ptr(), "a large blob is not copied");
    }

    #[test]
    fn a_string_too_long_for_official_readers_is_refused() {
        let mut output = Output::new();
        output.string(&"x".repeat(MAX_STRING_LEN)).unwrap();
        assert_eq!(output.len(), 2 + MAX_STRING_LEN);
        assert_eq!(
            output.string(&"x".repeat(MAX_STRING_LEN + 1)),
            Err(WireError::TooLarge { what: "string", size: 32_768, limit: 32_767 })
        );
        assert!(output.string(&"x".repeat(70_000)).is_err());
    }
}
