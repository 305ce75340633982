//! Properties that make a copy safe: no one mounts it by accident, writes to it, or scans it for partitions.

use super::{Dataset, DatasetKind};

/// A property that a copy must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SafeProperty {
    /// Its name.
    pub name: &'static str,
    /// The value that a copy gets.
    pub value: &'static str,
    /// Another value that is as good.
    also: Option<&'static str>,
}

const READONLY: SafeProperty = SafeProperty { name: "readonly", value: "on", also: None };
const FILESYSTEM: [SafeProperty; 2] =
    [READONLY, SafeProperty { name: "canmount", value: "noauto", also: Some("off") }];
const VOLUME: [SafeProperty; 2] = [READONLY, SafeProperty { name: "volmode", value: "none", also: None }];

/// The properties that a copy of this kind must have.
pub fn safe_properties(kind: DatasetKind) -> &'static [SafeProperty; 2] {
    match kind {
        DatasetKind::Filesystem => &FILESYSTEM,
        DatasetKind::Volume => &VOLUME,
    }
}

impl SafeProperty {
    /// Whether a copy with this value is safe.
    pub fn allows(&self, value: &str) -> bool {
        value == self.value || Some(value) == self.also
    }
}

impl Dataset {
    /// The properties that are not what a copy must have, with their values.
    pub fn unsafe_properties(&self) -> Vec<(SafeProperty, String)> {
        let found = |safe: &SafeProperty| match safe.name {
            "readonly" => if self.is_readonly { "on" } else { "off" }.to_owned(),
            "canmount" => self.settings.canmount.clone(),
            _ => self.settings.volmode.clone(),
        };
        let all = safe_properties(self.kind).iter().map(|safe| (*safe, found(safe)));
        all.filter(|(safe, value)| !safe.allows(value)).collect()
    }
}
