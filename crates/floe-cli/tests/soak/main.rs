//! Servers and clients under faults, for hours: `cargo soak`. A plain `cargo test` runs a minute of it.
//!
//! Two scenes run side by side, each a `floe serve` with producers and a shared group of three processes. In both of them
//! members are killed and stopped, the server is stopped, and its disk is full for a while; in one the server is killed as
//! well. The other server lives as long as the soak: its memory, descriptors and disk must not grow.
//!
//! Time is cut in rounds. Each has a topic, a group and a history of its own, which `floe check-history` judges at its end;
//! then all three are deleted, so that disk and memory of the soak itself are bounded.
//!
//! | module of `linux` | holds |
//! | --- | --- |
//! | `settings` | arguments |
//! | `scene` | the rounds of one server, and the faults in them |
//! | `server` | the process of the server |
//! | `produce`, `member` | clients |
//! | `samples` | memory, descriptors and disk over time |

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

/// Limits of other processes and their memory are those of Linux.
#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the soak runs on Linux only");
}
