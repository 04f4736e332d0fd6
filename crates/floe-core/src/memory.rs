//! A budget of memory that many clients share: what allocates by the wish of a peer reserves first.
//!
//! A [`MemoryPool`] has a limit in bytes. Each tenant, for example a connection, reserves through a [`MemoryAccount`] of
//! its own, and waits while the pool has no room for it: backpressure for the one who asks. A reservation ends when its
//! [`MemoryReservation`] is dropped.
//!
//! Fairness rests on three rules:
//!
//! - An account gets room only while it holds no more than what would then stay free, so the first busy one takes less than
//!   half. The last eighth of the pool is for accounts that hold little, so newcomers find room.
//! - Of the accounts that wait, the one that holds and wants least is served first.
//! - While an account waits, the one that holds most and has returned nothing for a second is cut off: see
//!   [`MemoryAccount::cut_off`]. Accounts that wait for each other so end their wait, too.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), floe_core::memory::MemoryRefused> {
//! use floe_core::memory::MemoryPool;
//!
//! let pool = MemoryPool::new(1 << 20);
//! let account = pool.account(256 << 10);
//! let room = account.reserve(64 << 10).await?;
//! assert_eq!(pool.used(), 64 << 10);
//! drop(room);
//! assert_eq!(pool.used(), 0);
//! # Ok(())
//! # }
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    fmt, mem,
    pin::pin,
    sync::Arc,
};

use futures_util::future::{Either, select};
use parking_lot::Mutex;
use tokio::{
    sync::{oneshot, watch},
    time::{Duration, Instant},
};

use crate::invariant;

/// Time between two looks for an account to cut off.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Time without a return after which an account may be cut off.
const STALE_AFTER: Duration = Duration::from_secs(1);

/// Share of the pool that only accounts with little use.
const NEWCOMERS: usize = 8;

/// Share of the pool that counts as little.
const LITTLE: usize = 512;

/// A limit of memory that accounts share. Clones are the same pool.
#[derive(Clone)]
pub struct MemoryPool(Arc<Pool>);

struct Pool {
    limit: usize,
    ledger: Mutex<Ledger>,
    /// Held by the one that looks for an account to cut off.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Ledger {
    used: usize,
    accounts: HashMap<u64, Holder>,
    next_account: u64,
    next_ticket: u64,
    /// Requests that wait, by the free bytes that they need, then in the order of their arrival.
    waiting: BTreeMap<Rank, Waiter>,
    cut_off: u64,
}

/// Free bytes that a request needs, and its number.
type Rank = (usize, u64);

/// Bytes that one account holds, and its requests that wait.
struct Holder {
    cap: usize,
    held: usize,
    waiting: Vec<Rank>,
    /// Time of the last return, or of the first reservation.
    moved: Instant,
    /// Turns true when the account is cut off.
    cut_off: watch::Sender<bool>,
}

struct Waiter {
    account: Arc<Account>,
    bytes: usize,
    granted: oneshot::Sender<MemoryReservation>,
}

/// A tenant of a pool. Clones are the same account.
#[derive(Debug, Clone)]
pub struct MemoryAccount(Arc<Account>);

struct Account {
    pool: Arc<Pool>,
    id: u64,
}

/// Reserved bytes, which return to the pool on drop.
#[derive(Debug)]
#[must_use = "a dropped reservation reserves nothing"]
pub struct MemoryReservation {
    account: Arc<Account>,
    bytes: usize,
}

/// A reservation that no wait can make possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRefused {
    /// Bytes that were asked for.
    pub requested: usize,
    /// Bytes that one reservation may have at most.
    pub limit: usize,
}

impl fmt::Display for MemoryRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of memory, at most {} at once", self.requested, self.limit)
    }
}

impl std::error::Error for MemoryRefused {}

