//! `floe profile`, and commands that use a profile.

use std::path::PathBuf;

use crate::support::{Dir, Run};

fn user_file(dir: &Dir) -> PathBuf {
    dir.path().join("config/floe/config.toml")
}

fn with_variable(dir: &Dir, args: &[&str], name: &str, value: &str) -> Run {
    dir.command(args).env(name, value).output().unwrap().into()
}

#[test]
fn profiles_are_added_listed_shown_and_removed() {
    let dir = Dir::new();
    dir.run(&["profile", "list"]).ok().prints("");
    dir.run(&["profile", "add", "one", "embedded:one"]).ok();
    dir.run(&["profile", "add", "two", "embedded:two?durability=always"]).ok();
    let listed = dir.run(&["profile", "list", "-o", "jsonl"]).ok().json_lines();
    let names: Vec<_> = listed.iter().map(|profile| profile["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(listed[1]["url"], "embedded:two?durability=always");
    assert_eq!(listed[0]["file"], user_file(&dir).to_str().unwrap());
    dir.run(&["profile", "add", "one", "embedded:other"]).code(2).mentions("--overwrite");
    dir.run(&["profile", "add", "one", "embedded:other", "--overwrite"]).ok();
    let text = dir.run(&["profile", "show", "one"]).ok().text();
    assert!(text.contains("url = \"embedded:other\"\n"), "{text}");
    dir.run(&["profile", "add", "bad", "embeded:x"]).code(2).mentions("did you mean \"embedded\"?");
    dir.run(&["profile", "rm", "one"]).code(2).mentions("--yes");
    dir.run(&["profile", "rm", "one", "--yes"]).ok().prints("removed profile one\n");
    dir.run(&["profile", "show", "one"]).code(2).mentions("unknown profile \"one\"");
    dir.run(&["profile", "rm", "twoo", "--yes"]).code(2).mentions("hint: did you mean two?");
}

#[test]
fn current_profile_selects_the_engine() {
    let dir = Dir::new();
    for name in ["one", "two"] {
        dir.run(&["profile", "add", name, &format!("embedded:{name}")]).ok();
        dir.run(&["topic", "create", &format!("in-{name}"), "--url", &format!("embedded:{name}")]).ok();
    }
    let list = ["topic", "list"];
    dir.run(&list).ok().prints("");
    dir.run(&["profile", "use", "-"]).code(2).mentions("no previous profile");
    dir.run(&["profile", "use", "one"]).ok().prints("using profile one: embedded:one\n");
    dir.run(&list).ok().prints("in-one\n");
    dir.run(&["profile", "use", "two"]).ok();
    dir.run(&list).ok().prints("in-two\n");
    for expected in ["in-one\n", "in-two\n"] {
        dir.run(&["profile", "use", "-"]).ok();
        dir.run(&list).ok().prints(expected);
    }
    let table = dir.run(&["profile", "list"]).ok().text();
    assert!(table.lines().any(|line| line.starts_with("*        two")), "{table}");
    // Precedence: --url, --profile, FLOE_URL, FLOE_PROFILE, files.
    dir.run(&["topic", "list", "--profile", "one"]).ok().prints("in-one\n");
    with_variable(&dir, &list, "FLOE_PROFILE", "one").ok().prints("in-one\n");
    with_variable(&dir, &list, "FLOE_URL", "embedded:one").ok().prints("in-one\n");
    with_variable(&dir, &["topic", "list", "--profile", "two"], "FLOE_URL", "embedded:one")
        .ok()
        .prints("in-two\n");
    dir.run(&["topic", "list", "--url", "embedded:one", "--profile", "two"]).ok().prints("in-one\n");
    dir.run(&["topic", "list", "--profile", "twoo"]).code(2).mentions("did you mean \"two\"?");
    dir.run(&["profile", "use", "three"]).code(2).mentions("unknown profile");
}

#[test]
fn project_file_has_profiles_of_its_own() {
    let dir = Dir::new();
    dir.file("floe.toml", b"profile = \"project\"\n[profiles.project]\nurl = \"embedded:project\"\n");
    dir.run(&["topic", "create", "t"]).ok();
    assert!(dir.path().join("project").exists());
    let shown = dir.run(&["profile", "show", "-o", "json"]).ok().json();
    assert_eq!((shown["name"].as_str(), shown["in_use"].as_bool()), (Some("project"), Some(true)));
    dir.run(&["profile", "use", "project"])
        .code(2)
        .mentions("not in the user file")
        .mentions("--profile project");
    assert!(!user_file(&dir).exists());
}

#[test]
fn invalid_file_fails_only_commands_that_use_it() {
    let dir = Dir::new();
    dir.file("floe.toml", b"url = \"memory:\"\n[producer]\nlingr = \"5ms\"\n");
    dir.run(&["topic", "list"]).code(2).mentions("floe.toml:3").mentions("linger");
    dir.run(&["explain", "gap"]).ok();
    dir.run(&["completions", "bash"]).ok();
}

const FLUVIO: &str = r#"
version = "2.0"
current_profile = "local"
[profile.local]
cluster = "local"
[profile."cloud/eu"]
cluster = "cloud"
[cluster.local]
endpoint = "127.0.0.1:9003"
[cluster.cloud]
endpoint = "sc.example:9003"
[cluster.cloud.tls]
tls_policy = "verified"
tls_source = "inline"
[cluster.cloud.tls.certs]
domain = "fluvio.example"
key = """-----BEGIN PRIVATE KEY-----
the key
-----END PRIVATE KEY-----
"""
cert = "-----BEGIN CERTIFICATE-----\nus\n-----END CERTIFICATE-----\n"
ca_cert = "-----BEGIN CERTIFICATE-----\nthem\n-----END CERTIFICATE-----\n"
"#;

#[test]
fn profiles_of_the_official_tools_are_imported() {
    let dir = Dir::new();
    dir.run(&["profile", "import", "fluvio"]).code(2).mentions(".fluvio/config cannot be read");
    dir.file("theirs", FLUVIO.as_bytes());
    dir.run(&["profile", "add", "mine", "memory:"]).ok();
    let import = ["profile", "import", "fluvio", "--file", "theirs"];
    let text = dir.run(&import).ok().stderr_is("").text();
    assert!(text.starts_with("cloud/eu: fluvio+tls://sc.example:9003?ca="), "{text}");
    assert!(text.contains("local: fluvio://127.0.0.1:9003\nimported 2 profiles from theirs into "), "{text}");
    assert!(text.ends_with("to use one: floe profile use local\n"), "{text}");
    let written = std::fs::read_to_string(user_file(&dir)).unwrap();
    assert!(written.contains("[profiles.mine]") && !written.contains("BEGIN"), "{written}");
    let key = user_file(&dir).with_file_name("tls").join("cloud_2feu-key.pem");
    assert!(std::fs::read_to_string(&key).unwrap().contains("the key"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        for path in [&key, &user_file(&dir)] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        }
    }
    // A second import needs --overwrite, and then updates the profiles.
    dir.run(&import).code(2).mentions("cloud/eu, local").mentions("--overwrite");
    let moved = FLUVIO.replace("127.0.0.1:9003", "127.0.0.1:9103");
    let moved = dir.file("moved", moved.as_bytes());
    let again = ["profile", "import", "fluvio", "--overwrite"];
    with_variable(&dir, &again, "FLV_PROFILE_PATH", moved.to_str().unwrap()).ok();
    let shown = dir.run(&["profile", "show", "local", "-o", "json"]).ok().json();
    assert_eq!(shown["settings"]["url"], "fluvio://127.0.0.1:9103");
    dir.run(&["profile", "import", "kafka"]).code(2);
    // The key goes with its profile.
    dir.run(&["profile", "rm", "cloud/eu", "--yes"]).ok();
    assert_eq!(std::fs::read_dir(key.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn profiles_are_imported_one_by_one() {
    let dir = Dir::new();
    dir.file("theirs", FLUVIO.as_bytes());
    let import = |name: &str| dir.run(&["profile", "import", "fluvio", "--file", "theirs", "--only", name]);
    let text = import("local").ok().text();
    assert!(text.contains("imported 1 profile from theirs"), "{text}");
    assert!(!std::fs::read_to_string(user_file(&dir)).unwrap().contains("cloud/eu"));
    assert!(
        !import("cloud/eu").ok().text().contains("to use one"),
        "the current profile was not imported now"
    );
    import("nope").code(2).mentions("no profile \"nope\"").mentions("cloud/eu, local");
}
