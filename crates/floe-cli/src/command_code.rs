//! Codes of failures that the command line finds itself. Those of the library are the kinds of its errors.

use crate::exit_code;

/// A failure that no error kind of the library stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CommandCode {
    /// As in JSON errors and in `floe explain`.
    pub(crate) code: &'static str,
    pub(crate) exit_code: u8,
    pub(crate) meaning: &'static str,
    pub(crate) advice: &'static str,
}

pub(crate) const USAGE: CommandCode = CommandCode {
    code: "usage",
    exit_code: exit_code::USAGE,
    meaning: "The command line is invalid.",
    advice: "Read `floe help COMMAND`; the hint of the message often names the right form.",
};

pub(crate) const IO_ERROR: CommandCode = CommandCode {
    code: "io_error",
    exit_code: exit_code::FAILURE,
    meaning: "A file, a pipe or the terminal failed. The exit code is 3 for a file that does not exist.",
    advice: "Check the path in the message, its permissions, and the free disk space.",
};

pub(crate) const LOSS: CommandCode = CommandCode {
    code: "loss",
    exit_code: exit_code::LOSS,
    meaning: "Records are missing that a check expected, or records were taken and not printed.",
    advice: "The messages before it name partitions and offsets. `floe explain gap` lists the causes.",
};

pub(crate) const NO_OFFSETS: CommandCode = CommandCode {
    code: "no_offsets",
    exit_code: exit_code::NOT_FOUND,
    meaning: "The consumer group has no stored offsets of this topic or partition.",
    advice: "Run `floe offsets list` to see the groups with their offsets.",
};

pub(crate) const NOT_READY: CommandCode = CommandCode {
    code: "not_ready",
    exit_code: exit_code::FAILURE,
    meaning: "A health check failed.",
    advice: "Run `floe health`, which shows each check with its cause.",
};

pub(crate) const VERIFICATION_FAILED: CommandCode = CommandCode {
    code: "verification_failed",
    exit_code: exit_code::CORRUPTION,
    meaning: "Records differ from those that were written.",
    advice: "Keep the store and the server's log, and report it: no engine should change a record.",
};

pub(crate) const ANOMALIES: CommandCode = CommandCode {
    code: "anomalies",
    exit_code: exit_code::CORRUPTION,
    meaning: "A recorded history shows that the log broke a promise.",
    advice: "The findings name topic, partition, offset and line of the history. Keep the history, and the logs of clients \
             and servers of that time.",
};

pub(crate) const INTERRUPTED: CommandCode = CommandCode {
    code: "interrupted",
    exit_code: exit_code::INTERRUPTED,
    meaning: "Ctrl-C or SIGTERM ended the command.",
    advice: "Start it again: a group resumes at its stored offset.",
};

/// All codes of the command line.
pub(crate) const ALL: &[CommandCode] =
    &[USAGE, IO_ERROR, LOSS, NO_OFFSETS, NOT_READY, VERIFICATION_FAILED, ANOMALIES, INTERRUPTED];
