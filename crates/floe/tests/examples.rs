//! Runs the programs in `examples/` on the memory engine. Every `cargo test` also builds them as programs.
#![allow(unreachable_pub, reason = "an example is a program of its own")]

#[path = "../examples/blocking.rs"]
mod blocking;
#[path = "../examples/consume.rs"]
mod consume;
#[path = "../examples/exactly_once.rs"]
mod exactly_once;
#[path = "../examples/group.rs"]
mod group;
#[path = "../examples/outbox.rs"]
mod outbox;
#[path = "../examples/processor.rs"]
mod processor;
#[path = "../examples/produce.rs"]
mod produce;
#[path = "../examples/word_count.rs"]
mod word_count;

#[test]
fn produce_runs() {
    produce::main().unwrap();
}

#[test]
fn consume_runs() {
    consume::main().unwrap();
}

#[test]
fn group_runs() {
    group::main().unwrap();
}

#[test]
fn processor_runs() {
    processor::main().unwrap();
}

#[test]
fn outbox_runs() {
    outbox::main().unwrap();
}

#[test]
fn blocking_runs() {
    blocking::main().unwrap();
}

#[test]
fn exactly_once_runs() {
    exactly_once::main().unwrap();
}

#[test]
fn word_count_runs() {
    word_count::main().unwrap();
}
