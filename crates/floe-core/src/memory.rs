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
//! - Of the accounts that wait, the one that holds and wants least is served first; within an account, the oldest request.
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
const LITTLE: usize = 256;

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
    /// Accounts that wait, by the rank of their oldest request. The requests behind it wait for it, so that an account with
    /// many is ranked as quickly as one with a single one.
    ranked: BTreeMap<Rank, u64>,
    /// Requests that wait.
    waiting: usize,
    cut_off: u64,
}

/// Free bytes that a request needs, and its number.
type Rank = (usize, u64);

/// Bytes that one account holds, and its requests that wait.
struct Holder {
    owner: Arc<str>,
    cap: usize,
    held: usize,
    /// By number, which ascends with the time of arrival.
    waiting: BTreeMap<u64, Waiter>,
    /// Rank of the oldest request.
    rank: Option<Rank>,
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
        self.account_of("", cap)
    }

    /// Creates an account like [`MemoryPool::account`], under the name that [`MemoryPool::holders`] shows.
    #[must_use]
    pub fn account_of(&self, owner: impl Into<Arc<str>>, cap: usize) -> MemoryAccount {
        let mut ledger = self.0.ledger.lock();
        let (cut_off, moved) = (watch::Sender::new(false), Instant::now());
        let waiting = BTreeMap::new();
        let holder = Holder { owner: owner.into(), cap, held: 0, waiting, rank: None, moved, cut_off };
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
        self.0.ledger.lock().waiting
    }

    /// Returns the largest number of bytes that one reservation, or one account, can have.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.0.largest()
    }

    /// Returns the names and bytes of up to `most` accounts that hold memory, the largest first.
    ///
    /// ```
    /// let pool = floe_core::memory::MemoryPool::new(1 << 20);
    /// let room = pool.account_of("127.0.0.1:4000", usize::MAX).try_reserve(100);
    /// assert_eq!(pool.holders(5), [("127.0.0.1:4000".into(), 100)]);
    /// drop(room);
    /// assert!(pool.holders(5).is_empty());
    /// ```
    #[must_use]
    pub fn holders(&self, most: usize) -> Vec<(Arc<str>, usize)> {
        let mut holders: Vec<_> = {
            let ledger = self.0.ledger.lock();
            let busy = ledger.accounts.values().filter(|holder| holder.held > 0);
            busy.map(|holder| (Arc::clone(&holder.owner), holder.held)).collect()
        };
        holders.sort_by_key(|(_, held)| std::cmp::Reverse(*held));
        holders.truncate(most);
        holders
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
        let waiter = {
            let pool = &self.account.pool;
            pool.ledger.lock().withdraw(self.account.id, number, pool.limit)
        };
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
        if let Some(holder) = self.accounts.get_mut(&account) {
            holder.waiting.insert(number, waiter);
            self.waiting += 1;
            self.rank_anew(account, limit);
        }
    }

    fn withdraw(&mut self, account: u64, number: u64, limit: usize) -> Option<Waiter> {
        let waiter = self.accounts.get_mut(&account)?.waiting.remove(&number)?;
        self.waiting -= 1;
        self.rank_anew(account, limit);
        Some(waiter)
    }

    /// Ranks an account anew, after it took or returned bytes or its oldest request is another one.
    fn rank_anew(&mut self, account: u64, limit: usize) {
        let Some(holder) = self.accounts.get_mut(&account) else { return };
        if let Some(rank) = holder.rank.take() {
            self.ranked.remove(&rank);
        }
        let Some((number, bytes)) = holder.waiting.first_key_value().map(|(n, waiter)| (*n, waiter.bytes))
        else {
            return;
        };
        let rank = (self.need(account, bytes, limit), number);
        self.ranked.insert(rank, account);
        if let Some(holder) = self.accounts.get_mut(&account) {
            holder.rank = Some(rank);
        }
    }

    /// Cuts off the account that holds most of those that have returned nothing for a while, if another one waits.
    fn cut_off_stale(&mut self, now: Instant) {
        // An account at its own cap waits for nothing but itself.
        let first = self.ranked.first_key_value().filter(|(rank, _)| rank.0 < usize::MAX);
        let Some(asking) = first.map(|(_, account)| *account) else { return };
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
        while let Some((&(need, number), &account)) = self.ranked.first_key_value() {
            if need > limit.saturating_sub(self.used) {
                break;
            }
            let Some(waiter) = self.withdraw(account, number, limit) else { break };
            self.add(account, waiter.bytes, limit);
            granted.push(waiter);
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
mod tests;
