//! The table, as lines of a screen and as a result.

use serde_json::json;
use unicode_width::UnicodeWidthChar as _;

use super::{
    SortColumn,
    rates::{GroupRow, Rates, TopicRow},
};
use crate::{
    escape,
    output::{List, amount, table},
};

const TOPIC_HEADINGS: [&str; 6] = ["topic", "partitions", "records", "size", "written/s", "lag"];
const GROUP_HEADINGS: [&str; 5] = ["group", "topic", "partitions", "read/s", "lag"];

/// Last line of the screen.
const KEYS: &str = "q quit · sort by: n name, w written/s, r records, s size, l lag · arrows scroll";

/// State of the screen.
#[derive(Debug)]
pub(super) struct View {
    sort: SortColumn,
    url: String,
    /// Reason for which the numbers are not the newest.
    problem: Option<String>,
    /// Lines that are scrolled away.
    scroll: usize,
}

impl View {
    pub(super) fn new(sort: SortColumn, url: String) -> Self {
        Self { sort, url, problem: None, scroll: 0 }
    }

    pub(super) fn sort_by(&mut self, sort: SortColumn) {
        (self.sort, self.scroll) = (sort, 0);
    }

    pub(super) fn scroll_up(&mut self) {
        self.scroll = self.scroll.saturating_sub(1);
    }

    pub(super) fn scroll_down(&mut self) {
        self.scroll = self.scroll.saturating_add(1);
    }

    pub(super) fn set_problem(&mut self, problem: Option<&str>) {
        self.problem = problem.map(ToOwned::to_owned);
    }

    /// Returns the lines of a screen of this size: a title, the tables as far as they are scrolled, and the keys.
    pub(super) fn frame(&mut self, rates: &Rates, width: usize, height: usize) -> Vec<String> {
        let (topics, groups) = (sorted(rates, self.sort), rates.groups());
        let title = match &self.problem {
            Some(problem) => format!("{} · not up to date: {problem}", self.url),
            None => format!(
                "{} · {}",
                self.url,
                amount::count(topics.len().try_into().unwrap_or(u64::MAX), "topic")
            ),
        };
        let body = text(&topics, &groups);
        let body: Vec<_> = body.lines().collect();
        let visible = height.saturating_sub(3);
        self.scroll = self.scroll.min(body.len().saturating_sub(visible));
        let mut lines = vec![title, String::new()];
        lines.extend(body.iter().skip(self.scroll).take(visible).map(|line| (*line).to_owned()));
        lines.resize(height.saturating_sub(1), String::new());
        lines.push(KEYS.to_owned());
        lines.truncate(height);
        lines.iter().map(|line| fit(&escape::line(line), width)).collect()
    }
}

/// Cuts a line at this number of columns.
fn fit(line: &str, width: usize) -> String {
    let mut used = 0;
    let fits = |letter: &char| {
        used += letter.width().unwrap_or(0);
        used <= width
    };
    line.chars().take_while(fits).collect()
}

fn sorted(rates: &Rates, sort: SortColumn) -> Vec<TopicRow> {
    let mut topics = rates.topics();
    match sort {
        SortColumn::Name => {}
        SortColumn::Rate => {
            topics.sort_by(|one, other| other.rate.unwrap_or(-1.0).total_cmp(&one.rate.unwrap_or(-1.0)));
        }
        SortColumn::Records => topics.sort_by_key(|topic| std::cmp::Reverse(topic.records)),
        SortColumn::Size => topics.sort_by_key(|topic| std::cmp::Reverse(topic.bytes)),
        SortColumn::Lag => topics.sort_by_key(|topic| std::cmp::Reverse(topic.lag)),
    }
    topics
}

fn known<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), text)
}

fn per_second(rate: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates as intended")]
    let whole = rate.round() as u64;
    amount::thousands(whole)
}

