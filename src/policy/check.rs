//! From the file as written to the policy as checked: every value, in the order of the file.

mod link;
mod rate;
mod value;

use std::ops::Range;

use jiff::SignedDuration;
use toml::Spanned;

use self::value::Checker;
use super::file::{ArchiveSection, BackupSection, KeepSection, PlaceSection, PolicyFile, SourceSection};
use super::structure::{self, Part};
use super::{
    Address, ArchiveDivergence, ArchiveRules, BackupDivergence, BackupRules, KeepRules, OnNoBase, Pattern,
    Policy, PolicyError, SourceRoot, Target, TargetKind, TransferSettings,
};
use crate::model::{ByteCount, Link, NameFormat, TargetName};

/// The least the ring buffer of a stream can do with: a few of its recycled blocks.
const BUFFER_MIN: ByteCount = ByteCount(4 << 20);
const BUFFER_MAX: ByteCount = ByteCount(64 << 30);
const JOBS_MAX: i64 = 64;
/// A guest that stands still for longer is no longer backed up, but broken.
const FREEZE_MAX: SignedDuration = SignedDuration::from_mins(1);

/// A value, or what is wrong with it.
type Checked<T> = Result<T, PolicyError>;

impl Policy {
    /// Reads the `text` of a policy file; `file` is what errors call it. The first error is returned, with file, line,
    /// key, what is wrong and what to write instead.
    pub fn parse(text: &str, file: &str) -> Checked<Self> {
        let checker = Checker { file, text };
        let written: PolicyFile = toml::from_str(text).map_err(|error| checker.explain(&error))?;
        checker.policy(&written)
    }
}

