//! A network in memory: hosts, connections between them, and what goes wrong with both.

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

/// How often somebody who cannot reach a host tries, as TCP does.
const KNOCK: Duration = Duration::from_millis(250);

/// What goes wrong by itself.
#[derive(Debug, Clone)]
pub struct Weather {
    /// Time that a piece of bytes takes, in microseconds.
    pub latency: RangeInclusive<u64>,
    /// How many connections of a hundred break after some bytes.
    pub breaks: u64,
    /// How many of a hundred that break do so in silence.
    pub stalls: u64,
    /// How many attempts to connect of a hundred are refused.
    pub refusals: u64,
    /// Most bytes, as a power of two, after which a connection breaks.
    pub endurance: u64,
}

/// The network. Clones are the same one.
#[derive(Clone)]
pub struct Network {
    trace: Trace,
    state: Arc<Mutex<State>>,
}

struct State {
    rng: Rng,
    weather: Weather,
    calm: bool,
    hosts: BTreeMap<String, Host>,
    links: Vec<(String, Arc<Link>)>,
    next_id: u64,
    /// Connections that were broken and are gone.
    broken: u64,
}

#[derive(Default)]
struct Host {
    listening: BTreeMap<u16, mpsc::Sender<Box<dyn Stream>>>,
    held: bool,
    refusing: bool,
}

/// What an attempt to connect meets.
enum Door {
    Open(mpsc::Sender<Box<dyn Stream>>),
    Closed,
    Unreachable,
}

impl Network {
    /// A network without hosts.
    #[must_use]
    pub fn new(rng: Rng, weather: Weather, trace: Trace) -> Self {
        let state = State {
            rng,
            weather,
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

    /// Cuts one connection, whichever it is.
    pub fn cut_one(&self, rng: &mut Rng) {
        let links = self.links();
        if !links.is_empty() {
            links[rng.below(links.len())].cut();
        }
    }

    /// Delivers nothing to or from a host, and opens no connection to it, until it is reachable again.
    pub fn set_reachable(&self, host: &str, reachable: bool) {
        self.trace.note(format_args!("{host} reachable: {reachable}"));
        self.state.lock().hosts.entry(host.to_owned()).or_default().held = !reachable;
        for link in self.to(host) {
            if reachable { link.release() } else { link.hold() }
        }
    }

    /// Refuses connections to a host, or takes them again.
    pub fn set_refusing(&self, host: &str, refusing: bool) {
        self.trace.note(format_args!("{host} refusing: {refusing}"));
        self.state.lock().hosts.entry(host.to_owned()).or_default().refusing = refusing;
    }

    /// From now on nothing goes wrong by itself, and every host can be reached. What is broken stays so.
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

    /// How many clients' and servers' sides of connections are open.
    #[must_use]
    pub fn open_ends(&self) -> [usize; 2] {
        let links = self.links();
        let open = |side: usize| links.iter().filter(|link| link.open()[side]).count();
        [open(0), open(1)]
    }

    /// How many connections were broken by force.
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

    fn knock(&self, to: &Endpoint) -> Door {
        let mut state = self.state.lock();
        let by_chance = !state.calm && state.weather.refusals > 0 && {
            let refusals = state.weather.refusals;
            state.rng.percent(refusals)
        };
        match state.hosts.get(&*to.host) {
            Some(host) if host.held => Door::Unreachable,
            Some(host) if !host.refusing && !by_chance => match host.listening.get(&to.port) {
                Some(queue) if !queue.is_closed() => Door::Open(queue.clone()),
                _ => Door::Closed,
            },
            _ => Door::Closed,
        }
    }

    fn latency(&self) -> Duration {
        let mut state = self.state.lock();
        let latency = state.weather.latency.clone();
        Duration::from_micros(state.rng.within(latency))
    }

    async fn connect(&self, to: &Endpoint) -> Result<Box<dyn Stream>> {
        tokio::time::sleep(self.latency()).await;
        let queue = loop {
            match self.knock(to) {
                Door::Open(queue) => break queue,
                Door::Unreachable => tokio::time::sleep(KNOCK).await,
                Door::Closed => {
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
            state.tidy();
            state.links.push((to.host.to_string(), link));
            (client, server)
        };
        queue.send(Box::new(server)).await.map_err(|_| refused())?;
        tokio::time::sleep(self.latency()).await;
        Ok(Box::new(client))
    }
}

impl State {
    fn fate(&mut self) -> Fate {
        let weather = self.weather.clone();
        let rng = &mut self.rng;
        // Drawn in any case, so that calm weather does not move what comes after.
        let (breaks, stalls) = (rng.percent(weather.breaks), rng.percent(weather.stalls));
        let power = rng.within(0..=weather.endurance);
        let bytes = rng.within(0..=1 << power);
        let doom = if stalls { Doom::Stall } else { Doom::Cut };
        let side = rng.below(2);
        Fate { latency: weather.latency, doom: (breaks && !self.calm).then_some((side, bytes, doom)) }
    }

    /// Forgets connections that are closed on both sides.
    fn tidy(&mut self) {
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

/// A port of a host.
pub struct Listening {
    port: u16,
    arrivals: mpsc::Receiver<Box<dyn Stream>>,
}

impl Accept for Listening {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async {
            match self.arrivals.recv().await {
                Some(stream) => Ok(stream),
                // Somebody else listens on this port now.
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
