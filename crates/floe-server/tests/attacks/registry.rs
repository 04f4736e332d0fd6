//! Many changes of objects that the engine does not store.

use floe_wire::fluvio::{CreateRequest, DeleteRequest, ErrorCode, SmartModuleSpec, TableFormatSpec};

use crate::{peer::Peer, server::Attacked};

fn module(name: &str, size: usize) -> CreateRequest<SmartModuleSpec> {
    let spec = SmartModuleSpec { payload: vec![7; size].into(), ..SmartModuleSpec::default() };
    CreateRequest { name: name.to_owned(), dry_run: false, timeout_ms: None, spec }
}

#[tokio::test]
async fn stored_modules_have_a_limit_together() {
    let attacked = Attacked::start(|limits| limits.registry_bytes = 1 << 20).await;
    let mut peer = Peer::controller(&attacked.server).await;
    let mut stored = 0;
    for number in 0..40 {
        let status = peer.call(&module(&format!("m{number}"), 100_000)).await;
        match status.error_code {
            ErrorCode::None => stored += 1,
            code => assert_eq!(code, ErrorCode::StorageError),
        }
    }
    assert_eq!(stored, 10);
    // The same name again replaces the module, and a deletion makes room.
    assert_eq!(peer.call(&module("m3", 100_000)).await.error_code, ErrorCode::None);
    let delete = DeleteRequest::<SmartModuleSpec> { key: "m3".to_owned(), force: false };
    assert_eq!(peer.call(&delete).await.error_code, ErrorCode::None);
    assert_eq!(peer.call(&module("new", 100_000)).await.error_code, ErrorCode::None);
    attacked.is_well().await;
}

#[tokio::test]
async fn churn_leaves_nothing_behind() {
    let attacked = Attacked::start(|_| {}).await;
    let mut peer = Peer::controller(&attacked.server).await;
    let held = attacked.held();
    for round in 0..200 {
        let name = format!("t{}", round % 7);
        let create = CreateRequest {
            name: name.clone(),
            dry_run: false,
            timeout_ms: None,
            spec: TableFormatSpec { name: "f".repeat(1000), ..TableFormatSpec::default() },
        };
        assert_eq!(peer.call(&create).await.error_code, ErrorCode::None);
        let delete = DeleteRequest::<TableFormatSpec> { key: name, force: false };
        assert_eq!(peer.call(&delete).await.error_code, ErrorCode::None);
    }
    attacked.is_well().await;
    drop(peer);
    assert_eq!(held, 0);
    attacked.is_empty().await;
}
