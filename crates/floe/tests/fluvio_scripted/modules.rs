//! SmartModules: the requests, and the processing of their output.

use std::time::Duration;

use floe::{
    Effect, ErrorKind, Lookback, Record, SmartModule, SmartModuleKind,
    consumer::{AckMode, CommitPolicy, StartAt},
    engine::{Engine, ReadRequest, Start},
};
use floe_testkit::fluvio::{Cluster, Fault, TOPIC};
use floe_wire::{
    batch::EncodedBatch,
    fluvio::{
        ErrorCode, PartitionRecords, RecordSet, SmartModuleContext, SmartModuleFailure,
        SmartModuleKind as WireKind, SmartModuleSource,
    },
    varint,
};
use tokio::time::Instant;

use super::{at, batch, client, connect, request, stored};

const PRODUCE: u16 = 0;

/// Builds module output: records with these offset deltas from `base` on, which represent `span` offsets.
fn made(base: i64, span: i32, records: &[(i64, &str)]) -> PartitionRecords {
    let mut section = u32::try_from(records.len()).unwrap().to_be_bytes().to_vec();
    for (delta, value) in records {
        let mut body = vec![0, 0];
        varint::put(&mut body, *delta);
        body.push(0);
        varint::put(&mut body, i64::try_from(value.len()).unwrap());
        body.extend_from_slice(value.as_bytes());
        body.push(0);
        varint::put(&mut section, i64::try_from(body.len()).unwrap());
        section.extend_from_slice(&body);
    }
    let mut bytes = batch(&["x"]).to_bytes()[..57].to_vec();
    let length = i32::try_from(45 + section.len()).unwrap();
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[23..27].copy_from_slice(&(span - 1).to_be_bytes());
    bytes.extend_from_slice(&section);
    let checksum = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    let parsed = EncodedBatch::parse(bytes.into()).unwrap();
    parsed.verify_checksum().unwrap();
    PartitionRecords {
        records: RecordSet::from_batches([&parsed]),
        next_filter_offset: base + i64::from(span),
        ..PartitionRecords::default()
    }
}

/// Computes CRC-32C bit by bit, independently of the implementation under test.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1));
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// Creates a partition with this many records in batches of ten.
fn filled(offsets: usize) -> Cluster {
    let cluster = Cluster::new(1);
    for _ in 0..offsets / 10 {
        cluster.append(0, batch(&["x"; 10]));
    }
    cluster
}

#[tokio::test(start_paused = true)]
async fn modules_are_asked_for_with_all_they_need() {
    let cluster = filled(10);
    let engine = connect(&cluster).await;
    cluster.change(|state| state.module_output.push_back(made(0, 10, &[(0, "a")])));
    let consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning);
    let consumer = consumer
        .smartmodule(SmartModule::named("g/first@1.0.0").param("k", "v").kind(SmartModuleKind::Filter))
        .smartmodule(
            SmartModule::wasm(&b"\0asm"[..]).lookback(Lookback::LastWithin(3, Duration::from_secs(60))),
        );
    let mut consumer = consumer.start().await.unwrap();
    assert_eq!(consumer.try_next().await.unwrap().unwrap().value, "a");
    let (from, chain) = cluster.state.lock().invocations[0].clone();
    assert_eq!((from, chain.len()), (Some(0), 2));
    assert_eq!(chain[0].wasm, SmartModuleSource::Predefined("g/first@1.0.0".to_owned()));
    assert_eq!((&chain[0].kind, chain[0].params.values["k"].as_str()), (&WireKind::Filter, "v"));
    assert!(matches!(chain[1].wasm, SmartModuleSource::AdHoc(_)));
    assert_eq!(chain[1].kind, WireKind::Generic(SmartModuleContext::None));
    let lookback = chain[1].params.lookback.unwrap();
    assert_eq!((lookback.last, lookback.age), (3, Some(Duration::from_secs(60))));
    // Streams with modules request slices that hold the output of the largest batch.
    assert!(cluster.state.lock().streams[0] > 32_000_000);
}

