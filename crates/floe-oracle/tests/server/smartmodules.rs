//! SmartModules: ad-hoc and stored, on produce and on consume.

use std::collections::BTreeMap;

use floe_testkit::smartmodules as fixtures;
use fluvio::{
    Offset, RecordKey, SmartModuleContextData, SmartModuleExtraParams, SmartModuleInvocation,
    SmartModuleInvocationWasm, SmartModuleKind, TopicProducerConfigBuilder,
    consumer::{ConsumerConfigExt, RetryMode},
    metadata::topic::TopicSpec,
};
use fluvio_controlplane_metadata::smartmodule::{SmartModuleSpec, SmartModuleWasm};
use futures_util::StreamExt as _;

use crate::support::{Cluster, within};

fn sent(wasm: &[u8]) -> SmartModuleInvocation {
    invocation(SmartModuleInvocationWasm::adhoc_from_bytes(wasm).unwrap())
}

fn invocation(wasm: SmartModuleInvocationWasm) -> SmartModuleInvocation {
    SmartModuleInvocation {
        wasm,
        kind: SmartModuleKind::Generic(SmartModuleContextData::None),
        ..SmartModuleInvocation::default()
    }
}

fn with_parameter(wasm: &[u8], value: &str) -> SmartModuleInvocation {
    let values = BTreeMap::from([("first".to_owned(), value.to_owned())]);
    SmartModuleInvocation { params: SmartModuleExtraParams::new(values, None), ..sent(wasm) }
}

/// Returns the first `count` values after these modules, or the error.
async fn read(
    cluster: &Cluster,
    modules: Vec<SmartModuleInvocation>,
    count: usize,
) -> Result<Vec<String>, String> {
    let config = ConsumerConfigExt::builder()
        .topic("t")
        .offset_start(Offset::beginning())
        .smartmodule(modules)
        // By default the client reopens its stream after any error.
        .retry_mode(RetryMode::Disabled)
        .build()
        .unwrap();
    let mut stream = within(cluster.fluvio.consumer_with_config(config)).await.unwrap();
    let mut values = Vec::new();
    while values.len() < count {
        match within(stream.next()).await.expect("the stream ended") {
            Ok(record) => values.push(String::from_utf8(record.value().to_vec()).unwrap()),
            Err(error) => return Err(format!("{error:?}")),
        }
    }
    Ok(values)
}

async fn filled(values: &[&str]) -> Cluster {
    let cluster = Cluster::start().await;
    cluster.create("t", TopicSpec::new_computed(1, 1, None)).await;
    // One batch per record: a module runs per batch.
    for value in values {
        cluster.send("t", [(*value).to_owned()]).await;
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_transformed_on_the_way_out() {
    let cluster = filled(&["ant", "bee", "ape", "bug", "asp"]).await;
    for (modules, expected) in [
        (vec![sent(&fixtures::filter())], vec!["ant", "ape", "asp"]),
        (vec![with_parameter(&fixtures::filter(), "b")], vec!["bee", "bug"]),
        (vec![sent(&fixtures::map())], vec!["ANT", "BEE", "APE", "BUG", "ASP"]),
        (vec![sent(&fixtures::filter_map())], vec!["BEE", "BUG"]),
        (vec![sent(&fixtures::array_map())], vec!["ant", "ant", "bee", "bee", "ape", "ape"]),
        (vec![sent(&fixtures::aggregate())], vec!["0nt", "1ee", "2pe", "3ug", "4sp"]),
        (vec![with_parameter(&fixtures::filter(), "b"), sent(&fixtures::map())], vec!["BEE", "BUG"]),
    ] {
        assert_eq!(read(&cluster, modules, expected.len()).await.unwrap(), expected);
    }
    let mut counting = sent(&fixtures::aggregate());
    counting.kind = SmartModuleKind::Aggregate { accumulator: b"p".to_vec() };
    assert_eq!(read(&cluster, vec![counting], 2).await.unwrap(), ["pnt", "qee"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_module_is_run_by_its_name() {
    let cluster = filled(&["ant"]).await;
    let wasm = SmartModuleWasm::from_raw_wasm_bytes(&fixtures::map()).unwrap();
    let spec = SmartModuleSpec { wasm, ..SmartModuleSpec::default() };
    within(cluster.admin.create("upper".to_owned(), false, spec)).await.unwrap();
    let named = |name: &str| invocation(SmartModuleInvocationWasm::Predefined(name.to_owned()));
    assert_eq!(read(&cluster, vec![named("upper")], 1).await.unwrap(), ["ANT"]);
    let error = read(&cluster, vec![named("lower")], 1).await.unwrap_err();
    assert!(error.contains("SmartModuleNotFound"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_transformed_on_the_way_in() {
    let cluster = filled(&[]).await;
    let modules = vec![with_parameter(&fixtures::filter(), "b"), sent(&fixtures::map())];
    let config = TopicProducerConfigBuilder::default().smartmodules(modules).build().unwrap();
    let producer = within(cluster.fluvio.topic_producer_with_config("t", config)).await.unwrap();
    for value in ["ant", "bee", "ape", "bug"] {
        within(producer.send(RecordKey::NULL, value)).await.unwrap();
    }
    within(producer.flush()).await.unwrap();
    let expected = [(0, "BEE".to_owned()), (1, "BUG".to_owned())];
    assert_eq!(cluster.values("t", Offset::beginning()).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_of_modules_reach_the_client() {
    let cluster = filled(&["one", "!two", "three"]).await;
    assert_eq!(read(&cluster, vec![sent(&fixtures::failing())], 1).await.unwrap(), ["one"]);
    for (module, words) in [
        (fixtures::failing(), "broken"),
        (fixtures::refusing(), "SmartModuleChainInitError"),
        (fixtures::trapping(), "SmartModule err"),
        (b"no module".to_vec(), "SmartModuleChainInitError"),
    ] {
        let error = read(&cluster, vec![sent(&module)], 9).await.unwrap_err();
        assert!(error.contains(words), "{words}: {error}");
    }
}
