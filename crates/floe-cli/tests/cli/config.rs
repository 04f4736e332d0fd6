//! `floe config`, settings from files and variables, and `floe health --check`.

use crate::support::Dir;

#[test]
fn values_have_their_origin() {
    let dir = Dir::new();
    dir.file("floe.toml", b"[producer]\nlinger = \"5ms\"\n");
    let show = ["config", "show", "--origin", "producer.linger", "producer.batch_size"];
    dir.run(&show).ok().prints("producer.linger = 5ms\tfloe.toml:2\nproducer.batch_size = none\tdefault\n");
    let mut command = dir.command(&["--url", "memory:?producer.linger=7ms", "config", "show", "--origin"]);
    let output = command.env("FLOE_PRODUCER__BATCH_SIZE", "1KiB").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("url = memory:?producer.linger=7ms\tflag --url\n"), "{text}");
    assert!(text.contains("producer.linger = 7ms\turl\n"), "{text}");
    assert!(text.contains("producer.batch_size = 1KiB\tvariable FLOE_PRODUCER__BATCH_SIZE\n"), "{text}");
}

#[test]
fn invalid_setting_fails_only_commands_that_use_settings() {
    let dir = Dir::new();
    dir.file("floe.toml", b"[producer]\nlingr = \"5ms\"\n");
    let run = dir.run(&["topic", "list"]);
    assert_eq!(run.code, Some(2), "{run:?}");
    let expected = "floe.toml:2: unknown setting \"producer.lingr\": did you mean \"producer.linger\"?";
    assert!(run.stderr.contains(expected), "{run:?}");
    dir.run(&["explain", "gap"]).ok();
    dir.run(&["config", "show", "no.such"]).code(2);
}

#[test]
fn profile_settings_apply_to_commands() {
    let dir = Dir::new();
    let toml = "[profiles.small]\nurl = \"embedded:here\"\nproducer.max_request_size = \"100B\"\n";
    dir.file("floe.toml", toml.as_bytes());
    dir.run(&["--profile", "small", "topic", "create", "orders"]).ok();
    assert!(dir.path().join("here").is_dir());
    let long = "x".repeat(1000);
    let run = dir.feed(&["--profile", "small", "produce", "orders"], long.as_bytes());
    assert!(run.code != Some(0) && run.stderr.contains("record_too_large"), "{run:?}");
    dir.feed(&["--url", "embedded:here", "produce", "orders"], long.as_bytes()).ok();
}

#[test]
fn health_check_is_one_line_with_a_monitoring_exit_code() {
    let dir = Dir::new();
    dir.run(&["health", "--check"]).ok().prints("OK - embedded, 1 of 1 ready\n");
    // No process listens on a port that was just released.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let run = dir.run(&["health", "--check", "--url", &format!("walrus://127.0.0.1:{port}")]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stdout.starts_with(b"CRITICAL - "), "{run:?}");
    let run = dir.run(&["health", "--check", "--url", "nonsense"]);
    assert_eq!(run.code, Some(3), "{run:?}");
}
