//! Audit lines in the log: refusals and changes. Each is one line, whatever a client sends.

use std::net::SocketAddr;

use super::principal::Principal;

/// Target of the lines, by which a log can be filtered.
const TARGET: &str = "floe::audit";

/// Longest text of a client in a line, in characters.
const MAX_TEXT: usize = 200;

/// Who did what, in one line.
#[derive(Debug)]
pub(super) struct AuditLine<'a> {
    pub(super) subject: &'a Principal,
    pub(super) peer: Option<SocketAddr>,
    pub(super) listener: &'static str,
    pub(super) operation: &'static str,
    pub(super) object: &'a str,
}

impl AuditLine<'_> {
    /// Logs a refusal; `omitted` refusals before it were not logged.
    pub(super) fn refused(&self, omitted: u64) {
        let (subject, peer, object) = self.texts();
        tracing::warn!(
            target: TARGET,
            verdict = "refused", operation = self.operation, object = ?object, subject = ?subject, %peer,
            listener = self.listener, omitted,
            "access refused"
        );
    }

    /// Logs a change that was made.
    pub(super) fn changed(&self) {
        let (subject, peer, object) = self.texts();
        tracing::info!(
            target: TARGET,
            verdict = "done", operation = self.operation, object = ?object, subject = ?subject, %peer,
            listener = self.listener,
            "change made"
        );
    }

    /// Returns subject, peer and object. The texts are logged through `Debug`, which escapes line breaks, quotes and
    /// control characters.
    fn texts(&self) -> (String, String, String) {
        let peer = self.peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
        (shortened(&self.subject.to_string()), peer, shortened(self.object))
    }
}

/// Returns the name of a client for a text of one line.
pub(super) fn shown(client: &Principal) -> String {
    shortened(&client.to_string()).escape_debug().to_string()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let cut = shortened(&"ü".repeat(MAX_TEXT + 1));
        assert_eq!(cut.chars().count(), MAX_TEXT + 1);
        assert!(cut.ends_with('…'));
    }
}
