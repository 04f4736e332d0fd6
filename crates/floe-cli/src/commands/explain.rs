//! `floe explain`: meaning of an error code, and how to resolve it.

use clap::Args;
use floe::{Effect, ErrorKind, url::nearest};
use serde_json::{Value, json};

use crate::{
    command_code,
    exit::{Failure, Outcome},
    exit_code,
    global::Global,
    output::{List, print_document, print_list},
};

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Error code, as in the parentheses of an error message [default: list all codes]
    code: Option<String>,
}

pub(crate) fn run(global: &Global, args: &ExplainArgs) -> Outcome {
    let all = explained();
    let Some(code) = &args.code else { return print_list(global.output, &list(&all)) };
    match all.iter().find(|one| one.code == code) {
        Some(one) => print_document(global.output, &one.document(), &one.text()),
        None => {
            let codes: Vec<_> = all.iter().map(|one| one.code).collect();
            let hint = match nearest(code, &codes) {
                Some(near) => format!("did you mean {near}?"),
                None => "`floe explain` lists the codes".to_owned(),
            };
            Err(Failure::usage(format!("unknown error code {code:?}")).with_hint(hint))
        }
    }
}

/// A code that errors carry, and what is known about it.
struct Explained {
    code: &'static str,
    meaning: &'static str,
    advice: &'static str,
    retriable: bool,
    effect: Effect,
    exit_code: u8,
}

/// The kinds of the library's errors, then the codes of the command line.
fn explained() -> Vec<Explained> {
    let kinds = ErrorKind::ALL.iter().map(|kind| Explained {
        code: kind.as_str(),
        meaning: kind.meaning(),
        advice: advice(*kind),
        retriable: kind.is_retriable(),
        effect: kind.default_effect(),
        exit_code: exit_code::of(*kind),
    });
    let own = command_code::ALL.iter().map(|own| Explained {
        code: own.code,
        meaning: own.meaning,
        advice: own.advice,
        retriable: false,
        effect: Effect::Unknown,
        exit_code: own.exit_code,
    });
    kinds.chain(own).collect()
}

fn list(all: &[Explained]) -> List {
    let width = all.iter().map(|one| one.code.len()).max().unwrap_or(0);
    let row = |one: &Explained| {
        let retriable = if one.retriable { "yes" } else { "no" };
        let cells = [one.code, &one.exit_code.to_string(), retriable, one.meaning];
        cells.map(ToOwned::to_owned).to_vec()
    };
    List {
        headings: vec!["code", "exit", "retriable", "meaning"],
        rows: all.iter().map(row).collect(),
        documents: all.iter().map(Explained::document).collect(),
        text: all.iter().map(|one| format!("{:width$}  {}\n", one.code, one.meaning)).collect(),
    }
}

impl Explained {
    fn text(&self) -> String {
        let Self { code, meaning, advice, exit_code, .. } = self;
        let retry = if self.retriable { "a retry may succeed" } else { "a retry does not help" };
        let effect = match self.effect {
            Effect::None => "the operation had no effect",
            Effect::Unknown => "the operation may have taken effect",
        };
        format!(
            "{code}: {meaning}\n\nWhat to do: {advice}\n\nretry:      {retry}\neffect:     {effect}\nexit code:  {exit_code}\n"
        )
    }

    fn document(&self) -> Value {
        json!({
            "code": self.code,
            "meaning": self.meaning,
            "advice": self.advice,
            "retriable": self.retriable,
            "may_have_happened": self.effect == Effect::Unknown,
            "exit_code": self.exit_code,
        })
    }
}

