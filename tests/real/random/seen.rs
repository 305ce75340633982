//! All that is on a world's pools at one moment, by two calls of `zfs`.

use std::collections::BTreeMap;

use serde_json::Value;
use zhaul::model::ResumeToken;

use crate::look;
use crate::pool::zfs;
use crate::world::World;

/// A snapshot or bookmark.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point {
    pub(super) dataset: String,
    /// Without its dataset.
    pub(super) name: String,
    pub(super) guid: String,
    pub(super) createtxg: u64,
    pub(super) is_bookmark: bool,
    /// Whether it has holds or clones.
    pub(super) is_held_or_cloned: bool,
}

impl Point {
    /// Whether zhaul, or whoever names as it does, has named it.
    pub(super) fn is_own(&self) -> bool {
        self.name.starts_with("20")
            && self.name.as_bytes().get(4..8).is_some_and(|at| at[0] == b'-' && at[3] == b'-')
    }
}

/// A file system or volume.
#[derive(Debug, Clone)]
pub(super) struct Dataset {
    pub(super) name: String,
    pub(super) guid: String,
    /// The properties that make a copy unsafe, with their values.
    pub(super) unsafe_properties: Vec<String>,
    pub(super) is_volume: bool,
    pub(super) is_encrypted: bool,
    /// The GUIDs that a receive which broke off is between.
    pub(super) partial: Option<(String, Option<String>)>,
    /// The GUID and the label of who writes it, by its own mark.
    pub(super) writer: Option<(String, String)>,
    /// The mark of what was set aside, if it is its own.
    pub(super) set_aside: Option<Value>,
    /// `zhaul:backup=off`, here or above.
    pub(super) is_opted_out: bool,
}

/// All points and datasets.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) points: Vec<Point>,
    pub(super) datasets: Vec<Dataset>,
}

impl Seen {
    pub(super) fn of(world: &World) -> Self {
        let roots = [world.source(), world.backup_root(), world.archive_root()];
        let roots: Vec<&str> = roots.iter().map(String::as_str).filter(|root| look::exists(root)).collect();
        let list = |types: &str, columns: &str| {
            let rows = zfs(&[&["list", "-rHp", "-t", types, "-o", columns], roots.as_slice()].concat());
            rows.lines().map(|row| row.split('\t').map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        let points = list("snapshot,bookmark", "name,guid,createtxg,userrefs,clones");
        let columns = "name,guid,readonly,canmount,volmode,encryption,receive_resume_token,type";
        let datasets = list("filesystem,volume", columns);
        let marks = marks(&roots);
        let mut points: Vec<Point> = points.iter().map(|row| point(row)).collect();
        points.sort_by(|a, b| (&a.dataset, a.createtxg).cmp(&(&b.dataset, b.createtxg)));
        Self { points, datasets: datasets.iter().map(|row| dataset(row, &marks)).collect() }
    }

    /// The points of one dataset, oldest first.
    pub(super) fn points_of<'a>(&'a self, dataset: &str) -> impl DoubleEndedIterator<Item = &'a Point> {
        self.points.iter().filter(move |point| point.dataset == dataset)
    }

    pub(super) fn snapshots_of<'a>(&'a self, dataset: &str) -> impl DoubleEndedIterator<Item = &'a Point> {
        self.points_of(dataset).filter(|point| !point.is_bookmark)
    }

    /// The snapshots at and below `root`.
    pub(super) fn snapshots_below<'a>(&'a self, root: &str) -> impl Iterator<Item = &'a Point> {
        let below = format!("{root}/");
        self.points
            .iter()
            .filter(move |point| !point.is_bookmark && format!("{}/", point.dataset).starts_with(&below))
    }

    /// The datasets below `root`, without itself.
    pub(super) fn below<'a>(&'a self, root: &str) -> impl Iterator<Item = &'a Dataset> {
        let below = format!("{root}/");
        self.datasets.iter().filter(move |dataset| dataset.name.starts_with(&below))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Dataset> {
        self.datasets.iter().find(|dataset| dataset.name == name)
    }
}

fn point(row: &[String]) -> Point {
    let full = &row[0];
    let at = full.find(['@', '#']).unwrap();
    let is_empty = |value: &str| matches!(value, "" | "-" | "0");
    Point {
        dataset: full[..at].to_owned(),
        name: full[at + 1..].to_owned(),
        guid: row[1].clone(),
        createtxg: row[2].parse().unwrap(),
        is_bookmark: full[at..].starts_with('#'),
        is_held_or_cloned: !is_empty(&row[3]) || !is_empty(row.get(4).map_or("", String::as_str)),
    }
}

fn dataset(row: &[String], marks: &BTreeMap<(String, String), String>) -> Dataset {
    let [name, guid, readonly, canmount, volmode, encryption, token, kind] = row else { panic!("{row:?}") };
    let safe = match kind.as_str() {
        "volume" => [("readonly", readonly, &["on"][..]), ("volmode", volmode, &["none"])],
        _ => [("readonly", readonly, &["on"][..]), ("canmount", canmount, &["noauto", "off"])],
    };
    let unsafe_ones = safe.iter().filter(|(_, value, good)| !good.contains(&value.as_str()));
    let mark = |property: &str| marks.get(&(name.clone(), property.to_owned()));
    let set_aside = mark("zhaul:set-aside").and_then(|mark| serde_json::from_str::<Value>(mark).ok());
    let is_its_own = |mark: &Value| mark["name"] == **name && mark["guid"].as_str() == Some(guid);
    Dataset {
        name: name.clone(),
        guid: guid.clone(),
        unsafe_properties: unsafe_ones.map(|(property, value, _)| format!("{property}={value}")).collect(),
        is_volume: kind == "volume",
        is_encrypted: encryption != "off",
        partial: ResumeToken::parse(token)
            .ok()
            .map(|token| (token.to_guid.0.to_string(), token.from_guid.map(|from| from.0.to_string()))),
        writer: mark("zhaul:writer").map(|mark| {
            let (guid, label) = mark.split_once(' ').unwrap_or((mark, ""));
            (guid.to_owned(), label.to_owned())
        }),
        set_aside: set_aside.filter(is_its_own),
        is_opted_out: mark("zhaul:backup").is_some_and(|value| value == "off"),
    }
}

/// The marks that datasets have themselves, and whether they, or what is above them, opt out. The values that count have one
/// line.
fn marks(roots: &[&str]) -> BTreeMap<(String, String), String> {
    let get = ["get", "-rHp", "-t", "filesystem,volume", "-o", "name,property,value"];
    let local = zfs(&[&get[..], &["-s", "local", "zhaul:writer,zhaul:set-aside"], roots].concat());
    let all = zfs(&[&get[..], &["zhaul:backup"], roots].concat());
    let rows = local.lines().chain(all.lines()).filter_map(|row| {
        let mut columns = row.splitn(3, '\t').map(str::to_owned);
        Some(((columns.next()?, columns.next()?), columns.next()?))
    });
    rows.collect()
}
