//! Limits per client and for all clients: one table generates the type, the defaults, the settings of the command line and
//! the values in `/metrics`.

use std::time::Duration;

use floe::units::{parse_duration, parse_size};

use crate::platform;

/// Documentation of one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitInfo {
    /// Its name, which is that of the field in [`ServeLimits`].
    pub name: &'static str,
    /// Its value. Sizes are bytes, times are milliseconds; 0 is no limit.
    pub value: u64,
    /// Description.
    pub meaning: String,
}

/// A value of a limit as text and as a number.
trait LimitValue: Sized {
    fn read(text: &str) -> Result<Self, String>;
    fn number(&self) -> u64;
}

macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl LimitValue for $type {
            fn read(text: &str) -> Result<Self, String> {
                let size = parse_size(text).map_err(|error| error.message().to_owned())?;
                match Self::try_from(size) {
                    Ok(0) => Err("must be at least 1".to_owned()),
                    Ok(value) => Ok(value),
                    Err(_) => Err(format!("{text} is too large")),
                }
            }

            fn number(&self) -> u64 {
                u64::try_from(*self).unwrap_or(u64::MAX)
            }
        }
    )+};
}

whole_numbers!(usize, u32, u64);

impl LimitValue for Duration {
    fn read(text: &str) -> Result<Self, String> {
        match parse_duration(text) {
            Ok(Self::ZERO) => Err("must be longer than 0".to_owned()),
            Ok(value) => Ok(value),
            Err(error) => Err(error.message().to_owned()),
        }
    }

    fn number(&self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
}

impl<T: LimitValue> LimitValue for Option<T> {
    fn read(text: &str) -> Result<Self, String> {
        if text == "none" { Ok(None) } else { T::read(text).map(Some) }
    }

