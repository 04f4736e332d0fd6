//! Fingerprints of records, by which a task recognizes that it makes the record that is already written.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::dead_letter::{is_volatile, origin_of};

/// Headers of trace contexts, which differ each time that a record is made.
const TRACING: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// Hashes of the parts of a record that a deterministic handler makes the same each time. Its time is none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    key: u64,
    value: u64,
    headers: u64,
    /// Offset of the input record that it was made from, if its headers name one of this partition.
    origin: Option<i64>,
}

impl Fingerprint {
    /// Takes the fingerprint of a record that was made from this topic and partition.
    pub(super) fn of<'a>(
        (topic, partition): (&str, u32),
        (key, value): (Option<&[u8]>, &[u8]),
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        let mut origin = None;
        for (name, value) in headers.filter(|(name, _)| !TRACING.contains(name) && !is_volatile(name)) {
            (name, value).hash(&mut hasher);
            if let Some(found) = origin_of(name, value)
                && (found.at.topic.as_str(), found.at.partition) == (topic, partition)
            {
                origin = Some(found.offset);
            }
        }
        Self { key: hash(&key), value: hash(value), headers: hasher.finish(), origin }
    }

    /// Names the parts that differ; `None` if the records are the same.
    pub(super) fn difference(&self, other: &Self) -> Option<&'static str> {
        match (self.key == other.key, self.value == other.value, self.headers == other.headers) {
            (true, true, true) => None,
            (false, true, _) => Some("the key differs"),
            (true, false, _) => Some("the value differs"),
            (true, true, false) => Some("the headers differ"),
            (false, false, _) => Some("the key and the value differ"),
        }
    }

    pub(super) fn origin(&self) -> Option<i64> {
        self.origin
    }
}

fn hash<T: Hash + ?Sized>(part: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    part.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Headers<'a> = &'a [(&'a str, &'a [u8])];

    fn of(key: Option<&[u8]>, value: &[u8], headers: Headers<'_>) -> Fingerprint {
        Fingerprint::of(("orders", 1), (key, value), headers.iter().copied())
    }

    #[test]
    fn differences_are_named() {
        let one = of(Some(b"k"), b"v", &[("a", b"1")]);
        for (other, difference) in [
            (of(Some(b"k"), b"v", &[("a", b"1")]), None),
            (of(None, b"v", &[("a", b"1")]), Some("the key differs")),
            (of(Some(b"k"), b"w", &[("a", b"1")]), Some("the value differs")),
            (of(Some(b"k"), b"v", &[("a", b"2")]), Some("the headers differ")),
            (of(Some(b""), b"", &[]), Some("the key and the value differ")),
        ] {
            assert_eq!(one.difference(&other), difference);
        }
    }

    #[test]
    fn what_differs_each_time_is_left_out() {
        let headers: Headers<'_> =
            &[("traceparent", b"00-1"), ("floe-dead-at", b"5"), ("floe-dead-error", b"timeout 3")];
        assert_eq!(of(None, b"", headers), of(None, b"", &[]));
    }

    #[test]
    fn the_origin_is_read_from_either_header() {
        assert_eq!(of(None, b"", &[("floe-origin", b"orders/1/17#2")]).origin(), Some(17));
        assert_eq!(of(None, b"", &[("floe-dead-origin", b"orders/1/18")]).origin(), Some(18));
        for other in ["orders/0/17", "others/1/17", "nonsense"] {
            assert_eq!(of(None, b"", &[("floe-origin", other.as_bytes())]).origin(), None, "{other}");
        }
    }
}
