//! The policy of `zhaul prune`: a backup on this machine, and nothing else.

use super::{Address, BackupRules, Policy, Target, TargetKind};
use crate::model::{DatasetName, Link, NameFormat, TargetName};

impl Policy {
    /// One backup, called `here`, below `root` on this machine, without a source.
    pub fn of_backup_here(root: DatasetName, rules: BackupRules, name_format: NameFormat) -> Self {
        let target = Target {
            name: TargetName("here".to_owned()),
            address: Address::Local,
            link: Link::default(),
            root,
            intermediates: false,
            kind: TargetKind::Backup(rules),
        };
        let policy = Self::with_defaults(Vec::new(), name_format);
        Self { targets: vec![target], guest_config: None, ..policy }
    }
}
