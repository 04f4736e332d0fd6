//! Working directory of a test, and the binary with a controlled environment.

use std::{
    io::Write as _,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// Temporary working directory of a test, which also holds the default store.
pub(crate) struct Dir {
    folder: TempDir,
}

/// Child process that is killed when the test ends, even by a panic.
#[derive(Debug)]
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn of(child: Child) -> Self {
        Self(Some(child))
    }

    /// As [`Child::wait_with_output`].
    pub(crate) fn wait_with_output(mut self) -> std::io::Result<Output> {
        self.0.take().expect("only this method and drop take the child").wait_with_output()
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().expect("only wait_with_output and drop take the child")
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().expect("only wait_with_output and drop take the child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // Killing a process that has ended fails.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn child_process_ends_with_its_test() {
    let dir = Dir::with_topics(&["t"]);
    let mut child = dir.start(&["consume", "t"]);
    let mut stdout = child.stdout.take().unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guarded = child;
        std::panic::resume_unwind(Box::new("as a failed assertion does"));
    }));
    assert!(panicked.is_err());
    // The pipe ends with the last process that holds it.
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut rest).unwrap();
    assert_eq!(rest, "");
}

/// Outcome of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Dir {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Creates a directory with topics of one partition.
    pub(crate) fn with_topics(names: &[&str]) -> Self {
        let dir = Self::new();
        for name in names {
            dir.run(&["topic", "create", name]).ok();
        }
        dir
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("floe"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        // The configuration of the developer must not affect the tests.
        for name in [
            "FLOE_URL",
            "FLOE_PROFILE",
            "FLOE_CONFIG",
            "FLOE_LOG",
            "FLV_PROFILE_PATH",
            "NOTIFY_SOCKET",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
        ] {
            command.env_remove(name);
        }
        command.env("HOME", self.path()).env("XDG_CONFIG_HOME", self.path().join("config"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.command(args).output().unwrap().into()
    }

    /// Runs with `input` as standard input.
    pub(crate) fn feed(&self, args: &[&str], input: &[u8]) -> Run {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A thread writes, since the child may fill its output pipes before it has read all input.
        let writer = std::thread::spawn(move || {
            // A child that rejects its input closes the pipe; the test checks the exit code.
            let _ = stdin.write_all(&input);
        });
        let run = child.wait_with_output().unwrap().into();
        writer.join().unwrap();
        run
    }

    /// Starts the binary with all three streams as pipes.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        self.start_with(args, &[])
    }

    /// Like [`Dir::start`], with environment variables.
    pub(crate) fn start_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Running {
        let child = self
            .command(args)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running(Some(child))
    }

    /// Reads a topic from the beginning to the end.
    pub(crate) fn read(&self, topic: &str) -> Vec<u8> {
        self.run(&["consume", topic, "-e", "--from", "beginning"]).ok().stdout
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).expect("messages are UTF-8"),
        }
    }
}

impl Run {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.code(0)
    }

    #[track_caller]
    pub(crate) fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, Some(expected), "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    #[track_caller]
    pub(crate) fn prints(self, expected: &str) -> Self {
        assert_eq!(self.text(), expected, "stderr: {}", self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn prints_start(self, expected: &str) -> Self {
        assert!(self.text().starts_with(expected), "{expected:?} does not begin: {}", self.text());
        self
    }

    #[track_caller]
    pub(crate) fn stderr_is(self, expected: &str) -> Self {
        assert_eq!(self.stderr, expected);
        self
    }

    #[track_caller]
    pub(crate) fn mentions(self, expected: &str) -> Self {
        assert!(self.stderr.contains(expected), "{expected:?} is not in: {}", self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Parses JSON lines.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Returns distinct lines.
pub(crate) fn numbered_lines(count: usize) -> Vec<u8> {
    (0..count).flat_map(|number| format!("line {number} of the input\n").into_bytes()).collect()
}
