//! The connections to one node.
//!
//! The pool leases a connection to one user at a time, so that its requests keep their order and do not wait behind slow
//! requests of another user. Returned connections are reused unless they are broken.
//!
//! Generic pools have no minimum size, idle timeout and background health check, which are most of this module.

use std::{fmt, sync::Arc, time::Duration};

use floe_core::{Error, ErrorKind, Result, node_backoff::NodeState, units::count};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::options::WalrusOptions;

/// Opens and checks the connections of a pool.
pub(crate) trait Manage: fmt::Debug + Send + Sync + 'static {
    /// A connection.
    type Link: fmt::Debug + Send + Sync + 'static;

    /// Opens a connection that is ready for requests. Has its own deadline.
    fn connect(&self) -> BoxFuture<'_, Result<Self::Link>>;

    /// Whether the connection can take a request. No IO.
    fn is_usable(&self, link: &Self::Link) -> bool;

    /// Checks the health of the peer. Has its own deadline.
    fn check<'a>(&'a self, link: &'a Self::Link) -> BoxFuture<'a, Result<()>>;
}

/// Limits of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolSettings {
    /// Minimum number of connections.
    pub(crate) min: usize,
    /// Maximum number of connections.
    pub(crate) max: usize,
    /// Idle time after which connections beyond the minimum are closed.
    pub(crate) idle_timeout: Duration,
    /// Deadline of a lease while all connections are in use.
    pub(crate) wait: Duration,
}

impl PoolSettings {
    pub(crate) fn of(options: &WalrusOptions) -> Self {
        Self {
            min: count(options.pool_min),
            max: count(options.pool_max),
            idle_timeout: options.idle_timeout,
            wait: options.request_timeout,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Pool<M: Manage> {
    manager: M,
    settings: PoolSettings,
    state: Arc<NodeState>,
    idle: Mutex<Vec<Idle<M::Link>>>,
    permits: Arc<Semaphore>,
}

#[derive(Debug)]
struct Idle<L> {
    link: L,
    since: Instant,
}

impl<M: Manage> Pool<M> {
    pub(crate) fn new(manager: M, settings: PoolSettings, state: Arc<NodeState>) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(settings.max.max(1)));
        Arc::new(Self { manager, settings, state, idle: Mutex::default(), permits })
    }

    pub(crate) fn state(&self) -> &NodeState {
        &self.state
    }

    pub(crate) fn manager(&self) -> &M {
        &self.manager
    }

    /// Returns the number of connections.
    pub(crate) fn size(&self) -> usize {
        let leased =
            self.settings.max.max(1) - self.permits.available_permits().min(self.settings.max.max(1));
        leased + self.idle.lock().len()
    }

    /// Takes the most recently used connection, or opens one.
    ///
    /// # Errors
    /// The error of the new connection, which marks the node as down; [`ErrorKind::ConnectionTimeout`] if all connections
    /// stayed in use; [`ErrorKind::Closed`].
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease<M>> {
        let waited = timeout(self.settings.wait, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = match waited {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(Error::closed("client")),
            Err(_) => {
                let message = format!(
                    "all {} connections stayed in use for {:?}",
                    self.settings.max, self.settings.wait
                );
                return Err(Error::new(ErrorKind::ConnectionTimeout, message));
            }
        };
        loop {
            let idle = self.idle.lock().pop();
            let Some(idle) = idle else { break };
            if self.manager.is_usable(&idle.link) {
                return Ok(self.lease_of(idle.link, permit));
            }
        }
        match self.manager.connect().await {
            Ok(link) => {
                self.state.worked();
                Ok(self.lease_of(link, permit))
            }
            Err(error) => {
                self.state.failed(&error);
                Err(error)
            }
        }
    }

    fn lease_of(self: &Arc<Self>, link: M::Link, permit: OwnedSemaphorePermit) -> Lease<M> {
        Lease { pool: Arc::clone(self), link: Some(link), _permit: permit }
    }

    /// Closes connections that were idle too long, checks the other idle ones, and opens connections up to the minimum. A
    /// node that does not reply is marked as down, and its idle connections are closed.
    pub(crate) async fn maintain(self: &Arc<Self>) {
        let waiting = self.idle.lock().len();
        for _ in 0..waiting {
            let spare = self.size() > self.settings.min;
            // Counted as in use during the check, so that the maximum holds.
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { break };
            let Some(idle) = self.take_oldest() else { break };
            let old = idle.since.elapsed() >= self.settings.idle_timeout;
            if old && spare || !self.manager.is_usable(&idle.link) {
                continue;
            }
            match self.manager.check(&idle.link).await {
                Ok(()) => self.put_back(idle.link, idle.since),
                Err(error) if error.kind() == ErrorKind::RequestTimeout => {
                    self.state.failed(&error);
                    self.idle.lock().clear();
                }
                // A broken connection does not prove that the node is down; the next one tells.
                Err(_) => {}
            }
            drop(permit);
        }
        while self.size() < self.settings.min && self.state.down_for().is_none() {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return };
            match self.manager.connect().await {
                Ok(link) => {
                    self.state.worked();
                    self.put_back(link, Instant::now());
                    drop(permit);
                }
                Err(error) => {
                    self.state.failed(&error);
                    return;
                }
            }
        }
    }

    /// Takes the least recently used connection; leases take from the other end.
    fn take_oldest(&self) -> Option<Idle<M::Link>> {
        let mut idle = self.idle.lock();
        (!idle.is_empty()).then(|| idle.remove(0))
    }

    fn put_back(&self, link: M::Link, since: Instant) {
        if !self.permits.is_closed() && self.manager.is_usable(&link) {
            self.idle.lock().push(Idle { link, since });
        }
    }

    /// Closes the idle connections, and fails further leases.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.idle.lock().clear();
    }
}

