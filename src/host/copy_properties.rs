//! The properties of a copy: what makes it safe, who writes it, and what its continuation takes over.

use super::Problem;
use super::zfs_program::ZfsProgram;
use crate::model::{
    DatasetKind, DatasetName, Guid, RESTORE_PROPERTY, SET_ASIDE_PROPERTY, WRITER_PROPERTY, Writer,
    safe_properties,
};

/// Properties of a lineage that move to the copy that continues: a reservation must not be held twice.
const RESERVATIONS: [&str; 2] = ["reservation", "refreservation"];
/// Properties that the copy gets only when it has its snapshots.
const LIMITS: [&str; 4] = ["reservation", "refreservation", "quota", "refquota"];
/// Properties that a clone has from its origin and that cannot be set on it.
const OF_ORIGIN: [&str; 7] =
    ["volsize", "volblocksize", "encryption", "keyformat", "keylocation", "pbkdf2iters", "utf8only"];

impl ZfsProgram {
    /// Sets one property.
    pub(super) fn set(&self, dataset: &DatasetName, property: &str, value: &str) -> Result<(), Problem> {
        self.run(&["set", &format!("{property}={value}"), dataset.as_str()])
    }

    /// The value of a user property, if it is set on `dataset` itself and has one line.
    pub(super) fn get_local(&self, dataset: &str, property: &str) -> Result<Option<String>, Problem> {
        let lines = self.lines(&["get", "-Hp", "-s", "local", "-o", "value", property, dataset])?;
        let mut lines = lines.into_iter();
        Ok(lines.next().filter(|_| lines.next().is_none()))
    }

    /// File system or volume.
    pub(super) fn kind(&self, dataset: &DatasetName) -> Result<DatasetKind, Problem> {
        let rows = self.rows(&["-t", "filesystem,volume", "-o", "type", dataset.as_str()])?;
        match rows.first().and_then(|row| row.first()).map(String::as_str) {
            Some("volume") => Ok(DatasetKind::Volume),
            Some(_) => Ok(DatasetKind::Filesystem),
            None => Err(Problem::NotFound),
        }
    }

    /// Marks a copy with who writes it, and gives it the properties of a safe copy.
    pub(super) fn claim(&self, dataset: &DatasetName, guid: Guid, writer: &Writer) -> Result<(), Problem> {
        self.check_dataset(dataset, guid)?;
        let kind = self.kind(dataset)?;
        let found = self.effective(dataset, kind)?;
        self.set(dataset, WRITER_PROPERTY, &writer.to_string())?;
        for (safe, value) in safe_properties(kind).iter().zip(&found) {
            if safe.allows(value) {
                continue;
            }
            match self.set(dataset, safe.name, safe.value) {
                Err(Problem::Denied(_)) => return Err(safe.complaint(dataset, value)),
                done => done?,
            }
        }
        Ok(())
    }

    /// Fails where a copy is not safe, whoever made it so.
    pub(super) fn check_safe(&self, dataset: &DatasetName, kind: DatasetKind) -> Result<(), Problem> {
        let found = self.effective(dataset, kind)?;
        let unsafe_one = safe_properties(kind).iter().zip(&found).find(|(safe, value)| !safe.allows(value));
        unsafe_one.map_or(Ok(()), |(safe, value)| Err(safe.complaint(dataset, value)))
    }

    /// Fails where a new copy has properties that its stream brought.
    pub(super) fn check_nothing_received(&self, dataset: &DatasetName) -> Result<(), Problem> {
        let get = ["get", "-Hp", "-s", "received", "-o", "property,value", "all", dataset.as_str()];
        match self.lines(&get)?.first() {
            None => Ok(()),
            Some(line) => Err(Problem::Denied(format!("its stream has set a property: {line:?}"))),
        }
    }

    /// The values of [`safe_properties`], in their order.
    fn effective(&self, dataset: &DatasetName, kind: DatasetKind) -> Result<Vec<String>, Problem> {
        let names: Vec<&str> = safe_properties(kind).iter().map(|safe| safe.name).collect();
        let values = self.lines(&["get", "-Hp", "-o", "value", &names.join(","), dataset.as_str()])?;
        if values.len() == names.len() {
            return Ok(values);
        }
        Err(Problem::Protocol(format!("zfs get answered {} lines instead of {}", values.len(), names.len())))
    }

