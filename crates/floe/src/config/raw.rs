//! A setting in a source, before its value is parsed.

use std::fmt;

use super::origin::SettingOrigin;

/// A setting in a source: key, text and origin.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) origin: SettingOrigin,
}

/// Omits the value, which may be a secret.
impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw").field("key", &self.key).field("origin", &self.origin).finish_non_exhaustive()
    }
}
