//! In-memory network: hosts, connections and their faults.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use floe::{
    Effect, Error, ErrorKind, Result,
    net::{Dial, Endpoint, Stream},
};
use floe_server::Accept;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::{
    link::{Doom, Fate, Link},
    rng::Rng,
    trace::Trace,
};

/// Interval at which a connection attempt retries an unreachable host, as TCP does.
const SYN_RETRY: Duration = Duration::from_millis(250);

/// Random faults of the network.
#[derive(Debug, Clone)]
pub struct NetworkConditions {
    /// Latency of a chunk of bytes, in microseconds.
    pub latency: RangeInclusive<u64>,
    /// Percentage of connections that break after some bytes.
    pub breaks: u64,
    /// Percentage of breaking connections that stall silently.
    pub stalls: u64,
    /// Percentage of connection attempts that are refused.
    pub refusals: u64,
    /// Maximum number of bytes before a connection breaks, as a power of two.
    pub endurance: u64,
}

/// Handle to the network; clones share it.
#[derive(Clone)]
pub struct Network {
    trace: Trace,
    state: Arc<Mutex<NetworkState>>,
}

struct NetworkState {
    rng: Rng,
    conditions: NetworkConditions,
    calm: bool,
    hosts: BTreeMap<String, Host>,
    links: Vec<(String, Arc<Link>)>,
    next_id: u64,
    /// Number of broken connections that were removed from `links`.
    broken: u64,
}

#[derive(Default)]
struct Host {
    listening: BTreeMap<u16, mpsc::Sender<Box<dyn Stream>>>,
    held: bool,
    refusing: bool,
}

/// Result of a connection attempt.
enum Attempt {
    Accepted(mpsc::Sender<Box<dyn Stream>>),
    Refused,
    Unreachable,
}

impl Network {
    /// Creates a network without hosts.
    #[must_use]
    pub fn new(rng: Rng, conditions: NetworkConditions, trace: Trace) -> Self {
        let state = NetworkState {
            rng,
            conditions,
            calm: false,
            hosts: BTreeMap::new(),
            links: Vec::new(),
            next_id: 0,
            broken: 0,
        };
        Self { trace, state: Arc::new(Mutex::new(state)) }
    }

    /// Listens on a port of a host.
    #[must_use]
    pub fn listen(&self, host: &str, port: u16) -> Listening {
        let (queue, arrivals) = mpsc::channel(1024);
        self.state.lock().hosts.entry(host.to_owned()).or_default().listening.insert(port, queue);
        Listening { port, arrivals }
    }

    /// Cuts all connections to a host.
    pub fn cut_all(&self, host: &str) {
        self.to(host).iter().for_each(|link| link.cut());
    }

    /// Cuts one random connection.
    pub fn cut_one(&self, rng: &mut Rng) {
        let links = self.links();
        if !links.is_empty() {
            links[rng.below(links.len())].cut();
        }
    }

    /// Makes a host unreachable: neither bytes nor new connections get through until it is reachable again.
    pub fn set_reachable(&self, host: &str, reachable: bool) {
        self.trace.note(format_args!("{host} reachable: {reachable}"));
        self.state.lock().hosts.entry(host.to_owned()).or_default().held = !reachable;
        for link in self.to(host) {
            if reachable { link.release() } else { link.hold() }
        }
    }

    /// Makes a host refuse or accept connections.
    pub fn set_refusing(&self, host: &str, refusing: bool) {
        self.trace.note(format_args!("{host} refusing: {refusing}"));
        self.state.lock().hosts.entry(host.to_owned()).or_default().refusing = refusing;
    }

    /// Ends all random faults and makes every host reachable. Broken connections stay broken.
    pub fn calm(&self) {
        self.trace.note(format_args!("calm"));
        let hosts: Vec<_> = {
            let mut state = self.state.lock();
            state.calm = true;
            state.hosts.keys().cloned().collect()
        };
        for host in hosts {
            self.set_refusing(&host, false);
            self.set_reachable(&host, true);
        }
        self.links().iter().for_each(|link| link.spare());
    }

    /// Returns the numbers of open client and server ends.
    #[must_use]
    pub fn open_ends(&self) -> [usize; 2] {
        let links = self.links();
        let open = |side: usize| links.iter().filter(|link| link.open()[side]).count();
        [open(0), open(1)]
    }

