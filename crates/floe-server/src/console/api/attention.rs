//! The list of what a person should look at first.

use floe::{health::ClientHealth, topic::TopicInfo};
use serde_json::{Value, json};

use super::{caller::Caller, groups, topics::is_dead_letter_topic};
use crate::console::{history::Samples, query::segment};

/// Entries of each kind.
const ENTRIES: usize = 10;

/// Time without a commit, in milliseconds, after which a group with a lag is shown.
const STALLED: i64 = 5 * 60 * 1000;

/// Returns findings of the health check, damage, groups that do not move, and dead letters of the last 15 minutes; the worst
/// first.
pub(super) fn attention(
    (health, topics): (&ClientHealth, &[TopicInfo]),
    (samples, caller): (&Samples, &Caller),
    now: i64,
) -> Vec<Value> {
    let level = if health.ready { "warn" } else { "fail" };
    let findings = health.findings.iter().map(|finding| entry(level, finding, "/server"));
    let damaged = topics.iter().filter(|info| !info.damage.is_empty()).take(ENTRIES).map(|info| {
        let name = info.name.as_str();
        entry("fail", &format!("{name}: {}", info.damage.join("; ")), &format!("/topics/{}", segment(name)))
    });
    let mut all: Vec<_> = findings.chain(damaged).collect();
    all.sort_by_key(|entry| entry["level"] != "fail");
    all.extend(stalled_groups(samples, caller, now));
    let letters = topics.iter().filter(|info| is_dead_letter_topic(info.name.as_str()));
    let grown = letters.filter(|info| samples.topic(&info.name).is_some_and(|topic| topic.has_grown()));
    all.extend(grown.take(ENTRIES).map(|info| {
        let name = info.name.as_str();
        let text = format!("{name} got dead letters in the last 15 minutes");
        entry("warn", &text, &format!("/dead-letters/{}", segment(name)))
    }));
    all
}

/// Groups that have a lag and have stored no offset for a while, those with the largest lag first.
fn stalled_groups(samples: &Samples, caller: &Caller, now: i64) -> Vec<Value> {
    let mut stalled: Vec<_> = samples
        .groups()
        .iter()
        .filter(|(_, group)| groups::is_visible(caller, group))
        .filter_map(|(name, group)| {
            let lag = group.lag().filter(|lag| *lag > 0)?;
            let since =
                group.committed_at().map(|at| now.saturating_sub(at)).filter(|since| *since > STALLED)?;
            Some((lag, since, name))
        })
        .collect();
    stalled.sort_by_key(|(lag, ..)| std::cmp::Reverse(*lag));
    stalled.truncate(ENTRIES);
    let text = |(lag, since, name): (u64, i64, &std::sync::Arc<str>)| {
        let minutes = since / 60_000;
        let text = format!(
            "the group {name} is {lag} records behind and has stored no offset for {minutes} minutes"
        );
        entry("warn", &text, &format!("/groups/{}", segment(name)))
    };
    stalled.into_iter().map(text).collect()
}

fn entry(level: &str, text: &str, link: &str) -> Value {
    json!({ "level": level, "text": text, "link": link })
}

#[cfg(test)]
mod tests {
    use floe::{Client, Topic, engine::Watermarks};

    use super::*;
    use crate::console::now;

    #[tokio::test]
    async fn groups_that_stand_still_and_damage_come_with_a_link() {
        let health = Client::connect("memory:").await.unwrap().health().await.unwrap();
        let (mut samples, topic) = (Samples::default(), Topic::from("orders"));
        samples.note(&topic, vec![Some(Watermarks::new(0, 100, None))], 1);
        let commit = |group: &str, next, minutes: i64| {
            (group.into(), topic.partition(0), next, Some(now() - minutes * 60_000))
        };
        let stored = vec![commit("busy", 40, 1), commit("a/b", 40, 10), commit("done", 100, 10)];
        samples.note_groups(stored, None, 1);
        let mut damaged = TopicInfo::new("orders", 1);
        damaged.damage.push("offsets 1 to 2 are lost".into());
        let found = attention((&health, &[damaged]), (&samples, &Caller::all()), now());
        let links: Vec<_> = found.iter().map(|entry| entry["link"].as_str().unwrap()).collect();
        assert_eq!(links, ["/topics/orders", "/groups/a%2Fb"], "{found:?}");
        let text = found[1]["text"].as_str().unwrap();
        assert_eq!(text, "the group a/b is 60 records behind and has stored no offset for 10 minutes");
    }
}
