//! Panics of tasks that nobody waits for would otherwise pass unnoticed.

use std::{cell::Cell, panic, sync::Once};

thread_local! {
    static SEEN: Cell<usize> = const { Cell::new(0) };
}

static HOOK: Once = Once::new();

/// Counts the panics on this thread from its beginning on.
#[derive(Debug)]
pub(crate) struct Watch {
    before: usize,
}

impl Watch {
    pub(crate) fn begin() -> Self {
        HOOK.call_once(|| {
            let tell = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                SEEN.set(SEEN.get() + 1);
                tell(info);
            }));
        });
        Self { before: SEEN.get() }
    }

    /// A violation if there were any.
    pub(crate) fn seen(&self) -> Option<String> {
        let count = SEEN.get() - self.before;
        (count > 0).then(|| format!("{count} panics"))
    }
}