    /// The options with which a clone becomes what `lineage` was: its local properties, the writer, and what makes a copy
    /// safe.
    pub(super) fn clone_options(
        &self,
        lineage: &DatasetName,
        writer: &Writer,
    ) -> Result<Vec<String>, Problem> {
        let kind = self.kind(lineage)?;
        let all =
            self.lines(&["get", "-H", "-s", "local,received", "-o", "property", "all", lineage.as_str()])?;
        let is_safety = |name: &str| {
            safe_properties(kind).iter().any(|safe| safe.name == name)
                || [SET_ASIDE_PROPERTY, WRITER_PROPERTY].contains(&name)
        };
        let mut settings = Vec::new();
        for name in all.iter().filter(|name| !is_safety(name) && !OF_ORIGIN.contains(&name.as_str())) {
            if LIMITS.contains(&name.as_str()) {
                continue;
            }
            let value = self.lines(&["get", "-Hp", "-o", "value", name, lineage.as_str()])?;
            match value.as_slice() {
                [value] => settings.push(format!("{name}={value}")),
                _ => {
                    tracing::warn!("{lineage}: {name} is not copied to the new copy: it has several lines");
                }
            }
        }
        settings.push(format!("{WRITER_PROPERTY}={writer}"));
        let found = self.effective(lineage, kind)?;
        for (safe, value) in safe_properties(kind).iter().zip(found) {
            let value = if safe.allows(&value) { value } else { safe.value.to_owned() };
            settings.push(format!("{}={value}", safe.name));
        }
        Ok(settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]).collect())
    }

    /// The options with which a clone gets the local properties of `dataset`, but for quotas and reservations.
    pub(super) fn local_options(&self, dataset: &DatasetName) -> Result<Vec<String>, Problem> {
        let all =
            self.lines(&["get", "-H", "-s", "local,received", "-o", "property", "all", dataset.as_str()])?;
        let is_other = |name: &str| {
            LIMITS.contains(&name)
                || OF_ORIGIN.contains(&name)
                || ["canmount", RESTORE_PROPERTY].contains(&name)
        };
        let mut options = Vec::new();
        for name in all.iter().filter(|name| !is_other(name)) {
            let value = self.lines(&["get", "-Hp", "-o", "value", name, dataset.as_str()])?;
            if let [value] = value.as_slice() {
                options.extend(["-o".to_owned(), format!("{name}={value}")]);
            } else {
                tracing::warn!("{dataset}: its clone does not get {name}: it has many lines");
            }
        }
        Ok(options)
    }

    /// Moves the reservations of `from` to `to`, where that has none. One that cannot be set is only logged.
    pub(super) fn move_reservations(&self, from: &DatasetName, to: &DatasetName) {
        let local = |dataset: &DatasetName, name: &str| {
            let values = self.lines(&["get", "-Hp", "-s", "local", "-o", "value", name, dataset.as_str()]);
            values.unwrap_or_default().pop().filter(|value| !["0", "none", "-"].contains(&value.as_str()))
        };
        for name in RESERVATIONS {
            let Some(value) = local(from, name) else { continue };
            let moved = match local(to, name) {
                Some(_) => Ok(()),
                None => self.set(to, name, &value),
            };
            // Where there is no room for both, it is given up there first.
            let moved = match moved {
                Err(Problem::NoSpace(_)) => {
                    self.set(from, name, "none").and_then(|()| self.set(to, name, &value))
                }
                Ok(()) => self.set(from, name, "none"),
                failed => failed,
            };
            if let Err(problem) = moved {
                tracing::warn!("{to}: {name}={value} could not be set: {problem}");
            }
        }
    }

    /// Moves quotas and reservations to the copy. One that cannot be set is only logged: the data is complete.
    pub(super) fn move_limits(&self, lineage: &DatasetName, copy: &DatasetName) {
        let get = ["get", "-Hp", "-s", "local", "-o", "property,value", &LIMITS.join(","), lineage.as_str()];
        let lines = self.lines(&get).unwrap_or_default();
        for (name, value) in lines.iter().filter_map(|line| line.split_once('\t')) {
            if ["0", "none", "-"].contains(&value) {
                continue;
            }
            let freed = if RESERVATIONS.contains(&name) { self.set(lineage, name, "none") } else { Ok(()) };
            if let Err(problem) = freed.and_then(|()| self.set(copy, name, value)) {
                tracing::warn!("{copy}: {name}={value} could not be set: {problem}");
            }
        }
    }
}
