//! Numbers in place of names.

use std::collections::HashMap;

/// Names of one kind in the order in which they were first seen.
#[derive(Debug, Default)]
pub(crate) struct Names {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    /// Returns the number of a name.
    pub(crate) fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.numbers.insert(name.to_owned(), number);
        self.names.push(name.to_owned());
        number
    }

    pub(crate) fn name(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or("", String::as_str)
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// Partitions by number.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    numbers: HashMap<(u32, u32), u32>,
    partitions: Vec<(u32, u32)>,
}

impl Partitions {
    /// Returns the number of a partition of a topic.
    pub(crate) fn number(&mut self, topic: u32, partition: u32) -> u32 {
        let next = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry((topic, partition)).or_insert(next);
        if number == next {
            self.partitions.push((topic, partition));
        }
        number
    }

    /// Returns topic and partition.
    pub(crate) fn get(&self, number: u32) -> (u32, u32) {
        self.partitions.get(number as usize).copied().unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.partitions.len()
    }
}
