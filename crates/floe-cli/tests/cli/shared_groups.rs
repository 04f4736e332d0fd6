//! Processes that share a group, under kills and stops; and `floe group`.
#![cfg(unix)]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    serve,
    support::{Dir, Running},
};

/// Longest wait for what others do in seconds.
const LIMIT: Duration = Duration::from_secs(180);

/// Starts a member whose output goes to a file.
fn member(dir: &Dir, url: &str, file: &str) -> Running {
    let args = [
        "consume",
        "orders",
        "--url",
        url,
        "-g",
        "billing",
        "--shared",
        "--session",
        "2s",
        "--from",
        "beginning",
    ];
    let mut command = dir.command(&args);
    let output = File::create(dir.path().join(file)).unwrap();
    Running::of(command.stdout(output).stderr(Stdio::null()).spawn().unwrap())
}

/// Values that the members have written. The last line of a killed one may be cut.
fn handled(dir: &Dir) -> BTreeSet<String> {
    let files = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path());
    let outputs = files.filter(|path| path.extension().is_some_and(|extension| extension == "out"));
    let lines = outputs.flat_map(|path| {
        let text = fs::read_to_string(path).unwrap();
        let whole = text.rsplit_once('\n').map_or(String::new(), |(whole, _)| whole.to_owned());
        whole.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    lines.collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "{what} never came");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn processes_share_a_group_through_kills_and_stops() {
    let dir = Dir::new();
    let (server, addresses) = serve::start(&dir, &["--data", "data"]);
    let url = format!("fluvio://{}", addresses["fluvio_sc"].as_str().unwrap());
    dir.run(&["topic", "create", "orders", "--partitions", "6", "--url", &url]).ok();
    let mut members: Vec<_> = (0..3).map(|number| member(&dir, &url, &format!("{number}.out"))).collect();
    let mut sent = BTreeSet::new();
    for round in 0..4 {
        let lines: Vec<_> = (0..300).map(|number| format!("order {round}.{number}")).collect();
        dir.feed(&["produce", "orders", "--url", &url], lines.join("\n").as_bytes()).ok();
        sent.extend(lines);
        let stopped = Pid::from_child(&members[(round + 1) % 3]);
        kill_process(stopped, Signal::STOP).unwrap();
        members[round % 3].kill().unwrap();
        members[round % 3].wait().unwrap();
        members[round % 3] = member(&dir, &url, &format!("{}.out", round + 3));
        thread::sleep(Duration::from_millis(700));
        kill_process(stopped, Signal::CONT).unwrap();
    }
    until("the last record", || handled(&dir) == sent);

    let listed = || dir.run(&["group", "list", "--url", &url, "-o", "json"]).ok().json();
    let described = || dir.run(&["group", "describe", "billing", "--url", &url, "-o", "json"]).ok().json();
    until("the last commit", || {
        let group = described();
        let is_done = |one: &serde_json::Value| one["lag"] == 0 && one["member"].is_string();
        group["partitions"].as_array().unwrap().iter().all(is_done)
            && group["members"].as_array().unwrap().len() == 3
    });
    assert!(described()["partitions"][0]["committed_at"].is_i64());
    dir.run(&["group", "describe", "billing", "--url", &url]).ok();
    dir.run(&["group", "reset", "billing", "orders", "--to", "beginning", "--url", &url])
        .code(1)
        .mentions("--force");
    dir.run(&["group", "delete", "billing", "--yes", "--url", &url]).code(1).mentions("3 members");
    for member in &mut members {
        kill_process(Pid::from_child(member), Signal::INT).unwrap();
        assert_eq!(member.wait().unwrap().code(), Some(130));
    }
    dir.run(&["group", "reset", "billing", "orders", "--to", "beginning", "--url", &url]).ok();
    assert_eq!(listed()[0]["lag"], 1200);
    dir.run(&["group", "delete", "billing", "--yes", "--url", &url]).ok();
    assert_eq!(listed().as_array().unwrap().len(), 0);
    dir.run(&["group", "describe", "billing", "--url", &url]).code(3).mentions("no shared group");
    assert_eq!(serve::end(server, Signal::TERM), Some(0));
}

#[test]
fn a_plain_consumer_hears_of_the_members() {
    let dir = Dir::new();
    let (_server, addresses) = serve::start(&dir, &["--data", "data"]);
    let url = format!("fluvio://{}", addresses["fluvio_sc"].as_str().unwrap());
    dir.run(&["topic", "create", "orders", "--url", &url]).ok();
    dir.run(&["consume", "orders", "-g", "billing", "-e", "--url", &url]).ok().stderr_is("");
    let _member = member(&dir, &url, "0.out");
    let listed = || dir.run(&["group", "list", "--url", &url, "-o", "json"]).ok().json();
    until("the member", || listed().as_array().unwrap().len() == 1);
    dir.run(&["consume", "orders", "-g", "billing", "-e", "--url", &url]).ok().mentions("--shared");
    dir.run(&["consume", "orders", "--shared", "--url", &url]).code(2);
}

#[test]
fn a_named_consumer_of_two_topics_is_one_member() {
    let dir = Dir::new();
    let (_server, addresses) = serve::start(&dir, &["--data", "data"]);
    let url = format!("fluvio://{}", addresses["fluvio_sc"].as_str().unwrap());
    for topic in ["orders", "returns"] {
        dir.run(&["topic", "create", topic, "--url", &url]).ok();
        dir.feed(&["produce", topic, "--url", &url], topic.as_bytes()).ok();
    }
    let mut command = dir.command(&["consume", "orders", "returns", "--url", &url, "-g", "billing"]);
    command.args(["--shared", "--instance", "worker-1", "--from", "beginning"]);
    let output = File::create(dir.path().join("0.out")).unwrap();
    let mut member = Running::of(command.stdout(output).stderr(Stdio::null()).spawn().unwrap());
    let sent: BTreeSet<_> = ["orders", "returns"].map(str::to_owned).into();
    until("a record of each topic", || handled(&dir) == sent);
    let group = dir.run(&["group", "describe", "billing", "--url", &url, "-o", "json"]).ok().json();
    let members = group["members"].as_array().unwrap();
    assert_eq!((members.len(), &members[0]["instance"]), (1, &"worker-1".into()), "{group}");
    assert_eq!(members[0]["topics"], serde_json::json!(["orders", "returns"]), "{group}");
    let owned = group["partitions"].as_array().unwrap().iter().map(|at| &at["member"]);
    assert!(owned.clone().count() == 2 && owned.clone().all(|id| *id == members[0]["id"]), "{group}");
    kill_process(Pid::from_child(&member), Signal::INT).unwrap();
    assert_eq!(member.wait().unwrap().code(), Some(130));
}
