//! A private apt: the machine's own archive and keyring, but its own lists, caches and sources, so that suites the user never
//! asked for leave no trace on the machine. Works without root for everything but an installation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::{recipe, say, sources, step};

/// Lists younger than this are not fetched again.
const FRESH: Duration = Duration::from_secs(12 * 3600);

/// The private apt state, ready to be asked.
#[derive(Debug)]
pub(crate) struct Apt {
    dir: PathBuf,
    /// The machine's Debian release, for example `bookworm`.
    pub(crate) codename: String,
}

impl Apt {
    /// Sets up the private state in the cache and fetches the lists if they are old.
    pub(crate) fn open(cache: &Cache) -> Result<Self> {
        let codename = codename(&fs::read_to_string("/etc/os-release").unwrap_or_default())
            .filter(|_| step::has("apt-get"))
            .context("the lab is built from Debian packages, and this machine is not Debian. Use Debian 12 or 13 (a container \
                      does), or a machine with OpenZFS loaded and root, where the lab runs directly")?;
        let backports = format!("{codename}-backports");
        let mut extra = vec![backports.as_str()];
        extra.extend(recipe::EXTRA_SUITES);
        extra.dedup();
        let machine = sources::of_machine(Path::new("/etc/apt"));
        let text = sources::private(&machine, &codename, &extra).with_context(|| {
            format!(
                "/etc/apt names no archive with {codename}: cannot tell where this machine gets its packages"
            )
        })?;
        let dir = cache.dir("apt")?;
        for part in ["state/lists/partial", "cache/archives/partial", "etc", "empty", "deb"] {
            fs::create_dir_all(dir.join(part))?;
        }
        let apt = Self { dir, codename };
        let list = apt.dir.join("etc/lab.sources");
        let old = fs::read_to_string(&list).ok().is_none_or(|have| have != text) || !apt.fresh();
        fs::write(&list, text)?;
        if old {
            apt.update()?;
        }
        Ok(apt)
    }

