//! Tests of the budget.

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
        let greedy: Vec<_> = std::iter::from_fn(|| account.try_reserve(8192)).collect();
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
async fn an_account_is_served_in_order_and_ranked_once() {
    let pool = MemoryPool::new(100_000);
    let (busy, other) = (pool.account(1000), pool.account(usize::MAX));
    let held = now(busy.reserve(1000));
    let mut waits: Vec<_> = (0..500).map(|_| Box::pin(busy.reserve(400))).collect();
    for wait in &mut waits {
        assert!(wait.as_mut().now_or_never().is_none());
    }
    assert_eq!((pool.waiting(), pool.0.ledger.lock().ranked.len()), (500, 1));
    assert!(other.try_reserve(1000).is_some(), "the others do not wait");
    // The second one leaves; the first, third and so on are served as the memory returns.
    drop(waits.remove(1));
    drop(held);
    assert_eq!(pool.waiting(), 497);
    let mut served = 0;
    for wait in waits {
        drop(wait.await.unwrap());
        served += 1;
    }
    assert_eq!((served, pool.waiting(), pool.used()), (499, 0, 0));
    assert!(pool.0.ledger.lock().ranked.is_empty());
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
    let mut rooms: Vec<Vec<_>> =
        stalled.iter().map(|account| std::iter::from_fn(|| account.try_reserve(1000)).collect()).collect();
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
