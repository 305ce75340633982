//! The names that one source may have on a target, the usual one first.

use crate::model::{DatasetName, Inventory, NameError, ProxmoxState};
use crate::policy::Target;

/// Names in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Candidates {
    /// The one that it has unless another source has it.
    pub(super) usual: DatasetName,
    /// The others: distinguished by the storage's id, then by more and more of the source's own path.
    pub(super) others: Vec<DatasetName>,
    /// Where a copy continues, but none begins: where `vm-backup.sh` put the one of a root without children, and where
    /// copies were when the policy's roots, or the storages, were others.
    earlier: Vec<DatasetName>,
}

impl Candidates {
    /// Those of `source` below `root`; `containers` are the target's, directly below its own root. Fails where the usual name is not valid; others that are not are left out.
    pub(super) fn new(
        source: &DatasetName,
        root: &DatasetName,
        is_leaf_root: bool,
        target: &Target,
        inventory: &Inventory,
        containers: &[&DatasetName],
    ) -> Result<Self, NameError> {
        let (usual, relative) = match source.below(root) {
            Some(relative) => (target.root.child(relative)?, relative),
            None if is_leaf_root && source == root => (target.root.child(source.last())?, source.last()),
            None => (target.root.clone(), source.last()),
        };
        let mut others = Vec::new();
        let mut add = |below: &str| {
            if let Ok(name) = target.root.child(below)
                && name != usual
                && !others.contains(&name)
            {
                others.push(name);
            }
        };
        if usual == target.root {
            add(relative);
        }
        let storages = inventory.proxmox.storages.iter().flatten();
        let storages = storages.filter(|storage| source.below(&storage.dataset).is_some());
        let nearest = storages.max_by(|a, b| {
            let depth = |name: &DatasetName| name.as_str().len();
            depth(&a.dataset).cmp(&depth(&b.dataset)).then_with(|| b.id.cmp(&a.id))
        });
        if let Some(storage) = nearest {
            add(&format!("{}/{relative}", storage.id));
        }
        let parts: Vec<&str> = source.as_str().split('/').collect();
        let known = relative.split('/').count();
        for start in (0..parts.len().saturating_sub(known)).rev() {
            add(&parts.get(start..).unwrap_or_default().join("/"));
        }
        let mut earlier = Vec::new();
        if is_leaf_root && source == root {
            earlier.push(target.root.clone());
        }
        for start in parts.len().saturating_sub(known) + 1..parts.len() {
            earlier.extend(target.root.child(&parts.get(start..).unwrap_or_default().join("/")));
        }
        if has_unknown_storage(inventory) {
            let below = containers.iter().filter_map(|container| container.child(relative).ok());
            earlier.extend(below.filter(|name| !others.contains(name)));
        }
        Ok(Self { usual, others, earlier })
    }

    /// With more names under which a copy may be.
    pub(super) fn with_earlier<'a>(mut self, names: impl Iterator<Item = &'a DatasetName>) -> Self {
        for name in names {
            if !self.all().any(|known| known == name) {
                self.earlier.push(name.clone());
            }
        }
        self
    }

    /// Every name under which a copy may be.
    pub(super) fn all(&self) -> impl Iterator<Item = &DatasetName> {
        std::iter::once(&self.usual).chain(&self.others).chain(&self.earlier)
    }
}

/// Whether a storage's id may be missing, after which a copy was once named.
fn has_unknown_storage(inventory: &Inventory) -> bool {
    let proxmox = &inventory.proxmox;
    proxmox.storages.is_none() || matches!(proxmox.state, ProxmoxState::InDoubt(_))
}
