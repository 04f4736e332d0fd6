//! Replays the corpora of the fuzz targets of both front-ends in `fuzz/`: the server never panics, ends every
//! connection, and serves the next client.

#[expect(dead_code, reason = "shared with the fuzz targets")]
mod connections;

use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use connections::Victim;

/// Panics in the tasks of the server, which the runtime catches.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// What is replayed, for the message of whatever fails meanwhile.
static NOW: Mutex<String> = Mutex::new(String::new());

// The only test of its program, because it watches every panic in it.
#[test]
fn the_corpora_of_the_front_ends_pass() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        eprintln!("while {} was replayed:", NOW.lock().map(|now| now.clone()).unwrap_or_default());
        report(panic);
    }));

    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in
        [("server_fluvio", Victim::fluvio as fn(&Victim, &[u8])), ("server_walrus", Victim::walrus)]
    {
        let entries = fs::read_dir(corpora.join(name)).expect("a committed corpus");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        // One server takes them all, in an order that is always the same.
        paths.sort();
        assert!(paths.len() >= 15, "{name}: {} files", paths.len());
        let victim = Victim::start();
        for path in paths {
            let input = fs::read(&path).expect("a corpus file");
            // Whole, and cut off in the middle.
            for length in [input.len(), input.len() / 2] {
                *NOW.lock().expect("never poisoned") = format!("{} up to {length}", path.display());
                target(&victim, &input[..length]);
                assert_eq!(PANICS.load(Ordering::SeqCst), 0, "{} up to {length}", path.display());
            }
        }
    }
}
