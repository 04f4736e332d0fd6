//! The events that floe logs in the course of a run.

use std::{
    cell::RefCell,
    fmt::{Debug, Write as _},
    sync::Once,
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::{Interest, set_global_default},
};

thread_local! {
    /// Lines of the run on this thread, while they are collected.
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs something on this thread and returns the events of it as lines.
pub(crate) fn events_of<T>(run: impl FnOnce() -> T) -> (T, Vec<String>) {
    // One for the process: with one for each run, other tests could make the library forget about a place in the code.
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| set_global_default(Collector).expect("no other subscriber"));
    LINES.set(Some(Vec::new()));
    let outcome = run();
    (outcome, LINES.take().unwrap_or_default())
}

/// Collects the events of threads that ask for them.
#[derive(Debug)]
struct Collector;

/// Writes the fields of an event.
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Subscriber for Collector {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let is_floe = metadata.is_event() && metadata.target().starts_with("floe");
        if is_floe { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        LINES.with_borrow(Option::is_some)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut fields = Fields(format!("{} {}", metadata.level(), metadata.target()));
        event.record(&mut fields);
        LINES.with_borrow_mut(|lines| lines.iter_mut().for_each(|lines| lines.push(fields.0.clone())));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
