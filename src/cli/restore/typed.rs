//! The request as it was typed, and commands like it.

use super::super::args::{AtArg, StorageArg};
use super::super::render::escape;
use crate::model::{DatasetName, GuestId, PointName};
use crate::plan::Place;
use crate::plan::restore::What;

/// A place as it is typed.
pub(super) fn place(place: &Place) -> String {
    match place {
        Place::Source => "here".to_owned(),
        Place::Target(name) => name.to_string(),
    }
}

/// The request, as it was typed.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Asked<'a> {
    pub(in crate::cli) what: &'a What,
    /// The point, if one was given.
    pub(in crate::cli) at: Option<&'a AtArg>,
    /// The place, if one was given.
    pub(in crate::cli) from: Option<&'a str>,
    /// The number that the guest is to have, if not its own.
    pub(in crate::cli) new_id: Option<GuestId>,
    /// The storages that its disks go to, as far as they were given.
    pub(in crate::cli) storage: &'a [StorageArg],
    /// The disks of the guest, if not all.
    pub(in crate::cli) disks: &'a [String],
    /// The name that the dataset is to have, if not its own.
    pub(in crate::cli) to: Option<&'a DatasetName>,
}

impl<'a> Asked<'a> {
    /// The object alone.
    pub(in crate::cli) fn new(what: &'a What) -> Self {
        Self { what, at: None, from: None, new_id: None, storage: &[], disks: &[], to: None }
    }
}

impl Asked<'_> {
    pub(super) fn at(self, option: &str) -> String {
        self.at.map_or_else(String::new, |at| format!(" {option} {at}"))
    }

    /// The command that goes back to the point where it is.
    pub(super) fn rollback(self, dataset: &DatasetName) -> String {
        let what = match self.what {
            What::Guest(id) if self.disks.is_empty() => id.to_string(),
            What::Guest(_) | What::Dataset(_) => dataset.to_string(),
        };
        format!("zhaul rollback {what}{}", self.at("--to"))
    }

    /// The command that restores the same point of the same thing, with another option, to `to`.
    pub(super) fn restore(self, dataset: &DatasetName, to: &str, option: &str) -> String {
        let what = match self.what {
            What::Guest(id) if to.is_empty() => id.to_string(),
            What::Guest(_) => dataset.to_string(),
            What::Dataset(name) => name.to_string(),
        };
        let is_there = to.is_empty() && matches!(self.what, What::Guest(_)) || what == *to;
        let to = if is_there { String::new() } else { format!(" --to {to}") };
        let from = self.place_option();
        let of_guest = if to.is_empty() { self.of_guest() } else { String::new() };
        format!("zhaul restore {what}{of_guest}{}{from}{to}{option}", self.at("--at"))
    }

    pub(super) fn place_option(self) -> String {
        self.from.map_or_else(String::new, |from| format!(" --from {from}"))
    }

    /// The options that only a guest takes.
    pub(super) fn of_guest(self) -> String {
        let disks = self.disks.iter().map(|disk| format!(" --disk {}", escape(disk)));
        disks.collect::<String>() + &self.storages()
    }

    fn storages(self) -> String {
        let words = self.storage.iter().map(|storage| format!(" --storage {}", escape(&storage.to_string())));
        words.collect()
    }

    /// The command that gives up what was begun.
    pub(super) fn abandon(self) -> String {
        let new_id = self.new_id.map_or_else(String::new, |id| format!(" --as {id}"));
        let to = self.to.map_or_else(String::new, |to| format!(" --to {to}"));
        let storage = self.storages();
        format!("zhaul restore {}{new_id}{storage}{to} --abandon", self.what)
    }

    /// The command as it was typed, for more options.
    pub(super) fn command(self) -> String {
        let new_id = self.new_id.map_or_else(String::new, |id| format!(" --as {id}"));
        let (at, from) = (self.at("--at"), self.place_option());
        format!("zhaul restore {}{new_id}{at}{from}{}", self.what, self.of_guest())
    }

    /// The command that continues what was begun: a restore of this point, and of these disks if not of all.
    pub(super) fn again(self, point: Option<&PointName>, disks: &[&str]) -> String {
        let new_id = self.new_id.map_or_else(String::new, |id| format!(" --as {id}"));
        let disks = disks.iter().map(|disk| format!(" --disk {}", escape(disk)));
        let at = point.map_or_else(String::new, |point| format!(" --at {}", escape(point.as_str())));
        let to = self.to.map_or_else(String::new, |to| format!(" --to {to}"));
        let disks: String = disks.collect();
        format!("zhaul restore {}{new_id}{disks}{at}{}{to}", self.what, self.of_guest())
    }

    pub(super) fn beside(self, dataset: &DatasetName) -> String {
        self.restore(dataset, &format!("{dataset}-restored"), "")
    }

    pub(super) fn in_its_place(self, dataset: &DatasetName) -> String {
        let to = if let What::Guest(_) = self.what { "" } else { dataset.as_str() };
        self.restore(dataset, to, " --replace")
    }
}

/// Names, one after the other.
pub(super) fn joined(names: &[DatasetName]) -> String {
    names.iter().map(DatasetName::as_str).collect::<Vec<_>>().join(", ")
}
