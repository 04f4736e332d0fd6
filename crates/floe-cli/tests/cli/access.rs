//! Who may do what: rules and certificates of `floe serve`, private files, and files of other users.
#![cfg(unix)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use floe_testkit::certificates::Authority;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    serve::{end, start},
    support::{Dir, Run},
};

const DOMAIN: &str = "sc.example";

/// Writes certificates of a server and of two clients.
fn certificates(dir: &Dir) {
    let authority = Authority::default();
    let write = |name: &str, (certificate, key): (String, String)| {
        dir.file(&format!("{name}.pem"), certificate.as_bytes());
        dir.file(&format!("{name}.key"), key.as_bytes());
    };
    dir.file("ca.pem", authority.pem().as_bytes());
    write("server", authority.issue(&[DOMAIN, &format!("floe-spu-5001.{DOMAIN}")]));
    for name in ["writer", "reader"] {
        write(name, authority.issue_to(name, &[&format!("{name}.example")]));
    }
}

const TLS: [&str; 6] = ["--tls-cert", "server.pem", "--tls-key", "server.key", "--tls-client-ca", "ca.pem"];

fn url(addresses: &Value, client: &str) -> String {
    let address = addresses["fluvio_sc"].as_str().unwrap();
    format!("fluvio+tls://{address}?domain={DOMAIN}&ca=ca.pem&cert={client}.pem&key={client}.key")
}

#[test]
fn certificates_and_rules_decide_what_a_command_may_do() {
    let dir = Dir::new();
    certificates(&dir);
    dir.file(
        "access.toml",
        b"[[rule]]\nsubjects = [\"cn:writer\"]\ntopics = [\"orders\"]\nallow = [\"write\", \"admin\"]\n\
          [[rule]]\nsubjects = [\"dns:reader.example\"]\ntopics = [\"orders\"]\nallow = [\"read\"]\n",
    );
    let args = [&["serve", "-o", "jsonl", "--url", "memory:", "--access", "access.toml"][..], &TLS];
    let args = [&args.concat()[..], &["--fluvio-sc", "127.0.0.1:0", "--fluvio-spu", "127.0.0.1:0"]].concat();
    let mut child = dir.start(&[&args[..], &["--http", "127.0.0.1:0"]].concat());
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addresses: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(addresses["walrus"], Value::Null, "Walrus has no TLS");
    let run = |client: &str, args: &[&str], input: &[u8]| -> Run {
        dir.feed(&[args, &["--url", &url(&addresses, client)]].concat(), input)
    };
    run("writer", &["topic", "create", "orders"], b"").ok();
    run("writer", &["produce", "orders"], b"coffee\n").ok();
    run("reader", &["consume", "orders", "-e", "--from", "beginning"], b"").ok().prints("coffee\n");
    let refused = run("reader", &["produce", "orders"], b"tea\n");
    assert!(refused.code != Some(0), "{refused:?}");
    refused.mentions("auth_failed");
    let refused = run("reader", &["topic", "delete", "orders", "--yes"], b"").code(5);
    refused.mentions("no rule of the server lets cn:reader delete topic").mentions("hint: ");
    // The plain protocol gets no answer from the encrypted address.
    let mut http = TcpStream::connect(addresses["http"].as_str().unwrap()).unwrap();
    http.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = http.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(end(child, Signal::TERM), Some(0));
}

