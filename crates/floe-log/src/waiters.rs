//! Wakers of the readers that wait for more batches.

use std::{collections::BTreeMap, task::Waker};

use crate::sync::Mutex;

/// Limit for wakers without a reader. Beyond it all are woken, and tasks that still wait register again.
const MAX_LOOSE_WAKERS: usize = 1024;

/// Wakers of tasks that wait for the readable end to move.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    lists: Mutex<WaiterLists>,
}

#[derive(Debug, Default)]
struct WaiterLists {
    /// At most one waker per reader, woken in the order of the readers; removed with the reader.
    readers: BTreeMap<u64, Waker>,
    loose: Vec<Waker>,
}

impl Waiters {
    /// Registers the waker of a reader and replaces its previous one.
    pub(crate) fn register(&self, reader: u64, waker: &Waker) {
        let mut lists = self.lists.lock();
        match lists.readers.get_mut(&reader) {
            Some(present) => present.clone_from(waker),
            None => {
                lists.readers.insert(reader, waker.clone());
            }
        }
    }

    pub(crate) fn unregister(&self, reader: u64) {
        self.lists.lock().readers.remove(&reader);
    }

    /// Registers a waker without a reader.
    pub(crate) fn register_loose(&self, waker: &Waker) {
        let mut lists = self.lists.lock();
        if lists.loose.iter().any(|present| present.will_wake(waker)) {
            return;
        }
        let evicted =
            if lists.loose.len() >= MAX_LOOSE_WAKERS { std::mem::take(&mut lists.loose) } else { Vec::new() };
        lists.loose.push(waker.clone());
        drop(lists);
        evicted.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn wake_all(&self) {
        let mut lists = self.lists.lock();
        if lists.readers.is_empty() && lists.loose.is_empty() {
            return;
        }
        let woken = std::mem::take(&mut lists.readers);
        let loose = std::mem::take(&mut lists.loose);
        drop(lists);
        woken.into_values().chain(loose).for_each(Waker::wake);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        let lists = self.lists.lock();
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
    fn abandoned_wakers_do_not_accumulate() {
        let waiters = Waiters::default();
        let counts: Vec<_> =
            (0..3 * MAX_LOOSE_WAKERS).map(|_| Arc::new(Count(AtomicUsize::new(0)))).collect();
        for count in &counts {
            waiters.register_loose(&Waker::from(Arc::clone(count)));
            waiters.register_loose(&Waker::from(Arc::clone(count)));
            assert!(waiters.count() <= MAX_LOOSE_WAKERS);
        }
        waiters.wake_all();
        assert!(counts.iter().all(|count| count.0.load(Ordering::SeqCst) == 1), "every waker is woken once");
        for reader in 0..100 {
            waiters.register(reader, &Waker::from(Arc::clone(&counts[0])));
            waiters.register(reader, &Waker::from(Arc::clone(&counts[0])));
        }
        assert_eq!(waiters.count(), 100);
        (0..100).for_each(|reader| waiters.unregister(reader));
        assert_eq!(waiters.count(), 0);
    }
}
