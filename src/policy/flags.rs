//! The flags of `vm-backup.sh`: a whole policy without a file, or a choice among what a file says.

use super::structure::{self, Part};
use super::{Address, ArchiveRules, BackupRules, Policy, PolicyError, SourceRoot, Target, TargetKind};
use crate::model::{DatasetName, Link, NameFormat, TargetName};

/// The command line's settings for the policy; a `None` or an empty list sets nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--dataset`, as often as given.
    pub dataset: Vec<DatasetName>,
    /// `--backup-host`: `HOST`, `USER@HOST`, `local`, the name of a backup in the file, or empty for none.
    pub backup_host: Option<String>,
    /// `--backup-dataset`.
    pub backup_dataset: Option<DatasetName>,
    /// `--archive-host`, likewise.
    pub archive_host: Option<String>,
    /// `--archive-dataset`.
    pub archive_dataset: Option<DatasetName>,
    /// This machine's name: the last part of the default datasets on the targets.
    pub hostname: String,
}

/// Backup or archive: what the two pairs of flags have in common.
#[derive(Debug, Clone, Copy)]
struct Role {
    word: &'static str,
    host_flag: &'static str,
    dataset_flag: &'static str,
    default_host: &'static str,
    kind: fn() -> TargetKind,
}

const BACKUP: Role = Role {
    word: "backup",
    host_flag: "--backup-host",
    dataset_flag: "--backup-dataset",
    default_host: "nfs8",
    kind: || TargetKind::Backup(BackupRules::default()),
};

const ARCHIVE: Role = Role {
    word: "archive",
    host_flag: "--archive-host",
    dataset_flag: "--archive-dataset",
    default_host: "nfs9",
    kind: || TargetKind::Archive(ArchiveRules::default()),
};

impl Role {
    fn has(self, target: &Target) -> bool {
        let is_backup = matches!(target.kind, TargetKind::Backup(_));
        is_backup == (self.word == BACKUP.word)
    }

    /// The target that the flags alone describe.
    fn make(self, host: &str, dataset: Option<&DatasetName>, hostname: &str) -> Result<Target, PolicyError> {
        let address = self.address(host)?;
        let root = match dataset {
            Some(dataset) => dataset.clone(),
            None => DatasetName::new(&format!("tank/{}/{hostname}", self.word)).map_err(|e| {
                let fix = format!("give the dataset with {}", self.dataset_flag);
                PolicyError::new(self.dataset_flag, e.to_string(), fix)
            })?,
        };
        Ok(Target {
            name: TargetName(address.host().to_owned()),
            address,
            link: Link::default(),
            root,
            intermediates: false,
            kind: (self.kind)(),
        })
    }

    fn address(self, host: &str) -> Result<Address, PolicyError> {
        Address::parse(host).map_err(|fault| PolicyError::new(self.host_flag, fault.what, fault.fix))
    }

    /// Those of `targets`, all of this role, that the two flags leave, or the one that they make.
    fn choose(
        self,
        targets: Vec<Target>,
        host: Option<&str>,
        dataset: Option<&DatasetName>,
        hostname: &str,
    ) -> Result<Vec<Target>, PolicyError> {
        let mut chosen = match host {
            None if targets.is_empty() && dataset.is_some() => {
                vec![self.make(self.default_host, dataset, hostname)?]
            }
            None => targets,
            Some("") => return Ok(Vec::new()),
            Some(host) => self.choose_host(&targets, host, dataset, hostname)?,
        };
        if let Some(dataset) = dataset {
            let names = list(chosen.iter().map(|target| target.name.0.as_str()));
            let [only] = chosen.as_mut_slice() else {
                let what = format!("the policy has several of this kind: {names}");
                let fix = format!("say with {} which of them is meant", self.host_flag);
                return Err(PolicyError::new(self.dataset_flag, what, fix));
            };
            only.root = dataset.clone();
        }
        Ok(chosen)
    }

    fn choose_host(
        self,
        targets: &[Target],
        host: &str,
        dataset: Option<&DatasetName>,
        hostname: &str,
    ) -> Result<Vec<Target>, PolicyError> {
        if let Some(named) = targets.iter().find(|target| target.name.0 == host) {
            return Ok(vec![named.clone()]);
        }
        let address = self.address(host)?;
        let known: Vec<Target> = targets
            .iter()
            .filter(|target| target.address.host().eq_ignore_ascii_case(address.host()))
            .cloned()
            .collect();
        if !known.is_empty() {
            return Ok(known.into_iter().map(|target| with_user(target, &address)).collect());
        }
        match targets {
            [] => Ok(vec![self.make(host, dataset, hostname)?]),
            [only] => {
                Ok(vec![Target { name: TargetName(address.host().to_owned()), address, ..only.clone() }])
            }
            several => {
                let names = list(several.iter().map(|target| target.name.0.as_str()));
                let what = format!("{host:?} is none of the policy's targets of this kind");
                Err(PolicyError::new(self.host_flag, what, format!("name one of {names}")))
            }
        }
    }
}