/// A connection in use. Dropping the lease returns it to the pool.
#[derive(Debug)]
pub(crate) struct Lease<M: Manage> {
    pool: Arc<Pool<M>>,
    link: Option<M::Link>,
    _permit: OwnedSemaphorePermit,
}

impl<M: Manage> Lease<M> {
    /// Returns the connection; `None` after it was discarded.
    pub(crate) fn link(&self) -> Option<&M::Link> {
        self.link.as_ref()
    }

    pub(crate) fn state(&self) -> &NodeState {
        &self.pool.state
    }

    /// Closes the connection, because its state is unknown.
    pub(crate) fn discard(mut self) {
        self.link = None;
    }
}

impl<M: Manage> Drop for Lease<M> {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            self.pool.put_back(link, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Links {
        opened: AtomicUsize,
        refuse: AtomicBool,
        sick: AtomicBool,
        silent: AtomicBool,
        checks: AtomicUsize,
    }

    #[derive(Debug)]
    struct Link {
        number: usize,
        broken: AtomicBool,
    }

    impl Manage for Arc<Links> {
        type Link = Link;

        fn connect(&self) -> BoxFuture<'_, Result<Link>> {
            Box::pin(async move {
                if self.refuse.load(Ordering::Relaxed) {
                    return Err(Error::new(ErrorKind::ConnectionRefused, "no"));
                }
                let number = self.opened.fetch_add(1, Ordering::Relaxed);
                Ok(Link { number, broken: AtomicBool::new(false) })
            })
        }

        fn is_usable(&self, link: &Link) -> bool {
            !link.broken.load(Ordering::Relaxed)
        }

        fn check<'a>(&'a self, _: &'a Link) -> BoxFuture<'a, Result<()>> {
            self.checks.fetch_add(1, Ordering::Relaxed);
            let sick = self.sick.load(Ordering::Relaxed);
            let silent = self.silent.load(Ordering::Relaxed);
            Box::pin(async move {
                // Lets other tasks run during the check.
                tokio::task::yield_now().await;
                match (sick, silent) {
                    (true, _) => Err(Error::new(ErrorKind::NetworkError, "broken")),
                    (_, true) => Err(Error::new(ErrorKind::RequestTimeout, "no answer")),
                    (false, false) => Ok(()),
                }
            })
        }
    }

    fn pool(min: usize, max: usize) -> (Arc<Links>, Arc<Pool<Arc<Links>>>) {
        let links = Arc::new(Links::default());
        let settings =
            PoolSettings { min, max, idle_timeout: Duration::from_secs(300), wait: Duration::from_secs(5) };
        (Arc::clone(&links), Pool::new(links, settings, Arc::default()))
    }

    fn number<M: Manage<Link = Link>>(lease: &Lease<M>) -> usize {
        lease.link().unwrap().number
    }

