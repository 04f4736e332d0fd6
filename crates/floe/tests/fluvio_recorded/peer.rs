//! A peer that replays a recording.

use std::{collections::HashMap, fs, path::Path, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use floe::{
    Result,
    net::{Dial, Endpoint, Stream},
};
use floe_wire::fluvio::{
    Input, SpuRequest,
    frame::{self, RequestHeader},
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const API_VERSIONS: u16 = 18;
const WATCH: u16 = 1004;
const STREAM_FETCH: u16 = 1003;

/// A recorded request with all of its replies.
#[derive(Debug, Clone)]
struct Exchange {
    to_controller: bool,
    header: RequestHeader,
    body: Bytes,
    /// After the correlation id.
    replies: Vec<Bytes>,
    used: bool,
}

#[derive(Debug, Default)]
struct Playback {
    exchanges: Vec<Exchange>,
    /// Requests that match no recorded one.
    unknown: Vec<(RequestHeader, Bytes)>,
    answered: HashMap<u16, usize>,
}

/// One recording and the state of its playback. Pass it to [`floe::engine::FluvioEngine::connect_over`].
#[derive(Debug, Clone)]
pub(crate) struct Recording(Arc<Mutex<Playback>>);

impl Recording {
    pub(crate) fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../floe-wire/tests/fixtures/fluvio");
        let text = fs::read_to_string(folder.join(name).with_extension("jsonl")).expect("a recording");
        let mut exchanges: Vec<Exchange> = Vec::new();
        let mut open: HashMap<(u64, i32), usize> = HashMap::new();
        // The first line describes the recording.
        for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let connection = line["conn"].as_u64().unwrap();
            let bytes = unhex(line["hex"].as_str().unwrap());
            if line["dir"] == "c2s" {
                let (header, body) = split(&bytes);
                open.insert((connection, header.correlation_id), exchanges.len());
                let to_controller = line["peer"] == "sc";
                exchanges.push(Exchange { to_controller, header, body, replies: Vec::new(), used: false });
            } else {
                let (id, reply) = frame::split_reply(bytes.slice(4..)).unwrap();
                // The request that opened a stream may precede the recording.
                if let Some(index) = open.get(&(connection, id)) {
                    exchanges[*index].replies.push(reply.rest());
                }
            }
        }
        assert!(exchanges.len() > 5, "the recording has exchanges");
        Self(Arc::new(Mutex::new(Playback { exchanges, ..Playback::default() })))
    }

    /// Returns the recorded requests to data servers with this API key.
    pub(crate) fn data_requests(&self, key: u16) -> Vec<SpuRequest> {
        let state = self.0.lock();
        let wanted =
            state.exchanges.iter().filter(|found| !found.to_controller && found.header.api_key == key);
        wanted.map(|found| decoded(&found.header, &found.body)).collect()
    }

    /// Panics if the engine sent requests that are not recorded, except with these API keys.
    pub(crate) fn check_unknown(&self, besides: &[u16]) {
        let state = self.0.lock();
        let unknown: Vec<_> =
            state.unknown.iter().filter(|(header, _)| !besides.contains(&header.api_key)).collect();
        assert!(unknown.is_empty(), "{unknown:02x?}");
    }

    /// Returns the only request that was not recorded.
    pub(crate) fn unknown_data_request(&self) -> SpuRequest {
        let state = self.0.lock();
        assert_eq!(state.unknown.len(), 1, "{:02x?}", state.unknown);
        decoded(&state.unknown[0].0, &state.unknown[0].1)
    }

    /// Returns the number of answered requests with this API key.
    pub(crate) fn answered(&self, key: u16) -> usize {
        self.0.lock().answered.get(&key).copied().unwrap_or(0)
    }

    /// Returns the replies of the first matching exchange that was not played yet, or else of the last one played.
    fn find(&self, to_controller: bool, header: &RequestHeader, body: &Bytes) -> Option<Vec<Bytes>> {
        let mut state = self.0.lock();
        let is_it = |found: &Exchange| {
            found.to_controller == to_controller
                && found.header.api_key == header.api_key
                // Handshakes differ in the version of the client.
                && (header.api_key == API_VERSIONS
                    || (found.header.version == header.version && found.body == *body))
        };
        let place = state.exchanges.iter().position(|found| !found.used && is_it(found));
        let Some(place) = place.or_else(|| state.exchanges.iter().rposition(is_it)) else {
            state.unknown.push((header.clone(), body.clone()));
            return None;
        };
        *state.answered.entry(header.api_key).or_default() += 1;
        state.exchanges[place].used = true;
        Some(state.exchanges[place].replies.clone())
    }

    async fn serve(self, to_controller: bool, mut socket: DuplexStream) -> Option<()> {
        let mut received = BytesMut::new();
        loop {
            while let Some(request) = frame::split_frame(&mut received, 1 << 24).ok()? {
                let (header, body) = split_body(request);
                let Some(replies) = self.find(to_controller, &header, &body) else { continue };
                for (number, reply) in replies.iter().enumerate() {
                    // A stream continues after an acknowledgement, which these recordings do not need.
                    if number > 0 && header.api_key != WATCH {
                        break;
                    }
                    if number > 0 {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    let mut out = BytesMut::new();
                    out.put_u32(u32::try_from(4 + reply.len()).unwrap());
                    out.put_i32(header.correlation_id);
                    out.put_slice(reply);
                    socket.write_all(&out).await.ok()?;
                }
            }
            if socket.read_buf(&mut received).await.ok()? == 0 {
                return None;
            }
        }
    }
}

impl Dial for Recording {
    fn dial<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(1 << 20);
            tokio::spawn(self.clone().serve(&*to.host == "sc", far));
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

/// Prefixes a request with its size.
fn split(bytes: &Bytes) -> (RequestHeader, Bytes) {
    split_body(bytes.slice(4..))
}

fn split_body(request: Bytes) -> (RequestHeader, Bytes) {
    let (header, body) = RequestHeader::split(request).unwrap();
    (header, body.rest())
}

fn decoded(header: &RequestHeader, body: &Bytes) -> SpuRequest {
    // For controllers this API key means something else.
    assert!(header.api_key != WATCH && (header.api_key != STREAM_FETCH || header.version > 19));
    SpuRequest::decode(header, Input::new(body.clone())).unwrap()
}

fn unhex(hex: &str) -> Bytes {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