/// Advice for each error kind.
const ADVICE: &[(ErrorKind, &str)] = &[
    (
        ErrorKind::ConnectionTimeout,
        "Check that the host in --url is correct and reachable from this machine, and that no firewall drops the packets.",
    ),
    (
        ErrorKind::ConnectionRefused,
        "The host answered, but nothing listens on that port. Check the port in --url and that the server runs.",
    ),
    (ErrorKind::NetworkError, "Retry. If it happens often, check the network and the server's log."),
    (
        ErrorKind::TlsFailed,
        "Check the certificate: its name, its validity dates, and that this machine trusts its authority.",
    ),
    (
        ErrorKind::AuthFailed,
        "Check the certificate of the client and its permissions on the server: the log of `floe serve --access` names each refusal.",
    ),
    (
        ErrorKind::RequestTimeout,
        "Retry; the first request may still have taken effect. If the server is slow, raise the deadline.",
    ),
    (ErrorKind::ServerError, "Read the message and the server's log."),
    (
        ErrorKind::ProtocolError,
        "Check that --url points to a server of the kind that its scheme names, in a supported version.",
    ),
    (ErrorKind::NotLeader, "Retry: the client finds the new leader by itself."),
    (ErrorKind::RateLimited, "Wait and retry, or send fewer requests."),
    (
        ErrorKind::CircuitOpen,
        "Fix the cause of the earlier failures. The circuit breaker lets calls through again after a while.",
    ),
    (
        ErrorKind::TopicNotFound,
        "Run `floe topic list` to see the topics at this --url, or `floe topic create NAME` to create one.",
    ),
    (ErrorKind::TopicAlreadyExists, "Use the topic, choose another name, or delete it first."),
    (
        ErrorKind::PartitionNotFound,
        "Run `floe topic describe NAME` to see the partitions. The first partition is 0.",
    ),
    (
        ErrorKind::ModuleNotFound,
        "Run `floe smartmodule list` to see the modules of the cluster, or apply one from a file with --smartmodule-path.",
    ),
    (
        ErrorKind::OffsetOutOfRange,
        "Run `floe topic describe NAME` to see the offsets, or use --from beginning or --from end.",
    ),
    (
        ErrorKind::Gap,
        "Retention or damage removed the records; reading continues after the gap. To miss none, extend the retention or read more often.",
    ),
    (
        ErrorKind::RecordTooLarge,
        "The message names the limit. Split the record, or send a reference to data stored elsewhere.",
    ),
    (
        ErrorKind::InvalidCommand,
        "The message says what is wrong; `floe COMMAND --help` describes the options.",
    ),
    (
        ErrorKind::InvalidConfig,
        "The message names the setting. A URL looks like embedded:./floe-data?durability=always.",
    ),
    (ErrorKind::Unsupported, "The message names the missing capability. Choose another engine with --url."),
    (
        ErrorKind::BufferFull,
        "Records arrive faster than the engine stores them (backpressure). Wait and retry, or send fewer at once.",
    ),
    (ErrorKind::SerializationError, "Check the value against the format."),
    (ErrorKind::DeserializationError, "Check that the writer used the format that the reader expects."),
    (
        ErrorKind::HandlerFailed,
        "The message names the record and the cause. Fix the handler, then run `floe dlq replay` to resend the dead letters.",
    ),
    (
        ErrorKind::Nondeterministic,
        "The message names the input record and the one written before. Let the handler use nothing but its record: no clock, no random number, no order of a hash map, no answer of another system.",
    ),
    (
        ErrorKind::CorruptData,
        "`floe check DIR` lists what is damaged. Restore the store from a backup, or repair it with `floe check --repair`, and check the disk. The engine cut and repaired nothing, so that readable data stays readable.",
    ),
    (
        ErrorKind::StorageError,
        "The cause names the failure. Free disk space, or choose another directory with --url embedded:PATH.",
    ),
    (
        ErrorKind::StoreInUse,
        "An embedded store serves one process at a time. Stop the other process, or use another store.",
    ),
    (
        ErrorKind::Fenced,
        "Another member of the group may work on the same records: let it. `floe group describe GROUP` shows who has which partition. A longer session tolerates longer pauses. A producer that is fenced has a successor with a newer token: end it.",
    ),
    (
        ErrorKind::ConditionFailed,
        "Another writer has appended first. Read up to the end that the error names, decide again, and append there.",
    ),
    (
        ErrorKind::NotAMember,
        "Run `floe group list` to see the shared groups, and `floe group describe GROUP` to see the members of one.",
    ),
    (ErrorKind::Closed, "Open it again. If it closed by itself, an earlier error names the cause."),
];

/// Returns the advice for an error kind; empty for a kind that a newer `floe` library adds.
fn advice(kind: ErrorKind) -> &'static str {
    ADVICE.iter().find(|(known, _)| *known == kind).map_or("", |(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_meaning_and_advice() {
        let all = explained();
        for one in &all {
            assert!(one.meaning.ends_with('.') && one.advice.ends_with('.'), "{} is not explained", one.code);
            assert_eq!(all.iter().filter(|other| other.code == one.code).count(), 1, "{}", one.code);
        }
    }
}
