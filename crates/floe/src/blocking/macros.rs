//! Makes blocking clients of async ones, by table.
//!
//! [`wrapper`] defines a client around an async one, [`settings`] the setters of a builder. [`methods`] defines the methods
//! of a client, one for each row:
//!
//! ```text
//! methods! { crate::producer::Producer:
//!     wait send<R>(&self, record: R) -> RecordMetadata where C: RecordEncoder<R>;
//!     wrap enqueue<R>(&self, record: R) -> Delivery where C: RecordEncoder<R>;
//!     get topic(&self) -> &Topic;
//! }
//! ```
//!
//! `wait` blocks on the async method of the same name and returns a `Result` of the type in the row; `wrap` also puts the
//! output into the blocking client in the row; `get` calls a method that is not async. A row whose async method has another
//! name or signature does not compile, and a test compares the rows with the async sources, so neither API can drift.

/// Defines a blocking client with its constructor and `Debug`: its name and parameters, then the async client inside.
macro_rules! wrapper {
    ($(#[$attribute:meta])* $name:ident $(<$($parameter:ident = $default:ty),+>)?: $inner:ty) => {
        $(#[$attribute])*
        pub struct $name $(<$($parameter = $default),+>)? {
            pub(super) inner: $inner,
            pub(super) runtime: std::sync::Arc<crate::blocking::Background>,
        }

        impl $(<$($parameter),+>)? $name $(<$($parameter),+>)? {
            pub(super) fn new(inner: $inner, runtime: std::sync::Arc<crate::blocking::Background>) -> Self {
                Self { inner, runtime }
            }
        }

        impl $(<$($parameter),+>)? std::fmt::Debug for $name $(<$($parameter),+>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.inner.fmt(f)
            }
        }
    };
}

/// Defines the setters of a blocking builder: one for each row, which sets the same in the async builder. An argument that the
/// async builder takes in another form is followed by that.
macro_rules! settings {
    (@pass $argument:ident) => { $argument };
    (@pass $argument:ident, $passed:expr) => { $passed };
    ($builder:path: $($name:ident($($argument:ident: $type:ty $(=> $passed:expr)?)?);)*) => {
        $(
            #[doc = concat!("As [`", stringify!($builder), "::", stringify!($name), "`].")]
            pub fn $name(mut self, $($argument: $type)?) -> Self {
                self.inner = self.inner.$name($(settings!(@pass $argument $(, $passed)?))?);
                self
            }
        )*
    };
}

/// Defines the methods of a blocking client; see the module.
macro_rules! methods {
    ($async:path: $(
        $verb:ident $name:ident $(<$generic:ident>)? ($($signature:tt)*) -> $output:ty
            $(where $($bounded:ty: $bound:path),+)?;
    )*) => {$(
        crate::blocking::macros::method! {
            $async, $verb $name [$(<$generic>)?] ($($signature)*) [$output] [$(where $($bounded: $bound),+)?]
        }
    )*};
}

/// Chooses the receiver of a method, and its documentation.
macro_rules! method {
    ($async:path, get $name:ident [] (&self) [$output:ty] []) => {
        #[doc = concat!("As [`", stringify!($async), "::", stringify!($name), "`].")]
        #[must_use]
        pub fn $name(&self) -> $output {
            self.inner.$name()
        }
    };
    ($async:path, $verb:ident $name:ident $generic:tt (&self $($arguments:tt)*) $output:tt $bounds:tt) => {
        crate::blocking::macros::method! {
            @ $async, $verb $name $generic [self &self] [$($arguments)*] $output $bounds
        }
    };
    ($async:path, $verb:ident $name:ident $generic:tt (&mut self $($arguments:tt)*) $output:tt $bounds:tt) => {
        crate::blocking::macros::method! {
            @ $async, $verb $name $generic [self &mut self] [$($arguments)*] $output $bounds
        }
    };
    ($async:path, $verb:ident $name:ident $generic:tt (self $($arguments:tt)*) $output:tt $bounds:tt) => {
        crate::blocking::macros::method! {
            @ $async, $verb $name $generic [self self] [$($arguments)*] $output $bounds
        }
    };
    (
        @ $async:path, $verb:ident $name:ident [$($generic:tt)*] [$self:ident $($receiver:tt)+]
        [$(, $argument:ident: $type:ty)*] [$output:ty] [$($bounds:tt)*]
    ) => {
        #[doc = concat!("Blocks on [`", stringify!($async), "::", stringify!($name), "`].")]
        ///
        /// # Errors
        #[doc = concat!("As [`", stringify!($async), "::", stringify!($name), "`];")]
        /// [`InvalidCommand`](crate::ErrorKind::InvalidCommand) inside of async code.
        pub fn $name $($generic)* ($($receiver)+ $(, $argument: $type)*) -> crate::Result<$output> $($bounds)* {
            crate::blocking::macros::outcome!($verb [$output] $self, $self.inner.$name($($argument),*))
        }
    };
}

/// Blocks on a future, and wraps its output if the row says so.
macro_rules! outcome {
    (wait [$output:ty] $self:ident, $future:expr) => {
        $self.runtime.wait($future)?
    };
    (wrap [$output:ty] $self:ident, $future:expr) => {{
        let inner = $self.runtime.wait($future)??;
        Ok(<$output>::new(inner, std::sync::Arc::clone(&$self.runtime)))
    }};
}

pub(super) use {method, methods, outcome, settings, wrapper};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    type Names<'a> = BTreeSet<&'a str>;

    /// The heads of the public functions in the source of an async client.
    fn functions_in(source: &str) -> impl Iterator<Item = &str> {
        let items = source.split("\n    pub ").skip(1);
        let functions =
            items.filter_map(|item| item.strip_prefix("async ").unwrap_or(item).strip_prefix("fn "));
        functions.filter_map(|function| function.split_once('{')).map(|(head, _)| head)
    }

    fn is_setter(head: &&str) -> bool {
        head.contains("self") && head.trim_end().ends_with("-> Self")
    }

    fn name_of(head: &str) -> Option<&str> {
        head.split(['(', '<']).next()
    }

    /// The names in the rows of the table `kind` for `client`.
    fn rows_in<'a>(source: &'a str, kind: &str, client: &str) -> Names<'a> {
        let (_, rest) = source.split_once(&format!("{kind}! {{ {client}:\n")).unwrap();
        let mut lines = rest.lines();
        let indent = rest.len() - rest.trim_start().len();
        let rows = lines.by_ref().take_while(|line| line.trim() != "}").filter_map(|line| line.get(indent..));
        let rows = rows.filter(|row| row.starts_with(|first: char| first.is_ascii_lowercase()));
        let verbs = ["wait ", "wrap ", "get "];
        rows.filter_map(|row| name_of(verbs.iter().find_map(|verb| row.strip_prefix(verb)).unwrap_or(row)))
            .collect()
    }

    #[test]
    fn every_async_method_has_a_blocking_one() {
        let producer = (
            concat!(include_str!("../producer/mod.rs"), include_str!("../producer/conditional.rs")),
            include_str!("producer.rs"),
        );
        let consumer = (
            concat!(include_str!("../consumer/mod.rs"), include_str!("../consumer/seek.rs")),
            include_str!("consumer.rs"),
        );
        let outbox = (include_str!("../outbox/mod.rs"), include_str!("outbox.rs"));
        let processor = (include_str!("../processor/running.rs"), include_str!("processor.rs"));
        for (client, (asynchronous, blocking), others) in [
            // The methods of the last column have another blocking form.
            ("crate::producer::Producer", producer, vec!["raw"]),
            (
                "crate::consumer::Consumer",
                consumer,
                vec!["group_events", "pause", "position", "resume", "undecodable"],
            ),
            ("crate::outbox::Outbox", outbox, vec!["drained"]),
            ("crate::processor::RunningProcessor", processor, vec![]),
        ] {
            let mut rows = rows_in(blocking, "methods", client);
            assert!(rows.len() >= 4, "{client}: the rows were not found: {rows:?}");
            rows.extend(others);
            let methods: Names<'_> = functions_in(asynchronous).filter_map(name_of).collect();
            assert_eq!(rows, methods, "{client} and its table differ");
        }
    }

    #[test]
    fn every_setting_has_a_blocking_one() {
        for (builder, asynchronous, blocking) in [
            (
                "crate::producer::ProducerBuilder",
                include_str!("../producer/builder.rs"),
                include_str!("producer.rs"),
            ),
            (
                "crate::consumer::ConsumerBuilder",
                include_str!("../consumer/builder.rs"),
                include_str!("consumer.rs"),
            ),
            ("crate::outbox::OutboxBuilder", include_str!("../outbox/builder.rs"), include_str!("outbox.rs")),
            (
                "crate::processor::ProcessorBuilder",
                include_str!("../processor/builder.rs"),
                include_str!("processor.rs"),
            ),
        ] {
            let setters: Names<'_> =
                functions_in(asynchronous).filter(is_setter).filter_map(name_of).collect();
            assert!(setters.len() >= 5, "{builder}: the setters were not found: {setters:?}");
            let mut rows = rows_in(blocking, "settings", builder);
            // A simulation has no threads that block.
            rows.extend(setters.get("store"));
            assert_eq!(rows, setters, "{builder} and its table differ");
        }
    }
}
