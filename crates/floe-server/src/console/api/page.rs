//! Parts of long lists.

use std::cmp::Ordering;

use serde::Deserialize;

/// Entries of a list at most.
pub(super) const MAX_LIST: usize = 500;

/// Part of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Page {
    search: String,
    pub(super) sort: String,
    order: String,
    limit: Option<usize>,
    skip: usize,
}

impl Page {
    pub(super) fn admits(&self, name: &str) -> bool {
        self.search.is_empty() || name.to_lowercase().contains(&self.search.to_lowercase())
    }

    /// Orders a list, and returns the part that was asked for. Missing values come last.
    pub(super) fn part<T, K: PartialOrd>(&self, mut list: Vec<T>, key: impl Fn(&T) -> Option<K>) -> Vec<T> {
        let is_descending = self.order == "desc";
        list.sort_by(|one, other| match (key(one), key(other)) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(one), Some(other)) => {
                let order = one.partial_cmp(&other).unwrap_or(Ordering::Equal);
                if is_descending { order.reverse() } else { order }
            }
        });
        let limit = self.limit.unwrap_or(100).min(MAX_LIST);
        list.into_iter().skip(self.skip).take(limit).collect()
    }
}
