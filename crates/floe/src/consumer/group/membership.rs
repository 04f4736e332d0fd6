//! How a consumer takes part in a shared group, and what it is told.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Error, ErrorKind, Result, topic::TopicPartition};

/// Longest name of a shared group, in bytes.
const MAX_GROUP_LEN: usize = 255;

/// Shortest session and drain.
const MIN_TIME: Duration = Duration::from_millis(100);

/// Longest session and drain: they are stored as milliseconds.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

/// How a consumer takes part in a shared group; for
/// [`ConsumerBuilder::shared_as`](crate::consumer::ConsumerBuilder::shared_as).
///
/// ```
/// use std::time::Duration;
/// use floe::consumer::Membership;
///
/// // Others take over 3 seconds after a crash; a restart under the same name takes over at once.
/// let membership = Membership::new().session(Duration::from_secs(3)).instance("worker-1");
/// ```
#[derive(Clone)]
pub struct Membership {
    pub(super) instance: Option<String>,
    pub(super) session: Duration,
    pub(super) drain: Duration,
    pub(super) weight: u16,
    pub(super) fence: Fence,
    pub(super) on_event: Option<EventCallback>,
}

pub(super) type EventCallback = Arc<dyn Fn(&GroupEvent) + Send + Sync>;

/// Behaviour of a member that cannot prove to the others that it lives. Matching is exhaustive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fence {
    /// While only the coordination topic is away, the member goes on and holds its commits back. If others reach it and take
    /// over, records come twice; none is lost.
    #[default]
    Lenient,
    /// The member hands out nothing from 0.8 sessions after the last heartbeat that it has read back.
    Strict,
}

/// A change of the partitions of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupEvent {
    /// The member reads these partitions from now on.
    Assigned(Vec<TopicPartition>),
    /// The member has finished these partitions, stored their offsets, and given them to another member.
    Revoked(Vec<TopicPartition>),
    /// Another member has these partitions, or may have them: this one was silent for too long, or an administrator moved
    /// them. Records in hand may be handled a second time elsewhere, and their offsets are not stored.
    Lost(Vec<TopicPartition>),
}

impl Default for Membership {
    fn default() -> Self {
        Self::new()
    }
}

impl Membership {
    /// A member with a session of 10 s, 30 s to drain, the weight 1 and [`Fence::Lenient`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            instance: None,
            session: Duration::from_secs(10),
            drain: Duration::from_secs(30),
            weight: 1,
            fence: Fence::default(),
            on_event: None,
        }
    }

    /// Sets a name that a restarted process keeps. It takes over the partitions of its predecessor at once, whether that has
    /// crashed or still runs; a predecessor that runs ends with [`ErrorKind::Fenced`]. A consumer with a name that is closed
    /// keeps its partitions until the session has passed. Default: none.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// Sets the time without a sign of life after which the others take over. A third of it is the interval of the
    /// heartbeats. Default 10 s.
    #[must_use]
    pub fn session(mut self, session: Duration) -> Self {
        self.session = session;
        self
    }

    /// Sets how long the member takes at most to finish the records in hand before it gives up a partition; afterwards
    /// another member may handle them a second time. Default 30 s.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Sets the share of the partitions in relation to other members, 1 to 1000. Default 1.
    #[must_use]
    pub fn weight(mut self, weight: u16) -> Self {
        self.weight = weight;
        self
    }

    /// Sets what the member does while it cannot prove that it lives. Default [`Fence::Lenient`].
    #[must_use]
    pub fn fence(mut self, fence: Fence) -> Self {
        self.fence = fence;
        self
    }

    /// Calls `callback` for each change of the partitions, on the task of the member: keep it short. Default: none.
    #[must_use]
    pub fn on_event(mut self, callback: impl Fn(&GroupEvent) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(callback));
        self
    }

    /// Returns the session that was chosen.
    pub(crate) fn chosen_session(&self) -> Duration {
        self.session
    }

    /// Checks the settings of a member of `group`.
    pub(in crate::consumer) fn check(&self, group: Option<&str>) -> Result<()> {
        let refuse = |problem: String| Err(Error::new(ErrorKind::InvalidConfig, problem));
        match group.map(str::len) {
            None => return refuse("a shared consumer needs a group".to_owned()),
            Some(0..=MAX_GROUP_LEN) => {}
            Some(_) => {
                return refuse(format!("the name of a shared group has at most {MAX_GROUP_LEN} bytes"));
            }
        }
        for (name, time) in [("session", self.session), ("drain", self.drain)] {
            if !(MIN_TIME..=MAX_TIME).contains(&time) {
                return refuse(format!("a {name} of {time:?}: it is 100 ms to 24 h"));
            }
        }
        if !(1..=1000).contains(&self.weight) {
            return refuse(format!("a weight of {}: it is 1 to 1000", self.weight));
        }
        match self.instance.as_deref().map(str::len) {
            Some(0) => refuse("the name of the instance is empty".to_owned()),
            Some(1025..) => refuse("the name of the instance is longer than 1024 bytes".to_owned()),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership")
            .field("instance", &self.instance)
            .field("session", &self.session)
            .field("drain", &self.drain)
            .field("weight", &self.weight)
            .field("fence", &self.fence)
            .finish_non_exhaustive()
    }
}
