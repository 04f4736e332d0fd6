//! Settings of a consumer that remain in use after its start.

use super::fetch::FetchSettings;
pub use crate::config::{AckMode, CommitPolicy, GapPolicy};

/// Settings of a consumer that remain in use after its start.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) commit: CommitPolicy,
    pub(super) ack_mode: AckMode,
    pub(super) gaps: GapPolicy,
    pub(super) fetch: FetchSettings,
}
