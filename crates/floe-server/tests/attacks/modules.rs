//! SmartModules that take memory and instructions.

use bytes::Bytes;
use floe_testkit::smartmodules as fixtures;
use floe_wire::{
    compress::{Codec, compress},
    fluvio::{
        CreateRequest, ErrorCode, RecordSet, SmartModuleInvocation, SmartModuleSource, SmartModuleSpec,
        StreamFetchRequest,
    },
};

use crate::{
    peer::{Peer, batch, produce, stream, topic},
    server::{Attacked, MEMORY},
};

fn sent(wasm: &[u8]) -> SmartModuleInvocation {
    let mut gzipped = Vec::new();
    compress(Codec::Gzip, None, wasm, &mut gzipped).unwrap();
    let wasm = SmartModuleSource::AdHoc(Bytes::from(gzipped));
    SmartModuleInvocation { wasm, ..SmartModuleInvocation::default() }
}

fn held_by_modules(attacked: &Attacked) -> u64 {
    attacked.metric("floe_server_memory_bytes", &[("class", "modules")])
}

/// Produces through modules and returns the code.
async fn produced(peer: &mut Peer, modules: Vec<SmartModuleInvocation>) -> ErrorCode {
    let mut request = produce("well", &[(0, RecordSet::from_batches(&[batch(&["a"])]))]);
    request.smartmodules = modules;
    peer.call(&request).await.topics.remove(0).partitions.remove(0).error_code
}

#[tokio::test]
async fn a_long_chain_is_refused_before_it_starts() {
    let attacked = Attacked::start(|limits| limits.memory = 4 * MEMORY).await;
    let create = CreateRequest {
        name: "m".to_owned(),
        dry_run: false,
        timeout_ms: None,
        spec: SmartModuleSpec { payload: fixtures::filter().into(), ..SmartModuleSpec::default() },
    };
    let status = Peer::controller(&attacked.server).await.call(&create).await;
    assert_eq!(status.error_code, ErrorCode::None, "{status:?}");
    let named = SmartModuleInvocation {
        wasm: SmartModuleSource::Predefined("m".to_owned()),
        ..SmartModuleInvocation::default()
    };
    let mut peer = Peer::data(&attacked.server).await;
    // Each instance has four MiB.
    let refused = produced(&mut peer, vec![named.clone(); 40]).await;
    assert!(matches!(refused, ErrorCode::SmartModuleMemoryLimitExceeded { .. }), "{refused:?}");
    assert_eq!(produced(&mut peer, vec![named; 2]).await, ErrorCode::None);
    assert!(held_by_modules(&attacked) <= 2 * MEMORY as u64);
}

#[tokio::test]
async fn idle_streams_with_modules_wait_or_are_refused() {
    let attacked = Attacked::start(|limits| {
        limits.memory = 4 * MEMORY;
        limits.memory_timeout = std::time::Duration::from_secs(1);
    })
    .await;
    topic(&attacked.server, "empty", 1).await;
    let mut peer = Peer::data(&attacked.server).await;
    for _ in 0..30 {
        let modules = vec![sent(&fixtures::filter())];
        peer.send(&StreamFetchRequest { smartmodules: modules, ..stream("empty", 0, 1000) }).await;
    }
    // The streams that have no room are refused; those that have it stay silent.
    let mut refused = 0;
    while refused < 27 {
        let (_, body) = peer.frame().await.expect("the connection stays open");
        let reply = floe_wire::fluvio::frame::decode_reply::<StreamFetchRequest>(body, 25).unwrap();
        let code = reply.partition.error_code;
        assert!(matches!(code, ErrorCode::SmartModuleMemoryLimitExceeded { .. }), "{code:?}");
        refused += 1;
    }
    assert!(held_by_modules(&attacked) <= 2 * MEMORY as u64);
    // Another client still finds room for a module.
    let mut other = Peer::data(&attacked.server).await;
    assert_eq!(produced(&mut other, vec![sent(&fixtures::filter())]).await, ErrorCode::None);
}

#[tokio::test]
async fn calls_of_the_host_cost_instructions() {
    let attacked = Attacked::start(|limits| {
        limits.memory = 8 * MEMORY;
        limits.smartmodule_fuel = 20_000_000;
    })
    .await;
    let mut peer = Peer::data(&attacked.server).await;
    for wasm in fixtures::calling_the_host() {
        let refused = produced(&mut peer, vec![sent(&wasm)]).await;
        assert!(format!("{refused:?}").contains("instruction limit"), "{refused:?}");
    }
    assert_eq!(produced(&mut peer, vec![sent(&fixtures::with_wasi())]).await, ErrorCode::None);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_module_with_it() {
    let attacked = Attacked::start(|limits| {
        limits.memory = 8 * MEMORY;
        limits.smartmodule_fuel = u64::MAX / 4;
    })
    .await;
    for _ in 0..8 {
        let mut peer = Peer::data(&attacked.server).await;
        let modules = vec![sent(&fixtures::endless())];
        peer.produce("well", &[batch(&["a"])]).await;
        peer.send(&StreamFetchRequest { smartmodules: modules, ..stream("well", 0, 1000) }).await;
        drop(peer);
    }
    // More modules than there are processors would loop for ever, and no other could run.
    let mut peer = Peer::data(&attacked.server).await;
    assert_eq!(produced(&mut peer, vec![sent(&fixtures::filter())]).await, ErrorCode::None);
}
