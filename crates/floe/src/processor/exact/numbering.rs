//! Numbers of the records that a task has written, and their text in the commits of its group.
//!
//! The format is documented in `docs/formats/groups.md`.

use std::{fmt, str::FromStr};

use crate::topic::Topic;

/// Record numbers wrap at this value, as the sequences of producers do.
pub(super) const MODULUS: u32 = 1 << 31;

/// Most output partitions of a task, those of dead letters included: as many as fit into the text of a commit, whatever their
/// numbers.
pub(super) const MAX_PARTITIONS: u32 = 120;

/// First word of the text.
const FORMAT: &str = "exact1";

/// Largest epoch.
const LAST_EPOCH: i16 = i16::MAX;

/// The numbers of a task: under which id it writes, and where it stands in each of its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbering {
    /// Random number that tells this numbering from those before a reset. Part of the producer id.
    pub(super) incarnation: i64,
    /// Number of the take-overs, folded to 15 bits: the producer epoch.
    pub(super) epoch: i16,
    /// Whether no append of the task is under way.
    pub(super) is_clean: bool,
    pub(super) outputs: Vec<OutputNumbers>,
}

/// Numbers in the partitions of one output topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutputNumbers {
    pub(super) topic: Topic,
    pub(super) partitions: Vec<PartitionNumbers>,
}

/// Numbers in one output partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartitionNumbers {
    /// Number of the next record of the task.
    pub(super) next: u32,
    /// No record of the task from `next` on lies before this offset.
    pub(super) hint: i64,
}

impl Numbering {
    /// Begins a numbering at these ends of the output partitions.
    pub(super) fn begin(outputs: Vec<OutputNumbers>) -> Self {
        let incarnation = i64::try_from(floe_core::random::bits() >> 1).unwrap_or(i64::MAX);
        Self { incarnation, epoch: 0, is_clean: false, outputs }
    }

    /// Goes on with the numbering of an earlier owner, under another epoch.
    pub(super) fn take_over(self) -> Self {
        let epoch = if self.epoch == LAST_EPOCH { 0 } else { self.epoch + 1 };
        Self { epoch, is_clean: false, ..self }
    }
}

impl PartitionNumbers {
    /// Counts records, the last of which lies before `end`, if that is known.
    pub(super) fn advance(&mut self, records: u32, end: Option<i64>) {
        self.next = self.next.wrapping_add(records) % MODULUS;
        self.hint = self.hint.max(end.unwrap_or(self.hint));
    }
}

/// Whether a text of a commit is a numbering of any version.
pub(super) fn is_numbering(text: &str) -> bool {
    text.starts_with("exact")
}

impl fmt::Display for Numbering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_clean { "clean" } else { "open" };
        write!(f, "{FORMAT} {} {} {state}", self.incarnation, self.epoch)?;
        for output in &self.outputs {
            write!(f, " {}=", output.topic)?;
            for (index, PartitionNumbers { next, hint }) in output.partitions.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                write!(f, "{comma}{next}:{hint}")?;
            }
        }
        Ok(())
    }
}

/// Error of a text that is no numbering of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotANumbering;

impl FromStr for Numbering {
    type Err = NotANumbering;

    fn from_str(text: &str) -> Result<Self, NotANumbering> {
        let mut words = text.split(' ');
        if words.next() != Some(FORMAT) {
            return Err(NotANumbering);
        }
        let incarnation = number(words.next())?;
        let epoch = number(words.next())?;
        let is_clean = match words.next() {
            Some("clean") => true,
            Some("open") => false,
            _ => return Err(NotANumbering),
        };
        let outputs = words.map(output).collect::<Result<Vec<_>, _>>()?;
        if incarnation < 0 || epoch < 0 || outputs.is_empty() {
            return Err(NotANumbering);
        }
        Ok(Self { incarnation, epoch, is_clean, outputs })
    }
}

fn output(word: &str) -> Result<OutputNumbers, NotANumbering> {
    let (topic, partitions) = word.split_once('=').ok_or(NotANumbering)?;
    let partition = |text: &str| {
        let (next, hint) = text.split_once(':').ok_or(NotANumbering)?;
        let numbers = PartitionNumbers { next: number(Some(next))?, hint: number(Some(hint))? };
        if numbers.next < MODULUS && numbers.hint >= 0 { Ok(numbers) } else { Err(NotANumbering) }
    };
    let partitions = partitions.split(',').map(partition).collect::<Result<Vec<_>, _>>()?;
    Ok(OutputNumbers { topic: Topic::from(topic), partitions })
}

fn number<T: FromStr>(text: Option<&str>) -> Result<T, NotANumbering> {
    text.and_then(|text| text.parse().ok()).ok_or(NotANumbering)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbering(topic: &str, partitions: &[(u32, i64)]) -> Numbering {
        let partitions = partitions.iter().map(|(next, hint)| PartitionNumbers { next: *next, hint: *hint });
        let output = OutputNumbers { topic: Topic::from(topic), partitions: partitions.collect() };
        Numbering { incarnation: 7, epoch: 3, is_clean: true, outputs: vec![output] }
    }

    #[test]
    fn the_text_says_it_all() {
        let mut numbers = numbering("invoices", &[(12, 400), (0, 0)]);
        numbers.outputs.extend(numbering("orders-dead", &[(1, 9)]).outputs);
        let text = numbers.to_string();
        assert_eq!(text, "exact1 7 3 clean invoices=12:400,0:0 orders-dead=1:9");
        assert_eq!(text.parse(), Ok(numbers));
        assert!(is_numbering(&text));
    }

    #[test]
    fn the_largest_numbers_fit_into_a_commit() {
        let most = vec![(MODULUS - 1, i64::MAX); MAX_PARTITIONS as usize - 1];
        let mut numbers = numbering(&"t".repeat(63), &most);
        numbers.outputs.extend(numbering(&"d".repeat(63), &most[..1]).outputs);
        let numbers = Numbering { incarnation: i64::MAX, epoch: i16::MAX, ..numbers };
        let length = numbers.to_string().len();
        assert!(length <= 4096, "{length}");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "exact1",
            "exact1 7 3 clean",
            "exact2 7 3 clean a=0:0",
            "exact1 -7 3 clean a=0:0",
            "exact1 7 32768 clean a=0:0",
            "exact1 7 3 dirty a=0:0",
            "exact1 7 3 open a",
            "exact1 7 3 open a=",
            "exact1 7 3 open a=1",
            "exact1 7 3 open a=2147483648:0",
            "exact1 7 3 open a=0:-1",
            "exact1 7 3 open  a=0:0",
        ] {
            assert_eq!(text.parse::<Numbering>(), Err(NotANumbering), "{text:?}");
        }
    }

    #[test]
    fn numbers_and_epochs_wrap() {
        let mut numbers = PartitionNumbers { next: MODULUS - 2, hint: 5 };
        numbers.advance(3, Some(9));
        assert_eq!(numbers, PartitionNumbers { next: 1, hint: 9 });
        numbers.advance(0, None);
        assert_eq!(numbers.hint, 9);
        let last = Numbering { epoch: i16::MAX, ..numbering("a", &[(0, 0)]) }.take_over();
        assert_eq!((last.epoch, last.is_clean), (0, false));
    }
}
