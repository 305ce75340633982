//! Tests on real OpenZFS. They need `/dev/zfs`, root and the lab's pools: `cargo lab test` runs them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod agent;
mod agreement;
mod answers;
mod archiving;
mod bench;
mod binding;
mod bottleneck;
mod breaking;
mod cage;
mod calls;
mod converging;
mod doctoring;
mod encryption;
mod failing;
mod flags;
#[path = "../fuzz/random.rs"]
#[expect(dead_code, reason = "bytes are for the fuzzer")]
mod generator;
mod guest_configs;
mod guids;
mod hangs;
mod hosts;
mod keeping;
mod killed;
mod left_out;
mod lineage;
mod locks;
mod look;
mod names;
mod naming;
mod outages;
mod outcome;
mod ownership;
mod partial;
mod parting;
mod policy;
mod pool;
mod pruning;
mod random;
mod readme_back;
mod renaming;
mod replacing;
mod restoring;
mod restoring_attacks;
mod restoring_storages;
mod rolling_back;
mod rolling_back_guests;
mod room;
mod rotation;
mod selecting;
mod sending;
mod sentences;
mod set_aside;
mod set_aside_killed;
mod spare;
mod telling;
mod time;
mod unreceivable;
mod untrue;
mod verifying;
mod volumes;
mod world;
mod writer;
mod written;
