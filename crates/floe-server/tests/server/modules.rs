//! SmartModules: transformed records, and the errors that clients receive.

use std::time::Duration;

use bytes::Bytes;
use floe::{
    Client, SmartModule,
    consumer::{FetchLimit, StartAt},
};
use floe_server::{ServeLimits, ServeOptions, testkit::TestServer};
use floe_testkit::smartmodules as fixtures;
use floe_wire::{
    batch::EncodedBatch,
    compress::{Codec, compress},
    fluvio::{
        CreateRequest, ErrorCode, FailedModuleKind, Lookback, OffsetUpdate, PartitionProduceReply,
        PartitionRecords, RecordBlob, RecordSet, Request as _, SmartModuleFailure, SmartModuleInvocation,
        SmartModuleKind, SmartModuleParameters, SmartModuleSource, SmartModuleSpec, StreamFetchRequest,
        UpdateOffsetsRequest, frame::decode_reply,
    },
};

use crate::peer::{Peer, batch, compressed, numbered, produce, records, stream, topic, within};

fn sent(wasm: &[u8]) -> SmartModuleInvocation {
    let mut gzipped = Vec::new();
    compress(Codec::Gzip, None, wasm, &mut gzipped).unwrap();
    let wasm = SmartModuleSource::AdHoc(Bytes::from(gzipped));
    SmartModuleInvocation { wasm, ..SmartModuleInvocation::default() }
}

fn looking_back(wasm: &[u8], last: u64, age: Option<Duration>) -> SmartModuleInvocation {
    let params =
        SmartModuleParameters { lookback: Some(Lookback { last, age }), ..SmartModuleParameters::default() };
    SmartModuleInvocation { params, ..sent(wasm) }
}

/// Creates a topic `t` with these batches, and connects.
async fn filled(server: &TestServer, batches: &[EncodedBatch]) -> Peer {
    topic(server, "t", 1).await;
    let mut peer = Peer::data(server).await;
    for batch in batches {
        assert_eq!(peer.produce("t", std::slice::from_ref(batch)).await.error_code, ErrorCode::None);
    }
    peer
}

fn through(modules: Vec<SmartModuleInvocation>, offset: i64) -> StreamFetchRequest {
    StreamFetchRequest { smartmodules: modules, ..stream("t", offset, 1 << 20) }
}

/// Returns the first reply of a stream through these modules.
async fn first(peer: &mut Peer, modules: Vec<SmartModuleInvocation>, offset: i64) -> PartitionRecords {
    let id = peer.send(&through(modules, offset)).await;
    peer.pushed(id).await.partition
}

async fn produced(
    peer: &mut Peer,
    modules: Vec<SmartModuleInvocation>,
    batches: &[EncodedBatch],
) -> PartitionProduceReply {
    let mut request = produce("t", &[(0, RecordSet::from_batches(batches))]);
    request.smartmodules = modules;
    peer.call(&request).await.topics.remove(0).partitions.remove(0)
}

async fn stored(client: &Client) -> Vec<(i64, String)> {
    let messages = client.fetch(floe::Topic::from("t").partition(0), 0, FetchLimit::default()).await.unwrap();
    messages
        .into_iter()
        .map(|message| (message.offset, String::from_utf8_lossy(&message.value).into_owned()))
        .collect()
}

/// Acknowledges, and returns the next reply of the stream. The reply to the acknowledgement may come before or after
/// it.
async fn after(peer: &mut Peer, stream: i32, offsets: Vec<OffsetUpdate>) -> PartitionRecords {
    let update = peer.send(&UpdateOffsetsRequest { offsets }).await;
    let (mut pushed, mut answered) = (None, false);
    while pushed.is_none() || !answered {
        let (id, body) = peer.frame().await.expect("the connection was closed");
        if id == stream {
            let version = StreamFetchRequest::VERSIONS.max;
            pushed = Some(decode_reply::<StreamFetchRequest>(body, version).unwrap().partition);
        } else {
            assert_eq!(id, update);
            answered = true;
        }
    }
    pushed.unwrap()
}

