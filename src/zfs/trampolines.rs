//! The functions of `libzfs_core` and `libnvpair`, each a jump through a slot that `library` fills.
//!
//! `build.rs` generates them from the lists in `vendor/openzfs/`. A function that some crate calls and no list names is an
//! error of the linker, so the lists cannot fall behind in silence.

#![expect(unsafe_code, reason = "the assembly's table of slots has to be declared")]

use std::ffi::{CStr, c_void};
use std::sync::atomic::AtomicPtr;

/// The library that exports a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// `libzfs_core.so.3`
    Core,
    /// `libnvpair.so.3`
    Nvpair,
}

include!(concat!(env!("OUT_DIR"), "/trampolines.rs"));