impl MemoryPool {
    /// Creates a pool of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Pool { limit, ledger: Mutex::default(), looking: tokio::sync::Mutex::default() }))
    }

    /// Creates an account. It holds at most `cap` bytes, or one larger reservation alone.
    #[must_use]
    pub fn account(&self, cap: usize) -> MemoryAccount {
        let mut ledger = self.0.ledger.lock();
        let (cut_off, moved) = (watch::Sender::new(false), Instant::now());
        let holder = Holder { cap, held: 0, waiting: Vec::new(), moved, cut_off };
        let id = ledger.next_account;
        ledger.next_account += 1;
        ledger.accounts.insert(id, holder);
        MemoryAccount(Arc::new(Account { pool: Arc::clone(&self.0), id }))
    }

    /// Returns the limit in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Returns the reserved bytes.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.ledger.lock().used
    }

    /// Returns how many reservations wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.ledger.lock().waiting.len()
    }

    /// Returns the largest number of bytes that one reservation, or one account, can have.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.0.largest()
    }

    /// Returns how many accounts were cut off.
    #[must_use]
    pub fn cut_off(&self) -> u64 {
        self.0.ledger.lock().cut_off
    }
}

impl fmt::Debug for MemoryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPool").field("limit", &self.0.limit).field("used", &self.used()).finish()
    }
}

impl MemoryAccount {
    /// Reserves `bytes`, after a wait if there is no room.
    ///
    /// # Errors
    /// [`MemoryRefused`] for more than [`MemoryPool::largest`].
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future reserves nothing.
    pub async fn reserve(&self, bytes: usize) -> Result<MemoryReservation, MemoryRefused> {
        let pool = &self.0.pool;
        let largest = pool.largest();
        if bytes > largest {
            return Err(MemoryRefused { requested: bytes, limit: largest });
        }
        let (mut ticket, mut granted) = {
            let mut ledger = pool.ledger.lock();
            if ledger.take(&self.0, bytes, pool.limit) {
                return Ok(MemoryReservation { account: Arc::clone(&self.0), bytes });
            }
            let (granted, outcome) = oneshot::channel();
            let number = ledger.next_ticket;
            ledger.next_ticket += 1;
            ledger.enqueue(number, Waiter { account: Arc::clone(&self.0), bytes, granted }, pool.limit);
            (Ticket { account: &self.0, number: Some(number) }, outcome)
        };
        // One of all that wait looks for an account to cut off; the others wait without a timer.
        let looking = pin!(pool.looking.lock());
        let outcome = match select(&mut granted, looking).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right((_looker, _)) => loop {
                if let Ok(outcome) = tokio::time::timeout(LOOK_INTERVAL, &mut granted).await {
                    break outcome;
                }
                pool.ledger.lock().cut_off_stale(Instant::now());
            },
        };
        ticket.number = None;
        // The waiter lives in the ledger until it is granted or its ticket is dropped.
        invariant!(outcome.is_ok(), "a reservation that waits is granted");
        outcome.map_err(|_| MemoryRefused { requested: bytes, limit: largest })
    }

    /// Reserves `bytes` if there is room at once.
    #[must_use]
    pub fn try_reserve(&self, bytes: usize) -> Option<MemoryReservation> {
        let pool = &self.0.pool;
        let is_taken = pool.ledger.lock().take(&self.0, bytes, pool.limit);
        is_taken.then(|| MemoryReservation { account: Arc::clone(&self.0), bytes })
    }

    /// Returns the bytes that the account holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.pool.ledger.lock().accounts.get(&self.0.id).map_or(0, |holder| holder.held)
    }

    /// Resolves once the account holds most, has returned nothing for a second, and another one waits. Its owner is
    /// expected to end, which returns the reservations.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn cut_off(&self) {
        let flag =
            self.0.pool.ledger.lock().accounts.get(&self.0.id).map(|holder| holder.cut_off.subscribe());
        let Some(mut flag) = flag else { return std::future::pending().await };
        // The returned guard is dropped at once: it must not be held across an await.
        let _ = flag.wait_for(|cut_off| *cut_off).await;
    }

    /// Returns the pool.
    #[must_use]
    pub fn pool(&self) -> MemoryPool {
        MemoryPool(Arc::clone(&self.0.pool))
    }
}

