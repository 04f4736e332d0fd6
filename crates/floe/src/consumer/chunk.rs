//! Gathers several records, for applications that write them in groups.

use std::{collections::VecDeque, future::poll_fn, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{ConsumerCore, message::Message};
use crate::{
    Error, Result,
    payload::{DecodeFailure, RecordDecoder},
};

/// Index of a partition, and the offset at which reading continues in it.
type ReadPosition = (usize, i64);

/// Stands for a wait that exceeds the range of the clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Records of a chunk that is being gathered, and positions that the next call finishes.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    gathered: VecDeque<(ReadPosition, Message)>,
    /// Error after the gathered records.
    error: Option<Error>,
    handed_out: Vec<ReadPosition>,
}

/// A record that does not decode, and the reason.
type Refused = Box<(Message<()>, DecodeFailure)>;

impl Chunk {
    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.error.is_none()
    }

    /// Removes the first record of a chunk whose call was dropped.
    pub(super) fn take_first(&mut self) -> Option<(ReadPosition, Message)> {
        self.gathered.pop_front()
    }

    /// Drops the records of a chunk whose call was dropped, and returns their number.
    pub(super) fn take_all(&mut self) -> usize {
        std::mem::take(&mut self.gathered).len()
    }

    /// Removes the error, once no records precede it.
    pub(super) fn take_error(&mut self) -> Option<Error> {
        if self.gathered.is_empty() { self.error.take() } else { None }
    }

    pub(super) fn take_handed_out(&mut self) -> Vec<ReadPosition> {
        std::mem::take(&mut self.handed_out)
    }

    /// Drops the records of a partition that was moved.
    pub(super) fn forget(&mut self, index: usize) {
        self.gathered.retain(|((of, _), _)| *of != index);
        self.handed_out.retain(|(of, _)| *of != index);
    }

    /// Decodes the records up to the first that does not decode. That record stays, unless it is the first: then it is the
    /// error, and handed out as well.
    pub(super) fn decode<C: RecordDecoder>(&mut self, codec: &C) -> Result<Vec<Message<C::Value>>, Refused> {
        let mut decoded = Vec::with_capacity(self.gathered.len());
        while let Some((position, message)) = self.gathered.pop_front() {
            match message.map(|bytes| codec.decode_bytes(bytes)).transpose() {
                Ok(message) => decoded.push(message),
                Err(refused) if !decoded.is_empty() => {
                    let (message, failure) = *refused;
                    let failure: DecodeFailure = failure.into();
                    self.gathered.push_front((position, message.map(|()| failure.bytes)));
                    break;
                }
                Err(refused) => {
                    let (message, failure) = *refused;
                    self.hand_out(position);
                    return Err(Box::new((message, failure.into())));
                }
            }
            self.hand_out(position);
        }
        Ok(decoded)
    }

    fn hand_out(&mut self, (index, next): ReadPosition) {
        match self.handed_out.iter_mut().find(|(of, _)| *of == index) {
            Some(position) => position.1 = next,
            None => self.handed_out.push((index, next)),
        }
    }
}

impl ConsumerCore {
    /// Gathers at most `max` records for at most `wait` after the first one.
    pub(super) async fn gather_chunk(&mut self, max: usize, wait: Duration) -> Result<()> {
        let max = max.max(1);
        if self.chunk.is_empty() {
            match poll_fn(|cx| self.poll_message(cx)).await {
                Some(message) => self.gather(message?),
                None => return Ok(()),
            }
        } else {
            self.finish_handed_out();
            if let Some(error) = self.chunk.take_error() {
                return Err(error);
            }
        }
        let now = Instant::now();
        let deadline = now.checked_add(wait).unwrap_or(now + LONGEST);
        while self.chunk.gathered.len() < max && self.chunk.error.is_none() {
            match timeout_at(deadline, poll_fn(|cx| self.poll_one_more(cx))).await {
                Ok(Some(Ok(message))) => self.gather(message),
                Ok(Some(Err(error))) => self.chunk.error = Some(error),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// Keeps a record, which is finished together with its chunk.
    fn gather(&mut self, message: Message) {
        if let Some(position) = self.handed_out.take() {
            self.chunk.gathered.push_back((position, message));
        }
    }
}
