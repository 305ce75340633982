//! The binding to OpenZFS: every call into the kernel's ZFS that zhaul makes in process, and all of its `unsafe`.
//!
//! Everything starts at [`Library::load`]. Snapshots, bookmarks and destroys go through libzetta (`points`), the rest
//! straight to `libzfs_core` with an nvlist wrapper of our own, since the published ones are not memory-safe. Errors say
//! operation, object and cause ([`Error`]).

mod begin;
mod bookmarks;
mod content;
mod error;
mod first_block;
mod hold;
mod library;
mod nvlist;
mod points;
mod readdress;
mod receiving;
mod records;
mod rollback;
mod send;
mod trampolines;

pub use begin::{StreamBegin, StreamForm, is_end};
pub use bookmarks::Bookmark;
pub use content::ContentReader;
pub use error::{Cause, Entry, Error, Operation};
pub use first_block::FirstBlock;
pub use hold::Holds;
pub use library::{Library, LoadError, LoaderMessage};
pub use readdress::Readdress;
pub use records::BadRecord;
pub(crate) use send::{PIPE_BYTES, block_signals};
pub use send::{SendBase, SendRequest};
