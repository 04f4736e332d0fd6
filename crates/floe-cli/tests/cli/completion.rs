//! Completion of names on a command line.

use std::net::TcpListener;

use crate::support::{Dir, Run};

/// Asks for names without the time limit of a shell.
fn complete(dir: &Dir, words: &[&str]) -> Run {
    dir.run(&[&["__complete", "--within=60000"], words].concat()).ok().stderr_is("")
}

/// Asks as a shell does.
fn complete_at_once(dir: &Dir, words: &[&str]) -> Run {
    dir.run(&[&["__complete"], words].concat()).ok().stderr_is("")
}

#[test]
fn names_of_a_store_are_completed() {
    let dir = Dir::with_topics(&["orders", "orders-dead", "pay"]);
    complete(&dir, &["consume", "ord"]).prints("orders\norders-dead\n");
    complete(&dir, &["topic", "describe", ""]).prints("orders\norders-dead\npay\n");
    complete(&dir, &["topic", "create", ""]).prints("");
    complete(&dir, &["consume", "--from"]).prints("");
    complete(&dir, &[]).prints("");

    dir.feed(&["produce", "pay"], b"1\n").ok();
    dir.run(&["consume", "pay", "--group", "billing", "-e"]).ok();
    complete(&dir, &["consume", "pay", "--group", ""]).prints("billing\n");
    complete(&dir, &["offsets", "reset", "b"]).prints("billing\n");

    dir.run(&["profile", "add", "blue", "memory:"]).ok();
    complete(&dir, &["--profile", ""]).prints("blue\n");
    complete(&dir, &["profile", "use", "b"]).prints("blue\n");
}

#[test]
fn completion_is_silent_where_there_are_no_names() {
    let dir = Dir::new();
    complete_at_once(&dir, &["consume", ""]).prints("");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "completion makes no store");
    complete_at_once(&dir, &["--url", "nonsense", "consume", ""]).prints("");
    complete_at_once(&dir, &["--url", "memory:", "consume", ""]).prints("");
    complete_at_once(&dir, &["--profile", "missing", "consume", ""]).prints("");
    // A port without a server, and one that accepts connections and never answers.
    complete_at_once(&dir, &["--url", "fluvio://127.0.0.1:1", "consume", ""]).prints("");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("fluvio://{}", listener.local_addr().unwrap());
    complete_at_once(&dir, &["--url", &url, "consume", ""]).prints("");
    complete_at_once(&dir, &["--url", &url, "consume", "x", "--group", ""]).prints("");
}

/// Runs the script of bash, and prints what it would offer at the end of a line.
#[cfg(unix)]
#[test]
fn script_of_bash_offers_names() {
    let dir = Dir::with_topics(&["orders", "pay"]);
    let floe = assert_cmd::cargo::cargo_bin!("floe").display().to_string();
    let offered = |line: &str| {
        let script = format!(
            "source <('{floe}' completions bash | sed 's/__complete/__complete --within=60000/'); COMP_LINE='{floe} {line}'; COMP_POINT=${{#COMP_LINE}}; \
             COMP_WORDS=($COMP_LINE); [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=(''); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _floe_names '{floe}' \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let mut command = dir.command(&[]);
        let mut bash = std::process::Command::new("bash");
        bash.args(["-c", &script]).current_dir(dir.path());
        for (name, value) in command.env("LC_ALL", "C").get_envs() {
            match value {
                Some(value) => bash.env(name, value),
                None => bash.env_remove(name),
            };
        }
        Run::from(bash.output().unwrap()).ok().text()
    };
    assert_eq!(offered("consume "), "orders pay\n");
    assert_eq!(offered("--url embedded:./floe-data consume or"), "orders\n");
    assert_eq!(offered("topic desc"), "describe\n", "the script knows commands");
}
