//! The controller (SC): creates, deletes, lists and watches topics, partitions, data servers and modules.
//!
//! Requests of a connection are answered one after the other; each watch is a task.

mod admin;
mod list;
mod objects;
pub(crate) mod smartmodules;
mod topics;
mod views;
mod watch;

use std::{sync::Arc, time::Duration};

use floe::memory::MemoryAccount;
use floe_wire::fluvio::{
    AnyWatch, ApiVersionRange, ApiVersionsReply, ApiVersionsRequest, ConditionalAppendRequest, CreateRequest,
    DeleteRequest, ErrorCode, ListRequest, MirroringReply, MirroringRequest, Request, SC_VERSIONS, ScRequest,
    Status, TopicSpec, UpdateTopicRequest, WatchRequest, frame::RequestHeader, versions::PlatformVersion,
};
use tokio::{sync::watch::Receiver, task::JoinSet};

pub(crate) use self::views::Views;
use super::frames;
use crate::{
    access::Session,
    connection_slots::Activity,
    metrics::Frontend,
    node::{Node, log_panic},
    request_reader::{ReadEnd, ReceivedRequest, RequestReader, read_until_end},
    response_writer::{Disconnected, ResponseSender, response_queue},
    socket::Socket,
};

/// Platform version that this server emulates.
const PLATFORM: &str = "0.18.2";

/// Watches per connection; official clients open six.
const WATCHES: usize = 64;

/// Longest time that a reply waits for the watches of its connection.
const WATCH_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Delay between the watch updates and the reply to a change. Official clients apply updates on other tasks, and
/// would use the topic before they know it; a real controller takes four times as long.
const WATCH_APPLY_DELAY: Duration = Duration::from_millis(100);

/// Serves one connection until it ends.
pub(crate) async fn serve(
    (node, views): (Arc<Node>, Arc<Views>),
    session: Arc<Session>,
    (socket, activity): (Socket, Activity),
    mut stop: Receiver<bool>,
) {
    let (reading, writing) = socket.into_split();
    let limits = &node.limits;
    let tenant = node.memory.tenant(session.client(), limits);
    let framing = frames::FRAMING;
    let reader =
        RequestReader::new(reading, framing, limits.frame_bytes, limits.frame_timeout, &tenant.requests);
    let (responses, writer) = response_queue(&tenant.responses);
    // The connection owns its tasks, so dropping it ends them.
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(writer.run(writing).await) });
    let mut connection = Connection {
        activity,
        node: Arc::clone(&node),
        session,
        views,
        requests: tenant.requests.clone(),
        responses,
        watches: JoinSet::new(),
        flushed: Vec::new(),
    };
    let reading = connection.read(reader);
    let ended = read_until_end(&node, (Frontend::Controller, &tenant), reading, &mut stop, &mut tasks).await;
    if matches!(ended, Some(ReadEnd::Broken | ReadEnd::Idle | ReadEnd::CutOff)) {
        return;
    }
    drop(connection);
    while let Some(ended) = tasks.join_next().await {
        log_panic(ended);
    }
}

struct Connection {
    activity: Activity,
    node: Arc<Node>,
    session: Arc<Session>,
    views: Arc<Views>,
    /// Memory of requests.
    requests: MemoryAccount,
    responses: ResponseSender,
    watches: JoinSet<()>,
    /// Epoch up to which each watch has reported all changes.
    flushed: Vec<Receiver<i64>>,
}

impl Connection {
    async fn read(&mut self, mut reader: RequestReader) -> Option<ReadEnd> {
        loop {
            let limit = self.node.limits.idle_timeout;
            let watches = &mut self.watches;
            let has_watches = || {
                while let Some(ended) = watches.try_join_next() {
                    log_panic(ended);
                }
                !watches.is_empty()
            };
            let frame = match reader.next_unless_idle(limit, has_watches).await {
                Ok(frame) => frame,
                Err(ended) => return Some(ended),
            };
            if let Err(ended) = self.answer(frame).await {
                return ended;
            }
            while let Some(ended) = self.watches.try_join_next() {
                log_panic(ended);
            }
            self.activity.note(!self.watches.is_empty());
        }
    }

