//! How a lineage is set aside with `zfs`: mark, rename, clone from the base, promote, move children back, mark as done.
//!
//! Each step can be the last one of a run that is killed; the next call finds out from the datasets themselves what is left
//! to do. Nothing is destroyed. `zfs promote` moves every snapshot up to the base to the copy, and leaves the lineage that
//! was set aside as a clone with what is newer; a raw encrypted copy whose key was never loaded takes it like any other.

use jiff::Timestamp;

use super::Problem;
use super::zfs_program::ZfsProgram;
use crate::model::{
    DatasetName, NameFormat, PointName, SET_ASIDE_PROPERTY, SetAside, SetAsideMark, SnapshotId,
};

/// More lineages of one copy than ever get the same second in their names.
const NAMES_TRIED: u32 = 100;

impl ZfsProgram {
    /// Sets a lineage aside, or finishes what an interrupted call began. Gives its mark.
    pub(super) fn set_aside(&self, wish: &SetAside) -> Result<SetAsideMark, Problem> {
        let is_new = match self.dataset_guid(&wish.dataset) {
            Ok(found) => found == wish.guid,
            Err(Problem::NotFound) => false,
            Err(problem) => return Err(problem),
        };
        // A dataset that was set aside before and got this name by hand: its mark is put back where nothing comes of this.
        let former = if is_new { self.get_local(wish.dataset.as_str(), SET_ASIDE_PROPERTY)? } else { None };
        let former = former.as_deref();
        let mut mark = if is_new { self.begin_set_aside(wish, former)? } else { self.find_set_aside(wish)? };
        if mark.done {
            return Ok(mark);
        }
        if let Some(base) = &mark.base {
            let continued = self.continue_copy(wish, &mark, base);
            if continued.is_err() && is_new {
                self.undo_set_aside(&mark, former);
            }
            continued?;
        }
        if self.move_children_back(&mark)? {
            mark.done = true;
            self.set(&mark.name, SET_ASIDE_PROPERTY, &mark.to_string())?;
        }
        Ok(mark)
    }

    /// Marks the copy and renames it.
    fn begin_set_aside(&self, wish: &SetAside, former: Option<&str>) -> Result<SetAsideMark, Problem> {
        let from = &wish.dataset;
        if self.resume_token(from)?.is_some() {
            return Err(Problem::Busy("it holds a partial receive".to_owned()));
        }
        let at = self.now()?;
        let mark = SetAsideMark::begun(wish, self.free_name(wish, at)?, at);
        self.set(from, SET_ASIDE_PROPERTY, &mark.to_string())?;
        if let Err(problem) = self.run(&["rename", from.as_str(), mark.name.as_str()]) {
            self.put_mark_back(from, former);
            return Err(problem);
        }
        // Another one may have got the name since the look at its GUID.
        if let Err(problem) = self.check_dataset(&mark.name, wish.guid) {
            self.undo_set_aside(&mark, former);
            return Err(problem);
        }
        Ok(mark)
    }

    /// A name that says of what and since when, and that nothing has.
    fn free_name(&self, wish: &SetAside, at: Timestamp) -> Result<DatasetName, Problem> {
        let other = |error: &dyn std::fmt::Display| Problem::Other(error.to_string());
        let format = NameFormat::new(NameFormat::DEFAULT).map_err(|error| other(&error))?;
        let date = format.name(at).map_err(|error| other(&error))?;
        for number in 1..=NAMES_TRIED {
            let suffix = if number == 1 { String::new() } else { format!("-{number}") };
            let name = format!("{}{}{date}{suffix}", wish.dataset, wish.cause.infix());
            let name = DatasetName::new(&name).map_err(|error| other(&error))?;
            if self.rows(&["-o", "name", name.as_str()])?.is_empty() {
                return Ok(name);
            }
        }
        Err(Problem::Exists)
    }

    /// The lineage with the GUID that is asked for, which an interrupted call has renamed.
    fn find_set_aside(&self, wish: &SetAside) -> Result<SetAsideMark, Problem> {
        let gone = || Problem::Changed(format!("no dataset beside it has the guid {} any more", wish.guid));
        let parent = wish.dataset.parent().ok_or_else(gone)?;
        let rows = self.rows(&["-d", "1", "-t", "filesystem,volume", "-o", "name,guid", parent.as_str()])?;
        let guid = wish.guid.to_string();
        let row = rows.iter().find(|row| row.get(1).is_some_and(|found| *found == guid)).ok_or_else(gone)?;
        let name = row.first().ok_or_else(gone)?;
        let marks = self.get_local(name, SET_ASIDE_PROPERTY)?;
        let mark = marks.as_deref().and_then(SetAsideMark::parse);
        let is_it = |mark: &SetAsideMark| {
            mark.of == wish.dataset && mark.name.as_str() == name && mark.guid == wish.guid
        };
        mark.filter(is_it).ok_or_else(|| {
            Problem::Changed(format!("{name} has its guid, and was not renamed by setting it aside"))
        })
    }

