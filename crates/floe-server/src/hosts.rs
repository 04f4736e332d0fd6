//! Host names that an HTTP listener answers to.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// Host names that an HTTP listener answers to: the bound address, `localhost`, and names of the user.
///
/// A web page can point a name of its own to an address of this machine after it was loaded (DNS rebinding), and would
/// then read metrics with the rights of the browser's machine. Its requests carry the name of the page.
///
/// ```
/// use floe_server::AllowedHosts;
///
/// let hosts = AllowedHosts::new(Some(([127, 0, 0, 1], 9080).into()), ["metrics.example".to_owned()]);
/// assert!(hosts.admits(None, &[b"127.0.0.1:9080"]) && hosts.admits(None, &[b"metrics.example"]));
/// assert!(!hosts.admits(None, &[b"127.0.0.1.rebound.example:9080"]));
/// ```
#[derive(Debug, Clone)]
pub struct AllowedHosts {
    bound: Arc<[IpAddr]>,
    names: Arc<[String]>,
}

impl AllowedHosts {
    /// Creates the list of a listener, with the addresses that it is bound to. One that is bound to all addresses answers to
    /// every address, since an address cannot be rebound; one without an address answers to names only.
    pub fn new(bound: impl IntoIterator<Item = SocketAddr>, names: impl IntoIterator<Item = String>) -> Self {
        Self {
            bound: bound.into_iter().map(|bound| bound.ip().to_canonical()).collect(),
            names: names.into_iter().chain(["localhost".to_owned()]).collect(),
        }
    }

    /// Whether a request is for an allowed host. `authority` is that of an absolute request target, `hosts` are the
    /// values of all `Host` headers. All of them must be allowed, and a request has one `Host`; browsers send it always,
    /// so a request without any comes from none and is admitted.
    #[must_use]
    pub fn admits(&self, authority: Option<&str>, hosts: &[&[u8]]) -> bool {
        let is_allowed = |host: &[u8]| std::str::from_utf8(host).is_ok_and(|host| self.allows(host));
        hosts.len() <= 1
            && hosts.iter().all(|host| is_allowed(host))
            && authority.is_none_or(|authority| self.allows(authority))
    }

    fn allows(&self, host: &str) -> bool {
        let Some(host) = without_port(host) else { return false };
        let address = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => match address.parse::<Ipv6Addr>() {
                Ok(address) => Some(IpAddr::V6(address)),
                Err(_) => return false,
            },
            None => host.parse().ok().filter(IpAddr::is_ipv4),
        };
        match address {
            Some(address) => {
                self.bound.iter().any(|bound| bound.is_unspecified() || *bound == address.to_canonical())
            }
            None => self.names.iter().any(|name| name.eq_ignore_ascii_case(host)),
        }
    }
}

/// Returns a host without its port; `None` if the port is invalid.
fn without_port(host: &str) -> Option<&str> {
    // The colons of an address in brackets are not those of a port.
    let end = host.rfind(']').map_or(0, |end| end + 1);
    match host.get(end..)?.split_once(':') {
        None => Some(host),
        Some((rest, port)) => {
            let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
            is_port.then(|| host.get(..end + rest.len())).flatten()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(bound: &str, host: &str) -> bool {
        AllowedHosts::new(Some(bound.parse().unwrap()), ["Metrics.example".to_owned()])
            .admits(None, &[host.as_bytes()])
    }

    #[test]
    fn only_the_bound_address_and_known_names_are_admitted() {
        for host in
            ["127.0.0.1", "127.0.0.1:9080", "127.0.0.1:1", "localhost", "LOCALHOST:80", "metrics.example:9"]
        {
            assert!(admitted("127.0.0.1:9080", host), "{host}");
        }
        for host in [
            "",
            "evil",
            "127.0.0.1.evil",
            "127.0.0.1.",
            "127.0.0.1.:9080",
            "localhost.",
            "localhost.evil",
            "evil@localhost",
            "localhost@evil",
            "localhost:evil",
            "localhost:99999",
            "localhost:+80",
            "localhost:",
            "localhost:80:80",
            "127.0.0.2",
            "10.0.0.1",
            "2130706433",
            "127.1",
            "[::1]",
            "[127.0.0.1]",
            "::1",
            " localhost",
            "localhost,evil",
        ] {
            assert!(!admitted("127.0.0.1:9080", host), "{host}");
        }
        assert!(!AllowedHosts::new(None, []).admits(None, &[b"127.0.0.1"]));
    }

    #[test]
    fn addresses_of_version_6_have_brackets() {
        for host in ["[::1]", "[::1]:9080", "[0:0:0:0:0:0:0:1]:1", "localhost"] {
            assert!(admitted("[::1]:9080", host), "{host}");
        }
        for host in
            ["::1", "::1:9080", "[::1", "[::1]evil", "[::1].evil:9080", "[::2]", "[fe80::1%eth0]", "[::1]:x"]
        {
            assert!(!admitted("[::1]:9080", host), "{host}");
        }
    }

    #[test]
    fn every_address_reaches_an_unspecified_one() {
        for host in ["127.0.0.1", "10.0.0.1:9080", "[2001:db8::1]:9080"] {
            assert!(admitted("0.0.0.0:9080", host) && admitted("[::]:9080", host), "{host}");
        }
        assert!(!admitted("0.0.0.0:9080", "10.0.0.1.evil"));
    }

    #[test]
    fn absolute_targets_and_repeated_headers_are_checked() {
        let hosts = AllowedHosts::new(Some(([127, 0, 0, 1], 9080).into()), []);
        assert!(hosts.admits(Some("localhost:9080"), &[b"localhost"]));
        assert!(hosts.admits(None, &[]) && hosts.admits(Some("localhost"), &[]));
        assert!(!hosts.admits(Some("evil"), &[b"localhost"]) && !hosts.admits(Some("localhost"), &[b"evil"]));
        assert!(!hosts.admits(Some("x@localhost"), &[]) && !hosts.admits(Some("evil"), &[]));
        assert!(!hosts.admits(None, &[b"localhost", b"localhost"]), "two headers");
        assert!(!hosts.admits(None, &[b"localhost\xff"]));
    }
}
