//! Builds the lab's kernel (`ARCH=um`, an ordinary program) and OpenZFS's modules for it from Debian's source packages, and
//! keeps only the three files that a boot needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::apt::Apt;
use crate::cache::{self, Cache};
use crate::recipe::{self, PINS, Pin};
use crate::{say, step};

/// A built kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Holds `linux`, `spl.ko`, `zfs.ko`, `config`, `versions`, `cpus`.
    pub(crate) dir: PathBuf,
    /// CPUs that are known to work with it.
    pub(crate) cpus: u32,
}

/// The kernel in the cache; built if the pins or the recipe changed.
pub(crate) fn get(cache: &Cache) -> Result<Kernel> {
    let dir = cache.entry("kernel", &recipe::kernel_key(), |work| build(cache, work))?;
    let cpus = fs::read_to_string(dir.join("cpus")).ok().and_then(|text| text.trim().parse().ok());
    Ok(Kernel { cpus: cpus.unwrap_or(1), dir })
}

fn build(cache: &Cache, out: &Path) -> Result<()> {
    let started = Instant::now();
    let apt = Apt::open(cache)?;
    let (pin, linux, openzfs) = choose(&apt)?;
    let log = cache.path("kernel.log");
    cache::remove(&log)?;
    let work = out.join("build");
    fs::create_dir_all(&work)?;
    say::line(format_args!(
        "kernel: fetching linux-source-{} {} and zfs-dkms {openzfs}",
        linux.series, linux.version
    ));
    apt.unpack(&format!("linux-source-{}", linux.series), &linux.version, &log, &work)?;
    apt.unpack("zfs-dkms", &openzfs, &log, &work)?;
    let places = unpack_sources(&work, &linux.series, &log)?;
    say::line(format_args!(
        "kernel: building Linux {} as a program (about 8 min on 2 cores), log {}",
        linux.series,
        log.display()
    ));
    let phase = Instant::now();
    build_linux(&places, &log)?;
    say::line(format_args!("kernel: built in {}", say::time(phase.elapsed())));
    say::line(format_args!("openzfs: building {openzfs} for it (about 3 min), log {}", log.display()));
    let phase = Instant::now();
    build_openzfs(&places, &log)?;
    say::line(format_args!("openzfs: built in {}", say::time(phase.elapsed())));
    fs::copy(places.object.join("linux"), out.join("linux"))?;
    fs::copy(places.object.join(".config"), out.join("config"))?;
    for module in ["spl.ko", "zfs.ko"] {
        fs::copy(places.openzfs.join("module").join(module), out.join(module))?;
    }
    fs::write(out.join("cpus"), format!("{}\n", pin.cpus))?;
    fs::write(
        out.join("versions"),
        format!("linux {}\nopenzfs {openzfs}\nsuite {}\n", linux.version, pin.suite),
    )?;
    cache::remove(&work)?;
    say::line(format_args!("kernel: all done in {}", say::time(started.elapsed())));
    Ok(())
}

struct Linux {
    series: String,
    version: String,
}

/// The first pin that the archive still carries. A suite that moved on is taken as it is now, and said so.
fn choose(apt: &Apt) -> Result<(Pin, Linux, String)> {
    for pin in PINS {
        let Some(openzfs) = apt.version("zfs-dkms", pin.suite)? else {
            say::line(format_args!("kernel: {} has no zfs-dkms; trying the next pin", pin.suite));
            continue;
        };
        if !openzfs.starts_with(pin.openzfs) {
            say::line(format_args!(
                "kernel: {} now carries OpenZFS {openzfs}, pinned is {}; taking it",
                pin.suite, pin.openzfs
            ));
        }
        let mut series = pin.linux.to_owned();
        if apt.version(&format!("linux-source-{series}"), pin.suite)?.is_none() {
            // OpenZFS of one series supports at least the kernels that its pin was built with.
            let Some(other) = recipe::newest_kernel(&apt.kernels(pin.suite)?, pin.linux) else {
                say::line(format_args!(
                    "kernel: {} has no kernel source up to {}; trying the next pin",
                    pin.suite, pin.linux
                ));
                continue;
            };
            say::line(format_args!(
                "kernel: {} no longer has linux-source-{series}; taking {other}",
                pin.suite
            ));
            series = other;
        }
        if let Some(version) = apt.version(&format!("linux-source-{series}"), pin.suite)? {
            return Ok((pin, Linux { series, version }, openzfs));
        }
    }
    bail!(
        "none of the pinned sources can be had: {}",
        PINS.map(|pin| format!("{}/linux-source-{}", pin.suite, pin.linux)).join(", ")
    )
}

