//! Ways to another machine.

pub mod message;
mod ssh;

pub use ssh::Ssh;