    /// Makes the copy again from the base, as far as that is not done yet.
    fn continue_copy(&self, wish: &SetAside, mark: &SetAsideMark, base: &SnapshotId) -> Result<(), Problem> {
        let (copy, aside) = (&wish.dataset, &mark.name);
        let origin = format!("{aside}@{}", base.name);
        let rows = self.rows(&["-t", "filesystem,volume", "-o", "name,origin", copy.as_str()])?;
        let found = rows.first().and_then(|row| row.get(1)).cloned();
        if found.is_none() {
            self.check_point(aside, &base.name, base.guid)?;
            let options = self.clone_options(aside, &wish.writer)?;
            let mut arguments = vec!["clone"];
            arguments.extend(options.iter().map(String::as_str));
            arguments.extend([origin.as_str(), copy.as_str()]);
            self.run(&arguments)?;
        }
        if found.is_none_or(|found| found == origin) {
            self.make_way(copy, aside)?;
            self.run(&["promote", copy.as_str()])?;
        }
        let not_its_own =
            |_| Problem::Changed(format!("{copy} exists, and is not a continuation of {origin}"));
        self.check_point(copy, &base.name, base.guid).map_err(not_its_own)?;
        self.move_limits(aside, copy);
        self.copy_delegations(aside, copy);
        Ok(())
    }

    /// Renames the snapshots that somebody has taken of the clone before it was promoted and whose names it would get.
    fn make_way(&self, copy: &DatasetName, aside: &DatasetName) -> Result<(), Problem> {
        let names = |dataset: &DatasetName| -> Result<Vec<(PointName, String)>, Problem> {
            let rows = self.rows(&["-d", "1", "-t", "snapshot", "-o", "name,guid", dataset.as_str()])?;
            let name = |full: &str| PointName::new(full.split_once('@')?.1).ok();
            Ok(rows.iter().filter_map(|row| Some((name(row.first()?)?, row.get(1)?.clone()))).collect())
        };
        let of_copy = names(copy)?;
        if of_copy.is_empty() {
            return Ok(());
        }
        let of_aside = names(aside)?;
        for (name, guid) in of_copy.iter().filter(|(name, _)| of_aside.iter().any(|(known, _)| known == name))
        {
            self.run(&["rename", &format!("{copy}@{name}"), &format!("{copy}@{name}-{guid}")])?;
        }
        Ok(())
    }

    /// Moves the datasets below the lineage back below the copy. Gives whether none is left that could move.
    fn move_children_back(&self, mark: &SetAsideMark) -> Result<bool, Problem> {
        let (copy, aside) = (&mark.of, &mark.name);
        let columns = "name,type,encryptionroot";
        let rows = self.rows(&["-d", "1", "-t", "filesystem,volume", "-o", columns, aside.as_str()])?;
        let children: Vec<[&str; 3]> = rows.iter().filter_map(|row| columns_of(row)).collect();
        let prefix = format!("{aside}/");
        if !children.iter().any(|[name, ..]| name.starts_with(&prefix)) {
            return Ok(true);
        }
        let now = self.rows(&["-o", columns, copy.as_str()])?;
        let Some([_, kind, key_of_copy]) = now.first().and_then(|row| columns_of(row)) else {
            return Ok(false);
        };
        // Another kind of dataset has the name now, below which nothing can be: they stay with the lineage.
        if kind == "volume" {
            return Ok(true);
        }
        for [name, _, key] in children {
            let Some(child) = name.strip_prefix(&prefix) else { continue };
            // ZFS moves nothing to another encryption root (dsl_dir_rename_crypt_check): somebody's clone of an encrypted copy
            // below it, and what has the lineage's own key, stay with the lineage.
            if ![name, key_of_copy, "-"].contains(&key) {
                continue;
            }
            match self.run(&["rename", name, &format!("{copy}/{child}")]) {
                // The copy has a child of that name by now; this child stays with the lineage, and keeps its name.
                Ok(()) | Err(Problem::Exists) => {}
                Err(problem) => return Err(problem),
            }
        }
        Ok(true)
    }

    /// Gives the copy its name back, if it is free: a permission may be missing, and the copy is not to be missed.
    fn undo_set_aside(&self, mark: &SetAsideMark, former: Option<&str>) {
        if self.rows(&["-o", "name", mark.of.as_str()]).is_ok_and(|rows| rows.is_empty())
            && self.run(&["rename", mark.name.as_str(), mark.of.as_str()]).is_ok()
        {
            self.put_mark_back(&mark.of, former);
        }
    }

    fn put_mark_back(&self, dataset: &DatasetName, former: Option<&str>) {
        let done = match former {
            Some(former) => self.set(dataset, SET_ASIDE_PROPERTY, former),
            None => self.run(&["inherit", SET_ASIDE_PROPERTY, dataset.as_str()]),
        };
        if let Err(problem) = done {
            tracing::debug!("{dataset} keeps a mark that counts for nothing: {problem}");
        }
    }
}

/// The three columns of a row.
fn columns_of(row: &[String]) -> Option<[&str; 3]> {
    let [first, second, third] = row else { return None };
    Some([first, second, third])
}
