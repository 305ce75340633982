//! Promises that hold for every plan, whatever the world looks like: over all small worlds, and over random histories of
//! months with crashes at every step. Machines are `zhaul::host::fake`, which refuses what `OpenZFS` refuses.

#![expect(clippy::unwrap_used, reason = "in a test, a world that cannot be built is a failure")]
#![expect(clippy::panic, reason = "in a test, that is how a broken promise is reported")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a check picks out the one action that it is about")]

mod acts;
mod details;
mod left_out;
mod lineage;
mod liveness;
mod million;
mod months;
mod promises;
mod small_worlds;
mod world;
