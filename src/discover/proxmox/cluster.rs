//! The cluster as `pmxcfs` shows it in files: which node this is, whether it has quorum, which guest is where.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::files::{self, Text};
use crate::model::GuestId;

/// The contents of `.members` (`status.c`, `cfs_create_memberlist_msg`).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Members {
    nodename: Option<String>,
    /// `None` where there is no file, or no cluster: then there is nothing to agree with.
    pub(super) is_quorate: Option<bool>,
    /// The names of all nodes.
    pub(super) nodes: BTreeSet<String>,
}

/// Reads `.members`; none is no fault.
pub(super) fn members(directory: &Path) -> Result<Members, String> {
    let path = directory.join(".members");
    let Some(value) = json(&path)? else {
        return Ok(Members::default());
    };
    let quorate = value.get("cluster").map(|cluster| cluster.get("quorate"));
    let is_quorate = quorate.map(|quorate| {
        let number = quorate.and_then(Value::as_u64);
        number.is_some_and(|number| number != 0) || quorate.and_then(Value::as_bool) == Some(true)
    });
    let nodename = value.get("nodename").and_then(Value::as_str).map(str::to_owned);
    let nodes = value.get("nodelist").and_then(Value::as_object);
    let nodes = nodes.into_iter().flat_map(|nodes| nodes.keys().cloned()).collect();
    Ok(Members { nodename, is_quorate, nodes })
}

/// This node's name: whose directory `qemu-server`, `lxc` or `local` points to, else what `.members` says, else the host's.
pub(super) fn node(directory: &Path, members: &Members) -> String {
    let pointed = [("local", 0), ("qemu-server", 1), ("lxc", 1)].into_iter().find_map(|(link, below)| {
        let target = fs::read_link(directory.join(link)).ok()?;
        target.iter().rev().nth(below)?.to_str().map(str::to_owned)
    });
    pointed.or_else(|| members.nodename.clone()).unwrap_or_else(|| {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        host.split('.').next().unwrap_or_default().to_owned()
    })
}

/// Which guest is on which node by `.vmlist`; nothing where there is no such file.
pub(super) fn listed(directory: &Path) -> Result<Vec<(GuestId, String)>, String> {
    #[derive(Deserialize)]
    struct Entry {
        node: String,
    }
    let path = directory.join(".vmlist");
    let Some(value) = json(&path)? else {
        return Ok(Vec::new());
    };
    let Some(ids) = value.get("ids").and_then(Value::as_object) else {
        return Err(format!("{} has no list of guests", path.display()));
    };
    let mut listed = Vec::new();
    for (id, entry) in ids {
        let entry = Entry::deserialize(entry);
        match (GuestId::parse(id), entry) {
            (Some(id), Ok(entry)) => listed.push((id, entry.node)),
            _ => return Err(format!("{} cannot be understood", path.display())),
        }
    }
    Ok(listed)
}

/// Which guest is on which other node by the files below `nodes`.
pub(super) fn filed(
    directory: &Path,
    this_node: &str,
    configs: impl Fn(&Path) -> Result<Vec<(GuestId, PathBuf)>, String>,
) -> Result<Vec<(GuestId, String)>, String> {
    let nodes = directory.join("nodes");
    if fs::symlink_metadata(&nodes).is_err() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for node in files::names(&nodes)?.into_iter().filter(|node| node != this_node) {
        for kind in ["qemu-server", "lxc"] {
            let below = nodes.join(&node).join(kind);
            if fs::symlink_metadata(&below).is_ok() {
                found.extend(configs(&below)?.into_iter().map(|(id, _)| (id, node.clone())));
            }
        }
    }
    Ok(found)
}

fn json(path: &Path) -> Result<Option<Value>, String> {
    match files::text(path) {
        Text::Missing => Ok(None),
        Text::Unreadable(why) => Err(why),
        Text::Read(text) => {
            let parsed = serde_json::from_str(&text);
            parsed.map(Some).map_err(|error| format!("{} cannot be understood: {error}", path.display()))
        }
    }
}
