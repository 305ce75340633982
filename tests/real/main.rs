//! Tests on real OpenZFS. They need `/dev/zfs`, root and the lab's pools: `cargo lab test` runs them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod agreement;
mod archiving;
mod binding;
mod breaking;
mod encryption;
mod hosts;
mod look;
mod names;
mod outcome;
mod ownership;
mod partial;
mod parting;
mod policy;
mod pool;
mod rotation;
mod selecting;
mod sending;
mod telling;
mod time;
mod world;
mod written;
