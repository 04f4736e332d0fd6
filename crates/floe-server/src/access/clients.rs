//! Rates of clients, and connections of addresses. Both outlive a connection, so a client gains nothing by a new one.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use super::{pace::Pace, principal::Principal};
use crate::limits::ServeLimits;

/// Time whose units a client may use at once.
const BURST: Duration = Duration::from_secs(1);

/// Refusals of a client that are logged in a second, and at once.
const REFUSALS: (u64, Duration) = (1, Duration::from_secs(10));

/// Clients that are remembered before those without connections are forgotten.
const REMEMBERED: usize = 10_000;

/// Limits of each client; `None` is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ClientLimits {
    /// Open connections of an address.
    pub(crate) connections_per_address: Option<usize>,
    /// Requests per second.
    pub(crate) requests_per_second: Option<u64>,
    /// Bytes of produce requests per second.
    pub(crate) produce_bytes_per_second: Option<u64>,
    /// Bytes of records sent per second.
    pub(crate) consume_bytes_per_second: Option<u64>,
}

impl From<&ServeLimits> for ClientLimits {
    fn from(limits: &ServeLimits) -> Self {
        Self {
            connections_per_address: limits.connections_per_address,
            requests_per_second: limits.client_requests_per_second,
            produce_bytes_per_second: limits.client_produce_bytes_per_second,
            consume_bytes_per_second: limits.client_consume_bytes_per_second,
        }
    }
}

/// Client that rates are counted for: a certificate wherever it connects from, else an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum ClientKey {
    Certificate(Principal),
    Address(IpAddr),
    /// Transports without addresses.
    Unknown,
}

/// Rates of one client, which all its connections share.
#[derive(Debug)]
pub(super) struct ClientRates {
    /// Requests.
    pub(super) requests: Option<Pace>,
    /// Bytes of produce requests.
    pub(super) produced: Option<Pace>,
    /// Bytes of records sent.
    pub(super) consumed: Option<Pace>,
    /// Refusals in the log.
    pub(super) logged: Pace,
}

impl ClientRates {
    fn new(limits: ClientLimits) -> Self {
        let pace = |per_second: Option<u64>| per_second.map(|per_second| Pace::new(per_second, BURST));
        Self {
            requests: pace(limits.requests_per_second),
            produced: pace(limits.produce_bytes_per_second),
            consumed: pace(limits.consume_bytes_per_second),
            logged: Pace::new(REFUSALS.0, REFUSALS.1),
        }
    }

    fn is_unspent(&self) -> bool {
        let paces = [&self.requests, &self.produced, &self.consumed].into_iter().flatten();
        paces.chain([&self.logged]).all(Pace::is_unspent)
    }
}

/// The clients of a server.
#[derive(Debug)]
pub(super) struct Clients {
    limits: ClientLimits,
    known: Mutex<KnownClients>,
    open: Arc<OpenByAddress>,
}

#[derive(Debug, Default)]
struct KnownClients {
    rates: HashMap<ClientKey, Arc<ClientRates>>,
    /// Number of clients at which those without connections are forgotten.
    full_at: usize,
}

impl KnownClients {
    /// Forgets clients without connections. One that still owes time is forgotten only if very many do.
    fn sweep(&mut self) {
        let has_connections = |rates: &Arc<ClientRates>| Arc::strong_count(rates) > 1;
        let before = self.rates.len();
        self.rates.retain(|_, rates| has_connections(rates) || !rates.is_unspent());
        if self.rates.len() > before / 2 {
            self.rates.retain(|_, rates| has_connections(rates));
        }
        self.full_at = (2 * self.rates.len()).max(REMEMBERED);
    }
}

#[derive(Debug, Default)]
struct OpenByAddress(Mutex<HashMap<IpAddr, usize>>);

/// A connection of an address, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct AddressPlace {
    open: Arc<OpenByAddress>,
    address: IpAddr,
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        if let Entry::Occupied(mut open) = self.open.0.lock().entry(self.address) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

