//! Runs the programs in `examples/`.
#![allow(unreachable_pub, reason = "an example is a program of its own")]

#[path = "../examples/test_kit.rs"]
mod test_kit;
#[path = "../examples/tls.rs"]
mod tls;

#[test]
fn test_kit_runs() {
    test_kit::main().unwrap();
}

#[test]
fn tls_runs() {
    tls::main().unwrap();
}