    /// Returns the number of connections broken by faults.
    #[must_use]
    pub fn broken(&self) -> u64 {
        let state = self.state.lock();
        state.broken + state.links.iter().filter(|(_, link)| link.is_broken()).count() as u64
    }

    fn links(&self) -> Vec<Arc<Link>> {
        self.state.lock().links.iter().map(|(_, link)| Arc::clone(link)).collect()
    }

    fn to(&self, host: &str) -> Vec<Arc<Link>> {
        let state = self.state.lock();
        state.links.iter().filter(|(to, _)| to == host).map(|(_, link)| Arc::clone(link)).collect()
    }

    fn attempt(&self, to: &Endpoint) -> Attempt {
        let mut state = self.state.lock();
        let by_chance = !state.calm && state.conditions.refusals > 0 && {
            let refusals = state.conditions.refusals;
            state.rng.percent(refusals)
        };
        match state.hosts.get(&*to.host) {
            Some(host) if host.held => Attempt::Unreachable,
            Some(host) if !host.refusing && !by_chance => match host.listening.get(&to.port) {
                Some(queue) if !queue.is_closed() => Attempt::Accepted(queue.clone()),
                _ => Attempt::Refused,
            },
            _ => Attempt::Refused,
        }
    }

    fn latency(&self) -> Duration {
        let mut state = self.state.lock();
        let latency = state.conditions.latency.clone();
        Duration::from_micros(state.rng.within(latency))
    }

    async fn connect(&self, to: &Endpoint) -> Result<Box<dyn Stream>> {
        tokio::time::sleep(self.latency()).await;
        let queue = loop {
            match self.attempt(to) {
                Attempt::Accepted(queue) => break queue,
                Attempt::Unreachable => tokio::time::sleep(SYN_RETRY).await,
                Attempt::Refused => {
                    self.trace.note(format_args!("{to} refuses"));
                    return Err(refused());
                }
            }
        };
        let (client, server) = {
            let mut state = self.state.lock();
            state.next_id += 1;
            let fate = state.fate();
            self.trace.note(format_args!("#{} to {to} {fate:?}", state.next_id));
            let rng = state.rng.fork();
            let (link, client, server) = Link::new(state.next_id, fate, rng, self.trace.clone());
            state.remove_closed();
            state.links.push((to.host.to_string(), link));
            (client, server)
        };
        queue.send(Box::new(server)).await.map_err(|_| refused())?;
        tokio::time::sleep(self.latency()).await;
        Ok(Box::new(client))
    }
}

impl NetworkState {
    fn fate(&mut self) -> Fate {
        let conditions = self.conditions.clone();
        let rng = &mut self.rng;
        // Drawn also without faults, so that later draws stay the same.
        let (breaks, stalls) = (rng.percent(conditions.breaks), rng.percent(conditions.stalls));
        let power = rng.within(0..=conditions.endurance);
        let bytes = rng.within(0..=1 << power);
        let doom = if stalls { Doom::Stall } else { Doom::Cut };
        let side = rng.below(2);
        Fate { latency: conditions.latency, doom: (breaks && !self.calm).then_some((side, bytes, doom)) }
    }

    /// Removes connections that are closed on both sides.
    fn remove_closed(&mut self) {
        let mut broken = 0;
        self.links.retain(|(_, link)| {
            let stays = link.open() != [false; 2];
            broken += u64::from(!stays && link.is_broken());
            stays
        });
        self.broken += broken;
    }
}

fn refused() -> Error {
    Error::new(ErrorKind::ConnectionRefused, "no connection: refused").with_effect(Effect::None)
}

impl Dial for Network {
    fn dial<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Stream>>> {
        Box::pin(self.connect(to))
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

/// Listener on a port of a host.
pub struct Listening {
    port: u16,
    arrivals: mpsc::Receiver<Box<dyn Stream>>,
}

impl Accept for Listening {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async {
            match self.arrivals.recv().await {
                Some(stream) => Ok(stream),
                // A newer listener replaced this one.
                None => std::future::pending().await,
            }
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok((Ipv4Addr::LOCALHOST, self.port).into())
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("port", &self.port).finish_non_exhaustive()
    }
}
