//! A setting as it is found, before anybody has looked at its value.

use std::fmt;

use super::origin::Origin;

/// A setting as it is found.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// Without the value: nobody has looked yet whether it is a secret.
impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw").field("key", &self.key).field("origin", &self.origin).finish_non_exhaustive()
    }
}
