//! `floe explain`: what an error code means and what to do about it.

use clap::Args;
use floe::{Effect, ErrorKind, url::nearest};
use serde_json::{Value, json};

use crate::{
    args::Global,
    exit::{Failure, Outcome},
    output::{List, print_document, print_list},
};

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The code, as in the parentheses of an error message; all codes where left out
    code: Option<String>,
}

/// What a kind means, and what to do.
struct Explanation {
    meaning: &'static str,
    advice: &'static str,
}

pub(crate) fn run(global: &Global, args: &ExplainArgs) -> Outcome {
    let Some(code) = &args.code else { return print_list(global.output, &all()) };
    match ErrorKind::ALL.iter().find(|kind| kind.as_str() == code) {
        Some(kind) => print_document(global.output, &document(*kind), &text(*kind)),
        None => {
            let codes: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
            let hint = match nearest(code, &codes) {
                Some(near) => format!("did you mean {near}?"),
                None => "`floe explain` lists the codes".to_owned(),
            };
            Err(Failure::usage(format!("there is no error code {code:?}")).with_hint(hint))
        }
    }
}

fn all() -> List {
    let width = ErrorKind::ALL.iter().map(|kind| kind.as_str().len()).max().unwrap_or(0);
    List {
        headings: vec!["code", "exit", "retriable", "meaning"],
        rows: ErrorKind::ALL
            .iter()
            .map(|kind| {
                vec![
                    kind.as_str().to_owned(),
                    kind.exit_code().to_string(),
                    if kind.is_retriable() { "yes" } else { "no" }.to_owned(),
                    explanation(*kind).meaning.to_owned(),
                ]
            })
            .collect(),
        documents: ErrorKind::ALL.iter().map(|kind| document(*kind)).collect(),
        text: ErrorKind::ALL
            .iter()
            .map(|kind| format!("{:width$}  {}\n", kind.as_str(), explanation(*kind).meaning))
            .collect(),
    }
}

fn text(kind: ErrorKind) -> String {
    let Explanation { meaning, advice } = explanation(kind);
    let retry = if kind.is_retriable() { "trying again makes sense" } else { "trying again does not help" };
    let effect = match kind.default_effect() {
        Effect::None => "it did not happen",
        Effect::Unknown => "it may have happened all the same",
    };
    format!(
        "{kind}: {meaning}\n\nWhat to do: {advice}\n\nretry:      {retry}\neffect:     {effect}\nexit code:  {}\n",
        kind.exit_code()
    )
}

fn document(kind: ErrorKind) -> Value {
    let Explanation { meaning, advice } = explanation(kind);
    json!({
        "code": kind.as_str(),
        "meaning": meaning,
        "advice": advice,
        "retriable": kind.is_retriable(),
        "may_have_happened": kind.default_effect() == Effect::Unknown,
        "exit_code": kind.exit_code(),
    })
}

