//! A setting as it is found, before anybody has looked at its value.

use super::origin::Origin;

/// A setting as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) origin: Origin,
}
