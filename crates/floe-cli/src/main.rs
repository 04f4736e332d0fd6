//! The command line of floe.
fn main() {}
