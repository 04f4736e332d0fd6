//! Makes blocking clients of async ones, by table.
//!
//! [`wrapper`] defines a client around an async one. [`methods`] defines its methods, one for each row:
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
        /// [`InvalidCommand`](crate::ErrorKind::InvalidCommand) inside of an async runtime.
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

pub(super) use {method, methods, outcome, wrapper};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// The names of the public methods in the source of an async client.
    fn methods_in(source: &str) -> BTreeSet<&str> {
        let items = source.split("\n    pub ").skip(1);
        let functions =
            items.filter_map(|item| item.strip_prefix("async ").unwrap_or(item).strip_prefix("fn "));
        functions.filter_map(|function| function.split(['(', '<']).next()).collect()
    }

    /// The names in the rows of the table for `client`.
    fn rows_in<'a>(source: &'a str, client: &str) -> BTreeSet<&'a str> {
        let (_, rest) = source.split_once(&format!("methods! {{ {client}:\n")).unwrap();
        let (table, _) = rest.split_once("\n    }\n").unwrap();
        let rows = table.lines().filter_map(|line| line.strip_prefix("        "));
        let calls =
            rows.filter_map(|row| ["wait ", "wrap ", "get "].iter().find_map(|verb| row.strip_prefix(verb)));
        calls.filter_map(|call| call.split(['(', '<']).next()).collect()
    }

    #[test]
    fn every_async_method_has_a_blocking_one() {
        for (client, asynchronous, blocking, only_async) in [
            (
                "crate::producer::Producer",
                include_str!("../producer/mod.rs"),
                include_str!("producer.rs"),
                // Reached through `inner`.
                vec!["raw"],
            ),
            (
                "crate::processor::RunningProcessor",
                include_str!("../processor/running.rs"),
                include_str!("processor.rs"),
                vec![],
            ),
        ] {
            let mut rows = rows_in(blocking, client);
            assert!(rows.len() >= 4, "{client}: the rows were not found: {rows:?}");
            rows.extend(only_async);
            assert_eq!(rows, methods_in(asynchronous), "{client} and its table differ");
        }
    }
}
