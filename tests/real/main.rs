//! Tests on real OpenZFS. They need `/dev/zfs`, root and the lab's pools: `cargo lab test` runs them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod binding;
mod hosts;
mod policy;
mod pool;
