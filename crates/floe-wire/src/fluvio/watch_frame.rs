//! Watch replies of objects that were encoded before: many watches share one encoding.

use bytes::Bytes;

use super::{
    admin::{WatchRequest, encode_envelope},
    frame::check_version,
    object::Object,
    output::{EncodedFrame, Output},
    wire::Wire as _,
};
use crate::WireError;

/// Encoded elements of a list. Cloning copies no bytes.
#[derive(Debug, Clone, Default)]
pub struct EncodedElements {
    count: usize,
    len: usize,
    pieces: Vec<Bytes>,
}

impl EncodedElements {
    /// Appends `count` elements, encoded back to back in `pieces`.
    pub fn push(&mut self, count: usize, pieces: impl IntoIterator<Item = Bytes>) {
        self.count += count;
        for piece in pieces {
            self.len += piece.len();
            self.pieces.push(piece);
        }
    }

    /// Returns the size in bytes, without the number of elements in front.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn encode(&self, output: &mut Output) -> Result<(), WireError> {
        output.count(self.count)?;
        self.pieces.iter().for_each(|piece| output.blob(piece));
        Ok(())
    }
}

/// Encodes the frame of a [`WatchReply`](super::WatchReply) for objects of the kind `O`: `changes` are encoded
/// [`Change`](super::Change)s, `all` encoded [`Metadata`](super::Metadata).
///
/// # Errors
/// [`WireError::TooLarge`] for a reply that no length field can count; [`WireError::OutOfRange`] for a version that watches
/// do not have.
pub fn encode_watch_reply<O: Object>(
    epoch: i64,
    changes: &EncodedElements,
    all: &EncodedElements,
    version: i16,
    correlation_id: i32,
) -> Result<EncodedFrame, WireError> {
    check_version::<WatchRequest<O>>(version)?;
    let mut output = Output::new();
    let frame = output.begin_length();
    output.i32(correlation_id);
    encode_envelope(&mut output, O::LABEL, |output| {
        epoch.encode(output, version)?;
        changes.encode(output)?;
        all.encode(output)
    })?;
    output.end_length(frame)?;
    Ok(output.into_frame())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fluvio::{
        Change, ChangeKind, Metadata, TableFormatSpec, TableFormatStatus, WatchReply, Wire,
        frame::encode_reply,
    };

    #[test]
    fn the_frame_is_that_of_the_reply() {
        let object = |name: &str| Metadata {
            name: name.to_owned(),
            spec: TableFormatSpec { name: "f".repeat(2000), ..TableFormatSpec::default() },
            status: TableFormatStatus::default(),
        };
        let version = 19;
        let encoded = |value: &dyn Fn(&mut Output) -> Result<(), WireError>| {
            let mut output = Output::new();
            value(&mut output).unwrap();
            output.into_frame().pieces()
        };
        let (one, two) = (object("one"), object("two"));
        let change = Change { kind: ChangeKind::Delete, object: object("three") };
        let (mut all, mut changes) = (EncodedElements::default(), EncodedElements::default());
        all.push(
            2,
            encoded(&|output| one.encode(output, version).and_then(|()| two.encode(output, version))),
        );
        changes.push(1, encoded(&|output| change.encode(output, version)));
        assert!(!all.is_empty() && all.len() > changes.len());
        let shared = encode_watch_reply::<TableFormatSpec>(7, &changes, &all, version, 5).unwrap();
        let reply = WatchReply { epoch: 7, changes: vec![change], all: vec![one, two] };
        let plain = encode_reply::<WatchRequest<TableFormatSpec>>(&reply, version, 5).unwrap();
        assert_eq!(shared.to_bytes(), plain.to_bytes());
        assert!(encode_watch_reply::<TableFormatSpec>(7, &changes, &all, 1, 5).is_err());
    }
}