#[tokio::test]
async fn every_kind_of_module_transforms_a_stream() {
    let server = TestServer::start().await.unwrap();
    let mut peer = filled(&server, &[batch(&["ant", "bee", "ape"]), batch(&["cat", "asp"])]).await;
    let own = |offset, value: &str| (offset, value.to_owned());
    let twice = ["ant", "bee", "ape"]
        .iter()
        .zip(0..)
        .flat_map(|(value, offset)| [own(offset, value), own(offset, value)]);
    let twice: Vec<_> = twice.chain([own(3, "cat"), own(3, "cat"), own(4, "asp"), own(4, "asp")]).collect();
    for (module, expected) in [
        (fixtures::filter(), vec![own(0, "ant"), own(2, "ape"), own(4, "asp")]),
        (fixtures::map(), numbered(0, &["ANT", "BEE", "APE", "CAT", "ASP"])),
        (fixtures::filter_map(), vec![own(1, "BEE"), own(3, "CAT")]),
        (fixtures::array_map(), twice),
        (fixtures::aggregate(), numbered(0, &["0nt", "1ee", "2pe", "3at", "4sp"])),
        (fixtures::with_wasi(), numbered(0, &["ant", "bee", "ape", "cat", "asp"])),
    ] {
        let reply = first(&mut peer, vec![sent(&module)], 0).await;
        assert_eq!(reply.error_code, ErrorCode::None);
        assert_eq!(records(&reply.records), expected);
        assert_eq!((reply.next_filter_offset, reply.high_watermark), (5, 5));
    }
}

#[tokio::test]
async fn modules_receive_parameters_and_initial_values_and_form_chains() {
    let server = TestServer::start().await.unwrap();
    let mut peer = filled(&server, &[compressed(&["ant", "bee", "ape", "bug"], Codec::Zstd)]).await;
    let mut wanted = sent(&fixtures::filter());
    wanted.params.values.insert("first".to_owned(), "b".to_owned());
    let reply = first(&mut peer, vec![wanted.clone()], 0).await;
    assert_eq!(records(&reply.records), [(1, "bee".to_owned()), (3, "bug".to_owned())]);

    let mut from = sent(&fixtures::aggregate());
    from.kind = SmartModuleKind::Aggregate { accumulator: Bytes::from_static(b"K") };
    let chain = vec![wanted, from, sent(&fixtures::map())];
    let reply = first(&mut peer, chain, 0).await;
    assert_eq!(records(&reply.records), [(1, "KEE".to_owned()), (3, "LUG".to_owned())]);
    // The output uses the codec of the input if that makes it smaller.
    let long = "a".repeat(500);
    peer.produce("t", &[compressed(&[&long], Codec::Zstd)]).await;
    let reply = first(&mut peer, vec![sent(&fixtures::map())], 4).await;
    assert_eq!(records(&reply.records), [(4, long.to_uppercase())]);
    let codec = reply.records.split().next().unwrap().unwrap().header().attributes.codec();
    assert_eq!(codec, Ok(Codec::Zstd));
}

#[tokio::test]
async fn stream_starts_exactly_at_its_offset() {
    let server = TestServer::start().await.unwrap();
    let mut peer = filled(&server, &[batch(&["ant", "bee", "ape", "asp"])]).await;
    // The module does not see earlier records, and clients that count records from the base offset stay correct.
    let reply = first(&mut peer, vec![sent(&fixtures::aggregate())], 2).await;
    assert_eq!(records(&reply.records), numbered(2, &["0pe", "1sp"]));
    assert_eq!(reply.records.split().next().unwrap().unwrap().base_offset(), 2);
}

#[tokio::test]
async fn dropped_records_are_not_requested_again() {
    let server = TestServer::start().await.unwrap();
    let mut peer =
        filled(&server, &[batch(&["ant"]), batch(&["bee"]), batch(&["cat"]), batch(&["ape"])]).await;
    let request = StreamFetchRequest { max_bytes: 1, ..through(vec![sent(&fixtures::filter())], 0) };
    let id = peer.send(&request).await;
    let reply = peer.pushed(id).await;
    assert_eq!(records(&reply.partition.records), numbered(0, &["ant"]));
    let told = reply.partition.next_filter_offset;
    // Clients may acknowledge twice; the stream continues to the record that the module keeps.
    let acknowledgement = OffsetUpdate { offset: told, stream_id: reply.stream_id };
    let stream_id = reply.stream_id;
    let reply = after(&mut peer, id, vec![acknowledgement.clone(), acknowledgement]).await;
    assert_eq!(records(&reply.records), [(3, "ape".to_owned())]);
    assert_eq!(reply.next_filter_offset, 4);
    // The client rewinds to the beginning.
    let reply = after(&mut peer, id, vec![OffsetUpdate { offset: 0, stream_id }]).await;
    assert_eq!(records(&reply.records), numbered(0, &["ant"]));
}

