//! Debian packages: build tools are installed on the machine if missing; what only the lab needs (sshd, the OpenZFS user land,
//! udev) is unpacked into a tree in the cache, which the lab lays over the machine's root. So no service is ever set up or
//! started on the machine, and its own OpenZFS, if any, is left as it is.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::cache::{self, Cache};
use crate::{recipe, say, step};

/// Installs the build tools that are missing.
pub(crate) fn install_build_tools(cache: &Cache) -> Result<()> {
    let have = installed()?;
    let missing: Vec<_> = recipe::BUILD_PACKAGES.into_iter().filter(|name| !have.contains(*name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say::line(format_args!("packages: installing {}", missing.join(" ")));
    Apt::open(cache)?.install(&missing, &cache.path("packages.log"))
}

fn installed() -> Result<HashSet<String>> {
    let text =
        step::output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status} ${Package}\\n"]))
            .context("the lab needs Debian 12 or 13 to build on (dpkg-query did not work)")?;
    Ok(text.lines().filter_map(|line| line.strip_prefix("installed ")).map(str::to_owned).collect())
}

/// The tree of packages that the machine lacks, in the cache; made if the machine's packages or the wishes changed.
pub(crate) fn lab_tree(cache: &Cache, with_zfs: bool) -> Result<PathBuf> {
    let mut wanted = recipe::LAB_PACKAGES.to_vec();
    if with_zfs {
        wanted.extend(recipe::ZFS_PACKAGES);
    } else {
        wanted.retain(|name| *name != "sanoid"); // it would bring an OpenZFS of its own
    }
    let status = fs::read_to_string("/var/lib/dpkg/status").unwrap_or_default();
    let key = recipe::packages_key(&wanted, &status);
    let kind = if with_zfs { "tree" } else { "hosttree" };
    let made = cache.entry(kind, &key, |work| build_tree(cache, &wanted, work));
    match (made, cache.entries(kind)?.into_iter().next()) {
        (Err(error), Some(old)) => {
            say::line(format_args!("packages: {error:#}"));
            say::line(format_args!("packages: going on with the older {}", old.display()));
            Ok(old)
        }
        (made, _) => made,
    }
}

fn build_tree(cache: &Cache, wanted: &[&str], work: &Path) -> Result<()> {
    let started = Instant::now();
    say::line("packages: unpacking what the lab needs and this machine lacks, into the cache");
    let apt = Apt::open(cache)?;
    let mut names: Vec<String> = Vec::new();
    for name in wanted {
        // The user land comes from backports where there is one: nearest to the module.
        let backports = format!("{}-backports", apt.codename);
        let newer = recipe::ZFS_PACKAGES.contains(name) && apt.version(name, &backports)?.is_some();
        names.push(if newer { format!("{name}/{backports}") } else { (*name).to_owned() });
    }
    let log = cache.path("packages.log");
    let count = apt.unpack_missing(&names, &log, work)?;
    merge_usr(work)?;
    for (name, target) in [("iptables", "xtables-legacy-multi"), ("iptables-save", "xtables-legacy-multi")] {
        // dpkg -x runs no maintainer script, so the alternatives are ours to set; legacy knows connbytes.
        let link = work.join("usr/sbin").join(name);
        if work.join("usr/sbin").join(target).exists() && fs::symlink_metadata(&link).is_err() {
            symlink(target, link)?;
        }
    }
    say::line(format_args!("packages: {count} unpacked in {}", say::time(started.elapsed())));
    Ok(())
}

/// `/bin`, `/lib` and `/sbin` are links into `/usr` on the machine; directories of these names would cover the links.
fn merge_usr(tree: &Path) -> Result<()> {
    for name in ["bin", "lib", "lib64", "sbin"] {
        let from = tree.join(name);
        if from.is_dir() {
            let to = tree.join("usr").join(name);
            fs::create_dir_all(&to)?;
            step::output(Command::new("cp").arg("-a").arg(from.join(".")).arg(&to))?;
            cache::remove(&from)?;
        }
    }
    Ok(())
}
