//! Where the policy comes from: the configuration file, the flags, or both.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::args::{DEFAULT_CONFIG, PolicyArgs};
use super::exit_code::{Code, Failure, OrExit};
use crate::policy::{Flags, Policy};

/// Reads and checks the policy.
pub(super) fn load(args: &PolicyArgs) -> Result<Policy, Failure> {
    load_with_default(args, Path::new(DEFAULT_CONFIG)).or_exit(Code::Usage)
}

/// Whether there is anything to read a policy from.
pub(super) fn exists(args: &PolicyArgs) -> bool {
    named_or(args, Path::new(DEFAULT_CONFIG)).is_some() || !args.datasets.is_empty()
}

/// The policy file under its one real name; `None` for a policy of flags alone.
pub(super) fn file(args: &PolicyArgs) -> Option<PathBuf> {
    let path = named_or(args, Path::new(DEFAULT_CONFIG))?;
    Some(std::fs::canonicalize(&path).unwrap_or(path))
}

fn load_with_default(args: &PolicyArgs, default: &Path) -> anyhow::Result<Policy> {
    let flags = flags(args);
    if let Some(path) = named_or(args, default) {
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read the policy file {shown}"))?;
        return Ok(Policy::parse(&text, &shown)?.with_flags(&flags)?);
    }
    if args.datasets.is_empty() {
        let default = default.display();
        anyhow::bail!(
            "there is no policy: {default} does not exist, and no --dataset is given\n  \
             next: write one with 'zhaul config example > {default}',\n  \
             or name what to back up, for example 'zhaul run --dataset rpool/data'"
        );
    }
    Ok(Policy::from_flags(&flags)?)
}

/// The file named, whether it exists or not; else the usual one, if it exists.
fn named_or(args: &PolicyArgs, default: &Path) -> Option<PathBuf> {
    args.config.clone().or_else(|| default.exists().then(|| default.to_owned()))
}

fn flags(args: &PolicyArgs) -> Flags {
    Flags {
        dataset: args.datasets.clone(),
        backup_host: args.backup_host.clone(),
        backup_dataset: args.backup_dataset.clone(),
        archive_host: args.archive_host.clone(),
        archive_dataset: args.archive_dataset.clone(),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DatasetName;

    fn dataset(name: &str) -> DatasetName {
        DatasetName::new(name).unwrap()
    }

    #[test]
    fn without_file_and_dataset_both_remedies_are_named() {
        let error = load_with_default(&PolicyArgs::default(), Path::new("/nonexistent.toml")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("zhaul config example > /nonexistent.toml"), "{text}");
        assert!(text.contains("zhaul run --dataset"), "{text}");
    }

    #[test]
    fn the_old_scripts_defaults_follow_the_hostname() {
        let args = PolicyArgs { datasets: vec![dataset("tank/vm")], ..PolicyArgs::default() };
        let policy = load_with_default(&args, Path::new("/nonexistent.toml")).unwrap();
        let targets: Vec<_> = policy.targets.iter().map(|one| format!("{}:{}", one.name, one.root)).collect();
        let hostname = flags(&args).hostname;
        assert!(!hostname.is_empty());
        assert_eq!(
            targets,
            [format!("nfs8:tank/backup/{hostname}"), format!("nfs9:tank/archive/{hostname}")]
        );
    }

    #[test]
    fn a_file_that_was_named_must_exist_but_the_usual_one_need_not() {
        let args = PolicyArgs {
            config: Some("/nonexistent.toml".into()),
            datasets: vec![dataset("tank/vm")],
            ..PolicyArgs::default()
        };
        let error = load_with_default(&args, Path::new("/other.toml")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the policy file /nonexistent.toml");
    }

    #[test]
    fn the_example_is_a_good_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zhaul.toml");
        std::fs::write(&path, crate::policy::EXAMPLE).unwrap();
        let policy = load_with_default(&PolicyArgs::default(), &path).unwrap();
        assert!(!policy.roots.is_empty() && !policy.targets.is_empty());
    }
}
