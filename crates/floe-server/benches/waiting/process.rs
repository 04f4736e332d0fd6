//! A server in a separate process, whose memory and processor time can be measured.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdin, Command, Stdio},
};

use floe_server::testkit::TestServer;

/// The argument that selects the server role.
const ROLE: &str = "serve-for-the-benchmark";

/// Runs the server if this process has that role; returns true when it has ended.
pub(crate) fn served() -> bool {
    if !std::env::args().any(|argument| argument == ROLE) {
        return false;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = TestServer::start().await.unwrap();
        println!("{} {}", server.fluvio_address(), server.addresses().fluvio_spu.unwrap());
        // The parent closes its end of the pipe to stop the server, also when it dies.
        let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
        server.stop().await.unwrap();
    });
    true
}

/// The server process. It ends on drop.
pub(crate) struct ServerProcess {
    process: Child,
    /// The server runs while this pipe is open.
    life: Option<ChildStdin>,
    /// `HOST:PORT` of the controller.
    pub(crate) controller: String,
    /// `HOST:PORT` of the data server.
    pub(crate) data: String,
}

impl ServerProcess {
    pub(crate) fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg(ROLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut addresses = line.split_whitespace().map(String::from);
        let life = process.stdin.take();
        Self { process, life, controller: addresses.next().unwrap(), data: addresses.next().unwrap() }
    }

    /// Returns the resident memory in MB, from Linux' `/proc`.
    pub(crate) fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() * 1024.0 / 1e6
    }

    /// Returns the processor time so far in seconds, from Linux' `/proc`.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let times = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
        times.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.life.take();
        let _ = self.process.wait();
    }
}
