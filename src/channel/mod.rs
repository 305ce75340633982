//! Bytes and messages to another machine. Knows no datasets.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`Ssh`] | the `ssh` child |
//! | [`login_advice`] | what helps where it cannot log in |
//! | [`lanes`] | connections beside it, over which frames travel |
//! | [`random_bytes`] | keys for both |
//! | [`message`] | what is asked and answered through it |

pub mod lanes;
mod login_words;
pub mod message;
mod random;
mod ssh;

pub use login_words::login_advice;
pub use random::random_bytes;
pub use ssh::Ssh;