#[tokio::test(start_paused = true)]
async fn filtered_records_are_not_gaps() {
    let cluster = filled(60);
    let engine = connect(&cluster).await;
    cluster.change(|state| {
        // The module drops the first record of two batches, then a whole batch, then nothing.
        let values: Vec<_> = (0..18).map(|number| number.to_string()).collect();
        let deltas = (1..10).chain(-9..0);
        let first: Vec<_> = deltas.zip(values.iter().map(String::as_str)).collect();
        state.module_output.push_back(made(0, 30, &first));
        state.module_output.push_back(made(40, 20, &[(0, "18"), (5, "19"), (-3, "20")]));
    });
    let consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning).stop_at_end();
    let mut consumer = consumer.smartmodule(SmartModule::named("dropfirst")).start().await.unwrap();
    let mut found = Vec::new();
    while let Some(message) = consumer.try_next().await.unwrap() {
        found.push((message.offset, String::from_utf8(message.value.to_vec()).unwrap()));
    }
    let values: Vec<_> = found.iter().map(|(_, value)| value.clone()).collect();
    assert_eq!(values, (0..21).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(found[..9].iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (1..10).collect::<Vec<_>>());
    assert_eq!(found[18..].iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [40, 45, 46]);
    assert!(consumer.gaps().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_start_within_a_batch_drops_what_lies_before() {
    let cluster = filled(20);
    let engine = connect(&cluster).await;
    cluster.change(|state| {
        state.module_output.push_back(made(0, 20, &[(1, "1"), (4, "4"), (5, "5"), (-9, "11"), (-1, "19")]));
    });
    let consumer = client(&engine).consumer(TOPIC).from(StartAt::Offset(5)).stop_at_end();
    let mut consumer = consumer.smartmodule(SmartModule::named("any")).start().await.unwrap();
    let mut found = Vec::new();
    while let Some(message) = consumer.try_next().await.unwrap() {
        found.push(message.value);
    }
    assert_eq!(found, ["5", "11", "19"]);
}

/// No server reports by itself that a module dropped all records up to the end.
#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_asked_whether_modules_dropped_the_rest() {
    let cluster = filled(20);
    let engine = connect(&cluster).await;
    cluster.change(|state| state.module_output.push_back(made(0, 10, &[(3, "3")])));
    let consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning).stop_at_end();
    let mut consumer = consumer.smartmodule(SmartModule::named("any")).start().await.unwrap();
    assert_eq!(consumer.try_next().await.unwrap().unwrap().offset, 3);
    let started = Instant::now();
    assert!(consumer.try_next().await.unwrap().is_none());
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(1), "{took:?}");
}

/// Returns the start offsets of the streams with modules.
fn starts(cluster: &Cluster) -> Vec<i64> {
    cluster.state.lock().invocations.iter().map(|(from, _)| from.unwrap()).collect()
}

/// Slow modules: no output is lost, and the query for the end does not stop them early.
#[tokio::test(start_paused = true)]
async fn module_output_after_the_end_query_is_delivered() {
    let cluster = filled(20);
    let engine = connect(&cluster).await;
    cluster.change(|state| state.modules_busy = true);
    let consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning).stop_at_end();
    let mut consumer = consumer.smartmodule(SmartModule::named("slow")).start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    cluster.change(|state| {
        state.modules_busy = false;
        state.module_output.push_back(made(0, 10, &[(3, "3")]));
        state.module_output.push_back(made(10, 5, &[(1, "11")]));
    });
    let mut found = Vec::new();
    while let Some(message) = consumer.try_next().await.unwrap() {
        found.push(message.value);
    }
    assert_eq!(found, ["3", "11"]);
    // The first stream ended after the query; the second continued behind its output, and the third was queried.
    assert_eq!(starts(&cluster), [0, 10, 15]);
}