fn topic_row(topic: &TopicRow) -> Vec<String> {
    vec![
        topic.name.clone(),
        topic.partitions.to_string(),
        amount::thousands(topic.records),
        known(topic.bytes, amount::bytes),
        known(topic.rate, per_second),
        known(topic.lag, amount::thousands),
    ]
}

fn group_row(group: &GroupRow) -> Vec<String> {
    vec![
        group.group.clone(),
        group.topic.clone(),
        group.partitions.to_string(),
        known(group.rate, per_second),
        known(group.lag, amount::thousands),
    ]
}

fn text(topics: &[TopicRow], groups: &[GroupRow]) -> String {
    let mut text = table(&TOPIC_HEADINGS, &topics.iter().map(topic_row).collect::<Vec<_>>());
    if !groups.is_empty() {
        text.push('\n');
        text += &table(&GROUP_HEADINGS, &groups.iter().map(group_row).collect::<Vec<_>>());
    }
    text
}

/// Returns the table as a result: topics with their groups.
pub(super) fn list(rates: &Rates, sort: SortColumn) -> List {
    let (topics, groups) = (sorted(rates, sort), rates.groups());
    let documents = topics.iter().map(|topic| {
        let groups = groups.iter().filter(|group| group.topic == topic.name);
        json!({
            "topic": topic.name,
            "partitions": topic.partitions,
            "records": topic.records,
            "size_bytes": topic.bytes,
            "written_per_second": topic.rate,
            "groups": groups.map(|group| json!({
                "group": group.group,
                "partitions": group.partitions,
                "read_per_second": group.rate,
                "lag": group.lag,
            })).collect::<Vec<_>>(),
        })
    });
    List {
        headings: TOPIC_HEADINGS.to_vec(),
        rows: topics.iter().map(topic_row).collect(),
        documents: documents.collect(),
        text: text(&topics, &groups),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::rates::tests::rates, *};

    fn view() -> View {
        View::new(SortColumn::Rate, "memory:".to_owned())
    }

    #[test]
    fn frame_has_topics_groups_and_keys() {
        let frame = view().frame(&rates(), 100, 12);
        let expected = [
            "memory: · 2 topics",
            "",
            "TOPIC   PARTITIONS  RECORDS  SIZE    WRITTEN/S  LAG",
            "orders  2           370      2.0 kB  110        260",
            "audit   1           0        -       0          -",
            "",
            "GROUP    TOPIC   PARTITIONS  READ/S  LAG",
            "billing  orders  2           20      260",
            "",
            "",
            "",
            KEYS,
        ];
        assert_eq!(frame, expected);
    }

    #[test]
    fn frame_fits_any_screen() {
        for (width, height) in [(0, 0), (1, 1), (10, 2), (20, 5), (300, 100)] {
            let mut view = view();
            view.set_problem(Some("no connection\u{1b}[2J"));
            (0..50).for_each(|_| view.scroll_down());
            let frame = view.frame(&rates(), width, height);
            assert_eq!(frame.len(), height);
            assert!(frame.iter().all(|line| line.chars().count() <= width && !line.contains('\u{1b}')));
        }
        let mut scrolled = view();
        scrolled.scroll_down();
        assert!(scrolled.frame(&rates(), 80, 6)[2].starts_with("orders"), "the heading is scrolled away");
    }

    #[test]
    fn topics_are_sorted_by_each_column() {
        for (sort, first) in [
            (SortColumn::Name, "audit"),
            (SortColumn::Rate, "orders"),
            (SortColumn::Records, "orders"),
            (SortColumn::Size, "orders"),
            (SortColumn::Lag, "orders"),
        ] {
            assert_eq!(sorted(&rates(), sort)[0].name, first, "{sort:?}");
        }
    }

    #[test]
    fn result_has_the_groups_of_each_topic() {
        let list = list(&rates(), SortColumn::Name);
        assert_eq!(list.documents[0]["groups"], json!([]));
        assert_eq!(list.documents[1]["groups"][0]["lag"], 260);
        assert_eq!(list.documents[1]["written_per_second"], 110.0);
    }
}
