//! zhaul: backup, archive and restore of Proxmox VE guests on ZFS.
//!
//! # The flow
//!
//! 1. `policy` (what a person wants) and `discover` (what all hosts have) go into `plan`.
//! 2. `plan` decides; `plan::check` proves that the plan breaks no promise; `cli::render` shows it.
//! 3. `execute` carries the plan out on `host`s, which check each dangerous step again before they do it.
//!
//! ZFS is the only state: a run that was killed anywhere is finished by the next one.
//!
//! # The layers
//!
//! A layer may use what stands above it; `tests/architecture.rs` holds the exact table.
//!
//! | module | what it does | what it does not know |
//! | --- | --- | --- |
//! | [`model`] | the words of the domain, as types | I/O, clocks, hosts |
//! | [`zfs`] | calls into the kernel's ZFS; all `unsafe` code | policies, plans |
//! | [`stream`] | moves the bytes of one transfer: buffer, rate, compression | datasets |
//! | [`channel`] | ssh, TLS and TCP to another machine, and messages over them | datasets |
//! | [`policy`] | the checked policy | what exists |
//! | [`plan`] | decides, without side effects | how anything is done |
//! | [`host`] | one machine with ZFS: this one, one behind an agent, one behind a shell, a fake one | why anything is done |
//! | [`discover`] | reads all hosts into one inventory | what will be done with it |
//! | [`execute`] | runs the steps of a plan, and a restore's | how a step was chosen |
//! | [`bench`] | measures each stage of a transfer | policies, plans |
//! | [`cli`] | arguments, messages, exit codes, locks | |
//!
//! # The words
//!
//! Those of zfs(8), and: *point* (a snapshot or a bookmark, known by its GUID), *own* (its name has the policy's format), *base*
//! (the common point from which an increment starts), *guest* (a virtual machine or container with all its volumes), *copy* (what
//! a target has of a dataset), *writer* (the source dataset that alone may write a copy), *set aside* (renamed and kept, because
//! the copy continues without it), *lineage* (the uninterrupted history of one dataset). [`model`] has the others.
//!
//! # The tests
//!
//! | where | what they show | needs ZFS |
//! | --- | --- | --- |
//! | beside the code | one function or file | no |
//! | `tests/planning.rs` | the planner's decisions, as a table | no |
//! | `tests/plan_properties` | what holds for every plan, on random hosts and histories | no |
//! | `tests/cli.rs` | arguments, help, exit codes | no |
//! | `tests/architecture.rs` | layers, one place for `unsafe` and for printing | no |
//! | `tests/real` | the built program on real pools, over ssh; `random` plays nights by chance | yes: `cargo lab test` |
//! | `tests/policy_table.md` | each sentence of the policy with its tests | no |
//! | `tests/fuzz` | damaged input for every parser | no |
//!
//! # To add …
//!
//! * **a subcommand**: `cli/args/` (arguments and help), a file in `cli/` of its name, `cli/mod.rs` (one line). Manual pages
//!   and completions are made from `args`.
//! * **a change to a target** (a new kind of step), six files: `model/change.rs` (what it is, and whether it takes data away), a file
//!   in `plan/` (when; `builder.knows` asks for details; right after a good run nothing is planned), `host/changes.rs` (how `zfs`
//!   does it: its GUID is checked again, and "done already" is success), `host/agent/cage.rs` (what a restricted key may do),
//!   `host/fake/target.rs` (how ZFS behaves), `cli/render/change.rs` (how it is shown). `cargo check --all-targets` names each of
//!   them that is missing. It does not name what else may be needed: a reason of its own (below), a rule of `plan/check/destroyed.rs`
//!   for what it takes away, and examples in `tests/planning.rs`, `tests/fuzz/sessions.rs`, `tests/real/cage.rs` and
//!   `tests/policy_table.md`. What acts on a snapshot of the same run is part of its transfer: `execute/transfer.rs`.
//! * **a reason or a finding**: `plan/reason.rs` or `plan/finding.rs` (the kind and its fields), `cli/render/reason.rs` or
//!   `cli/render/finding.rs` (its words).
//! * **a key of the policy**: `policy/file.rs` (as written), `policy/checked.rs` and `policy/check.rs` (as checked),
//!   `policy/example.toml` (which a test parses).
//! * **a channel**: a directory in `channel/connections/`, and `host/agent/connections.rs`, which chooses.
//! * **a promise about every plan**: `plan/check.rs`, and `tests/planning.rs`, which shows that a spoilt plan is refused.

pub mod bench;
pub mod channel;
pub mod cli;
pub mod discover;
pub mod execute;
pub mod host;
pub mod model;
pub mod plan;
pub mod policy;
pub mod stream;
pub mod zfs;