#[tokio::test]
async fn modules_look_back_before_the_first_record() {
    let server = TestServer::start().await.unwrap();
    let old = compressed(&["one", "two"], Codec::Gzip);
    let mut peer = filled(&server, &[old, batch(&["three"])]).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let producer = server.client().producer("t").start().await.unwrap();
    let record = floe::Record::new("four").timestamp(i64::try_from(now).unwrap());
    producer.send(record).await.unwrap();
    let hour = Some(Duration::from_secs(3600));
    let ages = Some(Duration::from_secs(100 * 365 * 86400));
    for (last, age, seen) in [
        (3, None, "3our"),
        (1, None, "1our"),
        (99, None, "4our"),
        (0, None, "0our"),
        (0, hour, "1our"),
        (3, hour, "1our"),
        (0, ages, "4our"),
        (2, ages, "2our"),
    ] {
        let reply = first(&mut peer, vec![looking_back(&fixtures::lookback(), last, age)], 3).await;
        assert_eq!(records(&reply.records), numbered(3, &[seen]), "{last} {age:?}");
    }
    // Look-back also runs for produce requests.
    let reply =
        produced(&mut peer, vec![looking_back(&fixtures::lookback(), 2, None)], &[batch(&["five"])]).await;
    assert_eq!((reply.error_code, reply.base_offset), (ErrorCode::None, 4));
    assert_eq!(stored(server.client()).await[4].1, "2ive");
    let blind = looking_back(&fixtures::refusing_to_look_back(), 1, None);
    let ErrorCode::SmartModuleLookBackError(message) = first(&mut peer, vec![blind], 0).await.error_code
    else {
        panic!("another error");
    };
    assert!(message.starts_with("blind"), "{message}");
}

#[tokio::test]
async fn records_are_transformed_before_they_are_stored() {
    let server = TestServer::start().await.unwrap();
    let mut peer = filled(&server, &[]).await;
    let batches = [compressed(&["ant", "bee", "ape"], Codec::Lz4), batch(&["cat"])];
    let reply = produced(&mut peer, vec![sent(&fixtures::filter())], &batches).await;
    assert_eq!((reply.error_code, reply.base_offset), (ErrorCode::None, 0));
    let reply = produced(&mut peer, vec![sent(&fixtures::filter())], &[batch(&["cow"])]).await;
    assert_eq!((reply.error_code, reply.base_offset), (ErrorCode::None, 0), "nothing was left");
    let reply =
        produced(&mut peer, vec![sent(&fixtures::array_map()), sent(&fixtures::map())], &[batch(&["dog"])])
            .await;
    assert_eq!((reply.error_code, reply.base_offset), (ErrorCode::None, 2));
    // Offsets are dense, whatever the module dropped or added.
    assert_eq!(stored(server.client()).await, numbered(0, &["ant", "ape", "DOG", "DOG"]));
}

#[tokio::test]
async fn record_that_a_module_fails_on_is_reported() {
    let server = TestServer::start().await.unwrap();
    let mut peer = filled(&server, &[batch(&["one", "!two", "three"]), batch(&["four"])]).await;
    let failure = ErrorCode::SmartModuleRuntimeError(Box::new(SmartModuleFailure {
        hint: "broken".to_owned(),
        offset: 7,
        kind: FailedModuleKind::Filter,
        record_key: None,
        record_value: RecordBlob(Bytes::from_static(b"!two")),
    }));
    let reply = first(&mut peer, vec![sent(&fixtures::failing())], 0).await;
    assert_eq!(reply.error_code, failure);
    assert_eq!(records(&reply.records), numbered(0, &["one"]));
    assert_eq!(reply.next_filter_offset, 3);
    let refused = produced(&mut peer, vec![sent(&fixtures::failing())], &[batch(&["ok", "!two"])]).await;
    assert_eq!(refused.error_code, failure);
    assert_eq!(stored(server.client()).await.len(), 4, "nothing of the request was written");
}

