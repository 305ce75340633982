//! Bytes and messages to another machine. Knows no datasets.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`Ssh`] | the `ssh` child |
//! | [`connections`] | connections beside it, over which frames travel |
//! | [`message`] | what is asked and answered through it |
//! | [`login_advice`] | what helps where `ssh` cannot log in |
//! | [`random_bytes`] | random numbers of the system, for keys and marks |

pub mod connections;
mod login_words;
pub mod message;
mod random;
mod ssh;

pub use login_words::{connection_advice, login_advice};
pub use random::random_bytes;
pub use ssh::Ssh;