/// The engine sends no second acknowledgement before the server processed the first: the tail would be skipped.
#[tokio::test(start_paused = true)]
async fn a_stream_that_was_told_where_to_go_on_is_not_asked() {
    let cluster = filled(20);
    let engine = connect(&cluster).await;
    cluster.change(|state| {
        state.modules_busy_after_push = true;
        state.module_output.push_back(made(0, 10, &[(3, "3")]));
    });
    let consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning).stop_at_end();
    let mut consumer = consumer.smartmodule(SmartModule::named("slow")).start().await.unwrap();
    assert_eq!(consumer.try_next().await.unwrap().unwrap().value, "3");
    tokio::time::sleep(Duration::from_secs(100)).await;
    cluster.change(|state| {
        (state.modules_busy, state.modules_busy_after_push) = (false, false);
        state.module_output.push_back(made(10, 5, &[(1, "11")]));
    });
    assert_eq!(consumer.try_next().await.unwrap().unwrap().value, "11");
    assert!(consumer.try_next().await.unwrap().is_none());
    assert_eq!(starts(&cluster), [0, 10, 15]);
}

/// An aggregate keeps its state when the query for the end finds no output.
#[tokio::test(start_paused = true)]
async fn aggregate_keeps_its_state_over_empty_queries() {
    let cluster = filled(20);
    let engine = connect(&cluster).await;
    cluster.change(|state| state.modules_busy = true);
    let consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning).stop_at_end();
    let mut consumer = consumer.smartmodule(SmartModule::named("sum").aggregate("0")).start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.change(|state| {
        state.modules_busy = false;
        state.module_output.push_back(made(0, 10, &[(0, "1"), (0, "3")]));
        state.module_output.push_back(made(10, 10, &[(0, "6")]));
    });
    for expected in ["1", "3", "6"] {
        assert_eq!(consumer.try_next().await.unwrap().unwrap().value, expected);
    }
    assert!(consumer.try_next().await.unwrap().is_none());
    let opened = cluster.state.lock().invocations.clone();
    let starts: Vec<_> = opened.iter().map(|(from, chain)| (from.unwrap(), chain[0].kind.clone())).collect();
    let aggregate = |accumulator: &'static str| WireKind::Aggregate { accumulator: accumulator.into() };
    assert_eq!(starts, [(0, aggregate("0")), (10, aggregate("3"))]);
}

/// One record becomes three with the same offset: the position advances only after all three are finished.
#[tokio::test(start_paused = true)]
async fn batches_from_modules_are_acknowledged_whole() {
    for mode in [AckMode::Auto, AckMode::Explicit] {
        let cluster = filled(20);
        let engine = connect(&cluster).await;
        cluster.change(|state| {
            let records: Vec<_> = (0..30).map(|_| (0, "x")).collect();
            state.module_output.push_back(made(0, 10, &records));
            state.module_output.push_back(made(10, 10, &[(0, "last")]));
        });
        let consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning).commit(CommitPolicy::Manual);
        let consumer = consumer.ack_mode(mode).smartmodule(SmartModule::named("triple"));
        let mut consumer = consumer.start().await.unwrap();
        let mut kept = Vec::new();
        for number in 0..30 {
            kept.push(consumer.try_next().await.unwrap().unwrap());
            let position = consumer.position(0).unwrap();
            assert_eq!(position, if number == 29 { 10 } else { 0 }, "{mode:?}, record {number}");
        }
        kept.iter().rev().for_each(floe::Message::ack);
        assert_eq!(consumer.try_next().await.unwrap().unwrap().value, "last");
        assert_eq!(consumer.position(0), Some(20));
    }
}

