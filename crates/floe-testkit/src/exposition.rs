//! A strict parser of the Prometheus text format 0.0.4, with the rules of `promtool check metrics`.

use std::collections::{BTreeMap, BTreeSet};

/// A scrape that passed every check.
#[derive(Debug, Default)]
pub struct Exposition {
    families: BTreeMap<String, Family>,
}

#[derive(Debug, Default)]
struct Family {
    help: Option<String>,
    kind: Option<String>,
    samples: Vec<Sample>,
}

#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Exposition {
    /// Parses a scrape and checks it.
    ///
    /// # Errors
    /// The first violation, with the offending line or metric.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.is_empty() && !text.ends_with('\n') {
            return Err("the last line does not end with a newline".to_owned());
        }
        let mut all = Self::default();
        let mut current = String::new();
        for line in text.lines() {
            all.add_line(line, &mut current).map_err(|problem| format!("{problem}: {line}"))?;
        }
        for (name, family) in &all.families {
            family.check(name).map_err(|problem| format!("{name}: {problem}"))?;
        }
        Ok(all)
    }

    fn add_line(&mut self, line: &str, current: &mut String) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# ") {
            let (word, rest) = rest.split_once(' ').ok_or("a comment with a single word")?;
            let (name, rest) = rest.split_once(' ').ok_or("no text after the name")?;
            check_name(name, true)?;
            if current != name && self.families.contains_key(name) {
                return Err("the lines of a metric are not contiguous".to_owned());
            }
            name.clone_into(current);
            let family = self.families.entry(name.to_owned()).or_default();
            if !family.samples.is_empty() {
                return Err("HELP or TYPE after samples".to_owned());
            }
            let (slot, value) = match word {
                "HELP" if rest.trim().is_empty() => return Err("empty help".to_owned()),
                "HELP" => (&mut family.help, rest),
                "TYPE" if ["counter", "gauge", "histogram"].contains(&rest) => (&mut family.kind, rest),
                _ => return Err("neither HELP nor a known TYPE".to_owned()),
            };
            return match slot.replace(value.to_owned()) {
                None => Ok(()),
                Some(_) => Err("duplicate HELP or TYPE".to_owned()),
            };
        }
        let sample = Sample::parse(line)?;
        let family = self.families.get_mut(current.as_str()).ok_or("a sample without HELP and TYPE")?;
        if family.base_of(&sample.name) != *current {
            return Err(format!("a sample of another metric inside {current}"));
        }
        family.samples.push(sample);
        Ok(())
    }

    /// Returns the names of all metrics.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.families.keys().map(String::as_str)
    }

    /// Returns the label names of a metric's samples, without the `le` of histograms.
    pub fn label_names(&self, name: &str) -> BTreeSet<&str> {
        let samples = self.families.get(name).into_iter().flat_map(|family| &family.samples);
        samples
            .flat_map(|sample| sample.labels.keys().map(String::as_str))
            .filter(|name| *name != "le")
            .collect()
    }

    /// Returns the sum over the samples with this name and all of these labels, or `None` if there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let samples = self.families.values().flat_map(|family| &family.samples);
        let wanted = samples.filter(|sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(*label).is_some_and(|has| has == value))
        });
        wanted.map(|sample| sample.value).reduce(|sum, value| sum + value)
    }
}

