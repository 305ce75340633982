//! The cache outside git. An entry is a directory named by what it holds and a key over everything that went into it, so a
//! changed pin is a new name; it is made in a work directory and renamed when whole, so a half entry never has the name.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

use crate::say;

/// FNV-1a, 64 bit, over the parts with a separator. Only equality matters here, and that it never changes between compilers.
pub(crate) fn key<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

/// The root of all that the lab keeps between runs.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$ZHAUL_LAB_CACHE`, else `$XDG_CACHE_HOME/zhaul-lab`, else `~/.cache/zhaul-lab`.
    pub(crate) fn open() -> Result<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("ZHAUL_LAB_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("zhaul-lab")))
            .or_else(|| set("HOME").map(|dir| dir.join(".cache/zhaul-lab")))
            .context("no cache directory: set ZHAUL_LAB_CACHE")?;
        fs::create_dir_all(&root).with_context(|| format!("cannot create the cache {}", root.display()))?;
        let root = root.canonicalize()?;
        // The path goes into mount options, where these separate.
        if root.to_string_lossy().contains([',', ':', '\\', ' ']) {
            bail!(
                "the cache path {} has a comma, colon, blank or backslash: set ZHAUL_LAB_CACHE",
                root.display()
            );
        }
        Ok(Self { root })
    }

    /// A path below the root; not made.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A directory below the root; made if missing.
    pub(crate) fn dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }

    /// One builder at a time; the lock dies with its holder.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.path("lock");
        let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            say::line("another `cargo lab` is setting up; waiting for it");
            flock(&file, FlockOperation::LockExclusive).context("cannot lock the cache")?;
        }
        Ok(file)
    }

    /// The whole entry `kind-key`, made by `make` in a work directory if it is not there. Call with the lock held.
    pub(crate) fn entry(
        &self,
        kind: &str,
        key: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let path = self.path(&format!("{kind}-{key}"));
        if path.is_dir() {
            return Ok(path);
        }
        let work = self.path(&format!("work-{kind}"));
        remove(&work)?;
        fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
        make(&work)?;
        fs::rename(&work, &path).with_context(|| format!("cannot publish {}", path.display()))?;
        Ok(path)
    }

    /// The entries of one kind, newest first.
    pub(crate) fn entries(&self, kind: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for item in fs::read_dir(&self.root)? {
            let item = item?;
            if item.file_name().to_string_lossy().starts_with(&format!("{kind}-")) {
                found.push((item.metadata()?.modified()?, item.path()));
            }
        }
        found.sort();
        Ok(found.into_iter().rev().map(|(_, path)| path).collect())
    }

    /// Removes everything in the cache but the entries in `keep` (and the lock).
    pub(crate) fn clean(&self, keep: &[OsString]) -> Result<()> {
        for item in fs::read_dir(&self.root)? {
            let item = item?;
            if item.file_name() != "lock" && !keep.contains(&item.file_name()) {
                say::line(format_args!("removing {}", item.path().display()));
                remove(&item.path())?;
            }
        }
        Ok(())
    }
}

/// Removes a file or a tree; missing is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let done = match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    done.with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_parts_apart_and_stay() {
        assert_eq!(key(["a", "b"]), key(["a", "b"]));
        assert_ne!(key(["a", "b"]), key(["ab"]));
        assert_ne!(key(["a", "b"]), key(["b", "a"]));
        // FNV-1a of the single byte 0: a compiler that changes this makes every cache old.
        assert_eq!(key([""]), "af63bd4c8601b7df");
    }

    #[test]
    fn an_interrupted_entry_has_no_name() {
        let root = std::env::temp_dir().join(format!("zhaul-lab-cache-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let cache = Cache { root: root.clone() };
        let failed = cache.entry("thing", "1", |dir| {
            fs::write(dir.join("half"), "x")?;
            bail!("cut")
        });
        assert!(failed.is_err());
        assert!(!cache.path("thing-1").exists());
        let made = cache.entry("thing", "1", |dir| Ok(fs::write(dir.join("whole"), "x")?)).unwrap();
        assert!(made.join("whole").exists() && !made.join("half").exists());
        // Made once: a second call does not make it again.
        cache.entry("thing", "1", |_| bail!("made twice")).unwrap();
        fs::remove_dir_all(root).unwrap();
    }
}