impl MemoryReservation {
    /// Creates an empty reservation of the account, to which others are added.
    pub fn empty(account: &MemoryAccount) -> Self {
        Self { account: Arc::clone(&account.0), bytes: 0 }
    }

    /// Returns the reserved bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds another reservation of the same account.
    pub fn add(&mut self, mut other: Self) {
        invariant!(self.account.id == other.account.id, "reservations of one account are added");
        self.bytes += mem::take(&mut other.bytes);
    }

    /// Takes up to `bytes` off into a reservation of their own.
    pub fn split(&mut self, bytes: usize) -> Self {
        let taken = bytes.min(self.bytes);
        self.bytes -= taken;
        Self { account: Arc::clone(&self.account), bytes: taken }
    }

    /// Returns what exceeds `bytes` to the pool.
    pub fn shrink_to(&mut self, bytes: usize) {
        drop(self.split(self.bytes.saturating_sub(bytes)));
    }
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.pool.release(self.account.id, self.bytes);
        }
    }
}

/// A place in the queue, left on drop.
struct Ticket<'a> {
    account: &'a Arc<Account>,
    number: Option<u64>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        // The waiter is dropped outside the lock: it may hold the last reference to its account, or a grant.
        let waiter = self.account.pool.ledger.lock().withdraw(self.account.id, number);
        drop(waiter);
    }
}

impl Pool {
    fn largest(&self) -> usize {
        (self.limit - self.limit / NEWCOMERS) / 2
    }

    fn release(&self, account: u64, bytes: usize) {
        let granted = {
            let mut ledger = self.ledger.lock();
            ledger.put_back(account, bytes, self.limit);
            ledger.grant(self.limit)
        };
        for waiter in granted {
            let Waiter { account, bytes, granted } = waiter;
            // If the waiter has gone, the reservation returns here and is released.
            let _ = granted.send(MemoryReservation { account, bytes });
        }
    }
}

impl Ledger {
    /// Returns the free bytes that a request needs; `None` while its account is at its cap.
    fn need(&self, account: u64, bytes: usize, limit: usize) -> usize {
        let Some(holder) = self.accounts.get(&account) else { return usize::MAX };
        let total = holder.held.saturating_add(bytes);
        if holder.held > 0 && total > holder.cap {
            return usize::MAX;
        }
        if total <= limit / LITTLE {
            bytes
        } else {
            total.saturating_add(bytes).saturating_add(limit / NEWCOMERS)
        }
    }

    fn take(&mut self, account: &Arc<Account>, bytes: usize, limit: usize) -> bool {
        let need = self.need(account.id, bytes, limit);
        if need > limit.saturating_sub(self.used) {
            return false;
        }
        self.add(account.id, bytes, limit);
        true
    }

    fn add(&mut self, account: u64, bytes: usize, limit: usize) {
        self.used = self.used.saturating_add(bytes);
        if let Some(holder) = self.accounts.get_mut(&account) {
            if holder.held == 0 {
                holder.moved = Instant::now();
            }
            holder.held = holder.held.saturating_add(bytes);
        }
        self.rank_anew(account, limit);
    }

    fn put_back(&mut self, account: u64, bytes: usize, limit: usize) {
        invariant!(self.used >= bytes, "no more is released than was reserved");
        self.used = self.used.saturating_sub(bytes);
        if let Some(holder) = self.accounts.get_mut(&account) {
            holder.held = holder.held.saturating_sub(bytes);
            holder.moved = Instant::now();
        }
        self.rank_anew(account, limit);
    }

