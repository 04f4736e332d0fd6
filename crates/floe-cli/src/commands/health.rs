//! `floe health`: whether the engine can work.

use serde_json::json;

use super::with_client;
use crate::{
    args::Global,
    exit::{Failure, Outcome},
    output::{OutputFormat, print_document, table},
};

pub(crate) async fn run(global: &Global) -> Outcome {
    let (engine, health) =
        with_client(&global.url, async |client| Ok((client.info().name, client.health().await?))).await?;
    let document = json!({
        "engine": engine,
        "ready": health.ready,
        "nodes": health.nodes.iter().map(|node| json!({
            "name": node.name, "ready": node.ready, "state": node.state,
        })).collect::<Vec<_>>(),
    });
    let word = |ready: bool| if ready { "ready" } else { "not ready" };
    let text = if global.output == OutputFormat::Table {
        let row = |node: &floe::engine::NodeHealth| {
            vec![node.name.clone(), word(node.ready).to_owned(), node.state.clone()]
        };
        table(&["name", "health", "state"], &health.nodes.iter().map(row).collect::<Vec<_>>())
    } else {
        let nodes = health.nodes.iter().map(|node| format!("  {}: {}\n", node.name, node.state));
        format!("{engine}: {}\n{}", word(health.ready), nodes.collect::<String>())
    };
    print_document(global.output, &document, &text)?;
    if health.ready { Ok(()) } else { Err(Failure::not_ready(format!("the {engine} engine is not ready"))) }
}
