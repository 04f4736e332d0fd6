//! Replays the fuzz corpora of both front-ends and of the console in `fuzz/`: the server never panics, closes every connection,
//! and serves the next client.

#[expect(dead_code, reason = "shared with the fuzz targets")]
mod connections;
mod requests;

use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use connections::Victim;

/// Gives bytes to a part of the server.
type Target = fn(&Victim, &[u8]);

/// Panics in the server's tasks, which the runtime catches.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Input that is replayed, for the message of a failure.
static NOW: Mutex<String> = Mutex::new(String::new());

// This is the only test of its binary, because it counts all panics of the process.
#[test]
fn fuzz_corpora_of_the_server_pass() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        eprintln!("while {} was replayed:", NOW.lock().map(|now| now.clone()).unwrap_or_default());
        report(panic);
    }));

    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let targets: [(&str, Target); 3] = [
        ("server_fluvio", Victim::fluvio),
        ("server_walrus", Victim::walrus),
        ("console_requests", |_, data| requests::fuzz(data)),
    ];
    for (name, target) in targets {
        let entries = fs::read_dir(corpora.join(name)).expect("a committed corpus");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        // One server receives all inputs, in a fixed order.
        paths.sort();
        assert!(paths.len() >= 15, "{name}: {} files", paths.len());
        let victim = Victim::start();
        for path in paths {
            let input = fs::read(&path).expect("a corpus file");
            // Each input is sent whole, and cut in half.
            for length in [input.len(), input.len() / 2] {
                *NOW.lock().expect("never poisoned") = format!("{} up to {length}", path.display());
                target(&victim, &input[..length]);
                assert_eq!(PANICS.load(Ordering::SeqCst), 0, "{} up to {length}", path.display());
            }
        }
    }
}
