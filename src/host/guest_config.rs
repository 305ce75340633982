//! The configuration of a guest in user properties of a snapshot: read, and stored on a copy.
//!
//! A plain stream carries no user properties of snapshots, and one with `-p` would bring the properties of the dataset, too:
//! so they are set on the copy after it was received. Each is set once: a copy's configuration is never overwritten.

use std::collections::BTreeMap;

use super::zfs_program::ZfsProgram;
use super::{Problem, zfs_errors};
use crate::model::{DatasetName, GUEST_PROPERTY, GuestConfig, Guid, PointName};

/// A value is base64 or a few words: longer or other text is not from zhaul.
const VALUE_BYTES_MAX: usize = 8191;

impl ZfsProgram {
    /// The properties of a guest's configuration that a snapshot itself has.
    pub(super) fn config(
        &self,
        dataset: &DatasetName,
        snapshot: &PointName,
    ) -> Result<BTreeMap<String, String>, Problem> {
        let mut found = BTreeMap::new();
        let name = format!("{dataset}@{snapshot}");
        let arguments = ["get", "-Hp", "-o", "property,value", "-s", "local,received", "all", &name];
        let answer = self.read(&arguments, &mut |line| {
            let text = String::from_utf8_lossy(line);
            if let Some((property, value)) = text.split_once('\t')
                && GuestConfig::is_property(property)
            {
                found.insert(property.to_owned(), value.to_owned());
            }
            Ok(())
        })?;
        if answer.status == 0 { Ok(found) } else { Err(zfs_errors::problem(answer)) }
    }

    /// Sets those of `properties` that the snapshot lacks.
    pub(super) fn store_config(
        &self,
        dataset: &DatasetName,
        snapshot: &PointName,
        guid: Guid,
        properties: &BTreeMap<String, String>,
    ) -> Result<(), Problem> {
        let is_fine = |(name, value): (&String, &String)| {
            let is_text = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
            GuestConfig::is_property(name) && is_text && value.len() <= VALUE_BYTES_MAX
        };
        if !properties.iter().all(is_fine) {
            return Err(Problem::Denied(
                "these are not the properties of a guest's configuration".to_owned(),
            ));
        }
        self.check_point(dataset, snapshot, guid)?;
        let there = self.config(dataset, snapshot)?;
        // This property is set last: a snapshot that has it is complete, and no run adds to it any more.
        if there.contains_key(GUEST_PROPERTY) {
            return Ok(());
        }
        let missing = properties.iter().filter(|(name, _)| !there.contains_key(*name));
        let settings: Vec<String> = missing.map(|(name, value)| format!("{name}={value}")).collect();
        let name = format!("{dataset}@{snapshot}");
        // The names and values of one call stay far below what the arguments of a program may have.
        for some in settings.chunks(8) {
            let mut arguments = vec!["set"];
            arguments.extend(some.iter().map(String::as_str));
            arguments.push(&name);
            self.run(&arguments)?;
        }
        Ok(())
    }
}
