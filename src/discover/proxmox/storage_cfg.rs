//! `storage.cfg`: which storages keep their volumes as datasets of this node.
//!
//! Read as `PVE/SectionConfig.pm` does: a header `TYPE: ID`, indented `key value` lines, an empty line at the end. A section
//! that is not clear, or that another one contradicts, maps nothing: what cannot be mapped is backed up.

use std::collections::BTreeMap;

use crate::model::{DatasetName, Storage};

/// One section as written.
#[derive(Debug, Default)]
struct Section<'a> {
    kind: String,
    /// Each key with every value that it has in the section.
    values: BTreeMap<&'a str, Vec<&'a str>>,
}

/// The storages of type `zfspool` that `node` may use, by id.
pub(super) fn parse(text: &str, node: &str) -> Vec<Storage> {
    let mut sections: BTreeMap<&str, Vec<Section<'_>>> = BTreeMap::new();
    let mut current: Option<&str> = None;
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        if line.is_empty() {
            current = None;
        } else if line.starts_with(char::is_whitespace) {
            let section = current.and_then(|id| sections.get_mut(id)?.last_mut());
            if let Some(section) = section {
                let line = line.trim();
                let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
                section.values.entry(key).or_default().push(value.trim());
            }
        } else if let Some((kind, id)) = header(line) {
            let section = Section { kind: kind.to_ascii_lowercase(), ..Section::default() };
            sections.entry(id).or_default().push(section);
            current = Some(id);
        } else {
            // Not a line of this section, and not a section that is known.
            current = None;
        }
    }
    let unique = sections.into_iter().filter_map(|(id, sections)| match sections.as_slice() {
        [section] => {
            let (id, dataset) = (id.to_owned(), dataset(section, node)?);
            Some(Storage { id, dataset, is_sparse: is_sparse(section) })
        }
        _ => None,
    });
    unique.collect()
}

fn header(line: &str) -> Option<(&str, &str)> {
    let (kind, id) = line.split_once(':')?;
    let id = id.trim();
    let is_word = |word: &str| !word.is_empty() && !word.contains(char::is_whitespace);
    (is_word(kind) && is_word(id) && !id.contains(':')).then_some((kind, id))
}

/// The dataset of a section of type `zfspool` that is neither disabled nor other nodes' alone.
fn dataset(section: &Section<'_>, node: &str) -> Option<DatasetName> {
    let only = |key: &str| match section.values.get(key).map(Vec::as_slice) {
        Some([value]) => Some(*value),
        Some(_) | None => None,
    };
    let is_here = !section.values.contains_key("nodes") || {
        let mut nodes = only("nodes")?.split(|c: char| c.is_whitespace() || ",;".contains(c));
        nodes.any(|one| one == node)
    };
    let is_off = |value: &&str| ["0", "no", "off", "false"].iter().any(|no| value.eq_ignore_ascii_case(no));
    // `disable` alone, or with any word that is not clearly no.
    let is_disabled = section.values.get("disable").is_some_and(|values| !values.iter().all(is_off));
    if section.kind != "zfspool" || !is_here || is_disabled {
        return None;
    }
    DatasetName::new(only("pool")?).ok()
}

/// Only a clear yes: a volume that is thick for nothing costs space, one that is thin against the storage's word may lose
/// what a guest writes.
fn is_sparse(section: &Section<'_>) -> bool {
    let is_yes = |value: &&str| {
        value.is_empty() || ["1", "yes", "on", "true"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
    };
    section.values.get("sparse").is_some_and(|values| values.iter().all(is_yes))
}

#[cfg(test)]
mod tests;
