//! `floe serve` under a service manager, which it tells when it serves and when it stops.
#![cfg(unix)]

use std::{io, net::TcpStream, os::unix::net::UnixDatagram, path::Path, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    serve::{end, start_with},
    support::{Dir, Running},
};

/// Listens as a service manager does. A state that never arrives fails the test.
fn manager(name: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(name).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket
}

fn next_state(manager: &UnixDatagram) -> String {
    let mut state = [0; 64];
    let length = manager.recv(&mut state).unwrap();
    String::from_utf8(state[..length].to_vec()).unwrap()
}

fn start(dir: &Dir, socket: &str) -> (Running, Value) {
    start_with(dir, &["--url", "memory:"], &[("NOTIFY_SOCKET", socket)])
}

#[test]
fn service_manager_is_told_when_the_server_serves_and_when_it_stops() {
    let dir = Dir::new();
    let socket = dir.path().join("notify");
    let manager = manager(&socket);
    for signal in [Signal::TERM, Signal::INT] {
        let (child, addresses) = start(&dir, socket.to_str().unwrap());
        assert_eq!(next_state(&manager), "READY=1");
        for name in ["fluvio_sc", "fluvio_spu", "walrus", "http"] {
            TcpStream::connect(addresses[name].as_str().unwrap()).unwrap();
        }
        // A server that is left alone says no more.
        manager.set_nonblocking(true).unwrap();
        assert_eq!(manager.recv(&mut [0; 64]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        manager.set_nonblocking(false).unwrap();
        assert_eq!(end(child, signal), Some(0));
        assert_eq!(next_state(&manager), "STOPPING=1");
    }
}

#[test]
fn server_that_cannot_start_is_never_ready() {
    let dir = Dir::new();
    let socket = dir.path().join("notify");
    let manager = manager(&socket);
    manager.set_nonblocking(true).unwrap();
    dir.run(&["topic", "create", "t", "--url", "embedded:data"]).ok();
    dir.file("data/fluvio-registry.json", b"nonsense");
    // The listeners are bound and their addresses printed before the registry is read.
    let (mut child, _) =
        start_with(&dir, &["--data", "data"], &[("NOTIFY_SOCKET", socket.to_str().unwrap())]);
    assert!(!child.wait().unwrap().success());
    assert_eq!(manager.recv(&mut [0; 64]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

/// Containers have managers on sockets that are no files.
#[cfg(target_os = "linux")]
#[test]
fn service_manager_may_have_an_abstract_socket() {
    use std::os::linux::net::SocketAddrExt as _;
    let dir = Dir::new();
    // The name of the directory is unique on this machine.
    let name = dir.path().to_str().unwrap();
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (child, _) = start(&dir, &format!("@{name}"));
    assert_eq!(next_state(&manager), "READY=1");
    assert_eq!(end(child, Signal::TERM), Some(0));
    assert_eq!(next_state(&manager), "STOPPING=1");
}

#[test]
fn server_works_without_the_service_manager_that_it_cannot_reach() {
    let dir = Dir::new();
    let absent = dir.path().join("absent");
    let (mut child, addresses) = start(&dir, absent.to_str().unwrap());
    TcpStream::connect(addresses["http"].as_str().unwrap()).unwrap();
    let mut stderr = child.stderr.take().unwrap();
    assert_eq!(end(child, Signal::TERM), Some(0));
    let mut messages = String::new();
    io::Read::read_to_string(&mut stderr, &mut messages).unwrap();
    for state in ["READY=1", "STOPPING=1"] {
        assert!(messages.contains(&format!("the service manager was not told {state}: ")), "{messages}");
    }
}
