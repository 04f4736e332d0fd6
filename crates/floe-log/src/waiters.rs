//! Wakers of the readers that wait for more batches.

use std::{collections::HashMap, task::Waker};

use parking_lot::Mutex;

/// Wakers that belong to nobody in particular; beyond this many all are woken, and who still cares registers again.
const MAX_LOOSE_WAKERS: usize = 1024;

/// Those who wait for the readable end to move.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    inner: Mutex<WaiterLists>,
}

#[derive(Debug, Default)]
struct WaiterLists {
    /// One slot for each reader: leaves with it.
    readers: HashMap<u64, Waker>,
    loose: Vec<Waker>,
}

impl Waiters {
    /// Registers a reader; replaces what it registered before.
    pub(crate) fn register(&self, reader: u64, waker: &Waker) {
        let mut lists = self.inner.lock();
        match lists.readers.get_mut(&reader) {
            Some(present) => present.clone_from(waker),
            None => {
                lists.readers.insert(reader, waker.clone());
            }
        }
    }

    pub(crate) fn unregister(&self, reader: u64) {
        self.inner.lock().readers.remove(&reader);
    }

    /// Registers a waker that no reader owns.
    pub(crate) fn register_loose(&self, waker: &Waker) {
        let mut lists = self.inner.lock();
        if lists.loose.iter().any(|present| present.will_wake(waker)) {
            return;
        }
        let crowd =
            if lists.loose.len() >= MAX_LOOSE_WAKERS { std::mem::take(&mut lists.loose) } else { Vec::new() };
        lists.loose.push(waker.clone());
        drop(lists);
        crowd.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn wake_all(&self) {
        let mut lists = self.inner.lock();
        if lists.readers.is_empty() && lists.loose.is_empty() {
            return;
        }
        let woken: Vec<_> = lists.readers.drain().map(|(_, waker)| waker).collect();
        let loose = std::mem::take(&mut lists.loose);
        drop(lists);
        woken.into_iter().chain(loose).for_each(Waker::wake);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        let lists = self.inner.lock();
        lists.readers.len() + lists.loose.len()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn wakers_that_nobody_waits_for_any_more_do_not_pile_up() {
        let waiters = Waiters::default();
        let counts: Vec<_> =
            (0..3 * MAX_LOOSE_WAKERS).map(|_| Arc::new(Count(AtomicUsize::new(0)))).collect();
        for count in &counts {
            waiters.register_loose(&Waker::from(Arc::clone(count)));
            waiters.register_loose(&Waker::from(Arc::clone(count)));
            assert!(waiters.count() <= MAX_LOOSE_WAKERS);
        }
        waiters.wake_all();
        assert!(counts.iter().all(|count| count.0.load(Ordering::SeqCst) == 1), "nobody is forgotten");
        for reader in 0..100 {
            waiters.register(reader, &Waker::from(Arc::clone(&counts[0])));
            waiters.register(reader, &Waker::from(Arc::clone(&counts[0])));
        }
        assert_eq!(waiters.count(), 100);
        (0..100).for_each(|reader| waiters.unregister(reader));
        assert_eq!(waiters.count(), 0);
    }
}
