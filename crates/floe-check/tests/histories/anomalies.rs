//! Small histories, written out.

use floe_check::{Anomaly, CheckOptions, Checker, HistoryVerdict};

use crate::found;

/// Events in short: `send 1 a@0` and so on, see [`line`].
fn judge(events: &[&str]) -> HistoryVerdict {
    judge_with(events, false)
}

fn judge_with(events: &[&str], drained: bool) -> HistoryVerdict {
    let lines: String = events.iter().map(|event| line(event) + "\n").collect();
    let mut checker = Checker::new(CheckOptions { drained, ..CheckOptions::default() });
    checker.read(format!("{{\"history\":1}}\n{lines}").as_bytes()).unwrap();
    checker.finish().unwrap()
}

/// Returns the JSON line of `TYPE CALL PROCESS [name=value…]`, on partition 0 of `t`.
fn line(event: &str) -> String {
    let mut words = event.split(' ');
    let [phase, call, process] = [(); 3].map(|()| words.next().unwrap());
    let mut line = format!("{{\"type\":\"{phase}\",\"call\":\"{call}\",\"process\":\"{process}\"");
    if call != "send" || phase == "invoke" {
        line.push_str(",\"topic\":\"t\",\"partition\":0");
    }
    for word in words {
        let (name, value) = word.split_once('=').unwrap();
        let quoted = matches!(name, "digest" | "group" | "key");
        line.push_str(&if quoted {
            format!(",\"{name}\":\"{value}\"")
        } else {
            format!(",\"{name}\":{value}")
        });
    }
    line + "}"
}

/// Sends of `a`, `b`, … by `p` that are acknowledged at offsets 0, 1, …
fn sent(count: usize) -> Vec<String> {
    let digests = "abcdef".chars().take(count);
    digests
        .enumerate()
        .flat_map(|(at, digest)| {
            [format!("invoke send p id={at} digest={digest}"), format!("ok send p id={at} offset={at}")]
        })
        .collect()
}

fn after_sends(count: usize, events: &[&str]) -> HistoryVerdict {
    let sent = sent(count);
    let all: Vec<_> = sent.iter().map(String::as_str).chain(events.iter().copied()).collect();
    judge(&all)
}

#[test]
fn a_correct_history_has_no_findings() {
    let verdict = after_sends(
        2,
        &[
            "ok assign c offset=0 group=g",
            "ok poll c offset=0 digest=a group=g",
            "ok handle c offset=0 group=g",
            "invoke commit c offset=1 group=g",
            "ok commit c offset=1 group=g",
            "ok poll c offset=1 digest=b group=g",
            "invoke send p id=2 digest=c",
            "unknown send p id=2",
            "invoke send p id=3 digest=d",
        ],
    );
    assert_eq!(verdict.findings(), []);
    let counts = (verdict.sent, verdict.acknowledged, verdict.unknown, verdict.polled, verdict.stored);
    assert_eq!(counts, (4, 2, 2, 2, 2));
}

#[test]
fn a_record_that_all_readers_passed_is_lost() {
    let verdict = after_sends(3, &["ok poll c offset=0 digest=a", "ok poll c offset=2 digest=c"]);
    assert_eq!(found(&verdict), [Anomaly::LostWrite, Anomaly::PollSkip]);
    let finding = &verdict.findings()[0];
    assert_eq!(
        (finding.topic.as_str(), finding.partition, finding.offset, finding.line),
        ("t", Some(0), Some(1), 5)
    );
}

#[test]
fn an_unread_tail_is_an_anomaly_of_drained_readers_alone() {
    let sent = sent(2);
    let events: Vec<_> = sent.iter().map(String::as_str).chain(["ok poll c offset=0 digest=a"]).collect();
    let verdict = judge(&events);
    assert_eq!((found(&verdict), verdict.unseen), (vec![], 1));
    assert_eq!(found(&judge_with(&events, true)), [Anomaly::Unseen]);
}

#[test]
fn records_before_the_first_position_of_every_reader_are_not_lost() {
    let verdict = after_sends(3, &["ok assign c offset=2", "ok poll c offset=2 digest=c"]);
    assert_eq!((found(&verdict), verdict.unseen), (vec![], 2));
    // A reader that began at the beginning passed over them.
    let verdict = after_sends(3, &["ok assign c offset=0", "ok poll c offset=2 digest=c"]);
    assert_eq!(verdict.count(Anomaly::LostWrite), 2);
    assert_eq!(verdict.count(Anomaly::PollSkip), 1);
}

#[test]
fn a_reported_gap_is_no_loss() {
    let verdict = after_sends(
        3,
        &["ok poll c offset=0 digest=a", "ok gap c offset=1 end=2", "ok poll c offset=2 digest=c"],
    );
    assert_eq!((found(&verdict), verdict.reported_missing), (vec![], 1));
}

