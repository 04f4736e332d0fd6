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