impl Checker<'_> {
    fn policy(&self, file: &PolicyFile) -> Checked<Policy> {
        let name_format = match &file.name {
            Some(name) => NameFormat::new(name.get_ref()).map_err(|e| {
                let fix = format!("the default is {:?}", NameFormat::DEFAULT);
                self.error("name", &name.span(), e.to_string(), fix)
            })?,
            None => NameFormat::new(NameFormat::DEFAULT)
                .map_err(|e| self.error("name", &(0..0), e.to_string(), "set name"))?,
        };
        let Some(source) = &file.source else {
            return Err(self.error("[source]", &(0..0), "it is missing", NO_DATASETS));
        };
        let section = source.get_ref();
        let roots = self.roots(section, &source.span())?;
        let mut policy = Policy::with_defaults(roots, name_format);
        if let Some(zone) = &file.timezone {
            policy.time_zone = self.time_zone(zone)?;
        }
        policy.exclude = self.exclude(section)?;
        let keep = self.keep(&section.keep())?;
        if !keep.is_empty() {
            policy.keep_at_source = keep;
        }
        if let Some(path) = &section.guest_config {
            let is_off = path.get_ref().is_empty();
            policy.guest_config = if is_off { None } else { Some(self.path("guest-config", path)?) };
        }
        if let Some(limit) = &section.freeze {
            let is_off = limit.get_ref() == "off";
            policy.freeze = if is_off { None } else { Some(self.freeze(limit)?) };
        }
        if let Some(path) = &file.lock {
            policy.lock = Some(self.path("lock", path)?);
        }
        policy.keep_bookmarks = self
            .count("keep", file.bookmarks.keep.as_ref())?
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        policy.transfer = self.transfer(file)?;
        for backup in &file.backup {
            policy.targets.push(self.backup(backup, &policy.transfer.link)?);
        }
        for archive in &file.archive {
            policy.targets.push(self.archive(archive, &policy.transfer.link)?);
        }
        self.structure(file, &policy)?;
        Ok(policy)
    }

    fn roots(&self, source: &SourceSection, at: &Range<usize>) -> Checked<Vec<SourceRoot>> {
        let Some(datasets) = &source.datasets else {
            return Err(self.error("[source]", at, "it names no datasets", NO_DATASETS));
        };
        if datasets.get_ref().is_empty() {
            return Err(self.error("datasets", &datasets.span(), "the list is empty", NO_DATASETS));
        }
        let root = |name: &Spanned<String>| {
            Ok(SourceRoot { dataset: self.dataset("datasets", name)?, include_root: source.include_root })
        };
        datasets.get_ref().iter().map(root).collect()
    }

    fn freeze(&self, limit: &Spanned<String>) -> Checked<SignedDuration> {
        let length = self.duration("freeze", limit, "5s, or off")?;
        if length <= FREEZE_MAX {
            return Ok(length);
        }
        let what = format!("{:?} is longer than a guest should stand still", limit.get_ref());
        Err(self.error("freeze", &limit.span(), what, "5s suits most guests, and 1min is the most"))
    }

    fn exclude(&self, source: &SourceSection) -> Checked<Vec<Pattern>> {
        let pattern = |text: &Spanned<String>| {
            let fix = "write full names with '*', '?' or '/**/', for example \"rpool/data/vm-9*\"";
            Pattern::new(text.get_ref()).map_err(|e| self.error("exclude", &text.span(), e.to_string(), fix))
        };
        source.exclude.iter().map(pattern).collect()
    }

    fn keep(&self, keep: &KeepSection<'_>) -> Checked<KeepRules> {
        Ok(KeepRules {
            last: self.count("keep-last", keep.last.as_ref())?,
            hourly: self.count("keep-hourly", keep.hourly.as_ref())?,
            daily: self.count("keep-daily", keep.daily.as_ref())?,
            weekly: self.count("keep-weekly", keep.weekly.as_ref())?,
            monthly: self.count("keep-monthly", keep.monthly.as_ref())?,
            yearly: self.count("keep-yearly", keep.yearly.as_ref())?,
        })
    }

    fn transfer(&self, file: &PolicyFile) -> Checked<TransferSettings> {
        let (written, mut settings) = (&file.transfer, TransferSettings::default());
        if let Some(jobs) = &written.jobs {
            let number = self.number("jobs", jobs, &(1..=JOBS_MAX), "2 suits most hosts")?;
            settings.jobs = usize::try_from(number).unwrap_or(1);
        }
        if let Some(buffer) = &written.buffer {
            settings.buffer = self.size("buffer", buffer, buffer.get_ref())?;
            if !(BUFFER_MIN..=BUFFER_MAX).contains(&settings.buffer) {
                let what = format!("{} is not between {BUFFER_MIN} and {BUFFER_MAX}", settings.buffer);
                return Err(self.error("buffer", &buffer.span(), what, "256MiB suits most hosts"));
            }
        }
        settings.rate = self.rate(written)?;
        if let Some(limit) = &written.stall_limit {
            settings.stall_limit = self.duration("stall-limit", limit, "10min")?;
        }
        settings.link = self.default_link(written)?;
        Ok(settings)
    }

    fn backup(&self, section: &Spanned<BackupSection>, link: &Link) -> Checked<Target> {
        let written = section.get_ref();
        let default = BackupRules::default();
        let on_divergence = [
            ("keep", BackupDivergence::Keep),
            ("remove", BackupDivergence::Remove),
            ("stop", BackupDivergence::Stop),
        ];
        let on_no_base = [("supersede", OnNoBase::Supersede), ("stop", OnNoBase::Stop)];
        let rules = BackupRules {
            keep: self.keep(&written.keep())?,
            on_divergence: self.word(
                "on-divergence",
                written.on_divergence.as_ref(),
                &on_divergence,
                default.on_divergence,
            )?,
            on_no_base: self.word(
                "on-no-base",
                written.on_no_base.as_ref(),
                &on_no_base,
                default.on_no_base,
            )?,
            keep_superseded: match &written.keep_superseded {
                None => default.keep_superseded,
                Some(text) if text.get_ref() == "forever" => None,
                Some(text) => Some(self.duration("keep-superseded", text, "90d")?),
            },
        };
        let target =
            self.target("[[backup]]", &section.span(), &written.place(), link, TargetKind::Backup(rules))?;
        Ok(Target { intermediates: written.intermediates, ..target })
    }

    fn archive(&self, section: &Spanned<ArchiveSection>, link: &Link) -> Checked<Target> {
        let written = section.get_ref();
        let default = ArchiveRules::default();
        // "branch" is what it was called first.
        let on_divergence = [
            ("keep", ArchiveDivergence::Keep),
            ("stop", ArchiveDivergence::Stop),
            ("branch", ArchiveDivergence::Keep),
        ];
        let rules = ArchiveRules {
            catch_up: written.catch_up.unwrap_or(default.catch_up),
            on_divergence: self.word(
                "on-divergence",
                written.on_divergence.as_ref(),
                &on_divergence,
                default.on_divergence,
            )?,
        };
        self.target("[[archive]]", &section.span(), &written.place(), link, TargetKind::Archive(rules))
    }

    fn target(
        &self,
        section: &str,
        at: &Range<usize>,
        written: &PlaceSection<'_>,
        link: &Link,
        kind: TargetKind,
    ) -> Checked<Target> {
        let Some(host) = written.host else {
            return Err(self.error(
                section,
                at,
                "it has no host",
                "add host = \"USER@HOST\", or host = \"local\" for this machine",
            ));
        };
        let Some(dataset) = written.dataset else {
            return Err(self.error(
                section,
                at,
                "it has no dataset",
                "add the one below which the copies go, for example dataset = \"tank/backup/pve0\"",
            ));
        };
        let address = Address::parse(host.get_ref())
            .map_err(|fault| self.error("host", &host.span(), fault.what, fault.fix))?;
        let address = self.ssh_settings(address, written)?;
        let name = match written.name {
            Some(name) => self.target_name(name)?,
            None => TargetName(address.host().to_owned()),
        };
        let link = self.link(&written.link, link)?;
        let root = self.dataset("dataset", dataset)?;
        Ok(Target { name, address, link, root, intermediates: false, kind })
    }

    fn ssh_settings(&self, address: Address, written: &PlaceSection<'_>) -> Checked<Address> {
        let useless = |key, at: &Range<usize>| {
            self.error(key, at, "this machine is not reached through ssh", "remove the line")
        };
        match (address, written.port, written.ssh_config) {
            (Address::Local, Some(port), _) => Err(useless("port", &port.span())),
            (Address::Local, None, Some(config)) => Err(useless("ssh-config", &config.span())),
            (Address::Local, None, None) => Ok(Address::Local),
            (Address::Ssh { host, user, .. }, port, config) => {
                let port =
                    port.as_ref().map(|port| self.number("port", port, &(1..=65_535), "ssh's own is 22"));
                let config = config.as_ref().map(|path| self.path("ssh-config", path));
                Ok(Address::Ssh {
                    host,
                    user,
                    port: port.transpose()?.and_then(|port| u16::try_from(port).ok()),
                    config: config.transpose()?,
                })
            }
        }
    }

    fn target_name(&self, name: &Spanned<String>) -> Checked<TargetName> {
        let text = name.get_ref();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
        if !text.is_empty() && text.len() <= 64 && text.bytes().all(allowed) && text != "source" {
            return Ok(TargetName(text.clone()));
        }
        let what = format!("{text:?} cannot name a target");
        Err(self.error(
            "name",
            &name.span(),
            what,
            "write up to 64 letters, digits and '-._:', but not \"source\"",
        ))
    }

    fn structure(&self, file: &PolicyFile, policy: &Policy) -> Checked<()> {
        structure::check(&policy.roots, &policy.exclude, &policy.targets).map_err(|clash| {
            let (key, at) = locate(file, clash.part).unwrap_or(("[source]", 0..0));
            self.error(key, &at, clash.what, clash.fix)
        })
    }
}

const NO_DATASETS: &str =
    "add datasets = [\"rpool/data\"] below [source]: everything below these is backed up";

/// The key and place of a part of the policy.
fn locate(file: &PolicyFile, part: Part) -> Option<(&'static str, Range<usize>)> {
    let source = file.source.as_ref()?.get_ref();
    let place = |index: usize| {
        let backups = file.backup.iter().map(|backup| (backup.get_ref().place(), backup.span()));
        let archives = file.archive.iter().map(|archive| (archive.get_ref().place(), archive.span()));
        backups.chain(archives).nth(index)
    };
    match part {
        Part::Root(index) => Some(("datasets", source.datasets.as_ref()?.get_ref().get(index)?.span())),
        Part::Exclude(index) => Some(("exclude", source.exclude.get(index)?.span())),
        Part::TargetName(index) => {
            let (target, section) = place(index)?;
            let name = target.name.as_ref().or(target.host.as_ref());
            Some(("name", name.map_or(section, Spanned::span)))
        }
        Part::TargetRoot(index) => {
            let (target, section) = place(index)?;
            Some(("dataset", target.dataset.as_ref().map_or(section, Spanned::span)))
        }
    }
}

#[cfg(test)]
mod tests;
