//! Who may do what: the client of each connection, the rules, the log of refusals and changes, and rates by client.
//!
//! Front-ends ask the [`Session`] of their connection before they act, with the [`operation`] and its topic; the answer
//! follows the rules of that moment, so a change of the rules applies to open connections.

mod audit;
mod clients;
pub(crate) mod operation;
mod pace;
mod principal;
mod rules;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::time::Instant;

pub use self::rules::AccessRules;
use self::{
    audit::AuditLine,
    clients::{ClientRates, Clients},
    operation::Operation,
    rules::{Grants, RuleSet},
};
pub(crate) use self::{
    clients::{AddressPlace, ClientLimits},
    principal::Principal,
};
use crate::metrics::{Frontend, Metrics};

/// Object of an audit line about all topics or the whole server.
pub(crate) const WHOLE_SERVER: &str = "*";

/// Rules, rates and log of a server.
#[derive(Debug)]
pub(crate) struct Gate {
    rules: Option<AccessRules>,
    clients: Clients,
    metrics: Arc<Metrics>,
    /// Refusals that were not logged.
    omitted: AtomicU64,
}

impl Gate {
    pub(crate) fn new(rules: Option<AccessRules>, limits: ClientLimits, metrics: Arc<Metrics>) -> Self {
        Self { rules, clients: Clients::new(limits), metrics, omitted: AtomicU64::new(0) }
    }

    /// Returns a place for one more connection from an address. Transports without addresses are not counted.
    pub(crate) fn place(&self, peer: Option<SocketAddr>) -> Result<Option<AddressPlace>, TooManyConnections> {
        peer.map(|peer| self.clients.place(peer.ip()).ok_or(TooManyConnections)).transpose()
    }

    /// Starts the session of a new connection.
    pub(crate) fn session(
        self: &Arc<Self>,
        front: Frontend,
        principal: Principal,
        peer: Option<SocketAddr>,
    ) -> Session {
        let rates = self.clients.rates(&principal, peer.map(|peer| peer.ip()));
        Session { gate: Arc::clone(self), front, principal, peer, rates, grants: Mutex::new(None) }
    }
}

/// The address has as many connections as it may.
#[derive(Debug)]
pub(crate) struct TooManyConnections;

/// Rules of one moment, and what they allow a client.
type CurrentGrants = (Arc<RuleSet>, Arc<Grants>);

/// The client of a connection.
#[derive(Debug)]
pub(crate) struct Session {
    gate: Arc<Gate>,
    front: Frontend,
    principal: Principal,
    peer: Option<SocketAddr>,
    rates: Arc<ClientRates>,
    /// Kept until the rules change.
    grants: Mutex<Option<CurrentGrants>>,
}

impl Session {
    /// Checks that the client may do something with a topic. A refusal is logged and counted.
    pub(crate) fn check(&self, operation: Operation, topic: &str) -> Result<(), Denied> {
        self.decide(operation, topic, self.may(operation, topic))
    }

    /// Checks that the client may do something that concerns all topics. `object` names its object in the log.
    pub(crate) fn check_all(&self, operation: Operation, object: &str) -> Result<(), Denied> {
        self.decide(operation, object, self.may_all(operation))
    }

    /// Whether the client may do something with a topic. Lists leave out the topics for which it is false.
    pub(crate) fn may(&self, operation: Operation, topic: &str) -> bool {
        self.grants().is_none_or(|grants| grants.on_topic(operation.needs, topic))
    }

    /// Whether the client may do something that concerns all topics.
    pub(crate) fn may_all(&self, operation: Operation) -> bool {
        self.grants().is_none_or(|grants| grants.on_all(operation.needs))
    }

    /// Returns the subject and the address of the client, for health and the log.
    pub(crate) fn client(&self) -> String {
        let address = self.peer.map_or_else(|| "no address".to_owned(), |peer| peer.to_string());
        format!("{} at {address}", audit::shown(&self.principal))
    }

    /// Logs a change that the client made.
    pub(crate) fn changed(&self, operation: Operation, object: &str) {
        self.line(operation, object).changed();
    }

    /// Waits until the client's rates admit a request, of which `produced` bytes are records. Delays the reading of
    /// further requests, which is backpressure to the client.
    ///
    /// # Cancel safety
    /// A request that is not made after all still counts.
    pub(crate) async fn admit(&self, produced: usize) {
        let ClientRates { requests, produced: bytes, .. } = &*self.rates;
        if let Some(pace) = requests {
            self.wait("requests", pace.take(1)).await;
        }
        if let Some(pace) = bytes
            && produced > 0
        {
            self.wait("produce", pace.take(produced as u64)).await;
        }
    }