/// The login name of the flag goes before that of the file.
fn with_user(target: Target, flag: &Address) -> Target {
    let address = match (target.address, flag) {
        (Address::Ssh { host, port, config, .. }, Address::Ssh { user: Some(user), .. }) => {
            Address::Ssh { host, user: Some(user.clone()), port, config }
        }
        (address, _) => address,
    };
    Target { address, ..target }
}

fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

impl Policy {
    /// The policy of `vm-backup.sh`: everything from the flags and its defaults, no file.
    pub fn from_flags(flags: &Flags) -> Result<Self, PolicyError> {
        if flags.dataset.is_empty() {
            return Err(PolicyError::new(
                "--dataset",
                "it is missing, and there is no policy file",
                "say what to back up, for example --dataset rpool/data, or write a file: `zhaul config example` shows one",
            ));
        }
        let root = |dataset: &DatasetName| SourceRoot { dataset: dataset.clone(), include_root: false };
        let name_format = NameFormat::new(NameFormat::DEFAULT)
            .map_err(|e| PolicyError::new("name", e.to_string(), "set name in a policy file"))?;
        let policy = Self::with_defaults(flags.dataset.iter().map(root).collect(), name_format);
        let (backup, archive) = (flags.backup_host.as_deref(), flags.archive_host.as_deref());
        let hosts = Flags {
            backup_host: Some(backup.unwrap_or(BACKUP.default_host).to_owned()),
            archive_host: Some(archive.unwrap_or(ARCHIVE.default_host).to_owned()),
            ..flags.clone()
        };
        policy.with_targets(&hosts)
    }

    /// This policy as the flags narrow or change it for one run. A dataset given must be a root of the policy or be
    /// below one, and where it goes still follows from that root.
    pub fn with_flags(self, flags: &Flags) -> Result<Self, PolicyError> {
        let mut policy = self.with_targets(flags)?;
        for dataset in &flags.dataset {
            if !policy.roots.iter().any(|root| dataset.is_within(&root.dataset)) {
                let roots = list(policy.roots.iter().map(|root| root.dataset.as_str()));
                let what = format!("{dataset} is not among the policy's sources");
                let fix = format!("name one of {roots}, or a dataset below one");
                return Err(PolicyError::new("--dataset", what, fix));
            }
            if let Some(pattern) = policy.exclude.iter().find(|pattern| pattern.matches(dataset)) {
                let what = format!("the policy leaves {dataset} out by its pattern {:?}", pattern.as_str());
                return Err(PolicyError::new("--dataset", what, "change exclude in the policy file"));
            }
        }
        policy.selected.clone_from(&flags.dataset);
        Ok(policy)
    }

    fn with_targets(mut self, flags: &Flags) -> Result<Self, PolicyError> {
        let places = |targets: &[Target]| -> Vec<(String, DatasetName)> {
            targets.iter().map(|target| (target.address.host().to_owned(), target.root.clone())).collect()
        };
        let before = places(&self.targets);
        let targets = std::mem::take(&mut self.targets);
        let (backups, archives) = targets.into_iter().partition(|target| BACKUP.has(target));
        let (host, dataset) = (flags.backup_host.as_deref(), flags.backup_dataset.as_ref());
        self.targets = BACKUP.choose(backups, host, dataset, &flags.hostname)?;
        let (host, dataset) = (flags.archive_host.as_deref(), flags.archive_dataset.as_ref());
        let archives = ARCHIVE.choose(archives, host, dataset, &flags.hostname)?;
        for mut archive in archives {
            // One host can be both: a file gives each a name, flags cannot.
            if self.targets.iter().any(|target| target.name == archive.name) {
                archive.name = TargetName(format!("{}-{}", archive.name, ARCHIVE.word));
            }
            self.targets.push(archive);
        }
        if places(&self.targets) != before {
            // A target that this run leaves out may need any of them.
            self.keep_bookmarks = None;
        }
        structure::check(&self.roots, &self.exclude, &self.targets).map_err(|clash| {
            let flag = match clash.part {
                Part::Root(_) | Part::Exclude(_) => "--dataset",
                Part::TargetName(place) | Part::TargetRoot(place) => match self.targets.get(place) {
                    Some(target) if ARCHIVE.has(target) => ARCHIVE.dataset_flag,
                    Some(_) | None => BACKUP.dataset_flag,
                },
            };
            PolicyError::new(flag, clash.what, clash.fix)
        })?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
