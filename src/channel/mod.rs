//! Bytes and messages to another machine. Knows no datasets.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`Ssh`] | the `ssh` child |
//! | [`lanes`] | connections beside it, over which frames travel |
//! | [`message`] | what is asked and answered through it |

pub mod lanes;
pub mod message;
mod ssh;

pub use ssh::Ssh;
