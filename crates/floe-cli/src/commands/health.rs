//! `floe health`: health of the engine and its servers.

use clap::Args;
use floe::health::{ClientHealth, NodeHealth, Status};
use serde_json::json;

use super::with_reader;
use crate::{
    exit::{Failure, Outcome},
    format::OutputFormat,
    global::Global,
    output::{print_document, stdout, table},
};

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Print one line for monitoring; exit with 0 OK, 1 WARNING, 2 CRITICAL or 3 UNKNOWN
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(global: &Global, args: &HealthArgs) -> Outcome {
    let result = with_reader(global, async |client| Ok(client.health().await?)).await;
    if args.check {
        return check(result);
    }
    let health = result?;
    print_document(global.output, &document(&health), &text(&health, global.output))?;
    if health.ready {
        Ok(())
    } else {
        Err(Failure::not_ready(format!("the {} engine is not ready", health.engine)))
    }
}

fn document(health: &ClientHealth) -> serde_json::Value {
    json!({
        "engine": health.engine,
        "status": health.status.as_str(),
        "ready": health.ready,
        "leader": health.leader,
        "findings": health.findings,
        "nodes": health.nodes.iter().map(|node| json!({
            "name": node.name, "ready": node.ready, "leads": node.leads, "state": node.state,
        })).collect::<Vec<_>>(),
    })
}

fn text(health: &ClientHealth, format: OutputFormat) -> String {
    let word = |ready: bool| if ready { "ready" } else { "not ready" };
    if format == OutputFormat::Table {
        let row =
            |node: &NodeHealth| vec![node.name.clone(), word(node.ready).to_owned(), node.state.clone()];
        table(&["name", "health", "state"], &health.nodes.iter().map(row).collect::<Vec<_>>())
    } else {
        let nodes = health.nodes.iter().map(|node| format!("  {}: {}\n", node.name, node.state));
        format!("{}: {}\n{}", health.engine, word(health.ready), nodes.collect::<String>())
    }
}

/// Prints the line and returns the exit code of a Nagios plugin.
fn check(result: Outcome<ClientHealth>) -> Outcome {
    let (word, code, detail) = match result {
        Ok(health) => {
            let (word, code) = match health.status {
                Status::Pass => ("OK", 0),
                Status::Warn => ("WARNING", 1),
                Status::Fail => ("CRITICAL", 2),
            };
            let detail = match health.findings.as_slice() {
                [] => format!("{}, {} of {} ready", health.engine, ready(&health), health.nodes.len()),
                findings => findings.join("; "),
            };
            (word, code, detail)
        }
        Err(failure) if failure.is_unreachable() => ("CRITICAL", 2, failure.message().to_owned()),
        Err(failure) => ("UNKNOWN", 3, failure.message().to_owned()),
    };
    stdout::print(format!("{word} - {}\n", detail.replace('\n', "; ")).as_bytes())?;
    if code == 0 { Ok(()) } else { Err(Failure::silent(code)) }
}

fn ready(health: &ClientHealth) -> usize {
    health.nodes.iter().filter(|node| node.ready).count()
}
