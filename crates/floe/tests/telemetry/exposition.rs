//! A strict reader of the text format of Prometheus, version 0.0.4, with the rules of `promtool check metrics`.

use std::collections::{BTreeMap, BTreeSet};

/// Text that kept every rule.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
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
    /// Reads and checks.
    ///
    /// # Errors
    /// The first rule broken, with the line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.is_empty() && !text.ends_with('\n') {
            return Err("the last line has no end".to_owned());
        }
        let mut all = Self::default();
        let mut current = String::new();
        for line in text.lines() {
            all.take(line, &mut current).map_err(|problem| format!("{problem}: {line}"))?;
        }
        for (name, family) in &all.families {
            family.check(name).map_err(|problem| format!("{name}: {problem}"))?;
        }
        Ok(all)
    }

    fn take(&mut self, line: &str, current: &mut String) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# ") {
            let (word, rest) = rest.split_once(' ').ok_or("a comment of one word")?;
            let (name, rest) = rest.split_once(' ').ok_or("nothing after the name")?;
            check_name(name, true)?;
            if current != name && self.families.contains_key(name) {
                return Err("the lines of a metric do not stand together".to_owned());
            }
            name.clone_into(current);
            let family = self.families.entry(name.to_owned()).or_default();
            if !family.samples.is_empty() {
                return Err("a head after samples".to_owned());
            }
            let (slot, value) = match word {
                "HELP" if rest.trim().is_empty() => return Err("empty help".to_owned()),
                "HELP" => (&mut family.help, rest),
                "TYPE" if ["counter", "gauge", "histogram"].contains(&rest) => (&mut family.kind, rest),
                _ => return Err("neither HELP nor a known TYPE".to_owned()),
            };
            return match slot.replace(value.to_owned()) {
                None => Ok(()),
                Some(_) => Err("told twice".to_owned()),
            };
        }
        let sample = Sample::parse(line)?;
        let family = self.families.get_mut(current.as_str()).ok_or("a sample without a head")?;
        if family.base_of(&sample.name) != *current {
            return Err(format!("a sample among those of {current}"));
        }
        family.samples.push(sample);
        Ok(())
    }

    /// Names of all metrics.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.families.keys().map(String::as_str)
    }

    /// Names of the labels that the samples of a metric have, those of histograms themselves aside.
    pub(crate) fn label_names(&self, name: &str) -> BTreeSet<&str> {
        let samples = self.families.get(name).into_iter().flat_map(|family| &family.samples);
        samples
            .flat_map(|sample| sample.labels.keys().map(String::as_str))
            .filter(|name| *name != "le")
            .collect()
    }

    /// The sum of the samples of this name that have all of these labels; `None` if there is no such sample.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
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
            return Err("counters, and only they, end in _total".to_owned());
        }
        for part in ["_bucket", "_sum", "_count"] {
            // `floe_connection_count` is the number of connections; the conventions ask for that name.
            if name.ends_with(part) && kind != "gauge" {
                return Err(format!("ends in {part}"));
            }
        }
        let words: Vec<_> = name.split('_').collect();
        for unit in ["ms", "us", "ns", "milliseconds", "kilobytes", "kb", "mb", "secs", "sec"] {
            if words.contains(&unit) {
                return Err(format!("{unit} is no base unit"));
            }
        }
        let mut seen = BTreeSet::new();
        for sample in &self.samples {
            if !seen.insert((&sample.name, &sample.labels)) {
                return Err(format!("twice: {sample:?}"));
            }
            if kind != "gauge"
                && !sample.name.ends_with("_sum")
                && !(sample.value >= 0.0 && sample.value.is_finite())
            {
                return Err(format!("not a count: {sample:?}"));
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
                Err(format!("{} of {name}", found.len()))
            }
        };
        for (labels, buckets) in &series {
            if !buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1) {
                return Err(format!("buckets do not grow: {buckets:?}"));
            }
            let (last, count) = *buckets.last().ok_or("no buckets")?;
            if last != f64::INFINITY || count != one("_count", labels)? {
                return Err("the last bucket is not all".to_owned());
            }
            one("_sum", labels)?;
        }
        let counts = self.samples.iter().filter(|sample| sample.name.ends_with("_count")).count();
        if counts == series.len() { Ok(()) } else { Err("counts without buckets".to_owned()) }
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
                    return Err(format!("label {label} twice"));
                }
                if let Some(after) = after.strip_prefix('}') {
                    rest = after;
                    break;
                }
                rest = after.strip_prefix(',').ok_or("no comma between labels")?;
            }
        }
        let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
        let value = value.parse().map_err(|_| format!("{value:?} is no number"))?;
        Ok(Self { name: name.to_owned(), labels, value })
    }
}

/// The text up to the closing quotation mark, and what follows.
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
    Err("a quotation without an end".to_owned())
}

fn check_name(name: &str, may_have_colons: bool) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || (may_have_colons && c == ':');
    if !name.is_empty() && name.chars().all(good) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        Ok(())
    } else {
        Err(format!("{name:?} is no name"))
    }
}

#[test]
fn the_rules_are_kept() {
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
