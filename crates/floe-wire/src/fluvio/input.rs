//! [`Input`], a checked reader over received bytes.

use bytes::{Buf, Bytes};

use crate::{WireError, varint};

/// Checked reader over received bytes.
///
/// Every read is checked against the remaining bytes, lengths are checked before use, and byte blobs are slices of the
/// input. Errors name the field being read: see [`Input::enter`].
#[derive(Debug, Clone)]
pub struct Input {
    bytes: Bytes,
    what: &'static str,
    unknown_error_code: Option<i16>,
    elements_left: usize,
}

impl Input {
    /// Creates a reader over `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, what: "message", unknown_error_code: None, elements_left: usize::MAX }
    }

    /// Limits the elements of all lists and maps of the message together. An element takes far more memory decoded than on
    /// the wire, where two bytes are enough.
    #[must_use]
    pub fn limit_elements(self, limit: usize) -> Self {
        Self { elements_left: limit, ..self }
    }

    /// Takes the next `length` bytes as an input of their own, with the same limit of elements.
    pub(super) fn part(&mut self, length: usize) -> Result<Self, WireError> {
        Ok(Self::new(self.take(length)?).limit_elements(self.elements_left))
    }

    /// Counts the elements that were decoded from a part.
    pub(super) fn charge(&mut self, part: &Self) {
        self.elements_left = self.elements_left.min(part.elements_left);
    }

    /// Counts elements before they are decoded.
    pub(super) fn spend_elements(&mut self, count: usize) -> Result<(), WireError> {
        match self.elements_left.checked_sub(count) {
            Some(left) => {
                self.elements_left = left;
                Ok(())
            }
            None => {
                Err(self.malformed(format!("{count} elements, at most {} more allowed", self.elements_left)))
            }
        }
    }

    /// Sets the name of the next field, for errors.
    #[inline]
    pub fn enter(&mut self, what: &'static str) {
        self.what = what;
    }

    /// Returns the number of remaining bytes.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Returns all remaining bytes.
    #[must_use]
    pub fn rest(self) -> Bytes {
        self.bytes
    }

    /// Creates a [`WireError::Malformed`] that names the field being read.
    #[must_use]
    pub fn malformed(&self, problem: impl Into<String>) -> WireError {
        WireError::malformed(self.what, problem)
    }

    /// Takes the next `length` bytes, as a slice of the input.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if there are fewer.
    pub fn take(&mut self, length: usize) -> Result<Bytes, WireError> {
        if length > self.bytes.len() {
            return Err(self.truncated(length));
        }
        Ok(self.bytes.split_to(length))
    }

    /// Takes the next `N` bytes, copied.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if there are fewer.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let Some(array) = self.bytes.first_chunk::<N>().copied() else {
            return Err(self.truncated(N));
        };
        self.bytes.advance(N);
        Ok(array)
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// [`WireError::Truncated`] at the end of the input.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Takes a big-endian `u16`.
    ///
    /// # Errors
    /// [`WireError::Truncated`] at the end of the input.
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Takes a big-endian `i16`.
    ///
    /// # Errors
    /// [`WireError::Truncated`] at the end of the input.
    pub fn i16(&mut self) -> Result<i16, WireError> {
        self.array().map(i16::from_be_bytes)
    }

    /// Takes a big-endian `i32`.
    ///
    /// # Errors
    /// [`WireError::Truncated`] at the end of the input.
    pub fn i32(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_be_bytes)
    }

    /// Takes the number of elements that follow: an `i32`, where zero and less mean none. No element of this protocol
    /// is empty, so a count above the number of remaining bytes is wrong and refused before anything is allocated.
    ///
    /// # Errors
    /// [`WireError::Truncated`] at the end of the input or for a count above the number of remaining bytes.
    pub fn count(&mut self) -> Result<usize, WireError> {
        let count = usize::try_from(self.i32()?).unwrap_or(0);
        if count > self.bytes.len() {
            return Err(self.truncated(count));
        }
        Ok(count)
    }

    /// Takes a string with an `i16` length in front, where zero and less mean empty.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if the input ends within it; [`WireError::Malformed`] if it is not UTF-8.
    pub fn string(&mut self) -> Result<String, WireError> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        let bytes = self.take(length)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(self.malformed(format!("not UTF-8 ({error})"))),
        }
    }

    /// Takes a blob with a variable-length integer in front, as a slice of the input.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if the input ends within it; [`WireError::Malformed`] for a malformed or negative
    /// length.
    pub fn varint_blob(&mut self) -> Result<Bytes, WireError> {
        let mut front = &self.bytes[..];
        let length = varint::take(&mut front)?;
        let used = self.bytes.len() - front.len();
        let Ok(length) = usize::try_from(length) else {
            return Err(self.malformed(format!("length {length}")));
        };
        self.bytes.advance(used);
        self.take(length)
    }

    /// Checks that no bytes remain.
    ///
    /// # Errors
    /// [`WireError::Malformed`] with the number of remaining bytes.
    pub fn finish(&self) -> Result<(), WireError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        Err(self.malformed(format!("{} bytes follow the end of the message", self.bytes.len())))
    }

    /// Records an unknown error code, whose payload cannot be read.
    pub(super) fn record_unknown_code(&mut self, code: i16) {
        self.unknown_error_code.get_or_insert(code);
    }

    /// Returns the first unknown error code, if any.
    pub(super) fn unknown_code(&self) -> Option<i16> {
        self.unknown_error_code
    }

    #[cold]
    fn truncated(&self, needed: usize) -> WireError {
        WireError::Truncated { what: self.what, needed, available: self.bytes.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> Input {
        Input::new(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn a_short_read_takes_nothing_and_names_the_field() {
        let mut short = input(&[1, 2, 3]);
        short.enter("Thing.size");
        assert_eq!(short.i32(), Err(WireError::Truncated { what: "Thing.size", needed: 4, available: 3 }));
        assert_eq!(short.u16(), Ok(0x0102));
        assert_eq!(short.u8(), Ok(3));
        assert_eq!(short.finish(), Ok(()));
    }

    #[test]
    fn strings_are_checked() {
        assert_eq!(input(&[0, 2, b'o', b'k']).string().as_deref(), Ok("ok"));
        for empty in [[0, 0], [0xff, 0xff], [0x80, 0]] {
            assert_eq!(input(&empty).string().as_deref(), Ok(""), "{empty:?}");
        }
        assert!(matches!(input(&[0, 3, b'o', b'k']).string(), Err(WireError::Truncated { needed: 3, .. })));
        assert!(matches!(input(&[0, 1, 0xff]).string(), Err(WireError::Malformed { .. })));
    }

    #[test]
    fn a_count_beyond_the_rest_is_refused() {
        assert_eq!(input(&[0, 0, 0, 2, 9, 9]).count(), Ok(2));
        assert_eq!(input(&[0xff, 0xff, 0xff, 0xff]).count(), Ok(0));
        assert!(matches!(
            input(&[0x7f, 0xff, 0xff, 0xff, 1]).count(),
            Err(WireError::Truncated { available: 1, .. })
        ));
    }

    #[test]
    fn elements_are_limited_before_they_are_decoded() {
        use crate::fluvio::Wire;
        let names = |limit: usize| {
            let bytes = [&[0, 0, 0, 3][..], &[0; 6]].concat();
            Vec::<String>::decode(&mut input(&bytes).limit_elements(limit), 0)
        };
        assert_eq!(names(3).unwrap().len(), 3);
        assert!(matches!(names(2), Err(WireError::Malformed { .. })));
        // Lists within lists share the limit.
        let nested = [&[0, 0, 0, 2][..], &[0, 0, 0, 2, 0, 0, 0, 0], &[0, 0, 0, 1, 0, 0]].concat();
        let lists = |limit: usize| Vec::<Vec<String>>::decode(&mut input(&nested).limit_elements(limit), 0);
        assert_eq!(lists(5).unwrap().len(), 2);
        assert!(lists(4).is_err());
    }

    #[test]
    fn blobs_are_slices_and_their_length_is_checked() {
        let source = Bytes::from_static(&[0x06, b'd', b'o', b'g', 7]);
        let mut blob = Input::new(source.clone());
        let dog = blob.varint_blob().unwrap();
        assert_eq!(dog, "dog");
        assert_eq!(dog.as_ptr(), source[1..].as_ptr());
        assert_eq!(blob.remaining(), 1);
        assert!(matches!(input(&[0x01]).varint_blob(), Err(WireError::Malformed { .. })));
        assert!(matches!(input(&[0x08, 1]).varint_blob(), Err(WireError::Truncated { needed: 4, .. })));
    }
}
