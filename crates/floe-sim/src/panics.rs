//! Detects panics of detached tasks, which would otherwise pass unnoticed.

use std::{cell::Cell, panic, sync::Once};

thread_local! {
    static SEEN: Cell<usize> = const { Cell::new(0) };
}

static HOOK: Once = Once::new();

/// Counts the panics on this thread since its creation.
#[derive(Debug)]
pub(crate) struct Watch {
    before: usize,
}

impl Watch {
    pub(crate) fn begin() -> Self {
        HOOK.call_once(|| {
            let report = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                SEEN.set(SEEN.get() + 1);
                report(info);
            }));
        });
        Self { before: SEEN.get() }
    }

    /// Returns a violation if there were panics.
    pub(crate) fn seen(&self) -> Option<String> {
        let count = SEEN.get() - self.before;
        (count > 0).then(|| format!("{count} panics"))
    }
}