    fn fresh(&self) -> bool {
        let stamp = fs::metadata(self.dir.join("stamp")).and_then(|meta| meta.modified());
        stamp.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age < FRESH))
    }

    fn update(&self) -> Result<()> {
        say::line("apt: fetching package lists into the cache (the machine's own are left alone)");
        let log = self.dir.join("update.log");
        // A suite that this archive does not carry makes apt-get fail although all others are there: the lookups show it.
        if let Err(error) = step::run("apt: update", &log, self.command("apt-get").args(["-q", "update"])) {
            say::line(format_args!("apt: not every suite could be read: {error:#}"));
        }
        fs::write(self.dir.join("stamp"), "")?;
        Ok(())
    }

    /// `apt-get` or `apt-cache` on the private state.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.options(&mut command);
        command
    }

    fn options(&self, command: &mut Command) {
        let dir = self.dir.display();
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C").args([
            "-o",
            &format!("Dir::State={dir}/state"),
            "-o",
            "Dir::State::status=/var/lib/dpkg/status",
            "-o",
            &format!("Dir::Cache={dir}/cache"),
            "-o",
            "Dir::Etc::sourcelist=/dev/null",
            "-o",
            &format!("Dir::Etc::sourceparts={dir}/etc"),
            "-o",
            "Dir::Etc::preferences=/dev/null",
            "-o",
            &format!("Dir::Etc::preferencesparts={dir}/empty"),
            "-o",
            "Acquire::Languages=none",
            "-o",
            "Acquire::Retries=3",
            "-o",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            "-o",
            "APT::Sandbox::User=root",
            // Hooks of the machine's configuration are for its own state.
            "-o",
            "APT::Update::Post-Invoke-Success::=true",
        ]);
    }

    /// The newest version of `package` in `suite`, if that suite has it.
    pub(crate) fn version(&self, package: &str, suite: &str) -> Result<Option<String>> {
        let text = step::output(self.command("apt-cache").args(["madison", package]))?;
        Ok(madison(&text, suite))
    }

    /// The kernel series that `suite` has sources of.
    pub(crate) fn kernels(&self, suite: &str) -> Result<Vec<String>> {
        let names = step::output(self.command("apt-cache").args([
            "search",
            "--names-only",
            "^linux-source-[0-9.]+$",
        ]))?;
        let mut found = Vec::new();
        for name in names.lines().filter_map(|line| line.split_whitespace().next()) {
            if let Some(series) = name.strip_prefix("linux-source-")
                && self.version(name, suite)?.is_some()
            {
                found.push(series.to_owned());
            }
        }
        Ok(found)
    }

    /// Downloads one package and unpackes it below `into`.
    pub(crate) fn unpack(&self, package: &str, version: &str, log: &Path, into: &Path) -> Result<()> {
        let work = self.empty_deb_dir()?;
        let wanted = format!("{package}={version}");
        step::run(
            &wanted,
            log,
            self.command("apt-get").args(["-q", "download", &wanted]).current_dir(&work),
        )?;
        unpack_all(&work, log, into)?;
        self.empty_deb_dir()?;
        Ok(())
    }

    /// Downloads what an installation of `packages` would bring (so: what the machine lacks) and unpackes it below `into`.
    /// Returns how many packages that were.
    pub(crate) fn unpack_missing(&self, packages: &[String], log: &Path, into: &Path) -> Result<usize> {
        let work = self.empty_deb_dir()?;
        fs::create_dir_all(work.join("partial"))?;
        let mut command = self.command("apt-get");
        command.args(["-q", "-y", "--no-install-recommends", "--download-only", "-o", "Debug::NoLocking=1"]);
        command.arg("-o").arg(format!("Dir::Cache::archives={}", work.display()));
        command.arg("install").args(packages);
        step::run("packages: download", log, &mut command)?;
        let count = unpack_all(&work, log, into)?;
        self.empty_deb_dir()?;
        Ok(count)
    }

    /// Installs `packages` on the machine, as root or through sudo.
    pub(crate) fn install(&self, packages: &[&str], log: &Path) -> Result<()> {
        let mut command = if rustix::process::geteuid().is_root() {
            Command::new("apt-get")
        } else if step::has("sudo") {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            sudo
        } else {
            bail!(
                "these packages are missing, and there is neither root nor sudo to install them: {}",
                packages.join(" ")
            );
        };
        self.options(&mut command);
        command
            .args(["-q", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", "install"])
            .args(packages);
        step::run("packages: install", log, &mut command).with_context(|| {
            format!("install them by hand and try again: apt-get install {}", packages.join(" "))
        })
    }

    fn empty_deb_dir(&self) -> Result<PathBuf> {
        let work = self.dir.join("deb");
        crate::cache::remove(&work)?;
        fs::create_dir_all(&work)?;
        Ok(work)
    }
}

fn unpack_all(debs: &Path, log: &Path, into: &Path) -> Result<usize> {
    let mut files: Vec<_> = fs::read_dir(debs)?.flatten().map(|item| item.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "deb"));
    for file in &files {
        step::run("unpack", log, Command::new("dpkg").arg("-x").arg(file).arg(into))?;
    }
    Ok(files.len())
}

/// The codename of a Debian release from the text of os-release.
fn codename(os_release: &str) -> Option<String> {
    let field = |name: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    field("ID").filter(|id| id == "debian").and(field("VERSION_CODENAME"))
}

/// The newest version in `suite` from `apt-cache madison` (` package | version | uri suite/component arch Packages`, newest first).
fn madison(text: &str, suite: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.split('|').map(str::trim);
        let version = fields.nth(1)?;
        let place = fields.next()?.split_whitespace().nth(1)?;
        place.strip_prefix(suite)?.starts_with('/').then(|| version.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn madison_by_suite() {
        let text = " zfs-dkms | 2.4.4-1~bpo13+1 | http://x/debian trixie-backports/contrib amd64 Packages\n \
            zfs-dkms | 2.3.2-2~bpo12+2 | http://x/debian bookworm-backports/contrib amd64 Packages\n \
            zfs-dkms | 2.1.11-1 | http://x/debian bookworm/contrib amd64 Packages\n";
        assert_eq!(madison(text, "bookworm-backports").as_deref(), Some("2.3.2-2~bpo12+2"));
        assert_eq!(madison(text, "bookworm").as_deref(), Some("2.1.11-1"));
        assert_eq!(madison(text, "forky"), None);
    }

    #[test]
    fn only_debian_has_a_codename_here() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(codename(text).as_deref(), Some("bookworm"));
        assert_eq!(codename("ID=fedora\nVERSION_CODENAME=x"), None);
    }
}
