//! Several records at once, for those who write them on together.

use std::{collections::VecDeque, convert::Infallible, future::poll_fn, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{Consumer, Message};
use crate::{Error, Result};

/// Index of a partition, and the offset at which reading goes on in it.
type ReadPosition = (usize, i64);

/// The records of a chunk that is being gathered, and what finishes when the next call is made.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    gathered: VecDeque<(ReadPosition, Message)>,
    /// What came between the records.
    error: Option<Error>,
    handed_out: Vec<ReadPosition>,
}

impl Chunk {
    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.error.is_none()
    }

    /// The first record of what a chunk that was given up has left.
    pub(super) fn take_first(&mut self) -> Option<(ReadPosition, Message)> {
        self.gathered.pop_front()
    }

    /// What came between the records, once those before it are taken.
    pub(super) fn take_error(&mut self) -> Option<Error> {
        if self.gathered.is_empty() { self.error.take() } else { None }
    }

    pub(super) fn take_handed_out(&mut self) -> Vec<ReadPosition> {
        std::mem::take(&mut self.handed_out)
    }

    /// The partition goes on elsewhere.
    pub(super) fn forget(&mut self, index: usize) {
        self.gathered.retain(|((of, _), _)| *of != index);
        self.handed_out.retain(|(of, _)| *of != index);
    }

    /// Hands out what `make` makes of each record, up to the first of which it makes nothing. That one stays, unless it is
    /// the first.
    fn take<T, E>(&mut self, mut make: impl FnMut(Message) -> Result<T, Refused<E>>) -> Made<T, E> {
        let mut made = Vec::with_capacity(self.gathered.len());
        while let Some((place, message)) = self.gathered.pop_front() {
            match make(message) {
                Ok(one) => made.push(one),
                Err(refused) if !made.is_empty() => {
                    self.gathered.push_front((place, refused.0));
                    break;
                }
                Err(refused) => {
                    self.hand_out(place);
                    return Err(refused);
                }
            }
            self.hand_out(place);
        }
        Ok(made)
    }

    fn hand_out(&mut self, (index, next): ReadPosition) {
        match self.handed_out.iter_mut().find(|(of, _)| *of == index) {
            Some(place) => place.1 = next,
            None => self.handed_out.push((index, next)),
        }
    }
}

/// A record of which nothing could be made, and why.
type Refused<E> = Box<(Message, E)>;

/// What was made of records, or the one of which nothing could be made.
type Made<T, E> = Result<Vec<T>, Refused<E>>;

impl Consumer {
    /// The next records, at most `max`, gathered for at most `wait` after the first one, for which it waits as long as it
    /// takes. Empty when nothing more comes.
    ///
    /// With [`AckMode::Auto`](super::AckMode::Auto) the next call finishes all of them.
    ///
    /// # Errors
    /// As [`Consumer::try_next`]; records gathered before the error come first.
    ///
    /// # Cancel safety
    /// Dropping the future loses no record: those gathered come with the next call of this or of
    /// [`Consumer::try_next`].
    pub async fn next_chunk(&mut self, max: usize, wait: Duration) -> Result<Vec<Message>> {
        self.gather_chunk(max, wait).await?;
        Ok(self.chunk.take(Ok::<_, Refused<Infallible>>).unwrap_or_default())
    }

    /// As [`Consumer::next_chunk`], with what `make` makes of each record. One of which it makes nothing comes alone, and is
    /// handed out as well.
    pub(crate) async fn next_chunk_as<T, E>(
        &mut self,
        max: usize,
        wait: Duration,
        make: impl FnMut(Message) -> Result<T, Refused<E>>,
    ) -> Result<Made<T, E>> {
        self.gather_chunk(max, wait).await?;
        Ok(self.chunk.take(make))
    }

    async fn gather_chunk(&mut self, max: usize, wait: Duration) -> Result<()> {
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

    /// Keeps a record that is not finished before the chunk is.
    fn gather(&mut self, message: Message) {
        if let Some(place) = self.handed_out.take() {
            self.chunk.gathered.push_back((place, message));
        }
    }
}

/// Stands for a wait that the clock cannot hold.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
