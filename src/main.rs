//! Start: parse, run, exit code.
fn main() {}