    fn enqueue(&mut self, number: u64, waiter: Waiter, limit: usize) {
        let account = waiter.account.id;
        let rank = (self.need(account, waiter.bytes, limit), number);
        self.waiting.insert(rank, waiter);
        if let Some(holder) = self.accounts.get_mut(&account) {
            holder.waiting.push(rank);
        }
    }

    fn withdraw(&mut self, account: u64, number: u64) -> Option<Waiter> {
        let waiting = &mut self.accounts.get_mut(&account)?.waiting;
        let at = waiting.iter().position(|(_, other)| *other == number)?;
        let rank = waiting.swap_remove(at);
        self.waiting.remove(&rank)
    }

    /// Ranks the requests of an account anew, after it took or returned bytes.
    fn rank_anew(&mut self, account: u64, limit: usize) {
        let Some(holder) = self.accounts.get_mut(&account) else { return };
        if holder.waiting.is_empty() {
            return;
        }
        for rank in mem::take(&mut holder.waiting) {
            if let Some(waiter) = self.waiting.remove(&rank) {
                self.enqueue(rank.1, waiter, limit);
            }
        }
    }

    /// Cuts off the account that holds most of those that have returned nothing for a while, if another one waits.
    fn cut_off_stale(&mut self, now: Instant) {
        // An account at its own cap waits for nothing but itself.
        let first = self.waiting.first_key_value().filter(|(rank, _)| rank.0 < usize::MAX);
        let Some(asking) = first.map(|(_, waiter)| waiter.account.id) else { return };
        let is_stale = |(id, holder): &(&u64, &Holder)| {
            **id != asking
                && holder.held > 0
                && !*holder.cut_off.borrow()
                && now.saturating_duration_since(holder.moved) >= STALE_AFTER
        };
        let most = self.accounts.iter().filter(is_stale).max_by_key(|(_, holder)| holder.held);
        if let Some((_, holder)) = most {
            holder.cut_off.send_replace(true);
            self.cut_off += 1;
        }
    }