    async fn answer(&mut self, frame: ReceivedRequest) -> Result<(), Option<ReadEnd>> {
        let malformed = |error| Some(ReadEnd::Malformed(error));
        // The memory of the request is held up to the answer.
        let ReceivedRequest { bytes, room: _room } = frame;
        let (header, body) = RequestHeader::split(bytes).map_err(malformed)?;
        let shared = (&*self.node, &self.requests);
        let (request, _decoded) =
            frames::decode(shared, &header, body, ScRequest::decode).await.map_err(malformed)?;
        let (node, session, responses) = (&*self.node, &*self.session, &self.responses);
        session.admit(0).await;
        let count = |api| node.metrics.request(Frontend::Controller, api);
        let answered = match request {
            ScRequest::ApiVersions(request) => {
                count(ApiVersionsRequest::NAME);
                let appends_on_condition = node.engine.info().capabilities.conditional_appends;
                versions(responses, &header, &request, appends_on_condition).await
            }
            ScRequest::Create(request) => {
                count(CreateRequest::<TopicSpec>::NAME);
                let done = admin::create(node, session, *request).await;
                self.flush_watches().await;
                status(node, responses, &header, done).await
            }
            ScRequest::Delete(request) => {
                count(DeleteRequest::<TopicSpec>::NAME);
                let done = admin::delete(node, session, request).await;
                self.flush_watches().await;
                status(node, responses, &header, done).await
            }
            ScRequest::Update(request) => {
                count(UpdateTopicRequest::NAME);
                let done = admin::update(node, session, request).await;
                self.flush_watches().await;
                status(node, responses, &header, done).await
            }
            ScRequest::List(request) => {
                count(ListRequest::<TopicSpec>::NAME);
                list::answer(node, session, responses, (&header, request)).await
            }
            ScRequest::Watch(request) => {
                count(WatchRequest::<TopicSpec>::NAME);
                self.watch(header, request)
            }
            ScRequest::Mirroring(request) => {
                count(MirroringRequest::NAME);
                let reply = MirroringReply {
                    name: request.remote_id,
                    error_code: ErrorCode::MirrorNotFound,
                    error_message: Some("this server does not support mirroring".to_owned()),
                    topics: Vec::new(),
                };
                frames::reply::<MirroringRequest>(responses, &header, &reply).await
            }
        };
        answered.map_err(|Disconnected| None)
    }

    fn watch(&mut self, header: RequestHeader, request: AnyWatch) -> Result<(), Disconnected> {
        if self.watches.len() >= WATCHES {
            return Err(Disconnected);
        }
        let (flush, flushed) = tokio::sync::watch::channel(0);
        let shared = (Arc::clone(&self.node), Arc::clone(&self.session), Arc::clone(&self.views));
        let watch = watch::open(shared, self.responses.clone(), header, request, flush);
        self.watches.spawn(watch.ok_or(Disconnected)?);
        self.flushed.push(flushed);
        Ok(())
    }

    /// Waits until the watches of this connection have reported the change. Official clients know only topics that a
    /// watch reported, so one that creates a topic and uses it at once depends on this order.
    async fn flush_watches(&self) {
        let epoch = *self.node.catalog.epoch().borrow();
        let all = self.flushed.iter().map(async |flushed| {
            let _ = flushed.clone().wait_for(|flushed| *flushed >= epoch).await;
        });
        // A client that does not read blocks its watches; its next request must not wait for ever.
        let _ = tokio::time::timeout(WATCH_FLUSH_TIMEOUT, futures_util::future::join_all(all)).await;
        if !self.flushed.is_empty() {
            tokio::time::sleep(WATCH_APPLY_DELAY).await;
        }
    }
}

async fn versions(
    responses: &ResponseSender,
    header: &RequestHeader,
    request: &ApiVersionsRequest,
    appends_on_condition: bool,
) -> Result<(), Disconnected> {
    // A real controller closes the connection of a client that sends no version.
    if PlatformVersion::parse(&request.client_version).is_none() {
        return Err(Disconnected);
    }
    let keys = [
        CreateRequest::<TopicSpec>::KEY,
        DeleteRequest::<TopicSpec>::KEY,
        ListRequest::<TopicSpec>::KEY,
        WatchRequest::<TopicSpec>::KEY,
        MirroringRequest::KEY,
        UpdateTopicRequest::KEY,
    ];
    let range = |key: u16| ApiVersionRange {
        api_key: key.cast_signed(),
        min_version: SC_VERSIONS.min,
        max_version: SC_VERSIONS.max,
    };
    let mut api_keys = keys.map(range).to_vec();
    // The data server serves it. Clients of floe learn here that it does, before they need a data server.
    api_keys.extend(appends_on_condition.then(|| ApiVersionRange {
        api_key: ConditionalAppendRequest::KEY.cast_signed(),
        min_version: ConditionalAppendRequest::VERSIONS.min,
        max_version: ConditionalAppendRequest::VERSIONS.max,
    }));
    let reply =
        ApiVersionsReply { error_code: ErrorCode::None, api_keys, platform_version: PLATFORM.to_owned() };
    frames::reply::<ApiVersionsRequest>(responses, header, &reply).await
}

async fn status(
    node: &Node,
    responses: &ResponseSender,
    header: &RequestHeader,
    status: Status,
) -> Result<(), Disconnected> {
    if !status.error_code.is_success() {
        node.metrics.error(Frontend::Controller, status.error_code.name());
    }
    // Create, delete and update share one reply layout, and a reply does not name its request.
    frames::reply::<CreateRequest<TopicSpec>>(responses, header, &status).await
}

/// Success.
fn done(name: impl Into<String>) -> Status {
    Status { name: name.into(), error_code: ErrorCode::None, error_message: None }
}

/// Refusal with a code.
fn refused(name: impl Into<String>, error_code: ErrorCode, message: impl Into<String>) -> Status {
    Status { name: name.into(), error_code, error_message: Some(message.into()) }
}

/// Refusal for a reason without a code of its own.
fn failed(name: impl Into<String>, message: impl Into<String>) -> Status {
    let message = message.into();
    refused(name, ErrorCode::Other(message.clone()), message)
}
