//! Attacks by somebody who holds a caged key (`zhaul agent --root R --append-only`): whatever is tried, the target's datasets,
//! properties and mounts stay byte for byte as they were, but for what such a key is for.

mod attacker;
mod changes;
mod disclosure;
mod forged;
mod healing;
mod limits;
mod months;
mod raw_session;
mod set_aside;
mod streams;