#[tokio::test]
async fn modules_that_cannot_start_are_reported() {
    let server = TestServer::start().await.unwrap();
    let mut peer = filled(&server, &[batch(&["one"])]).await;
    let zipped = |bytes: &'static [u8]| SmartModuleInvocation {
        wasm: SmartModuleSource::AdHoc(Bytes::from_static(bytes)),
        ..SmartModuleInvocation::default()
    };
    let init_error = |invocation: SmartModuleInvocation, words: &'static str| (invocation, words);
    for (invocation, words) in [
        init_error(sent(&fixtures::refusing()), "missing"),
        init_error(sent(&fixtures::idle()), "No valid smartmodule found"),
        init_error(sent(&fixtures::demanding()), "Failed to instantiate"),
        init_error(sent(b"\0asm nonsense"), ""),
    ] {
        let code = first(&mut peer, vec![invocation.clone()], 0).await.error_code;
        let ErrorCode::SmartModuleChainInitError(message) = &code else { panic!("{code:?}") };
        assert!(message.contains(words), "{message}");
        assert_eq!(produced(&mut peer, vec![invocation], &[batch(&["x"])]).await.error_code, code);
    }
    let code = first(&mut peer, vec![zipped(b"no gzip")], 0).await.error_code;
    assert!(matches!(code, ErrorCode::SmartModuleInvalid { .. }), "{code:?}");
    let name = "missing".to_owned();
    let mut unknown = zipped(b"");
    unknown.wasm = SmartModuleSource::Predefined(name.clone());
    let code = first(&mut peer, vec![unknown], 0).await.error_code;
    assert_eq!(code, ErrorCode::SmartModuleNotFound { name });
    assert_eq!(stored(server.client()).await.len(), 1);
}

#[tokio::test]
async fn misbehaving_module_ends_only_its_stream() {
    let mut limits = ServeLimits::default();
    limits.smartmodule_memory = 65 << 16;
    limits.smartmodule_fuel = 5_000_000;
    let server = TestServer::with_limits(limits).await.unwrap();
    let mut peer = filled(&server, &[batch(&["one"])]).await;
    let many = numbered(0, &["one"]);
    for (module, words) in [
        (fixtures::endless(), "exceeded its instruction limit"),
        (fixtures::confused(), "failed to decode SmartModule record input"),
        (fixtures::trapping(), "unreachable"),
        (fixtures::pointing_nowhere(), "invalid output"),
        (fixtures::talking_nonsense(), "invalid output"),
        (fixtures::roomless(), "outside its memory"),
    ] {
        let ErrorCode::Other(message) = first(&mut peer, vec![sent(&module)], 0).await.error_code else {
            panic!("another error for {words}");
        };
        assert!(message.starts_with("SmartModule err ") && message.contains(words), "{message}");
        let code = produced(&mut peer, vec![sent(&module)], &[batch(&["x"])]).await.error_code;
        let ErrorCode::Other(message) = code else { panic!("another error for {words}: {code:?}") };
        assert!(message.starts_with("smartmodule chain failed: "), "{message}");
        // The connection and its other streams still work.
        let reply = first(&mut peer, vec![sent(&fixtures::with_wasi())], 0).await;
        assert_eq!(records(&reply.records), many);
    }
    // The limit admits one more page, not two.
    peer.produce("t", &[batch(&["two"])]).await;
    let growing = StreamFetchRequest { max_bytes: 1, ..through(vec![sent(&fixtures::growing())], 0) };
    let id = peer.send(&growing).await;
    let reply = peer.pushed(id).await;
    assert_eq!(records(&reply.partition.records), many);
    let next = OffsetUpdate { offset: 1, stream_id: reply.stream_id };
    let code = after(&mut peer, id, vec![next]).await.error_code;
    let ErrorCode::Other(message) = code else { panic!("another error: {code:?}") };
    assert!(message.contains("exceeded its memory limit"), "{message}");
}

#[tokio::test]
async fn module_above_the_memory_limit_does_not_start() {
    let mut limits = ServeLimits::default();
    limits.smartmodule_memory = 1 << 20;
    let server = TestServer::with_limits(limits).await.unwrap();
    let mut peer = filled(&server, &[batch(&["one"])]).await;
    let refused = ErrorCode::SmartModuleMemoryLimitExceeded { requested: 64 << 16, max: 1 << 20 };
    assert_eq!(first(&mut peer, vec![sent(&fixtures::filter())], 0).await.error_code, refused);
}