    /// Takes the requests that have room off the queue, those with the least need first.
    fn grant(&mut self, limit: usize) -> Vec<Waiter> {
        let mut granted = Vec::new();
        while let Some((rank, waiter)) = self.waiting.first_key_value() {
            if rank.0 > limit.saturating_sub(self.used) {
                break;
            }
            let (account, bytes, number) = (waiter.account.id, waiter.bytes, rank.1);
            granted.extend(self.withdraw(account, number));
            self.add(account, bytes, limit);
        }
        granted
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.pool.ledger.lock().accounts.remove(&self.id);
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn now<T>(future: impl Future<Output = Result<T, MemoryRefused>>) -> T {
        future.now_or_never().expect("there is room").unwrap()
    }

    #[test]
    fn reservations_return_on_drop() {
        let pool = MemoryPool::new(1000);
        let account = pool.account(1000);
        let mut room = now(account.reserve(100));
        room.add(now(account.reserve(50)));
        let part = room.split(120);
        assert_eq!((room.bytes(), part.bytes(), pool.used(), account.held()), (30, 120, 150, 150));
        room.shrink_to(10);
        assert_eq!(pool.used(), 130);
        drop((room, part));
        assert_eq!((pool.used(), account.held()), (0, 0));
        assert_eq!(MemoryReservation::empty(&account).bytes(), 0);
        drop(account);
        assert!(pool.0.ledger.lock().accounts.is_empty());
    }

    #[test]
    fn busy_accounts_leave_room_for_newcomers() {
        let pool = MemoryPool::new(1 << 20);
        let mut held = Vec::new();
        for _ in 0..100 {
            let account = pool.account(usize::MAX);
            // A greedy tenant takes all that it gets.
            let greedy: Vec<_> = std::iter::from_fn(|| account.try_reserve(4096)).collect();
            let total: usize = greedy.iter().map(MemoryReservation::bytes).sum();
            assert!(total <= pool.largest(), "{total}");
            held.extend(greedy);
            assert!(pool.account(usize::MAX).try_reserve(2048).is_some(), "{} used", pool.used());
        }
        assert!(pool.used() > pool.limit() * 3 / 4, "busy accounts use the pool: {}", pool.used());
        assert!(pool.used() <= pool.limit());
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_waits_at_its_cap_while_others_go_on() {
        let pool = MemoryPool::new(10_000);
        let (capped, other) = (pool.account(100), pool.account(100));
        let first = now(capped.reserve(80));
        let mut second = Box::pin(capped.reserve(30));
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!((pool.waiting(), pool.used()), (1, 80));
        let _other = now(other.reserve(30));
        drop(first);
        assert_eq!(now(second).bytes(), 30);
        // One reservation above the cap is admitted alone.
        let large = now(pool.account(100).reserve(4000));
        assert_eq!(large.bytes(), 4000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_smallest_need_is_served_first_and_all_are_served() {
        let pool = MemoryPool::new(100_000);
        let filler = pool.account(usize::MAX);
        let mut full: Vec<_> = std::iter::from_fn(|| filler.try_reserve(1000)).collect();
        let accounts: Vec<_> = (0..3).map(|_| pool.account(usize::MAX)).collect();
        let mut large = Box::pin(accounts[0].reserve(40_000));
        let mut small = Box::pin(accounts[1].reserve(25_000));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(small.as_mut().now_or_never().is_none());
        // A newcomer with a small need passes them.
        drop(now(accounts[2].reserve(100)));
        while pool.waiting() == 2 {
            full.pop();
        }
        let small = now(small);
        assert!(large.as_mut().now_or_never().is_none());
        full.clear();
        drop(small);
        assert_eq!(now(large).bytes(), 40_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_wait_leaves_nothing_behind() {
        let pool = MemoryPool::new(10_000);
        let (first, second) = (pool.account(usize::MAX), pool.account(usize::MAX));
        let held = now(first.reserve(4000));
        let mut waits = Box::pin(second.reserve(3000));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(waits);
        assert_eq!(pool.waiting(), 0);
        // A grant that its future never saw returns to the pool.
        let mut waits = Box::pin(second.reserve(3000));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(held);
        assert_eq!((pool.waiting(), pool.used()), (0, 3000));
        drop(waits);
        assert_eq!((pool.used(), second.held()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_largest_account_that_stands_still_is_cut_off_for_one_that_waits() {
        let pool = MemoryPool::new(100_000);
        let stalled: Vec<_> = (0..3).map(|_| pool.account(usize::MAX)).collect();
        let mut rooms: Vec<Vec<_>> = stalled
            .iter()
            .map(|account| std::iter::from_fn(|| account.try_reserve(1000)).collect())
            .collect();
        let moving = pool.account(usize::MAX);
        let newcomer = pool.account(usize::MAX);
        let waits = tokio::spawn({
            let newcomer = newcomer.clone();
            async move { newcomer.reserve(20_000).await }
        });
        for _ in 0..200 {
            drop(moving.try_reserve(100));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(stalled[0].cut_off().now_or_never().is_some(), "it holds most");
        assert!(moving.cut_off().now_or_never().is_none(), "it returns what it takes");
        assert!(newcomer.cut_off().now_or_never().is_none());
        assert!(pool.cut_off() >= 1);
        rooms[0].clear();
        assert_eq!(waits.await.unwrap().unwrap().bytes(), 20_000);
    }

    #[test]
    fn an_impossible_reservation_is_refused_at_once() {
        let pool = MemoryPool::new(1000);
        let account = pool.account(usize::MAX);
        let refused = account.reserve(438).now_or_never().unwrap().unwrap_err();
        assert_eq!(refused, MemoryRefused { requested: 438, limit: 437 });
        assert_eq!(refused.to_string(), "438 bytes of memory, at most 437 at once");
        assert!(account.try_reserve(438).is_none());
        assert!(account.try_reserve(437).is_some());
    }
}
