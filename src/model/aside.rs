//! How an old line is called that had to make way for a new one: its name, one of these, and the date.

/// On a backup, where it expires.
pub const BACKUP_ASIDE: &str = ".superseded-";

/// On an archive, where it stays for ever.
pub const ARCHIVE_ASIDE: &str = ".branch-";