    fn number(&self) -> u64 {
        self.as_ref().map_or(0, LimitValue::number)
    }
}

macro_rules! limits {
    ($($(#[doc = $meaning:literal])* $name:ident: $type:ty = $default:expr;)*) => {
        /// Limits per client and for all clients.
        ///
        /// ```
        /// let mut limits = floe_server::ServeLimits::default();
        /// limits.connections = 100;
        /// limits.set("frame_bytes", "8MiB")?;
        /// assert_eq!(limits.frame_bytes, 8 << 20);
        /// # Ok::<(), String>(())
        /// ```
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub struct ServeLimits {
            $($(#[doc = $meaning])* pub $name: $type,)*
        }

        impl Default for ServeLimits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl ServeLimits {
            /// Sets the limit of this name: a number, a size such as `8MiB`, a time such as `30s`, or `none` where
            /// there may be no limit.
            ///
            /// # Errors
            /// A message that names the limit and says what it accepts.
            pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
                match name {
                    $(stringify!($name) => {
                        self.$name = <$type as LimitValue>::read(text).map_err(|problem| format!("{name}: {problem}"))?;
                        Ok(())
                    })*
                    _ => {
                        let names = [$(stringify!($name)),*].join(", ");
                        Err(format!("there is no limit {name:?}; the limits are {names}"))
                    }
                }
            }

            /// Returns all limits with their values.
            #[must_use]
            pub fn table(&self) -> Vec<LimitInfo> {
                vec![$(LimitInfo {
                    name: stringify!($name),
                    value: LimitValue::number(&self.$name),
                    meaning: [$($meaning),*].map(str::trim).join(" "),
                }),*]
            }
        }
    };
}

limits! {
    /// Memory that requests, responses and SmartModules of all clients may hold together, in bytes: a quarter is for
    /// requests, a quarter for responses, half for SmartModules. Default: a quarter of the machine's memory, at most 2 GiB.
    memory: usize = (platform::machine_memory() / 4).min(2 << 30);
    /// Open connections of Fluvio and Walrus clients together. Above it the server closes the connection that has been idle
    /// longest, or else the new one. Never more than half of the files that the process may open, less those of health.
    /// Default: 10,000.
    connections: usize = 10_000;
    /// Open connections of HTTP. Above it the server closes the oldest one, so that health is always answered. Default: 64.
    http_connections: usize = 64;
    /// Open connections of one address, or of one IPv6 network of 64 bits; the server closes further ones at once. Default:
    /// none.
    connections_per_address: Option<usize> = None;
    /// Requests per second of one client, which is a certificate or an address. The server reads further ones later. Health
    /// is not counted. Default: none.
    client_requests_per_second: Option<u64> = None;
    /// Bytes of produce requests per second of one client. The server reads further ones later. Default: none.
    client_produce_bytes_per_second: Option<u64> = None;
    /// Bytes of records per second that one client receives. The server sends further ones later. Default: none.
    client_consume_bytes_per_second: Option<u64> = None;
    /// Largest Fluvio request in bytes. Default: 64 MiB, which admits the largest batch (32 MiB).
    frame_bytes: usize = 64 << 20;
    /// Elements of the lists of one request together. Default: 100,000.
    request_elements: usize = 100_000;
    /// Bytes of unanswered requests per connection, above which the server stops reading from it. One larger request is
    /// served alone. Default: 64 MiB.
    in_flight_bytes: usize = 64 << 20;
    /// Bytes of responses queued for a client that does not read. One larger response is sent alone. Default: 16 MiB.
    unread_bytes: usize = 16 << 20;
    /// Bytes of records in one response of a stream, whatever the client requests. One larger batch is sent alone. Default:
    /// 8 MiB.
    response_bytes: usize = 8 << 20;
    /// Bytes that the records of a received batch may have once they are decompressed. Default: 64 MiB.
    unpacked_bytes: usize = 64 << 20;
    /// Streams that a connection may open during its life. Default: 10,000.
    streams: u32 = 10_000;
    /// Memory of a SmartModule in bytes. Default: 256 MiB.
    smartmodule_memory: usize = 256 << 20;
    /// Instructions of one SmartModule call, which bounds endless loops. Default: 1,000 million, which take a few seconds.
    smartmodule_fuel: u64 = 1_000_000_000;
    /// Further instructions per byte of the batch. Default: 1,000.
    smartmodule_fuel_per_byte: u64 = 1_000;
    /// Bytes of the objects in the registry together. Default: 256 MiB.
    registry_bytes: usize = 256 << 20;
    /// Wait for memory after which a request or a stream is refused. Default: 10 seconds.
    memory_timeout: Duration = Duration::from_secs(10);
    /// Deadline of the TLS handshake. Default: 10 seconds.
    handshake_timeout: Duration = Duration::from_secs(10);
    /// Deadline of an HTTP request head, and the idle time between requests. Default: 30 seconds.
    http_timeout: Duration = Duration::from_secs(30);
    /// Deadline of a request, from its first byte to its last. Default: 60 seconds.
    frame_timeout: Duration = Duration::from_secs(60);
    /// Idle time after which a connection without requests, streams and watches is closed. Default: none. Official Fluvio
    /// clients keep idle connections, and report a closed one as an error.
    idle_timeout: Option<Duration> = None;
}

/// Memory of a connection that does nothing, with its tasks, queues and accounts, in bytes. Measured: 9,900 connections of
/// Fluvio data clients that sent nothing took 9 kB each.
pub(crate) const CONNECTION_BYTES: usize = 16 << 10;

/// Descriptors for other things than connections and the files of the store: listeners, the runtime, the registry.
const OTHER_DESCRIPTORS: usize = 64;

impl ServeLimits {
    /// Returns the limits for a process that may have `descriptors` open, with no more connections than leave room for
    /// health and everything else. Files of a store take at most the other half, and connections at most a quarter of the
    /// memory.
    pub(crate) fn within(mut self, descriptors: Option<u64>) -> Self {
        if let Some(descriptors) = descriptors {
            let half = usize::try_from(descriptors / 2).unwrap_or(usize::MAX);
            let most = half.saturating_sub(OTHER_DESCRIPTORS).saturating_sub(self.http_connections);
            self.connect_at_most(most, "the process may not open more files");
        }
        self.connect_at_most(
            self.memory / 4 / CONNECTION_BYTES,
            "they would take more than a quarter of the memory",
        );
        self
    }

    fn connect_at_most(&mut self, most: usize, reason: &str) {
        let most = most.max(1);
        if most < self.connections {
            tracing::warn!(connections = most, reason, "fewer connections than the limit says");
            self.connections = most;
        }
    }

    /// Returns the memory that open connections leave for everything else.
    pub(crate) fn memory_beside_connections(&self) -> usize {
        self.memory.saturating_sub(self.connections.saturating_mul(CONNECTION_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_by_their_names() {
        let mut limits = ServeLimits::default();
        for (name, text, value) in [
            ("connections", "7", 7),
            ("memory", "64MiB", 64 << 20),
            ("streams", "3", 3),
            ("frame_timeout", "250ms", 250),
            ("idle_timeout", "2s", 2000),
            ("idle_timeout", "none", 0),
            ("client_produce_bytes_per_second", "10MiB", 10 << 20),
            ("connections_per_address", "none", 0),
        ] {
            limits.set(name, text).unwrap();
            let table = limits.table();
            let shown = table.iter().find(|limit| limit.name == name).unwrap();
            assert_eq!(shown.value, value, "{name}");
            assert!(shown.meaning.contains("Default"), "{shown:?}");
        }
        for (name, text) in [
            ("nonsense", "1"),
            ("connections", "0"),
            ("connections", "many"),
            ("streams", "8GiB"),
            ("frame_timeout", "none"),
            ("frame_timeout", "0"),
        ] {
            let problem = limits.set(name, text).unwrap_err();
            assert!(problem.contains(name), "{problem}");
        }
        assert!(limits.memory <= 2 << 30);
    }

    #[test]
    fn connections_leave_descriptors_for_health_and_the_store() {
        let within = |descriptors| ServeLimits::default().within(descriptors).connections;
        assert_eq!(within(None), 10_000);
        assert_eq!(within(Some(1 << 20)), 10_000);
        assert_eq!(within(Some(1024)), 512 - 64 - 64);
        assert_eq!(within(Some(100)), 1);
    }

    #[test]
    fn connections_take_a_quarter_of_the_memory_at_most() {
        let limits = ServeLimits { memory: 64 << 20, ..ServeLimits::default() }.within(None);
        assert_eq!(limits.connections, 1024);
        assert_eq!(limits.memory_beside_connections(), 48 << 20);
        let limits = ServeLimits { connections: 8, ..limits };
        assert_eq!(limits.memory_beside_connections(), (64 << 20) - 8 * CONNECTION_BYTES);
    }
}
