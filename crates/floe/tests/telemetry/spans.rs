//! Spans, and trace propagation from the producer through the engine to the consumer.

use std::future::Future;

use floe::{
    Client, Error, ErrorKind, Message, Record, TopicSpec,
    consumer::{Consumer, StartAt},
    processor::{DeadLetters, Failure},
    telemetry::{TRACEPARENT, TelemetryOptions, names},
};
use opentelemetry::{
    Context, KeyValue, TraceId, Value,
    baggage::BaggageExt as _,
    context::FutureExt as _,
    trace::{SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::SpanData;

use super::Observer;

impl Observer {
    /// Runs `work` inside a span of the application; returns its trace id as well.
    async fn inside_span<T>(&self, work: impl Future<Output = T>) -> (TraceId, T) {
        let span = self.tracers.tracer("application").start("request");
        let context = Context::current_with_span(span);
        let trace = context.span().span_context().trace_id();
        let done = work.with_context(context).await;
        (trace, done)
    }

    fn only_span(&self, name: &str, kind: &SpanKind) -> SpanData {
        let mut spans = self.spans(name);
        spans.retain(|span| span.span_kind == *kind);
        assert_eq!(spans.len(), 1, "{name}: {spans:#?}");
        spans.remove(0)
    }
}

fn attribute(span: &SpanData, name: &str) -> Option<Value> {
    let mut found = span.attributes.iter().filter(|attribute| attribute.key.as_str() == name);
    let value = found.next().map(|attribute| attribute.value.clone());
    assert!(found.next().is_none(), "duplicate span {name}: {span:#?}");
    value
}

async fn consumer(client: &Client) -> Consumer {
    client.consumer("orders").from(StartAt::Beginning).stop_at_end().start().await.unwrap()
}

#[tokio::test]
async fn one_trace_goes_from_the_sender_to_the_handler() {
    let observer = Observer::new();
    let folder = tempfile::tempdir().unwrap();
    let client = observer.client(&format!("embedded:{}", folder.path().display()), 1).await;
    let producer = client.producer("orders").start().await.unwrap();
    let (trace, placed) = observer.inside_span(producer.send("one coffee")).await;
    assert_eq!(placed.unwrap().offset, Some(0));

    let mut consumer = consumer(&client).await;
    let message = consumer.try_next().await.unwrap().unwrap();
    let carried = message.trace_context().unwrap();
    assert_eq!((TraceId::from(carried.trace_id), carried.is_sampled()), (trace, true));
    let telemetry = client.telemetry().clone();
    let inner = telemetry.process_as_child(&message, async {
        Ok::<_, Error>(Context::current().span().span_context().clone())
    });
    let inner = inner.await.unwrap();
    telemetry
        .process(&message, async { Err::<(), _>(Error::new(ErrorKind::ServerError, "no beans")) })
        .await
        .unwrap_err();

    let send = observer.only_span("send orders", &SpanKind::Producer);
    assert_eq!(send.span_context.trace_id(), trace);
    assert_eq!(send.span_context.span_id().to_string(), format!("{:016x}", carried.span_id));
    assert_eq!(attribute(&send, "messaging.system"), Some("floe".into()));
    assert_eq!(attribute(&send, "messaging.operation.name"), Some("send".into()));
    assert_eq!(attribute(&send, "messaging.operation.type"), Some("send".into()));
    assert_eq!(attribute(&send, "messaging.destination.name"), Some("orders".into()));
    assert_eq!(attribute(&send, "messaging.destination.partition.id"), Some("0".into()));
    assert_eq!(attribute(&send, "messaging.floe.offset"), Some(0.into()));
    assert_eq!(attribute(&send, "messaging.message.body.size"), Some(10.into()));
    assert_eq!(send.status, Status::Unset);
    let scope = &send.instrumentation_scope;
    assert_eq!((scope.name(), scope.schema_url()), ("floe", Some(names::SCHEMA_URL)));

    let batch = observer.only_span("send orders", &SpanKind::Client);
    assert_eq!(batch.span_context.trace_id(), trace, "the trace of its only record");
    assert_eq!(batch.parent_span_id, send.span_context.span_id());
    assert_eq!(attribute(&batch, "messaging.batch.message_count"), Some(1.into()));
    assert_eq!(attribute(&batch, "floe.attempts"), Some(1.into()));

    let receive = observer.only_span("receive orders", &SpanKind::Client);
    assert_ne!(receive.span_context.trace_id(), trace, "linked, not a child");
    assert_eq!(receive.links.links.len(), 1);
    assert_eq!(receive.links.links[0].span_context.span_id(), send.span_context.span_id());

    let mut process = observer.spans("process orders");
    process.sort_by_key(|span| span.start_time);
    let [child, linked] = &process[..] else { panic!("{process:#?}") };
    assert_eq!(child.span_context, inner, "the span is current while the message is handled");
    assert_eq!((child.span_context.trace_id(), child.parent_span_id), (trace, send.span_context.span_id()));
    assert_eq!((&child.span_kind, child.links.links.len()), (&SpanKind::Consumer, 0));
    assert_eq!(attribute(child, "messaging.floe.offset"), Some(0.into()));
    assert_ne!(linked.span_context.trace_id(), trace);
    assert_eq!(linked.links.links[0].span_context.span_id(), send.span_context.span_id());
    assert_eq!(attribute(linked, "error.type"), Some("server_error".into()));
    assert!(matches!(linked.status, Status::Error { .. }), "{:?}", linked.status);

    let metrics = observer.metrics();
    assert_eq!(metrics.value("messaging_process_duration_seconds_count", &[]), Some(2.0));
    let failed = [("error_type", "server_error"), ("messaging_operation_name", "process")];
    assert_eq!(metrics.value("messaging_process_duration_seconds_count", &failed), Some(1.0));
}

#[tokio::test]
async fn records_of_a_batch_keep_their_contexts() {
    let observer = Observer::new();
    let client = observer.client("memory:", 1).await;
    let producer =
        client.producer("orders").linger(std::time::Duration::from_secs(3600)).start().await.unwrap();
    let (first, _) = observer.inside_span(producer.enqueue_all(["a", "b"])).await;
    drop(producer.enqueue("without").await.unwrap());
    let (second, _) = observer.inside_span(producer.enqueue("c")).await;
    producer.flush().await.unwrap();

    let mut traces = Vec::new();
    let mut consumer = consumer(&client).await;
    while let Some(message) = consumer.try_next().await.unwrap() {
        traces.push(message.trace_context().map(|context| TraceId::from(context.trace_id)));
    }
    assert_eq!(traces, [Some(first), Some(first), None, Some(second)]);

    assert!(observer.spans("create orders").is_empty(), "spans of calls are off");
    let batch = observer.only_span("send orders", &SpanKind::Client);
    let linked = |span: &SpanData| -> Vec<_> {
        span.links.links.iter().map(|link| link.span_context.trace_id()).collect()
    };
    assert_eq!(linked(&batch), [first, second]);
    assert_eq!(attribute(&batch, "messaging.batch.message_count"), Some(4.into()));
    let receive = observer.only_span("receive orders", &SpanKind::Client);
    assert_eq!(linked(&receive), [first, second]);
    assert_eq!(attribute(&receive, "messaging.batch.message_count"), Some(4.into()));
}

#[tokio::test]
async fn each_record_gets_a_span_where_that_is_asked_for() {
    let observer = Observer::new();
    let options = observer.options().create_spans(true);
    let client = Client::builder("memory:").telemetry(options).connect().await.unwrap();
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    let producer = client.producer("orders").start().await.unwrap();
    let (trace, _) = observer.inside_span(producer.send_all(["a", "b"])).await;
    let created: Vec<_> =
        observer.spans("create orders").iter().map(|span| span.span_context.clone()).collect();
    assert_eq!(created.len(), 2);
    assert!(created.iter().all(|span| span.trace_id() == trace));
    let mut consumer = consumer(&client).await;
    for span in created {
        let carried = consumer.try_next().await.unwrap().unwrap().trace_context().unwrap();
        assert_eq!(format!("{:016x}", carried.span_id), span.span_id().to_string());
    }
    observer.inside_span(producer.send("alone")).await.1.unwrap();
    assert_eq!(observer.spans("create orders").len(), 2, "its own span is enough");
}

#[tokio::test]
async fn baggage_and_state_arrive() {
    let observer = Observer::new();
    let client = observer.client("memory:", 1).await;
    let producer = client.producer("orders").start().await.unwrap();
    let sending = producer.enqueue("x");
    let context = Context::current_with_baggage([KeyValue::new("tenant", "ada & co")]);
    drop(sending.with_context(context).await.unwrap());
    producer.flush().await.unwrap();

    let mut consumer = consumer(&client).await;
    let message = consumer.try_next().await.unwrap().unwrap();
    assert_eq!(message.trace_context(), None, "no span was active");
    let seen = client.telemetry().process(&message, async {
        Ok::<_, Error>(Context::current().baggage().get("tenant").map(ToString::to_string))
    });
    assert_eq!(seen.await.unwrap().as_deref(), Some("ada & co"));
    assert_eq!(message.context().baggage().len(), 1);
}

#[tokio::test]
async fn a_record_passed_on_keeps_its_context() {
    let observer = Observer::new();
    let client = observer.client("memory:", 1).await;
    let producer = client.producer("orders").start().await.unwrap();
    let original = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let record = Record::new("x").header(TRACEPARENT, original);
    observer.inside_span(producer.send(record)).await.1.unwrap();
    let message = consumer(&client).await.try_next().await.unwrap().unwrap();
    assert_eq!((message.headers.len(), message.headers.get(TRACEPARENT)), (1, Some(original.as_bytes())));
    let batch = observer.only_span("send orders", &SpanKind::Client);
    assert_eq!(batch.span_context.trace_id().to_string(), original[3..35]);
}

#[tokio::test]
async fn a_record_without_room_for_its_context_is_sent_without() {
    let observer = Observer::new();
    let client = observer.client("memory:", 1).await;
    let producer = client.producer("orders").max_request_size(1000).start().await.unwrap();
    let (_, placed) = observer.inside_span(producer.send(vec![b'x'; 900])).await;
    placed.unwrap();
    let message = consumer(&client).await.try_next().await.unwrap().unwrap();
    assert!(message.headers.is_empty());
    let (_, refused) = observer.inside_span(producer.send(vec![b'x'; 1000])).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::RecordTooLarge);
    let spans = observer.spans("send orders");
    let failed: Vec<_> = spans.iter().filter_map(|span| attribute(span, "error.type")).collect();
    assert_eq!(failed, ["record_too_large".into()]);
}

#[tokio::test]
async fn malformed_headers_are_no_context_and_no_error() {
    let observer = Observer::new();
    let client = observer.client("memory:", 1).await;
    let producer = client.producer("orders").start().await.unwrap();
    let record = Record::new("x")
        .header(TRACEPARENT, vec![0xff, 0xfe])
        .header("tracestate", "=,=")
        .header("baggage", "%,;=");
    producer.send(record).await.unwrap();
    let message = consumer(&client).await.try_next().await.unwrap().unwrap();
    assert_eq!(message.trace_context(), None);
    client.telemetry().process(&message, async { Ok::<_, Error>(()) }).await.unwrap();
    assert!(observer.only_span("process orders", &SpanKind::Consumer).links.links.is_empty());
}

#[tokio::test]
async fn disabled_propagation_adds_no_headers() {
    let observer = Observer::new();
    let options = TelemetryOptions::default().propagate(false).tracer_provider(&observer.tracers);
    let client = Client::builder("memory:").telemetry(options).connect().await.unwrap();
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    let producer = client.producer("orders").start().await.unwrap();
    observer.inside_span(producer.send("x")).await.1.unwrap();
    let message = consumer(&client).await.try_next().await.unwrap().unwrap();
    assert!(message.headers.is_empty());
    observer.only_span("send orders", &SpanKind::Producer);
}

#[tokio::test]
async fn a_processor_hands_the_trace_on() {
    let observer = Observer::new();
    let client = observer.client("memory:", 1).await;
    client.admin().create_topic(TopicSpec::new("bills")).await.unwrap();
    client.admin().create_topic(TopicSpec::new("dead")).await.unwrap();
    let producer = client.producer("orders").start().await.unwrap();
    let (trace, _) = observer.inside_span(producer.send("coffee")).await;
    producer.send("poison").await.unwrap();

    let processor = client.processor("orders", "bills").dead_letters(DeadLetters::Topic("dead".into()));
    let report = processor
        .stop_at_end()
        .map(|message: Message| async move {
            if message.value == "poison" {
                return Err(Failure::permanent("not coffee").code("not_coffee"));
            }
            let handling = Context::current().span().span_context().span_id().to_string();
            Ok(Record::new(floe::Bytes::from(handling)))
        })
        .run(std::future::pending())
        .await
        .unwrap();
    assert_eq!(report.dead_letters, 1, "{report:?}");
    let from_beginning = |topic: &str| client.consumer(topic).from(StartAt::Beginning);
    let bill = from_beginning("bills").start().await.unwrap().try_next().await.unwrap().unwrap();
    from_beginning("dead").start().await.unwrap().try_next().await.unwrap().unwrap();

    let process = observer.spans("process orders");
    assert_eq!(process.len(), 2, "{process:#?}");
    assert_eq!(process[0].links.links[0].span_context.trace_id(), trace);
    let handling = process[0].span_context.span_id().to_string();
    assert_eq!(bill.value, handling, "the span is current in the handler");
    assert_eq!(format!("{:016x}", bill.trace_context().unwrap().span_id), handling);
    assert_eq!(attribute(&process[1], "error.type"), Some("not_coffee".into()));
    let dead = [("messaging_destination_name", "orders"), ("error_type", "not_coffee")];
    assert_eq!(observer.metrics().value("floe_dlq_messages_total", &dead), Some(1.0));
}

#[tokio::test]
async fn commits_are_settled() {
    let observer = Observer::new();
    let client = observer.client("memory:", 1).await;
    client.producer("orders").start().await.unwrap().send("x").await.unwrap();
    let mut consumer =
        client.consumer("orders").group("billing").from(StartAt::Beginning).start().await.unwrap();
    consumer.try_next().await.unwrap().unwrap();
    consumer.commit().await.unwrap();
    let commit = observer.only_span("commit orders", &SpanKind::Client);
    assert_eq!(attribute(&commit, "messaging.operation.type"), Some("settle".into()));
    let receive = observer.only_span("receive orders", &SpanKind::Client);
    assert_eq!(attribute(&receive, "messaging.consumer.group.name"), Some("billing".into()));
}

#[tokio::test(start_paused = true)]
async fn spans_on_walrus_carry_no_offset() {
    let observer = Observer::new();
    let cluster = floe_testkit::walrus::Cluster::new(1);
    let (_, engine) = super::walrus::try_client(&cluster, "").await.unwrap();
    let client = Client::builder("").telemetry(observer.options()).from_engine(engine).unwrap();
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    let producer = client.producer("orders").start().await.unwrap();
    observer.inside_span(producer.send("one coffee")).await.1.unwrap();
    let mut consumer = super::walrus::consumer(&client, "orders").await;
    let message = consumer.try_next().await.unwrap().unwrap();
    client.telemetry().process(&message, async { Ok::<_, Error>(()) }).await.unwrap();
    for name in ["send orders", "receive orders", "process orders"] {
        let spans = observer.spans(name);
        assert!(!spans.is_empty(), "{name}");
        for span in spans {
            assert_eq!(attribute(&span, "messaging.walrus.offset"), None, "{span:?}");
        }
    }
}
