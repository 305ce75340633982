//! The shape of a stream: the flags of a send, and the point at which an interrupted one resumes.

use serde::{Deserialize, Serialize};

/// Where an interrupted stream resumes (`lzc_send_resume`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumePoint {
    /// The object number to resume at.
    pub object: u64,
    /// The offset within the object, in bytes.
    pub offset: u64,
    /// Bytes that the target has already.
    pub received_bytes: u64,
    /// Flags that the first part was sent with.
    pub flags: SendFlags,
}

/// The flags of `lzc_send` that shape a stream (`-L`, `-e`, `-c`, `-w`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "four independent flags of the kernel interface")]
pub struct SendFlags {
    /// Blocks larger than 128 KiB as they are.
    pub large_block: bool,
    /// Embedded blocks as they are.
    pub embed: bool,
    /// Compressed blocks as they are.
    pub compress: bool,
    /// Encrypted blocks as they are.
    pub raw: bool,
}
