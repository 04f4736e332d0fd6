//! One connection to a node, with the handshake.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::{Bytes, BytesMut};
use floe_core::{
    Effect, Error, ErrorKind, Result,
    dial::{Dial, Endpoint, dial_within},
};
use floe_wire::walrus::{
    Command, MAX_REPLY_LEN, NodeMetrics, Refusal, ReplyError, parse_done, parse_metrics,
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{errors, options::WalrusOptions};
use crate::{
    pipelined::{Answer, PipelineSettings, PipelinedConnection},
    pool::Manage,
};

/// Maximum requests in flight on one connection.
const CONNECTION_WINDOW: usize = 256;

/// A connection, and the abilities of its server.
#[derive(Debug)]
pub(super) struct Link {
    connection: PipelinedConnection,
    in_flight: Arc<AtomicUsize>,
    /// The server understands `BATCH_PUT` and `BATCH_GET`.
    pub(super) knows_batches: bool,
}

impl Link {
    /// Sends an encoded request; see [`PipelinedConnection::send`].
    pub(super) async fn send(&self, frame: Bytes, deadline: Instant) -> Result<Answer> {
        self.connection.send(frame, deadline, &self.in_flight).await
    }

    /// Drops the connection at once.
    pub(super) fn abort(&self) {
        self.connection.abort();
    }

    pub(super) fn endpoint(&self) -> &Arc<str> {
        self.connection.endpoint()
    }
}

/// Encodes a request.
pub(super) fn encode(request: &Command<'_>) -> Result<Bytes> {
    let mut out = BytesMut::new();
    request.encode(&mut out).map_err(errors::request)?;
    Ok(out.freeze())
}

/// Opens and checks the connections to one node, and keeps its latest metrics.
#[derive(Debug)]
pub(super) struct NodeManager {
    endpoint: Endpoint,
    name: Arc<str>,
    dial: Arc<dyn Dial>,
    options: Arc<WalrusOptions>,
    in_flight: Arc<AtomicUsize>,
    metrics: Mutex<Option<NodeMetrics>>,
}

impl NodeManager {
    pub(super) fn new(endpoint: Endpoint, dial: Arc<dyn Dial>, options: Arc<WalrusOptions>) -> Self {
        let name = Arc::from(endpoint.to_string());
        Self { endpoint, name, dial, options, in_flight: Arc::default(), metrics: Mutex::default() }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the number of requests in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns the latest metrics of the node.
    pub(super) fn metrics(&self) -> Option<NodeMetrics> {
        self.metrics.lock().clone()
    }

    /// Requests the metrics of the node over this connection.
    pub(super) async fn ask_metrics(&self, link: &Link, deadline: Instant) -> Result<NodeMetrics> {
        let answer = link.send(encode(&Command::Metrics)?, deadline).await?;
        let metrics = self.keep(&answer.await?);
        if metrics.is_err() {
            link.abort();
        }
        metrics
    }

    fn keep(&self, reply: &[u8]) -> Result<NodeMetrics> {
        let metrics = parse_metrics(reply)
            .map_err(|error| errors::reply(error).with_endpoint(Arc::clone(&self.name)))?;
        *self.metrics.lock() = Some(metrics.clone());
        Ok(metrics)
    }

    async fn open(&self) -> Result<Link> {
        let limit = self.options.connect_timeout;
        let stream = dial_within(&*self.dial, &self.endpoint, limit).await?;
        let settings = PipelineSettings { window: CONNECTION_WINDOW, max_reply: MAX_REPLY_LEN };
        let connection = PipelinedConnection::start(stream, Arc::clone(&self.name), settings);
        let mut link = Link { connection, in_flight: Arc::clone(&self.in_flight), knows_batches: false };
        let deadline = Instant::now() + limit;
        // Both requests are pipelined: the handshake takes one round trip.
        let metrics = link.send(encode(&Command::Metrics)?, deadline).await?;
        let probe = link.send(encode(&Command::ProbeBatch)?, deadline).await?;
        let metrics = metrics.await.map_err(|error| self.handshake_error(error))?;
        if let Err(error) = self.keep(&metrics) {
            link.abort();
            return Err(error.with_effect(Effect::None));
        }
        let probe = probe.await.map_err(|error| self.handshake_error(error))?;
        link.knows_batches = match parse_done(&probe) {
            Err(ReplyError::Refused(refused)) => refused.refusal != Refusal::UnknownCommand,
            Ok(()) | Err(ReplyError::Malformed(_)) => {
                link.abort();
                let message = "the server accepts an incomplete command";
                return Err(Error::new(ErrorKind::ProtocolError, message)
                    .with_effect(Effect::None)
                    .with_endpoint(Arc::clone(&self.name)));
            }
        };
        Ok(link)
    }

    /// Maps the error of a handshake: a node that accepts connections and does not reply counts as unreachable.
    fn handshake_error(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::RequestTimeout {
            let message = format!("connected, but no reply within {:?}", self.options.connect_timeout);
            return Error::new(ErrorKind::ConnectionTimeout, message).with_endpoint(Arc::clone(&self.name));
        }
        error.with_effect(Effect::None)
    }
}

impl Manage for NodeManager {
    type Link = Link;

    fn connect(&self) -> BoxFuture<'_, Result<Link>> {
        Box::pin(self.open())
    }

    fn is_usable(&self, link: &Link) -> bool {
        link.connection.is_usable()
    }

    fn check<'a>(&'a self, link: &'a Link) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.ask_metrics(link, Instant::now() + self.options.connect_timeout).await.map(drop)
        })
    }
}