    /// Waits until the client's rate of records is paid for. Comes before records are read, so that they take no memory
    /// meanwhile.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn admit_reading(&self) {
        if let Some(pace) = &self.rates.consumed {
            self.wait("consume", pace.paid()).await;
        }
    }

    /// Counts the bytes of records that the client receives.
    pub(crate) fn received(&self, bytes: usize) {
        if let Some(pace) = &self.rates.consumed {
            pace.take(bytes as u64);
        }
    }

    async fn wait(&self, rate: &'static str, until: Instant) {
        if until > Instant::now() {
            self.gate.metrics.delayed(self.front, rate);
            tokio::time::sleep_until(until).await;
        }
    }

    /// Returns the grants of the current rules; `None` without rules, when everything is allowed.
    fn grants(&self) -> Option<Arc<Grants>> {
        let rules = self.gate.rules.as_ref()?.current();
        let mut known = self.grants.lock();
        match &*known {
            Some((of, grants)) if Arc::ptr_eq(of, &rules) => Some(Arc::clone(grants)),
            _ => {
                let grants = Arc::new(rules.grants(&self.principal));
                *known = Some((rules, Arc::clone(&grants)));
                Some(grants)
            }
        }
    }

    fn decide(&self, operation: Operation, object: &str, allowed: bool) -> Result<(), Denied> {
        if allowed {
            return Ok(());
        }
        self.gate.metrics.refused_by_rule(self.front, operation.name);
        if self.rates.logged.try_take() {
            let omitted = self.gate.omitted.swap(0, Ordering::Relaxed);
            self.line(operation, object).refused(omitted);
        } else {
            self.gate.omitted.fetch_add(1, Ordering::Relaxed);
        }
        Err(Denied { subject: self.principal.to_string(), operation: operation.name })
    }

    fn line<'a>(&'a self, operation: Operation, object: &'a str) -> AuditLine<'a> {
        AuditLine {
            subject: &self.principal,
            peer: self.peer,
            listener: self.front.name(),
            operation: operation.name,
            object,
        }
    }
}

/// Refusal by the rules. The text names the client and the operation, and not whether the object exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    subject: String,
    operation: &'static str,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "permission denied: no rule of the server lets {} {}", self.subject, self.operation)
    }
}

#[cfg(test)]
mod tests {
    use super::{operation::*, *};

    fn gate(rules: Option<&str>) -> Arc<Gate> {
        let rules = rules.map(|text| AccessRules::parse(text).unwrap());
        Arc::new(Gate::new(rules, ClientLimits::default(), Arc::default()))
    }

    fn anonymous(gate: &Arc<Gate>) -> Session {
        gate.session(Frontend::Data, Principal::Anonymous, Some(SocketAddr::from(([127, 0, 0, 1], 4000))))
    }

    #[tokio::test]
    async fn without_rules_everything_is_allowed() {
        let session = anonymous(&gate(None));
        assert!(session.check(PRODUCE, "t").is_ok() && session.check_all(CREATE_OBJECT, "m").is_ok());
    }

    #[tokio::test]
    async fn rules_allow_what_they_name() {
        let gate =
            gate(Some("[[rule]]\nsubjects = [\"anonymous\"]\ntopics = [\"open-*\"]\nallow = [\"read\"]\n"));
        let session = anonymous(&gate);
        assert!(session.check(CONSUME, "open-1").is_ok() && session.may(DESCRIBE, "open-1"));
        let denied = session.check(PRODUCE, "open-1").unwrap_err();
        assert_eq!(denied.to_string(), "permission denied: no rule of the server lets anonymous produce");
        for refused in [session.check(CONSUME, "closed"), session.check_all(METRICS, WHOLE_SERVER)] {
            assert!(refused.is_err());
        }
        let certificate = gate.session(Frontend::Data, Principal::Certificate(Vec::new()), None);
        assert!(certificate.check(CONSUME, "open-1").is_err());
        let text = gate.metrics.to_prometheus();
        let line = "floe_server_refused_by_rule_total{listener=\"fluvio_spu\",operation=\"consume\"} 2\n";
        assert!(text.contains(line), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn rates_delay_requests() {
        let limits = ClientLimits {
            requests_per_second: Some(10),
            produce_bytes_per_second: Some(1000),
            consume_bytes_per_second: Some(100),
            ..ClientLimits::default()
        };
        let gate = Arc::new(Gate::new(None, limits, Arc::default()));
        let session = anonymous(&gate);
        let begun = Instant::now();
        for _ in 0..20 {
            session.admit(0).await;
        }
        assert_eq!(begun.elapsed().as_millis(), 900);
        // Another connection of the same client shares the rate.
        anonymous(&gate).admit(5000).await;
        session.admit(1).await;
        assert_eq!(begun.elapsed().as_millis(), 5000);
        session.admit_reading().await;
        session.received(600);
        session.admit_reading().await;
        assert_eq!(begun.elapsed().as_millis(), 10_000);
        assert!(gate.metrics.to_prometheus().contains("rate=\"consume\"} 1\n"));
    }
}
