//! Bytes and messages to another machine. Knows no datasets.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`Ssh`] | the `ssh` child |
//! | [`lanes`] | connections beside it, over which frames travel |
//! | [`random_bytes`] | keys for both |
//! | [`message`] | what is asked and answered through it |

pub mod lanes;
pub mod message;
mod random;
mod ssh;

pub use random::random_bytes;
pub use ssh::Ssh;