impl Family {
    fn base_of<'a>(&self, name: &'a str) -> &'a str {
        let parts = ["_bucket", "_sum", "_count"];
        match self.kind.as_deref() {
            Some("histogram") => parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(""),
            _ => name,
        }
    }

    fn check(&self, name: &str) -> Result<(), String> {
        let kind = self.kind.as_deref().ok_or("no type")?;
        if self.help.is_none() {
            return Err("no help".to_owned());
        }
        if (kind == "counter") != name.ends_with("_total") {
            return Err("the suffix _total is for counters, and counters need it".to_owned());
        }
        for part in ["_bucket", "_sum", "_count"] {
            // The gauge `floe_connection_count` follows OpenTelemetry's naming, which ends counts of things in `count`.
            if name.ends_with(part) && kind != "gauge" {
                return Err(format!("the suffix {part} is reserved for histograms"));
            }
        }
        let words: Vec<_> = name.split('_').collect();
        for unit in ["ms", "us", "ns", "milliseconds", "kilobytes", "kb", "mb", "secs", "sec"] {
            if words.contains(&unit) {
                return Err(format!("{unit} is not a base unit"));
            }
        }
        let mut seen = BTreeSet::new();
        for sample in &self.samples {
            if !seen.insert((&sample.name, &sample.labels)) {
                return Err(format!("duplicate sample: {sample:?}"));
            }
            if kind != "gauge"
                && !sample.name.ends_with("_sum")
                && !(sample.value >= 0.0 && sample.value.is_finite())
            {
                return Err(format!("negative or infinite: {sample:?}"));
            }
        }
        if kind == "histogram" { self.check_histogram(name) } else { Ok(()) }
    }

    fn check_histogram(&self, name: &str) -> Result<(), String> {
        let mut series: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le").ok_or("a bucket without le")?;
            let bound = bound.parse::<f64>().map_err(|_| format!("le is {bound}"))?;
            series.entry(labels).or_default().push((bound, sample.value));
        }
        let one = |part: &str, labels: &BTreeMap<String, String>| {
            let name = format!("{name}{part}");
            let found: Vec<_> = self
                .samples
                .iter()
                .filter(|sample| sample.name == name && sample.labels == *labels)
                .collect();
            if let [sample] = found[..] {
                Ok(sample.value)
            } else {
                Err(format!("{} samples of {name} in place of one", found.len()))
            }
        };
        for (labels, buckets) in &series {
            if !buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1) {
                return Err(format!("bucket counts or bounds decrease: {buckets:?}"));
            }
            let (last, count) = *buckets.last().ok_or("no buckets")?;
            if last != f64::INFINITY || count != one("_count", labels)? {
                return Err("the +Inf bucket differs from _count".to_owned());
            }
            one("_sum", labels)?;
        }
        let counts = self.samples.iter().filter(|sample| sample.name.ends_with("_count")).count();
        if counts == series.len() { Ok(()) } else { Err("_count without buckets".to_owned()) }
    }
}

impl Sample {
    fn parse(line: &str) -> Result<Self, String> {
        let end = line.find(['{', ' ']).ok_or("no value")?;
        let (name, mut rest) = line.split_at(end);
        check_name(name, true)?;
        let mut labels = BTreeMap::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            loop {
                let (label, after) = rest.split_once("=\"").ok_or("a label without a value")?;
                check_name(label, false)?;
                let (value, after) = quoted(after)?;
                if labels.insert(label.to_owned(), value).is_some() {
                    return Err(format!("duplicate label {label}"));
                }
                if let Some(after) = after.strip_prefix('}') {
                    rest = after;
                    break;
                }
                rest = after.strip_prefix(',').ok_or("no comma between labels")?;
            }
        }
        let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
        let value = value.parse().map_err(|_| format!("{value:?} is not a number"))?;
        Ok(Self { name: name.to_owned(), labels, value })
    }
}

/// Splits `text` at the closing quotation mark into the unescaped value and the rest.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                _ => return Err("an unknown escape".to_owned()),
            },
            other => value.push(other),
        }
    }
    Err("no closing quotation mark".to_owned())
}

fn check_name(name: &str, may_have_colons: bool) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || (may_have_colons && c == ':');
    if !name.is_empty() && name.chars().all(good) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        Ok(())
    } else {
        Err(format!("{name:?} is not a valid name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_are_rejected() {
        let head = |kind: &str| format!("# HELP m_total Says it.\n# TYPE m_total {kind}\n");
        let good = format!("{}m_total{{a=\"x\\\"y\\\\\",b=\"\"}} 3\nm_total 4.5e0\n", head("counter"));
        let read = Exposition::parse(&good).unwrap();
        assert_eq!(read.value("m_total", &[("a", "x\"y\\")]), Some(3.0));
        assert_eq!(read.value("m_total", &[]), Some(7.5));
        assert_eq!(read.value("m_total", &[("a", "z")]), None);
        let buckets = |one: &str, all: &str, count: &str| {
            format!(
                "# HELP h H.\n# TYPE h histogram\nh_bucket{{le=\"1\"}} {one}\nh_bucket{{le=\"+Inf\"}} {all}\nh_sum 1\nh_count {count}\n"
            )
        };
        Exposition::parse(&buckets("1", "2", "2")).unwrap();
        for bad in [
            "m_total 1\n".to_owned(),
            head("gauge") + "m_total 1\n",
            head("counter") + "m_total -1\n",
            head("counter") + "m_total 1\nm_total 1\n",
            head("counter") + "m_total 1",
            head("counter") + "m_total{a=\"x} 1\n",
            head("counter") + "m_total{1a=\"x\"} 1\n",
            head("counter") + "m_total one\n",
            head("counter") + "other_total 1\n",
            head("counter") + &head("counter"),
            "# TYPE m_total counter\nm_total 1\n".to_owned(),
            "# HELP m M.\nm 1\n".to_owned(),
            "# HELP wait_ms M.\n# TYPE wait_ms gauge\nwait_ms 1\n".to_owned(),
            buckets("3", "2", "2"),
            buckets("1", "2", "3"),
        ] {
            assert!(Exposition::parse(&bad).is_err(), "{bad}");
        }
    }
}
