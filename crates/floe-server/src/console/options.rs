//! Options of the console.

use std::{fmt, net::Ipv4Addr, net::Ipv6Addr, net::SocketAddr, time::Duration};

use floe::{Error, ErrorKind, Result};
use subtle::ConstantTimeEq as _;

use crate::{hosts::AllowedHosts, metrics::ServerMetrics};

/// Shortest token that a user may choose, in bytes.
const SHORTEST_TOKEN: usize = 16;

/// Options of the console. The defaults suit a program on the machine of its user.
///
/// ```
/// let mut options = floe_server::ConsoleOptions::default();
/// options.token = Some(floe_server::ConsoleToken::random());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConsoleOptions {
    /// Refuses all changes: topics, records, positions of groups, replays. Default: false.
    pub read_only: bool,
    /// Token that a person enters to log in, and that programs send as `Authorization: Bearer TOKEN`. Default: none, anyone
    /// who reaches the console may use it.
    pub token: Option<ConsoleToken>,
    /// Hosts that the console answers to. Default: the addresses of the loopback interface, and `localhost`.
    pub hosts: AllowedHosts,
    /// Whether the connection to the browser is encrypted, so that cookies are kept from plain connections. Default: false.
    pub encrypted: bool,
    /// Scans and exports at once. Default: 8.
    pub scans: usize,
    /// Live tails at once. Default: 64.
    pub tails: usize,
    /// Longest time of one scan. Default: 60 seconds.
    pub scan_time: Duration,
    /// Server whose connections, requests and limits are shown. Default: none.
    pub server: Option<ServerMetrics>,
}

impl Default for ConsoleOptions {
    fn default() -> Self {
        let loopback = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), (Ipv6Addr::LOCALHOST, 0).into()];
        Self {
            read_only: false,
            token: None,
            hosts: AllowedHosts::new(loopback, []),
            encrypted: false,
            scans: 8,
            tails: 64,
            scan_time: Duration::from_secs(60),
            server: None,
        }
    }
}

/// Secret that opens the console. Its debug form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ConsoleToken(String);

impl ConsoleToken {
    /// Takes a token that a user chose: at least 16 characters out of letters, digits and `-._~`, which a cookie can hold.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for another text; the error does not show it.
    pub fn new(token: impl Into<String>) -> Result<Self> {
        let token = token.into();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if token.len() < SHORTEST_TOKEN || !token.bytes().all(is_plain) {
            let message = "a console token has at least 16 characters: letters, digits and -._~";
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
        Ok(Self(token))
    }

    /// Draws a token of 160 random bits from the operating system.
    ///
    /// # Panics
    /// If the operating system has no randomness.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0_u8; 20];
        getrandom::fill(&mut bytes).expect("randomness of the operating system");
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Returns the secret, to show it once.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not depend on where the texts differ.
    pub(super) fn is(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl fmt::Debug for ConsoleToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsoleToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_fit_a_cookie() {
        for bad in [
            "",
            "short",
            "fifteen-letters",
            "sixteen letters!!",
            "sixteen;letters.",
            "sixteen\u{e4}letters....",
        ] {
            assert!(ConsoleToken::new(bad).is_err(), "{bad}");
        }
        let token = ConsoleToken::new("sixteen-letters.").unwrap();
        assert!(token.is("sixteen-letters.") && !token.is("sixteen-letters") && !token.is(""));
        assert!(!format!("{token:?}").contains("sixteen"));
        let (one, other) = (ConsoleToken::random(), ConsoleToken::random());
        assert!(one != other && one.secret().len() == 40);
        ConsoleToken::new(one.secret()).unwrap();
    }
}
