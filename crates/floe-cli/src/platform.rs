//! Differences between operating systems. Every other file is portable.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

/// Creates a new file that only its owner may read and write.
///
/// Unix sets the mode. On Windows the file inherits the access list of its directory, which in a user profile admits the
/// user and administrators.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Watches for the end of the reader of standard output, such as `head`.
#[derive(Debug)]
pub(crate) struct StdoutReader {
    #[cfg(unix)]
    is_gone: tokio::sync::watch::Receiver<bool>,
}

impl StdoutReader {
    /// Starts a thread that waits for the end. Files have no reader that ends.
    pub(crate) fn watch() -> Self {
        #[cfg(unix)]
        {
            let (gone, is_gone) = tokio::sync::watch::channel(false);
            let wait = move || {
                use rustix::event::{PollFd, PollFlags, poll};
                let stdout = io::stdout();
                loop {
                    // Errors of the pipe are reported without being asked for.
                    match poll(&mut [PollFd::new(&stdout, PollFlags::empty())], None) {
                        Err(rustix::io::Errno::INTR) => {}
                        Ok(1..) => break gone.send_replace(true),
                        // The next write reports what is wrong.
                        Ok(0) | Err(_) => break false,
                    }
                }
            };
            // Without the thread, the next write notices.
            let _ = std::thread::Builder::new().name("floe-stdout".to_owned()).spawn(wait);
            Self { is_gone }
        }
        #[cfg(not(unix))]
        Self {}
    }

    /// Resolves when the reader is gone, where the system tells it without a write: on Unix.
    pub(crate) async fn gone(&self) {
        #[cfg(unix)]
        if self.is_gone.clone().wait_for(|gone| *gone).await.is_ok() {
            return;
        }
        std::future::pending().await
    }
}

/// Makes a write beyond the file size limit of the process (`ulimit -f`) fail with an error, in place of a signal that kills
/// the process. Needs a runtime.
pub(crate) fn report_file_size_limit() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // Number of SIGXFSZ on Linux, macOS and the BSDs. The handler stays when its listener is dropped. Without it, the
        // process is killed as before.
        const SIGXFSZ: i32 = 25;
        let _ = signal(SignalKind::from_raw(SIGXFSZ));
    }
}

/// Tells the service manager a state of this process, such as `READY=1`, where the manager asks for it: systemd names a
/// datagram socket in the variable `NOTIFY_SOCKET`.
///
/// # Errors
/// Fails if the socket does not take the state within a second. On Windows there is no such manager.
pub(crate) fn notify_service_manager(state: &str) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) {
        use std::os::unix::net::UnixDatagram;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(std::time::Duration::from_secs(1)))?;
        socket.send_to_addr(state.as_bytes(), &socket_address(&name)?)?;
    }
    #[cfg(not(unix))]
    let _ = state;
    Ok(())
}

/// Returns the address of a socket that is a file, or on Linux a name after `@`, as managers in containers have.
#[cfg(unix)]
fn socket_address(name: &std::ffi::OsStr) -> io::Result<std::os::unix::net::SocketAddr> {
    use std::os::unix::net::SocketAddr;
    #[cfg(target_os = "linux")]
    {
        use std::os::{linux::net::SocketAddrExt as _, unix::ffi::OsStrExt as _};
        if let Some(name) = name.as_bytes().strip_prefix(b"@") {
            return SocketAddr::from_abstract_name(name);
        }
    }
    SocketAddr::from_pathname(name)
}

/// Listener for SIGINT (Ctrl-C) and SIGTERM, which service managers send.
#[cfg(unix)]
pub(crate) struct TerminationSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl TerminationSignals {
    /// Replaces the default action of both signals, which ends the process.
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Resolves at the next signal.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Listener for Ctrl-C and Ctrl-Break.
#[cfg(windows)]
pub(crate) struct TerminationSignals {
    ctrl_c: tokio::signal::windows::CtrlC,
    ctrl_break: tokio::signal::windows::CtrlBreak,
}

#[cfg(windows)]
impl TerminationSignals {
    /// Replaces the default action of both events, which ends the process.
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_break, ctrl_c};
        Ok(Self { ctrl_c: ctrl_c()?, ctrl_break: ctrl_break()? })
    }

    /// Resolves at the next event.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.ctrl_c.recv() => {}
            _ = self.ctrl_break.recv() => {}
        }
    }
}
