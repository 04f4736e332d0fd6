//! How a session turns from the log to the straight way.
//!
//! ```text
//!  not before ──► asked ──► alone ──► straight
//!      ▲      end of log  nobody appends │ everything in the log is delivered
//!      └─────────────────────┘ that took too long
//! ```

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{
    session::{Barrier, Session},
    source::Source,
    ways::Turn,
};
use crate::{Error, ErrorKind, Result};

/// Longest time that nobody may append while the rest of the log is delivered, before records go straight.
const TURN_LIMIT: Duration = Duration::from_secs(1);

/// How far a session is on its way from the log to the straight way.
pub(super) enum Turning {
    /// Not before this time.
    NotBefore(Instant),
    /// Waits until nobody appends.
    Asked(BoxFuture<'static, Turn>),
    /// Nobody appends before this time.
    Alone(Turn, Instant),
    Straight,
}

impl Turning {
    pub(super) fn begin() -> Self {
        Self::NotBefore(Instant::now())
    }

    pub(super) fn alone(turn: Turn) -> Self {
        Self::Alone(turn, Instant::now() + TURN_LIMIT)
    }
}

impl<'a> Session<'a> {
    pub(super) fn is_straight(&self) -> bool {
        matches!(self.turning, Turning::Straight)
    }

    /// Whether nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        match self.ways.filter(|_| self.is_straight()) {
            Some(ways) => ways.is_empty(),
            None => self.at.position >= self.shared.local.end(),
        }
    }

    /// At the end of the log, nobody is to append while the rest is delivered.
    pub(super) fn ask_for_turn(&mut self) {
        let Some(ways) = self.ways else { return };
        if let Turning::NotBefore(time) = &self.turning
            && *time <= Instant::now()
            && self.barrier.is_none()
            && self.read_to >= self.shared.local.end()
        {
            self.turning = Turning::Asked(Box::pin(ways.turn()));
        }
    }

    /// Once nothing waits and nobody appends, records go straight: where they are taken from then.
    pub(super) async fn go_straight(&mut self) -> Result<Option<Source<'a>>> {
        let Some(ways) = self.ways.filter(|_| self.is_idle()) else { return Ok(None) };
        let turn = match std::mem::replace(&mut self.turning, Turning::NotBefore(Instant::now())) {
            Turning::Alone(turn, _) => turn,
            other => {
                self.turning = other;
                return Ok(None);
            }
        };
        let mut kept = self.shared.kept.lock().await;
        if kept.state.position != self.at.position {
            // Records were given up meanwhile: the next session counts anew.
            self.barrier = Some(Barrier::Restart);
            return Ok(None);
        }
        kept.state.straight = true;
        if let Err(error) = self.shared.store(&mut kept).await {
            kept.state.straight = false;
            return Err(error);
        }
        let next = kept.state.position.saturating_add(kept.state.ahead);
        ways.go_straight(&turn, next);
        drop(turn);
        (self.turning, self.store_at) = (Turning::Straight, None);
        if let Err(error) = self.shared.trim(&kept).await {
            tracing::warn!(topic = %self.shared.topic, %error, "the log of the outbox was not shortened");
        }
        Ok(Some(Source::Straight { ways, next, place: self.shared.local.place() }))
    }

    /// When something takes too long.
    pub(super) fn patience(&self) -> Option<Instant> {
        match (&self.turning, self.ways) {
            (Turning::Alone(_, until), _) => Some(*until),
            (Turning::Straight, Some(ways)) => ways.deadline(),
            (Turning::NotBefore(time), Some(_)) => Some(*time).filter(|time| *time > Instant::now()),
            (Turning::NotBefore(_) | Turning::Asked(_) | Turning::Straight, _) => None,
        }
    }

    /// The time of [`Session::patience`] is over.
    pub(super) fn lose_patience(&mut self) -> Result<()> {
        let Some(ways) = self.ways else { return Ok(()) };
        if self.is_straight() {
            let message = format!("not acknowledged within {:?}", ways.patience);
            return Err(Error::new(ErrorKind::RequestTimeout, message).with_topic(&self.shared.topic));
        }
        if matches!(self.turning, Turning::Alone(..)) {
            // Others must get their turn.
            let pause = ways.patience.max(TURN_LIMIT);
            let now = Instant::now();
            self.turning = Turning::NotBefore(now.checked_add(pause).unwrap_or(now));
        }
        Ok(())
    }
}

/// Ready when nobody appends, if that was asked for.
pub(super) async fn turn_of(turning: &mut Turning) -> Turn {
    match turning {
        Turning::Asked(turn) => turn.await,
        Turning::NotBefore(_) | Turning::Alone(..) | Turning::Straight => std::future::pending().await,
    }
}