#[test]
fn ways_around_certificates_must_be_asked_for() {
    let dir = Dir::new();
    certificates(&dir);
    let serve = |more: &[&str]| dir.run(&[&["serve", "--url", "memory:"][..], &TLS, more].concat());
    serve(&["--walrus", "127.0.0.1:0"]).code(2).mentions("--tls-client-ca").mentions("--allow-plain walrus");
    dir.run(&["serve", "--url", "memory:", "--allow-plain", "http"]).code(2).mentions("--tls-cert");
    let args = [&TLS[..], &["--allow-plain", "walrus,http", "--url", "memory:"]].concat();
    let (child, addresses) = start(&dir, &args);
    assert_eq!(crate::serve::ask_walrus(&addresses, "REGISTER t"), "OK");
    let mut http = TcpStream::connect(addresses["http"].as_str().unwrap()).unwrap();
    http.write_all(b"GET /livez HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    http.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert_eq!(end(child, Signal::TERM), Some(0));
}

#[test]
fn rules_with_a_mistake_are_refused_at_the_start() {
    let dir = Dir::new();
    dir.file("access.toml", b"[[rule]]\nsubjects = [\"writer\"]\ntopics = [\"*\"]\nallow = [\"write\"]\n");
    let ports = ["--fluvio-sc", "off", "--fluvio-spu", "off", "--http", "off", "--walrus", "127.0.0.1:0"];
    let run = dir.run(&[&["serve", "--url", "memory:", "--access", "access.toml"][..], &ports].concat());
    run.code(2).mentions("access.toml: rule 1: subject \"writer\"").mentions("cn:");
    let run = dir.run(&[&["serve", "--url", "memory:", "--access", "missing.toml"][..], &ports].concat());
    run.code(2).mentions("missing.toml");
}

#[test]
fn metrics_beyond_loopback_need_an_option() {
    let dir = Dir::with_topics(&["t"]);
    let list = ["topic", "list", "--telemetry"];
    dir.run(&[&list[..], &["prometheus=0.0.0.0:0"]].concat()).code(2).mentions("--listen-public");
    dir.run(&[&list[..], &["prometheus=[::]:0"]].concat()).code(2).mentions("--listen-public");
    dir.run(&[&list[..], &["prometheus=0.0.0.0:0", "--listen-public"]].concat()).ok().prints("t\n");
    dir.run(&[&list[..], &["prometheus=127.0.0.1:0"]].concat()).ok();
    dir.run(&["serve", "--url", "memory:", "--telemetry", "prometheus=0.0.0.0:0"]).code(2);
}

#[test]
fn metrics_endpoint_answers_to_its_own_hosts() {
    let dir = Dir::with_topics(&["t"]);
    let mut child = dir.start(&["consume", "t", "--telemetry", "prometheus=127.0.0.1:0"]);
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address =
        line.trim().strip_prefix("metrics: http://").unwrap().strip_suffix("/metrics").unwrap().to_owned();
    for (host, status) in [(address.as_str(), 200), ("localhost", 200), ("127.0.0.1.evil.example", 421)] {
        let mut socket = TcpStream::connect(&address).unwrap();
        write!(socket, "GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Checks the modes below a folder, and returns the number of files.
fn check_private(folder: &Path) -> usize {
    assert_eq!(mode(folder) & 0o077, 0, "{}", folder.display());
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += check_private(&path);
        } else {
            assert_eq!(mode(&path) & 0o177, 0, "{}", path.display());
            files += 1;
        }
    }
    files
}

#[test]
fn files_of_a_store_are_those_of_their_owner() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], b"secret\n").ok();
    dir.run(&["consume", "t", "-e", "--from", "beginning", "--group", "g"]).ok();
    assert!(check_private(&dir.path().join("floe-data")) > 2);
    let (child, addresses) = start(&dir, &["--data", "served"]);
    let url = format!("fluvio://{}", addresses["fluvio_sc"].as_str().unwrap());
    dir.run(&["topic", "create", "t", "--url", &url]).ok();
    assert_eq!(end(child, Signal::TERM), Some(0));
    assert!(dir.path().join("served/fluvio-registry").exists());
    check_private(&dir.path().join("served"));
}

#[test]
fn project_file_that_others_control_is_an_error() {
    let dir = Dir::new();
    let file = dir.file("floe.toml", b"url = \"embedded:elsewhere\"\n");
    dir.run(&["topic", "create", "t"]).ok();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = dir.run(&["topic", "list"]).code(2).prints("");
    refused.mentions("floe.toml is not used").mentions("FLOE_CONFIG");
    let mut command = dir.command(&["topic", "list"]);
    Run::from(command.env("FLOE_CONFIG", "floe.toml").output().unwrap()).ok().prints("t\n");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    dir.run(&["topic", "list"]).code(2).mentions("every user may write it");
}

#[test]
fn server_that_a_project_file_selects_is_named() {
    let dir = Dir::new();
    // No process listens on a port that was just released.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("walrus://127.0.0.1:{port}?connect-timeout=1s");
    dir.file("floe.toml", format!("\nurl = \"{url}\"\n").as_bytes());
    let named = format!("server: {url}, from floe.toml:2\n");
    let run = dir.run(&["health"]);
    assert!(run.stderr.starts_with(&named), "{run:?}");
    let run = dir.run(&["health", "--url", &url]);
    assert!(!run.stderr.contains("server: "), "the user has named it: {run:?}");
    dir.file("floe.toml", b"url = \"memory:\"\n");
    dir.run(&["topic", "list"]).ok().stderr_is("");
}
