//! The suite on `memory:` and `embedded:` below layers, which must not change the behaviour.

use std::{num::NonZeroU32, time::Duration};

use floe::{
    RetryPolicy,
    layer::{BreakerPolicy, Limits},
};
use floe_conformance::{PassThrough, Target, conformance_tests};

conformance_tests!(
    memory,
    Target::configured("memory:", |client| client.layer(PassThrough).layer(PassThrough).layer(PassThrough))
);
conformance_tests!(
    every_layer,
    Target::configured("memory:", |client| {
        let many = NonZeroU32::new(1_000_000).unwrap();
        client
            .retry(RetryPolicy::calls())
            .breaker(BreakerPolicy::default())
            .attempt_timeout(Duration::from_secs(60))
            .limits(Limits::default().concurrency(many).rate(many))
    })
);
conformance_tests!(embedded, Target::embedded_configured("", |client| client.layer(PassThrough)));

#[test]
fn the_suite_does_not_shrink() {
    let all: Vec<_> = floe_conformance::CASES.iter().map(|case| case.name).collect();
    assert_eq!(memory::TESTS, all);
    assert_eq!(every_layer::TESTS, all);
    assert_eq!(embedded::TESTS, all);
}
