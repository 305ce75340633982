//! Makes the link stubs.
fn main() {}