#[tokio::test]
async fn stored_modules_are_run_by_name() {
    let server = TestServer::start().await.unwrap();
    let mut controller = Peer::controller(&server).await;
    let SmartModuleSource::AdHoc(payload) = sent(&fixtures::map()).wasm else { panic!("sent as it is") };
    let spec = SmartModuleSpec { payload, ..SmartModuleSpec::default() };
    let created = CreateRequest { name: "upper".to_owned(), dry_run: false, timeout_ms: None, spec };
    assert_eq!(controller.call(&created).await.error_code, ErrorCode::None);
    let mut peer = filled(&server, &[batch(&["one"])]).await;
    let wasm = SmartModuleSource::Predefined("upper".to_owned());
    let named = SmartModuleInvocation { wasm, ..SmartModuleInvocation::default() };
    assert_eq!(records(&first(&mut peer, vec![named.clone()], 0).await.records), numbered(0, &["ONE"]));
    assert_eq!(produced(&mut peer, vec![named], &[batch(&["two"])]).await.error_code, ErrorCode::None);
    assert_eq!(stored(server.client()).await, numbered(0, &["one", "TWO"]));
}

#[tokio::test]
async fn disabled_modules_are_refused() {
    let mut options = ServeOptions::default();
    options.smartmodules = false;
    let server = TestServer::with("memory:", options).await.unwrap();
    let mut peer = filled(&server, &[batch(&["one"])]).await;
    let module = sent(&fixtures::map());
    let refused = "this server does not run SmartModules".to_owned();
    let refused = ErrorCode::SmartModuleChainInitError(refused);
    assert_eq!(first(&mut peer, vec![module.clone()], 0).await.error_code, refused);
    assert_eq!(produced(&mut peer, vec![module], &[batch(&["x"])]).await.error_code, refused);
    assert_eq!(stored(server.client()).await.len(), 1);
}

/// The Python client sends the module from a file.
#[test]
fn module_file_matches_the_fixture() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/upper.wasm");
    assert!(std::fs::read(file).unwrap() == fixtures::map(), "regenerate it from `map()`");
}

/// A client asks for the end of a stream with an invalid offset, which is refused after the output of the remaining
/// records.
#[tokio::test]
async fn invalid_offset_is_refused_after_the_remaining_records() {
    let server = TestServer::start().await.unwrap();
    let batches: Vec<_> =
        (0..40).map(|_| batch(&["bee"])).chain([batch(&["ant"]), batch(&["bee"])]).collect();
    let mut peer = filled(&server, &batches).await;
    let nowhere = |stream_id| vec![OffsetUpdate { offset: -3, stream_id }];
    let ended = ErrorCode::OffsetEvicted { offset: -3, next_available: 0 };

    let id = peer.send(&through(vec![sent(&fixtures::filter())], 0)).await;
    let made = after(&mut peer, id, nowhere(1)).await;
    assert_eq!(records(&made.records), [(40, "ant".to_owned())]);
    assert_eq!(peer.pushed(id).await.partition.error_code, ended);

    let id = peer.send(&through(vec![sent(&fixtures::filter())], 41)).await;
    assert_eq!(after(&mut peer, id, nowhere(2)).await.error_code, ended);
}

/// The consumer reaches its end without a long wait, whatever the module drops.
#[tokio::test]
async fn consumer_ends_where_modules_drop_all_remaining_records() {
    let server = TestServer::start().await.unwrap();
    let mut batches: Vec<_> = (0..30).map(|_| batch(&["ant", "bee", "cat"])).collect();
    batches.extend((0..30).map(|_| batch(&["cat", "dog"])));
    filled(&server, &batches).await;
    let client = Client::connect(&format!("fluvio://{}", server.fluvio_address())).await.unwrap();
    let wanted = |first: &str| SmartModule::wasm(fixtures::filter()).param("first", first);
    for (modules, from, expected) in [
        (vec![wanted("z")], StartAt::Beginning, 0),
        (vec![wanted("a")], StartAt::Beginning, 30),
        (vec![wanted("a")], StartAt::Offset(91), 0),
        (vec![wanted("d")], StartAt::Offset(91), 30),
        (vec![wanted("b"), SmartModule::wasm(fixtures::aggregate()).aggregate("0")], StartAt::Beginning, 30),
    ] {
        let mut consumer = client.consumer("t").from(from).stop_at_end();
        for module in modules {
            consumer = consumer.smartmodule(module);
        }
        let mut consumer = within(consumer.start()).await.unwrap();
        let mut found = 0;
        while within(consumer.try_next()).await.unwrap().is_some() {
            found += 1;
        }
        assert_eq!(found, expected, "from {from:?}");
    }
    client.close().await.unwrap();
}
