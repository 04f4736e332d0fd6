//! One topic of a member, and the consumer that reads it.

use std::{
    pin::pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use floe_group::Commit;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{holdings::Holdings, membership::GroupEvent};
use crate::{
    Error, Result,
    consumer::{commit::CommitTrigger, partition_discovery::PartitionOpener, settings::CommitPolicy},
    topic::Topic,
};

/// Request of a consumer to its member.
#[derive(Debug)]
pub(super) enum Command {
    /// Stores the offsets.
    Commit(CommitTrigger, oneshot::Sender<Result<()>>),
    /// Stores the offsets if the policy does, and gives the topic up.
    Close(oneshot::Sender<Result<()>>),
}

/// Event of a topic.
pub(super) enum TopicNews {
    /// A request of the consumer; `None` once it was dropped.
    Command(Option<Command>),
    /// A partition was opened, after a look-up of this time.
    Opened(u32, Duration),
    /// The topic has another number of partitions, or is gone.
    Announced(Result<u32>),
}

/// A commit that waits for a heartbeat, and then for its return.
#[derive(Debug)]
struct WaitingCommit {
    trigger: CommitTrigger,
    sequence: Option<u64>,
    reply: oneshot::Sender<Result<()>>,
}

/// The end of a consumer, on which its close waits unless it was dropped.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) reply: Option<oneshot::Sender<Result<()>>>,
    /// The time at which the close fails.
    pub(super) until: Duration,
    pub(super) outcome: Result<()>,
}

/// The consumer's ends of the channels to its member.
pub(super) struct ConsumerEnds {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) events: broadcast::Sender<GroupEvent>,
    pub(super) failure: Arc<OnceLock<Error>>,
    pub(super) ready: oneshot::Receiver<Result<()>>,
    /// Takes the numbers of partitions of the topic, or its end.
    pub(super) counts: mpsc::Sender<Result<u32>>,
}

/// One topic of a member, and the consumer that reads it.
pub(super) struct Subscription {
    pub(super) holdings: Holdings,
    /// Partitions of the topic, as far as they were announced.
    pub(super) count: u32,
    /// Partitions that others shall have.
    pub(super) leaving: Vec<u32>,
    pub(super) closing: Option<Closing>,
    commit: CommitPolicy,
    last_commit: Duration,
    waiting: Vec<WaitingCommit>,
    commands: mpsc::Receiver<Command>,
    announced: mpsc::Receiver<Result<u32>>,
    events: broadcast::Sender<GroupEvent>,
    /// Keeps the error with which the consumer ends by its member.
    failure: Arc<OnceLock<Error>>,
    /// Tells whether the member reads the topic, once that is known.
    ready: Option<oneshot::Sender<Result<()>>>,
}

impl Subscription {
    pub(super) fn new(
        holdings: Holdings,
        (commit, count): (CommitPolicy, u32),
        events_kept: usize,
    ) -> (Self, ConsumerEnds) {
        let (commands, received) = mpsc::channel(16);
        let (events, _) = broadcast::channel(events_kept);
        let failure = Arc::default();
        let (ready, joined) = oneshot::channel();
        let (counts, announced) = mpsc::channel(1);
        let subscription = Self {
            holdings,
            count,
            leaving: Vec::new(),
            closing: None,
            commit,
            last_commit: Duration::ZERO,
            waiting: Vec::new(),
            commands: received,
            announced,
            events: events.clone(),
            failure: Arc::clone(&failure),
            ready: Some(ready),
        };
        (subscription, ConsumerEnds { commands, events, failure, ready: joined, counts })
    }

    pub(super) fn opener(&self) -> &PartitionOpener {
        self.holdings.opener()
    }

    pub(super) fn topic(&self) -> &Topic {
        &self.opener().topic
    }