#[test]
fn a_failed_record_that_is_read_is_aborted() {
    let verdict = judge(&["invoke send p id=0 digest=a", "fail send p id=0", "ok poll c offset=0 digest=a"]);
    assert_eq!(found(&verdict), [Anomaly::AbortedRead]);
}

#[test]
fn a_record_at_two_offsets_is_a_duplicate() {
    let verdict = after_sends(1, &["ok poll c offset=0 digest=a", "ok poll c offset=1 digest=a"]);
    assert_eq!(found(&verdict), [Anomaly::Duplicate]);
    // Equal values that were sent twice are none.
    let verdict = judge(&[
        "invoke send p id=0 digest=a",
        "invoke send p id=1 digest=a",
        "ok send p id=0 offset=0",
        "ok send p id=1 offset=1",
        "ok poll c offset=0 digest=a",
    ]);
    assert_eq!(found(&verdict), []);
    // The same value under another key is another record.
    let verdict = judge(&[
        "invoke send p id=0 digest=a key=x",
        "ok send p id=0 offset=0",
        "ok poll c offset=1 digest=a key=y",
    ]);
    assert_eq!(found(&verdict), [Anomaly::Unsent]);
}

#[test]
fn a_record_that_was_not_sent_is_found_where_sends_are_recorded() {
    assert_eq!(found(&after_sends(1, &["ok poll c offset=1 digest=f0"])), [Anomaly::Unsent]);
    assert_eq!(found(&judge(&["ok poll c offset=1 digest=f0"])), []);
}

#[test]
fn two_records_at_one_offset_are_inconsistent() {
    let verdict = judge(&["ok poll c offset=0 digest=a", "ok poll d offset=0 digest=b"]);
    assert_eq!(found(&verdict), [Anomaly::InconsistentOffsets]);
}

#[test]
fn readers_go_forward_until_they_are_assigned_anew() {
    let polls = ["ok poll c offset=0 digest=a", "ok poll c offset=1 digest=b", "ok poll c offset=1 digest=b"];
    assert_eq!(found(&after_sends(2, &polls)), [Anomaly::NonmonotonicPoll]);
    let polls = ["ok poll c offset=1 digest=b", "ok assign c offset=0", "ok poll c offset=0 digest=a"];
    assert_eq!(found(&after_sends(2, &polls)), []);
}

#[test]
fn offsets_without_records_may_be_skipped() {
    let verdict = judge(&["ok poll c offset=0 digest=a", "ok poll c offset=5 digest=b"]);
    assert_eq!(found(&verdict), []);
    // Another reader that finds a record between the two proves the skip.
    let polls = ["ok poll c offset=0 digest=a", "ok poll c offset=5 digest=b", "ok poll d offset=3 digest=c"];
    assert_eq!(found(&judge(&polls)), [Anomaly::PollSkip]);
}

#[test]
fn a_process_sends_in_order() {
    let verdict = judge(&[
        "invoke send p id=0 digest=a",
        "invoke send p id=1 digest=b",
        "ok send p id=0 offset=1",
        "ok send p id=1 offset=0",
    ]);
    assert_eq!(found(&verdict), [Anomaly::NonmonotonicSend]);
}

#[test]
fn appends_agree_with_real_time() {
    let verdict = judge(&[
        "invoke send p id=0 digest=a",
        "ok send p id=0 offset=1",
        "invoke send q id=0 digest=b",
        "ok send q id=0 offset=0",
    ]);
    assert_eq!(found(&verdict), [Anomaly::Nonlinearizable]);
    // Sends that overlap may be stored in either order.
    let verdict = judge(&[
        "invoke send p id=0 digest=a",
        "invoke send q id=0 digest=b",
        "ok send p id=0 offset=1",
        "ok send q id=0 offset=0",
    ]);
    assert_eq!(found(&verdict), []);
}

#[test]
fn conditional_appends_are_linearizable() {
    let win = ["invoke send p id=0 digest=a expect=0", "ok send p id=0 offset=0"];
    let late = ["invoke send q id=0 digest=b expect=0", "fail send q id=0 end=1"];
    assert_eq!(found(&judge(&[win, late].concat())), []);
    // The condition did not hold, and the append succeeded.
    let wrong = ["invoke send p id=0 digest=a expect=1", "ok send p id=0 offset=0"];
    assert_eq!(found(&judge(&wrong)), [Anomaly::Nonlinearizable]);
    // The condition held, and the append was refused.
    let wrong = ["invoke send q id=0 digest=b expect=0", "fail send q id=0 end=0"];
    assert_eq!(found(&judge(&wrong)), [Anomaly::Nonlinearizable]);
    // The end that it saw had passed, or had not come yet.
    let stale = ["invoke send q id=0 digest=b expect=7", "fail send q id=0 end=0"];
    assert_eq!(found(&judge(&[win, stale].concat())), [Anomaly::Nonlinearizable]);
    let early = ["invoke send q id=0 digest=b expect=0", "fail send q id=0 end=1"];
    assert_eq!(found(&judge(&[early, win].concat())), [Anomaly::Nonlinearizable]);
    // Two observations that go backwards.
    let saw = |process: &str, end: u32| {
        [
            format!("invoke send {process} id=0 digest=b expect=7"),
            format!("fail send {process} id=0 end={end}"),
        ]
    };
    let both: Vec<_> = [saw("q", 2), saw("r", 1)].concat();
    assert_eq!(
        found(&judge(&both.iter().map(String::as_str).collect::<Vec<_>>())),
        [Anomaly::Nonlinearizable]
    );
}

