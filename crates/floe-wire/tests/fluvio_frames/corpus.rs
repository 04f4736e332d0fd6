//! Replays the committed corpora of the fuzz targets in `fuzz/` as regression tests.

use std::{fs, path::Path};

use crate::reencode::{fuzz_replies, fuzz_requests};

#[test]
fn the_corpora_of_the_fuzz_targets_pass() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in
        [("fluvio_requests", fuzz_requests as fn(&[u8])), ("fluvio_replies", fuzz_replies as fn(&[u8]))]
    {
        let entries = fs::read_dir(corpora.join(name)).expect("a committed corpus");
        let mut count = 0;
        for entry in entries {
            target(&fs::read(entry.expect("an entry").path()).expect("a corpus file"));
            count += 1;
        }
        assert!(count >= 20, "{name}: {count} files");
    }
}
