//! The content of a snapshot, in digests that two machines can compare without sending it.

use serde::{Deserialize, Serialize};

/// A part of a snapshot's content: what `zfs send` reads between two limits that both machines find by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// The object in which it begins; of a file or directory that is its inode number.
    pub object: u64,
    /// Where in that object, in bytes.
    pub offset: u64,
    /// How much of it there is: data that is not zero, and what describes the objects.
    pub bytes: u64,
    /// SHA-256 of [`ContentSalt`] and the content, in hexadecimal.
    pub digest: String,
}

/// Random text that begins each digest of one comparison: a machine cannot answer with digests that it has kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentSalt(pub String);
