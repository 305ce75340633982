//! Measures the stages of a transfer, each alone and then all together, with the very pieces that a run uses.
//!
//! The report names the slowest stage, and the settings of the link that suit these machines. Nothing is
//! changed anywhere but by the receive that is measured only on explicit word, and that removes what it made.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `setup` | what is measured, and within which limits |
//! | `stages` | one after the other |
//! | `compression_run` | compression, in memory |
//! | `network` | connections on this machine, and an agent's sink |
//! | `receive`, `removal` | a receive that leaves nothing |
//! | `material` | streams to measure with |
//! | `timing` | seconds, CPU seconds, and what was waited for |
//! | `measured` | what was found |
//! | `choice` | what follows from it, pure |

mod choice;
#[cfg(test)]
mod choice_tests;
mod compression_run;
mod material;
mod measured;
mod network;
mod receive;
#[cfg(test)]
mod receive_tests;
mod removal;
mod report;
mod setup;
mod stages;
mod timing;

pub use choice::{Choice, Settings, choose};
pub use measured::{CompressionRun, Flow, Measured, Received, Way, channel_name};
pub use report::{Report, Together};
pub use setup::{BenchError, Destination, End, Limits, Material, Setup, Snapshot, Watcher};
pub use stages::run;