    #[tokio::test(start_paused = true)]
    async fn connections_are_reused_unless_they_are_broken() {
        let (_, pool) = pool(0, 4);
        let first = pool.lease().await.unwrap();
        let second = pool.lease().await.unwrap();
        assert_eq!((number(&first), number(&second), pool.size()), (0, 1, 2));
        drop(first);
        let again = pool.lease().await.unwrap();
        assert_eq!(number(&again), 0);
        again.link().unwrap().broken.store(true, Ordering::Relaxed);
        drop(again);
        assert_eq!(number(&pool.lease().await.unwrap()), 2);
        second.discard();
        assert_eq!(pool.size(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn number_of_connections_is_bounded() {
        let (links, pool) = pool(0, 2);
        let held = (pool.lease().await.unwrap(), pool.lease().await.unwrap());
        let started = Instant::now();
        let error = pool.lease().await.err().unwrap();
        assert_eq!((error.kind(), started.elapsed()), (ErrorKind::ConnectionTimeout, Duration::from_secs(5)));
        assert!(pool.state().down_for().is_none(), "busy is not down");
        let (waiting, ()) = tokio::join!(pool.lease(), async { drop(held) });
        assert!(waiting.is_ok());
        assert_eq!(links.opened.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn maintenance_keeps_the_minimum_and_closes_idle_connections() {
        let (links, pool) = pool(2, 4);
        pool.maintain().await;
        assert_eq!(pool.size(), 2);
        let leases = [pool.lease().await.unwrap(), pool.lease().await.unwrap(), pool.lease().await.unwrap()];
        drop(leases);
        assert_eq!(pool.size(), 3);
        tokio::time::advance(Duration::from_secs(299)).await;
        pool.maintain().await;
        assert_eq!(pool.size(), 3, "not idle for long enough");
        tokio::time::advance(Duration::from_secs(1)).await;
        pool.maintain().await;
        assert_eq!(pool.size(), 2);
        links.sick.store(true, Ordering::Relaxed);
        pool.maintain().await;
        assert_eq!(
            (pool.size(), links.opened.load(Ordering::Relaxed)),
            (2, 5),
            "broken connections were replaced"
        );
        assert!(links.checks.load(Ordering::Relaxed) >= 5);
    }

    #[tokio::test(start_paused = true)]
    async fn node_that_fails_a_check_is_down() {
        let (links, pool) = pool(2, 4);
        pool.maintain().await;
        links.silent.store(true, Ordering::Relaxed);
        pool.maintain().await;
        assert_eq!(pool.size(), 0, "no connection to it is kept");
        assert_eq!(links.checks.load(Ordering::Relaxed), 1, "the check stops at the first failure");
        assert!(pool.state().down_for().is_some());
        links.silent.store(false, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(1)).await;
        pool.maintain().await;
        assert_eq!((pool.size(), pool.state().down_for()), (2, None));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_under_check_count() {
        let (links, pool) = pool(2, 2);
        pool.maintain().await;
        let lend = async {
            for _ in 0..20 {
                let held = (pool.lease().await.unwrap(), pool.lease().await.unwrap());
                tokio::task::yield_now().await;
                drop(held);
            }
        };
        let check = async {
            for _ in 0..40 {
                pool.maintain().await;
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(check, lend);
        assert_eq!(
            (pool.size(), links.opened.load(Ordering::Relaxed)),
            (2, 2),
            "none was opened beside them"
        );
        assert!(links.checks.load(Ordering::Relaxed) > 10);
    }

    #[tokio::test(start_paused = true)]
    async fn refusal_marks_the_node_as_down_and_maintenance_skips_it() {
        let (links, pool) = pool(1, 4);
        links.refuse.store(true, Ordering::Relaxed);
        assert_eq!(pool.lease().await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
        assert!(pool.state().down_for().is_some());
        links.refuse.store(false, Ordering::Relaxed);
        pool.maintain().await;
        assert_eq!(pool.size(), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        pool.maintain().await;
        assert_eq!(pool.size(), 1);
        assert!(pool.state().down_for().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn closed_pool_leases_and_keeps_nothing() {
        let (_, pool) = pool(0, 2);
        let held = pool.lease().await.unwrap();
        pool.close();
        assert_eq!(pool.lease().await.err().unwrap().kind(), ErrorKind::Closed);
        drop(held);
        assert_eq!(pool.idle.lock().len(), 0);
    }
}