impl Clients {
    pub(super) fn new(limits: ClientLimits) -> Self {
        Self { limits, known: Mutex::default(), open: Arc::default() }
    }

    /// Returns the rates of a client.
    pub(super) fn rates(&self, principal: &Principal, address: Option<IpAddr>) -> Arc<ClientRates> {
        let key = match (principal, address) {
            (Principal::Certificate(_), _) => ClientKey::Certificate(principal.clone()),
            (Principal::Anonymous, Some(address)) => ClientKey::Address(network_of(address)),
            (Principal::Anonymous, None) => ClientKey::Unknown,
        };
        let mut known = self.known.lock();
        if let Some(rates) = known.rates.get(&key) {
            return Arc::clone(rates);
        }
        if known.rates.len() >= known.full_at.max(REMEMBERED) {
            known.sweep();
        }
        Arc::clone(known.rates.entry(key).or_insert_with(|| Arc::new(ClientRates::new(self.limits))))
    }

    /// Returns a place for one more connection of an address; `None` if it has as many as it may.
    pub(super) fn place(&self, address: IpAddr) -> Option<AddressPlace> {
        let address = network_of(address);
        let mut open = self.open.0.lock();
        let count = open.entry(address).or_default();
        if self.limits.connections_per_address.is_some_and(|limit| *count >= limit.max(1)) {
            return None;
        }
        *count += 1;
        Some(AddressPlace { open: Arc::clone(&self.open), address })
    }
}

/// Returns the part of an address that one host or one site has: the first half of an IPv6 address, whose other half a
/// host chooses itself.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> 64 << 64;
            if address.is_loopback() { address.into() } else { Ipv6Addr::from_bits(bits).into() }
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn connections_are_counted_by_network() {
        let clients =
            Clients::new(ClientLimits { connections_per_address: Some(2), ..ClientLimits::default() });
        let first = clients.place(address("10.0.0.1")).unwrap();
        let _second = clients.place(address("::ffff:10.0.0.1")).unwrap();
        assert!(clients.place(address("10.0.0.1")).is_none());
        let _other = clients.place(address("10.0.0.2")).unwrap();
        drop(first);
        assert!(clients.place(address("10.0.0.1")).is_some());
        let _six: Vec<_> =
            ["2001:db8::1", "2001:db8::ffff:1"].map(|a| clients.place(address(a)).unwrap()).into();
        assert!(clients.place(address("2001:db8::2")).is_none());
        assert!(clients.place(address("2001:db8:0:1::2")).is_some());
        drop(clients.place(address("::1")));
        assert_eq!(clients.open.0.lock().len(), 3, "addresses without connections are forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn rates_are_those_of_the_client_and_remembered_in_bounds() {
        let limits = ClientLimits { requests_per_second: Some(1), ..ClientLimits::default() };
        let clients = Clients::new(limits);
        let anonymous = |text: &str| clients.rates(&Principal::Anonymous, Some(address(text)));
        let certificate = Principal::Certificate(Vec::new());
        let one = clients.rates(&certificate, Some(address("10.0.0.1")));
        assert!(Arc::ptr_eq(&one, &clients.rates(&certificate, Some(address("10.0.0.2")))));
        let held = anonymous("10.0.0.1");
        assert!(!Arc::ptr_eq(&one, &held));
        anonymous("10.0.0.9").requests.as_ref().unwrap().take(5);
        for number in 0..2 * REMEMBERED {
            anonymous(&format!("10.1.{}.{}", number / 256, number % 256));
        }
        assert!(clients.known.lock().rates.len() <= REMEMBERED + 3);
        assert!(Arc::ptr_eq(&held, &anonymous("10.0.0.1")), "a client with connections is kept");
        assert!(!anonymous("10.0.0.9").requests.as_ref().unwrap().is_unspent(), "debts are kept");
    }
}