#[tokio::test(start_paused = true)]
async fn module_error_text_reaches_the_application() {
    let cluster = filled(20);
    let engine = connect(&cluster).await;
    cluster.change(|state| {
        let failure = SmartModuleFailure {
            hint: "cannot parse the price".to_owned(),
            offset: 13,
            ..SmartModuleFailure::default()
        };
        let mut reply = made(0, 13, &[(2, "good")]);
        reply.error_code = ErrorCode::SmartModuleRuntimeError(Box::new(failure));
        state.module_output.push_back(reply);
    });
    let consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning);
    let mut consumer = consumer.smartmodule(SmartModule::named("prices")).start().await.unwrap();
    assert_eq!(consumer.try_next().await.unwrap().unwrap().value, "good");
    let error = consumer.try_next().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::ServerError, false));
    assert!(error.message().contains("cannot parse the price") && error.message().contains("13"), "{error}");
    assert!(consumer.try_next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn consumer_waits_for_a_new_module() {
    let cluster = filled(10);
    let engine = connect(&cluster).await;
    let missing = || ErrorCode::SmartModuleNotFound { name: "new".to_owned() };
    cluster.change(|state| {
        state.stream_errors.extend([missing(), missing()]);
        state.module_output.push_back(made(0, 10, &[(0, "a")]));
    });
    let mut request = ReadRequest::new(at(0), Start::Earliest);
    request.smartmodules = Some([SmartModule::named("new")].into());
    let mut reader = engine.open(request.clone()).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap().base_offset(), 0);
    assert_eq!(cluster.state.lock().streams.len(), 3);
    // The wait for a module that does not exist is bounded.
    cluster.change(|state| state.stream_errors.extend(std::iter::repeat_with(missing).take(1000)));
    let mut reader = engine.open(request).await.unwrap();
    let started = Instant::now();
    let error = reader.next().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::ModuleNotFound, false));
    assert!(error.message().contains("new"), "{error}");
    assert!(started.elapsed() <= Duration::from_secs(6));
}

/// The batches of a producer are its only attempts to reach the module, so the engine asks the controller.
#[tokio::test(start_paused = true)]
async fn producer_learns_at_once_that_a_module_does_not_exist() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let missing = || ErrorCode::SmartModuleNotFound { name: "new".to_owned() };
    cluster.change(|state| state.refusals.extend(std::iter::repeat_with(missing).take(1000)));
    // Part of another name.
    cluster.change(|state| state.modules = vec!["newer"]);
    let producer = client(&engine).producer(TOPIC).smartmodule(SmartModule::named("new"));
    let producer = producer.start().await.unwrap();
    let started = Instant::now();
    let error = producer.send("a").await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::ModuleNotFound, false));
    assert_eq!((error.effect(), error.attempts()), (Effect::None, 1));
    assert!(error.message().contains("\"new\""), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn producer_waits_for_a_module_that_the_controller_has() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    cluster.change(|state| {
        state.modules = vec!["new"];
        state.refusals.push_back(ErrorCode::SmartModuleNotFound { name: "new".to_owned() });
    });
    let producer = client(&engine).producer(TOPIC).smartmodule(SmartModule::named("new"));
    producer.start().await.unwrap().send("a").await.unwrap();
    assert_eq!(cluster.state.lock().invocations.len(), 2, "one attempt before the module has arrived");
}

/// An aggregate continues with its state after a reconnect.
#[tokio::test(start_paused = true)]
async fn an_aggregate_goes_on_after_a_reconnect() {
    let cluster = filled(20);
    let engine = connect(&cluster).await;
    cluster.change(|state| state.module_output.push_back(made(0, 10, &[(0, "1"), (0, "3"), (0, "6")])));
    let consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning);
    let mut consumer = consumer.smartmodule(SmartModule::named("sum").aggregate("0")).start().await.unwrap();
    for expected in ["1", "3", "6"] {
        assert_eq!(consumer.try_next().await.unwrap().unwrap().value, expected);
    }
    cluster.hang_up();
    tokio::time::sleep(Duration::from_millis(1)).await;
    cluster.change(|state| state.module_output.push_back(made(10, 10, &[(0, "10")])));
    assert_eq!(consumer.try_next().await.unwrap().unwrap().value, "10");
    let opened = cluster.state.lock().invocations.clone();
    let starts: Vec<_> = opened.iter().map(|(from, chain)| (from.unwrap(), chain[0].kind.clone())).collect();
    let aggregate = |accumulator: &'static str| WireKind::Aggregate { accumulator: accumulator.into() };
    assert_eq!(starts, [(0, aggregate("0")), (10, aggregate("6"))]);
}

