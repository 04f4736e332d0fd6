//! `floe check`: examines and repairs a store that no process has open.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use floe::store::{self, Adopted, CheckReport, Repaired, StoreProblem};
use serde_json::{Value, json};

use super::store_directory;
use crate::{
    escape,
    exit::{Failure, Outcome},
    format::OutputFormat,
    global::Global,
    output::{amount, print_document, table},
};

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Directory of the store; that of a namespace is DIR/NAME [default: the directory of --url]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Repair what the check finds; damaged bytes are kept in lost+found
    #[arg(long)]
    repair: bool,
    /// Take logs in lost+found back into the catalog, as topics of their old names or as NAME-recovered
    #[arg(long)]
    adopt: bool,
}

/// Findings and changes of one run.
struct Examined {
    report: CheckReport,
    repaired: Option<Repaired>,
    adopted: Vec<Adopted>,
}

pub(crate) async fn run(global: &Global, args: CheckArgs) -> Outcome {
    let directory = match &args.directory {
        Some(directory) => directory.clone(),
        None => store_directory(&global.url)?
            .ok_or_else(|| Failure::usage("only a store in a directory can be checked: name its DIR"))?,
    };
    // The engine would speak of a file in it.
    fs::metadata(&directory)
        .map_err(|error| Failure::io(format!("there is no store in {}", directory.display()), &error))?;
    let examined = examine(&directory, &args).await?;
    print_document(global.output, &document(&examined), &text(&examined, global.output))?;
    verdict(&examined)
}

async fn examine(directory: &Path, args: &CheckArgs) -> Outcome<Examined> {
    let (repair, adopt) = (args.repair, args.adopt);
    let repaired = if repair { Some(store::repair(directory).await?) } else { None };
    let adopted = if adopt { store::adopt(directory).await? } else { Vec::new() };
    let report = match &repaired {
        Some(repaired) if !adopt => repaired.after.clone(),
        _ => store::check(directory).await?,
    };
    Ok(Examined { report, repaired, adopted })
}

fn verdict(examined: &Examined) -> Outcome {
    let Examined { report, repaired, adopted } = examined;
    if let Some(error) = adopted.iter().find_map(|one| one.topic.as_ref().err()) {
        return Err(Failure::from(error.clone()));
    }
    if report.is_whole() {
        return Ok(());
    }
    let failure = Failure::damaged(format!(
        "{} in {}, {} lost",
        amount::count(report.problems.len() as u64, "problem"),
        report.path.display(),
        amount::count(report.lost_offsets(), "record"),
    ));
    Err(match repaired {
        None => failure.with_hint(
            "restore the store from a backup, or repair it with `floe check --repair`, which keeps what it takes out in \
             lost+found",
        ),
        Some(_) => failure.with_hint("restore the remaining files from a backup"),
    })
}

fn document(examined: &Examined) -> Value {
    let Examined { report, repaired, adopted } = examined;
    let partitions = report.partitions.iter().map(|one| {
        json!({
            "topic": one.topic, "partition": one.partition, "start_offset": one.start, "end_offset": one.end,
            "segments": one.segments.len(),
            "bytes": one.segments.iter().map(|segment| segment.bytes).sum::<u64>(),
            "damaged_bytes": one.segments.iter().map(|segment| segment.damaged_bytes).sum::<u64>(),
            "known_gaps": one.known_gaps.iter().map(|(from, to)| json!({"from": from, "to": to})).collect::<Vec<_>>(),
        })
    });
    let adopted = adopted.iter().map(|one| {
        let logs = one.logs.iter().map(|log| log.path.display().to_string()).collect::<Vec<_>>();
        match &one.topic {
            Ok(topic) => json!({"logs": logs, "topic": topic}),
            Err(error) => json!({"logs": logs, "error": error.to_string()}),
        }
    });
    json!({
        "path": report.path.display().to_string(),
        "whole": report.is_whole(),
        "was_clean": report.was_clean,
        "lost_records": report.lost_offsets(),
        "partitions": partitions.collect::<Vec<_>>(),
        "problems": report.problems.iter().map(problem_json).collect::<Vec<_>>(),
        "repaired": repaired.as_ref().map(|repaired| json!({
            "problems": repaired.before.problems.iter().map(problem_json).collect::<Vec<_>>(),
            "kept": repaired.kept.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        })),
        "adopted": adopted.collect::<Vec<_>>(),
    })
}

fn problem_json(problem: &StoreProblem) -> Value {
    let (topic, partition) = problem.partition.as_ref().map(|(topic, number)| (topic, number)).unzip();
    json!({
        "topic": topic, "partition": partition,
        "path": problem.path.display().to_string(), "position": problem.position,
        "problem": problem.problem,
        "repair": problem.repair.to_string(),
        "lost": problem.lost.map(|(from, to)| json!({"from": from, "to": to})),
    })
}

fn text(examined: &Examined, format: OutputFormat) -> String {
    let Examined { report, repaired, adopted } = examined;
    let mut out = String::new();
    let found = repaired.as_ref().map_or(&report.problems, |repaired| &repaired.before.problems);
    if format == OutputFormat::Table && !found.is_empty() {
        let rows: Vec<_> = found.iter().map(|problem| row(problem).to_vec()).collect();
        out.push_str(&table(&["partition", "file", "byte", "problem", "lost", "repair"], &rows));
    } else {
        out.extend(found.iter().map(|problem| {
            let [place, file, byte, problem, lost, repair] = row(problem);
            format!("{place}: {problem} in {file} at byte {byte}; lost: {lost}; repair: {repair}\n")
        }));
    }
    for path in repaired.iter().flat_map(|repaired| &repaired.kept) {
        out.push_str(&format!("kept: {}\n", cell(&path.display().to_string())));
    }
    for one in adopted {
        let logs = amount::count(one.logs.len() as u64, "log");
        out.push_str(&match &one.topic {
            Ok(topic) => format!("taken back: {logs} as topic {}\n", cell(topic)),
            Err(error) => format!("not taken back: {logs}: {}\n", cell(&error.to_string())),
        });
    }
    let segments: usize = report.partitions.iter().map(|one| one.segments.len()).sum();
    let known: usize = report.partitions.iter().map(|one| one.known_gaps.len()).sum();
    out.push_str(&format!(
        "{}: {}, {}, {}\n",
        cell(&report.path.display().to_string()),
        if report.is_whole() { "whole" } else { "damaged" },
        amount::count(report.partitions.len() as u64, "partition"),
        amount::count(segments as u64, "segment"),
    ));
    if known > 0 {
        out.push_str(&format!("known from earlier repairs: {}\n", amount::count(known as u64, "gap")));
    }
    out
}

/// Returns the cells of a problem: partition, file, position, problem, lost offsets, repair.
fn row(problem: &StoreProblem) -> [String; 6] {
    [
        problem
            .partition
            .as_ref()
            .map_or_else(|| "store".to_owned(), |(topic, number)| cell(&format!("{topic}/{number}"))),
        cell(&problem.path.display().to_string()),
        problem.position.to_string(),
        cell(&problem.problem),
        problem.lost.map_or_else(|| "-".to_owned(), |(from, to)| format!("{from} to {}", to - 1)),
        problem.repair.to_string(),
    ]
}

fn cell(text: &str) -> String {
    escape::on_one_line(text).into_owned()
}