#[test]
fn commits_follow_handled_records() {
    let polls = [
        "ok assign c offset=0 group=g",
        "ok poll c offset=0 digest=a group=g",
        "ok poll c offset=1 digest=b group=g",
        "ok handle c offset=1 group=g",
    ];
    let verdict = after_sends(2, &[&polls[..], &["invoke commit c offset=2 group=g"]].concat());
    assert_eq!(found(&verdict), [Anomaly::CommitAhead]);
    assert_eq!(verdict.findings()[0].offset, Some(0));
    // A member that resumes beyond shows the same.
    let verdict = after_sends(2, &[&polls[..], &["ok assign d offset=2 group=g"]].concat());
    assert_eq!(found(&verdict), [Anomaly::CommitAhead]);
    let handled = ["ok handle c offset=0 group=g", "invoke commit c offset=2 group=g"];
    assert_eq!(found(&after_sends(2, &[&polls[..], &handled].concat())), []);
    // An offset without a record needs no handling, nor does one that an administrator passed over.
    let verdict = after_sends(2, &[&polls[..], &handled, &["invoke commit c offset=9 group=g"]].concat());
    assert_eq!(found(&verdict), []);
    let reset = ["ok reset c offset=2 group=g", "invoke commit c offset=2 group=g"];
    assert_eq!(found(&after_sends(2, &[&polls[..], &reset].concat())), []);
    // Nor do records that the application chose to pass over.
    let skip = ["ok skip c offset=0 end=1 group=g", "ok assign c offset=2 group=g"];
    assert_eq!(found(&after_sends(2, &[&polls[..], &skip].concat())), []);
    // A group of which no handled record is recorded is not judged.
    let silent = ["ok assign c offset=0 group=g", "invoke commit c offset=2 group=g"];
    assert_eq!(found(&after_sends(2, &silent)), []);
}

#[test]
fn engines_without_offsets_are_judged_by_copies() {
    let two = [
        "invoke send p id=0 digest=a",
        "ok send p id=0",
        "invoke send p id=1 digest=b",
        "ok send p id=1",
        "ok poll c digest=a",
    ];
    assert_eq!((found(&judge(&two)), judge(&two).unseen), (vec![], 1));
    assert_eq!(found(&judge_with(&two, true)), [Anomaly::Unseen]);
    let twice = [&two[..], &["ok poll c digest=b", "ok poll c digest=b"]].concat();
    assert_eq!(found(&judge_with(&twice, true)), [Anomaly::Duplicate]);
}

#[test]
fn examples_are_bounded_and_counts_are_not() {
    let polls: Vec<_> = (0..50).map(|at| format!("ok poll c offset={} digest=a{at}", 100 - at)).collect();
    let verdict = judge(&polls.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(verdict.count(Anomaly::NonmonotonicPoll), 49);
    assert_eq!(verdict.findings().len(), 10);
}

#[test]
fn histories_that_make_no_sense_are_refused() {
    let error = |text: &str| {
        let mut checker = Checker::new(CheckOptions::default());
        checker.read(text.as_bytes()).unwrap_err().to_string()
    };
    let after = |event: &str| error(&format!("{{\"history\":1}}\n{}\n", line(event)));
    assert!(error("{}\n").contains("line 1: a history begins with"));
    assert!(error("{\"history\":1}\nx\n").contains("line 2:"));
    assert!(after("ok send p id=0 offset=0").contains("no call with this id"));
    assert!(after("fail poll c").contains("only sends and commits"));
    assert!(after("ok poll c offset=0").contains("digest is missing"));
    assert!(after("ok handle c offset=0").contains("group is missing"));
    assert!(after("invoke send p digest=a").contains("id is missing"));
    let mut twice = format!("{{\"history\":1}}\n{}\n", line("invoke send p id=0 digest=a"));
    twice.push_str(&(line("invoke send p id=0 digest=a") + "\n"));
    assert!(error(&twice).contains("in flight"));
    assert!(error(&format!("{{\"history\":1}}\n{}\n", "x".repeat(1 << 21))).contains("too long"));
}

#[test]
fn a_cut_last_line_is_passed_over() {
    let mut checker = Checker::new(CheckOptions::default());
    checker.read(&b"{\"history\":1}\n{\"history\":1}\n{\"type\":\"o"[..]).unwrap();
    let verdict = checker.finish().unwrap();
    assert_eq!((verdict.cut, verdict.events), (true, 0));
}