fn explanation(kind: ErrorKind) -> Explanation {
    let (meaning, advice) = match kind {
        ErrorKind::ConnectionTimeout => (
            "No connection was made within the time allowed.",
            "Check that the host in --url is right and can be reached from here, and that no firewall drops the packets.",
        ),
        ErrorKind::ConnectionRefused => (
            "The host answered, but nothing listens at that port.",
            "Check the port in --url, and that the server runs.",
        ),
        ErrorKind::NetworkError => (
            "The connection broke in the middle of a request.",
            "Try again. If it happens often, look at the network and at the server's log.",
        ),
        ErrorKind::TlsFailed => (
            "No encrypted connection that can be trusted was made.",
            "Check the certificate: its name, its dates, and that its authority is known here.",
        ),
        ErrorKind::AuthFailed => (
            "The server does not allow this, or does not know who asks.",
            "Check the user and the permissions on the server.",
        ),
        ErrorKind::RequestTimeout => (
            "No answer came within the time allowed.",
            "Try again; the first request may still have been carried out. If the server is only slow, allow more time.",
        ),
        ErrorKind::ServerError => {
            ("The server reported a failure of its own.", "Look at the message and at the server's log.")
        }
        ErrorKind::ProtocolError => (
            "The other side sent bytes that break the protocol.",
            "Check that --url leads to a server of the kind that its scheme says, in a version that is supported.",
        ),
        ErrorKind::NotLeader => (
            "The server that was asked does not lead the partition at the moment.",
            "Try again: a new leader is found by itself.",
        ),
        ErrorKind::RateLimited => ("Too many requests were made.", "Wait and try again, or send less."),
        ErrorKind::CircuitOpen => (
            "The last calls failed, so this one was not tried.",
            "Mend what made them fail; calls are tried again after a while.",
        ),
        ErrorKind::TopicNotFound => (
            "There is no topic of this name.",
            "See `floe topic list` for the topics at this --url, or create it with `floe topic create NAME`.",
        ),
        ErrorKind::TopicAlreadyExists => {
            ("A topic of this name exists.", "Use it, choose another name, or delete it first.")
        }
        ErrorKind::PartitionNotFound => (
            "The topic has fewer partitions than that.",
            "See `floe topic describe NAME`; partitions count from 0.",
        ),
        ErrorKind::OffsetOutOfRange => (
            "The partition does not hold this offset any more, or yet.",
            "See `floe topic describe NAME` for the offsets that it holds, or use --from beginning or --from end.",
        ),
        ErrorKind::Gap => (
            "Records are missing between two that were read.",
            "Retention or damage took them; reading goes on behind the gap. Keep records longer, or read more often, if readers must not miss any.",
        ),
        ErrorKind::RecordTooLarge => (
            "A record or a batch is larger than allowed.",
            "The message names the limit. Split the record, or send a reference to data kept elsewhere.",
        ),
        ErrorKind::InvalidCommand => (
            "What was asked for makes no sense.",
            "The message says what is wrong; `floe COMMAND --help` shows the rules.",
        ),
        ErrorKind::InvalidConfig => (
            "A setting is missing, unknown or impossible.",
            "The message names it. A URL looks like embedded:./floe-data?durability=always.",
        ),
        ErrorKind::Unsupported => (
            "This engine cannot do that.",
            "Use another engine by --url, or do without. The message names the ability that is missing.",
        ),
        ErrorKind::BufferFull => (
            "Records come faster than they can be stored, and the memory for those that wait is used up.",
            "Wait and try again, or send less at once.",
        ),
        ErrorKind::SerializationError => {
            ("A value could not be turned into bytes.", "Check the value against the format.")
        }
        ErrorKind::DeserializationError => (
            "Bytes could not be turned into a value.",
            "Check that the writer used the format that is expected here.",
        ),
        ErrorKind::HandlerFailed => (
            "The handler of a processor failed, panicked, or did not end in time for a record.",
            "The message says which record and why. Mend the handler; `floe dlq replay` sends dead letters again.",
        ),
        ErrorKind::CorruptData => (
            "Stored or received data is damaged.",
            "Restore the store from a copy, and check the disk. Nothing was cut or repaired, so that nothing is lost that is still there.",
        ),
        ErrorKind::StorageError => (
            "The disk failed, or is full, or the path cannot be used.",
            "The cause says which. Make room, or choose another place with --url embedded:PATH.",
        ),
        ErrorKind::StoreInUse => (
            "Another process has the store open; an embedded store serves one process at a time.",
            "Close that process, or use another store.",
        ),
        ErrorKind::Closed => (
            "The client, the producer, the consumer or the store was closed.",
            "Open it again. If it closed by itself, an error before this one says why.",
        ),
        // A kind that is newer than this text; the test below keeps it from happening within one release.
        _ => ("", ""),
    };
    Explanation { meaning, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_explained() {
        for kind in ErrorKind::ALL {
            let Explanation { meaning, advice } = explanation(*kind);
            assert!(meaning.ends_with('.') && advice.ends_with('.'), "{kind} is not explained");
        }
    }
}