    /// Polls for the next event.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<TopicNews> {
        if self.closing.is_none()
            && let Poll::Ready(command) = self.commands.poll_recv(cx)
        {
            return Poll::Ready(TopicNews::Command(command));
        }
        if let Poll::Ready((number, took)) = pin!(self.holdings.opened()).poll(cx) {
            return Poll::Ready(TopicNews::Opened(number, took));
        }
        match self.announced.poll_recv(cx) {
            Poll::Ready(Some(announced)) => Poll::Ready(TopicNews::Announced(announced)),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Begins the interval of the commits.
    pub(super) fn begin(&mut self, now: Duration) {
        self.last_commit = now;
    }

    /// Whether the consumer waits for its start.
    pub(super) fn is_starting(&self) -> bool {
        self.ready.is_some()
    }

    /// Lets the consumer start.
    pub(super) fn welcome(&mut self) {
        if let Some(ready) = self.ready.take() {
            // The consumer may have stopped waiting.
            let _ = ready.send(Ok(()));
        }
    }

    /// Ends the consumer with an error: its start, if that has not succeeded. Returns whether it had started.
    pub(super) fn fail(&mut self, error: Error) -> bool {
        // It ends once.
        let _ = self.failure.set(error.clone());
        match self.ready.take() {
            Some(ready) => {
                // The consumer may have stopped waiting.
                let _ = ready.send(Err(error));
                false
            }
            None => {
                self.opener().queue.fail(error);
                true
            }
        }
    }

    /// Tells an event to the streams of the application, which needs none.
    pub(super) fn tell(&self, event: GroupEvent) {
        let _ = self.events.send(event);
    }

    /// Keeps a commit for the next heartbeat.
    pub(super) fn wait(&mut self, trigger: CommitTrigger, reply: oneshot::Sender<Result<()>>) {
        self.waiting.push(WaitingCommit { trigger, sequence: None, reply });
    }

    /// Answers all commits that wait.
    pub(super) fn answer_all(&mut self, outcome: &Result<()>) {
        self.answer(|_| true, outcome);
    }

    /// Answers the commits of a heartbeat that came back. Those of an earlier one, which failed or was lost with the end of the
    /// log, go with the next one.
    pub(super) fn answer_beat(&mut self, sequence: u64, outcome: &Result<()>) {
        let has_gone = |commit: &&mut WaitingCommit| commit.sequence.is_some_and(|other| other < sequence);
        self.waiting.iter_mut().filter(has_gone).for_each(|commit| commit.sequence = None);
        self.answer(|commit| commit.sequence == Some(sequence), outcome);
        if let Some(closing) = &mut self.closing {
            closing.outcome.clone_from(outcome);
        }
    }

    fn answer(&mut self, which: impl Fn(&WaitingCommit) -> bool, outcome: &Result<()>) {
        for commit in self.waiting.extract_if(.., |commit| which(commit)) {
            // The caller may have stopped waiting.
            let _ = commit.reply.send(outcome.clone());
        }
    }

    /// Whether a commit waits for a heartbeat.
    pub(super) fn is_asked(&self) -> bool {
        self.waiting.iter().any(|commit| commit.sequence.is_none())
    }

    /// Whether the interval of the commits has passed, with positions to store.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let CommitPolicy::Interval(period) = self.commit else { return false };
        if now < self.last_commit.saturating_add(period) {
            return false;
        }
        self.last_commit = now;
        self.has_news()
    }

    /// Whether a consumer that is being closed has positions to store.
    pub(super) fn is_unfinished(&self) -> bool {
        self.commits_at_end() && self.has_news()
    }

    fn has_news(&self) -> bool {
        self.holdings.commits(CommitTrigger::Policy).is_ok_and(|news| !news.is_empty())
    }

    /// Whether a close stores offsets. A consumer that was dropped stores none.
    fn commits_at_end(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| closing.reply.is_some())
            && self.commit != CommitPolicy::Manual
    }

    /// Returns the positions that go with a heartbeat of this number.
    pub(super) fn commits(&mut self, sequence: u64, now: Duration) -> Vec<Commit> {
        let mut asked = self.waiting.iter().filter(|commit| commit.sequence.is_none()).peekable();
        let is_due = match &self.closing {
            Some(_) => self.commits_at_end(),
            None => self.commit != CommitPolicy::Manual || asked.peek().is_some(),
        };
        let by_application = asked.any(|commit| commit.trigger == CommitTrigger::Application);
        let trigger = if by_application { CommitTrigger::Application } else { CommitTrigger::Policy };
        let mut commits = Vec::new();
        if is_due {
            match self.holdings.commits(trigger) {
                Ok(found) => commits = found,
                Err(error) => self.answer(|commit| commit.sequence.is_none(), &Err(error)),
            }
            self.holdings.note_commits(&commits);
            self.last_commit = now;
        }
        for commit in &mut self.waiting {
            commit.sequence.get_or_insert(sequence);
        }
        commits
    }
}
