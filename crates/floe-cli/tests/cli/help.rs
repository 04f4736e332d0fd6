//! Help, completions and explanations.

use crate::support::Dir;

const COMMANDS: [&str; 16] = [
    "topic",
    "produce",
    "consume",
    "offsets",
    "smartmodule",
    "partition",
    "spu",
    "profile",
    "serve",
    "bench",
    "top",
    "quickstart",
    "health",
    "config",
    "explain",
    "completions",
];

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let dir = Dir::new();
    let help = dir.run(&["--help"]).ok().stderr_is("").text();
    for command in COMMANDS {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))),
            "{command}: {help}"
        );
        let help = dir.run(&[command, "--help"]).ok().text();
        assert!(help.contains(&format!("Usage: floe {command}")), "{help}");
    }
    assert!(help.contains("Exit codes: 0 success"), "{help}");
    assert!(help.contains("FLOE_URL"), "{help}");
}

#[test]
fn missing_and_unknown_commands_are_usage_errors() {
    let dir = Dir::new();
    dir.run(&[]).code(2);
    dir.run(&["prodcue"]).code(2).mentions("'produce'");
    dir.run(&["topic", "list", "-o", "xml"])
        .code(2)
        .mentions("[possible values: text, json, jsonl, table, csv, null, length-prefixed]");
}

#[test]
fn completions_contain_every_command() {
    let dir = Dir::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = dir.run(&["completions", shell]).ok().stderr_is("").text();
        for command in COMMANDS {
            assert!(script.contains(command), "{shell} does not complete {command}");
        }
        assert!(script.contains("key-separator"), "{shell}");
    }
    dir.run(&["completions", "tcsh"]).code(2);
}

#[test]
fn every_help_page_has_a_manual_page() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path().join("man")).unwrap();
    dir.run(&["__man", "man"]).ok().prints("").stderr_is("");
    for help in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/help")).unwrap() {
        let name = help.unwrap().file_name().into_string().unwrap().replace(".txt", "");
        let page = std::fs::read_to_string(dir.path().join(format!("man/{name}.1")));
        // Hidden commands have a page of neither kind, but their help is checked.
        if name.contains("__") {
            assert!(page.is_err(), "{name}");
            continue;
        }
        let page = page.unwrap();
        assert!(page.contains(&format!(".TH {name} 1")) && page.contains(".SH SYNOPSIS"), "{name}: {page}");
        assert!(!page.contains("__man"), "{name}: {page}");
    }
    dir.run(&["__man", "absent"]).code(3).mentions("absent");
}

#[test]
fn every_error_code_is_explained() {
    let dir = Dir::new();
    let codes = dir.run(&["explain", "-o", "json"]).ok().json();
    let codes = codes.as_array().unwrap();
    let known: Vec<_> = codes.iter().map(|code| code["code"].as_str().unwrap()).collect();
    for expected in floe::ErrorKind::ALL.iter().map(|kind| kind.as_str()).chain([
        "usage",
        "io_error",
        "loss",
        "not_ready",
    ]) {
        assert!(known.contains(&expected), "{expected}: {known:?}");
    }
    for code in codes {
        let text = dir.run(&["explain", code["code"].as_str().unwrap()]).ok().text();
        assert!(text.contains(code["meaning"].as_str().unwrap()), "{text}");
        assert!(text.contains("What to do: "), "{text}");
        assert!(text.contains(&format!("exit code:  {}\n", code["exit_code"])), "{text}");
    }
    assert_eq!(dir.run(&["explain"]).ok().text().lines().count(), codes.len());
    dir.run(&["explain", "topic_not_fuond"])
        .code(2)
        .stderr_is("error: unknown error code \"topic_not_fuond\"\nhint: did you mean topic_not_found?\n");
}

#[test]
fn pipes_get_no_colour() {
    let dir = Dir::new();
    for args in [&["--help"][..], &["topic", "--nonsense"], &["consume", "nope"]] {
        let run = dir.run(args);
        assert!(!run.text().contains('\u{1b}') && !run.stderr.contains('\u{1b}'), "{args:?}");
    }
}
