//! Paths into JSON values.

use super::json_scan::{JsonKey, JsonScan, JsonValue};

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JsonPathStep {
    /// `.name`
    Key(JsonKey),
    /// `[0]`
    Index(u32),
    /// `[]`
    Each,
}

/// A path that is ready for the search.
#[derive(Debug)]
pub(super) struct JsonPath {
    steps: Vec<JsonPathStep>,
    /// For each count of done steps, the containers that are open behind the `[` of the last `[]` among them.
    each_before: Vec<Option<usize>>,
}

impl JsonPath {
    pub(super) fn new(steps: Vec<JsonPathStep>) -> Self {
        let mut last = None;
        let mut each_before = vec![None];
        for (at, step) in steps.iter().enumerate() {
            if *step == JsonPathStep::Each {
                last = Some(at + 1);
            }
            each_before.push(last);
        }
        Self { steps, each_before }
    }

    /// Returns the last key of the path.
    pub(super) fn last_key(&self) -> Option<&JsonKey> {
        self.steps.iter().rev().find_map(|step| match step {
            JsonPathStep::Key(key) => Some(key),
            JsonPathStep::Index(_) | JsonPathStep::Each => None,
        })
    }

    /// Tells whether the test holds for a value that the path leads to, in the order of the text.
    pub(super) fn any<'v>(&self, text: &'v [u8], mut test: impl FnMut(JsonValue<'v>) -> bool) -> bool {
        self.search(text, &mut test).unwrap_or(false)
    }

    /// Searches until the test holds; `None` where the text breaks off or is not JSON.
    ///
    /// Each step opens one container, so the scanner's depth is the count of steps that are done, and going back to an
    /// earlier `[]` is closing containers. Thus the search needs no stack and reads each byte once.
    fn search<'v>(&self, text: &'v [u8], test: &mut impl FnMut(JsonValue<'v>) -> bool) -> Option<bool> {
        let mut scan = JsonScan::new(text);
        loop {
            if self.descend(&mut scan)? {
                let value = scan.value()?;
                if test(value) {
                    return Some(true);
                }
                if self.last_each(scan.depth()).is_none() {
                    return Some(false);
                }
                if matches!(value, JsonValue::Container) {
                    scan.skip()?;
                }
            }
            if !self.next_element(&mut scan)? {
                return Some(false);
            }
        }
    }

    /// Does the steps that are left; false if one of them leads nowhere, and its value is skipped.
    fn descend(&self, scan: &mut JsonScan<'_>) -> Option<bool> {
        while let Some(step) = self.steps.get(scan.depth()) {
            let entered = match step {
                JsonPathStep::Key(key) => scan.enter_key(key)?,
                JsonPathStep::Index(index) => scan.enter_index(*index)?,
                JsonPathStep::Each => scan.enter_index(0)?,
            };
            if !entered {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Goes to the next element of the innermost `[]` that has one.
    fn next_element(&self, scan: &mut JsonScan<'_>) -> Option<bool> {
        while let Some(depth) = self.last_each(scan.depth()) {
            scan.close_to(depth)?;
            if scan.next_element()? {
                return Some(true);
            }
        }
        Some(false)
    }

    fn last_each(&self, depth: usize) -> Option<usize> {
        self.each_before.get(depth).copied().flatten()
    }
}