#[tokio::test(start_paused = true)]
async fn records_go_through_modules_before_they_are_stored() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let producer = client(&engine).producer(TOPIC).smartmodule(SmartModule::named("any"));
    let producer = producer.start().await.unwrap();
    let placed = producer.send("a").await.unwrap();
    assert_eq!(placed.offset, None, "the module decides what is stored");
    let (from, chain) = cluster.state.lock().invocations[0].clone();
    assert_eq!((from, &chain[0].wasm), (None, &SmartModuleSource::Predefined("any".to_owned())));
    let error = producer.send(Record::new("b").header("h", "v")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "modules drop headers");
}

#[tokio::test(start_paused = true)]
async fn batches_with_other_modules_go_in_requests_of_their_own() {
    let cluster = Cluster::new(3);
    let engine = connect(&cluster).await;
    engine.append(request(0, "warm")).await.unwrap();
    cluster.change(|state| {
        state.produced.clear();
        state.hold = true;
    });
    let modules: floe::SmartModules = [SmartModule::named("any")].into();
    let appends = (0..9_u32).map(|number| {
        let mut append = request(number % 3, &number.to_string());
        append.smartmodules = (number >= 4).then(|| modules.clone());
        engine.append(append)
    });
    let (outcomes, ()) = tokio::join!(futures_util::future::join_all(appends), async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        cluster.change(|state| state.hold = false);
    });
    for (number, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome.unwrap().base_offset.is_none(), number >= 4);
    }
    let state = cluster.state.lock();
    assert_eq!(state.produced.iter().sum::<usize>(), 9);
    let through: usize = state.invocations.len();
    assert!((1..state.produced.len()).contains(&through), "{through} of {:?}", state.produced);
}

/// A batch changed by modules cannot be recognised in the log: it is not retried, and the application gets the error.
#[tokio::test(start_paused = true)]
async fn lost_reply_behind_modules_is_reported_and_nothing_duplicated() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let producer = client(&engine).producer(TOPIC).smartmodule(SmartModule::named("any"));
    let producer = producer.start().await.unwrap();
    cluster.change(|state| state.faults.push_back((PRODUCE, Fault::CutAfter(3))));
    let error = producer.send("once").await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::NetworkError, Effect::Unknown));
    producer.send("next").await.unwrap();
    assert_eq!(stored(&cluster, 0), ["once", "next"]);
    // A refusal is safe to retry.
    cluster.change(|state| state.refusals.push_back(ErrorCode::NotLeaderForPartition));
    producer.send("again").await.unwrap();
    assert_eq!(stored(&cluster, 0), ["once", "next", "again"]);
}

/// A module dropped some records of a batch before it was stored.
#[tokio::test(start_paused = true)]
async fn batches_stored_with_holes_are_read_without_gaps() {
    let cluster = Cluster::new(1);
    for reply in [made(0, 4, &[(1, "b"), (3, "d")]), made(4, 2, &[(0, "x"), (0, "y"), (0, "z")])] {
        let stored = reply.records.split().next().unwrap().unwrap();
        cluster.append(0, stored);
    }
    cluster.append(0, batch(&["last"]));
    let engine = connect(&cluster).await;
    let consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning).stop_at_end();
    let mut consumer = consumer.start().await.unwrap();
    let mut found = Vec::new();
    while let Some(message) = consumer.try_next().await.unwrap() {
        found.push((message.offset, message.value));
    }
    assert!(consumer.gaps().is_empty());
    let values: Vec<_> = found.iter().map(|(_, value)| &value[..]).collect();
    assert_eq!(values, [&b"b"[..], b"d", b"x", b"y", b"z", b"last"]);
    assert_eq!((found[0].0, found[1].0, found[5].0), (1, 3, 6));
}
