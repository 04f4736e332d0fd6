//! Both encoders produce the same bytes.

use floe_wire::compress::Compression;
use proptest::prelude::*;

use crate::{generate::batch, official};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_plain_batch_is_the_official_batch(generated in batch()) {
        let generated = generated.without_headers();
        let ours = generated.encode(Compression::default()).to_bytes();
        let theirs = official::encode(&generated, 0);
        prop_assert!(ours == theirs, "{} bytes, official {}", ours.len(), theirs.len());
    }
}