struct Places {
    source: PathBuf,
    object: PathBuf,
    openzfs: PathBuf,
}

fn unpack_sources(work: &Path, series: &str, log: &Path) -> Result<Places> {
    let tar = work.join(format!("usr/src/linux-source-{series}.tar.xz"));
    step::run("kernel: unpack", log, Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(work))?;
    let mut openzfs = None;
    for item in fs::read_dir(work.join("usr/src"))? {
        let item = item?;
        if item.file_name().to_string_lossy().starts_with("zfs-") {
            openzfs = Some(item.path());
        }
    }
    let openzfs = openzfs.context("the zfs-dkms package has no /usr/src/zfs-*: its layout has changed")?;
    let meta = fs::read_to_string(openzfs.join("META")).unwrap_or_default();
    let limit = meta.lines().find_map(|line| line.strip_prefix("Linux-Maximum:")).map(str::trim);
    if let Some(limit) = limit
        && recipe::newest_kernel(&[series.to_owned()], limit).is_none()
    {
        say::line(format_args!(
            "kernel: OpenZFS says it supports Linux up to {limit}, this is {series}; still trying"
        ));
    }
    let object = work.join("object");
    fs::create_dir_all(&object)?;
    Ok(Places { source: work.join(format!("linux-source-{series}")), object, openzfs })
}

fn build_linux(places: &Places, log: &Path) -> Result<()> {
    let make = |targets: &[&str]| {
        let mut command = Command::new("make");
        command.arg("-C").arg(&places.source).arg(format!("O={}", places.object.display()));
        command.args(["ARCH=um", &jobs()]).args(targets).env_remove("MAKEFLAGS");
        step::run("kernel", log, &mut command)
    };
    make(&["x86_64_defconfig"])?;
    let config = places.object.join(".config");
    let default = fs::read_to_string(&config)?;
    // Only OpenZFS is a module: nothing else would be there to load.
    let merged = default.replace("=m\n", "=n\n") + recipe::KERNEL_CONFIG;
    fs::write(&config, merged)?;
    make(&["olddefconfig"])?;
    let got = fs::read_to_string(&config)?;
    let missing = missing_options(recipe::KERNEL_CONFIG, &got);
    if !missing.is_empty() {
        bail!("kernel: this kernel does not take the options {}", missing.join(", "));
    }
    make(&["linux", "modules"])
}

/// The wanted `CONFIG_…` lines that are not in the configuration.
fn missing_options<'a>(wanted: &'a str, got: &str) -> Vec<&'a str> {
    let is_option = |line: &&str| line.starts_with("CONFIG_");
    wanted.lines().filter(is_option).filter(|line| !got.lines().any(|have| have == *line)).collect()
}

fn build_openzfs(places: &Places, log: &Path) -> Result<()> {
    let mut configure = Command::new("./configure");
    configure.current_dir(&places.openzfs).env("KERNEL_ARCH", "um").arg("--with-config=kernel");
    configure.arg(format!("--with-linux={}", places.source.display()));
    configure.arg(format!("--with-linux-obj={}", places.object.display()));
    step::run("openzfs: configure", log, &mut configure)?;
    let mut make = Command::new("make");
    make.current_dir(&places.openzfs).args(["-C", "module", &jobs()]).env_remove("MAKEFLAGS");
    step::run("openzfs", log, &mut make)
}

fn jobs() -> String {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("-j{count}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_did_not_come_through_is_named() {
        let got = "CONFIG_MEMCG=y\nCONFIG_HZ=2\n";
        assert_eq!(missing_options("# why\nCONFIG_MEMCG=y\nCONFIG_HZ=22\n", got), ["CONFIG_HZ=22"]);
    }

    #[test]
    fn the_fragment_contains_options_only() {
        for line in recipe::KERNEL_CONFIG.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
            assert!(line.starts_with("CONFIG_") && line.contains('='), "{line}");
        }
    }
}
