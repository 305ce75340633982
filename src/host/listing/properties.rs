//! Reads the output of `zfs get`: the properties of every dataset.
//!
//! `zfs get` prints a value as it is, and a user property or a mount point may hold anything but a zero byte: tabs,
//! line breaks that make it look like lines of other datasets, bytes that are not UTF-8. So after each such property
//! comes a *fence*, a user property whose name has a random part that no one who set a value can know. The text before
//! its line belongs to the value; in the last line of that text the source comes after the last tab.

use std::collections::BTreeMap;
use std::mem;

use super::{Rows, number, number_or_none, split};
use crate::host::Problem;
use crate::model::{
    Dataset, DatasetKind, DatasetName, Encryption, Guid, HEALING_PROPERTY, HEALING_SNAPSHOT, History, Point,
    Settings, SnapshotName, Txg, USER_PROPERTIES, UserProperties, UserProperty,
};

/// Puts a value where it belongs.
type Take = fn(&mut Properties, &str) -> Result<(), String>;

/// The properties that only ZFS itself fills, in the order in which they are asked for: each one more is a line here.
const PROPERTIES: [(&str, Take); 18] = [
    ("type", |to, value| put(&mut to.kind, kind(value))),
    ("guid", |to, value| put(&mut to.guid, number(value, "guid").map(Guid))),
    ("written", |to, value| put(&mut to.written_bytes, number_or_none(value, "written"))),
    ("referenced", |to, value| put(&mut to.referenced_bytes, number_or_none(value, "referenced"))),
    ("encryption", |to, value| put(&mut to.encryption, Ok(encryption(value)))),
    ("readonly", |to, value| put(&mut to.is_readonly, Ok(value == "on"))),
    ("receive_resume_token", |to, value| put(&mut to.resume_token, token(value))),
    ("origin", |to, value| put(&mut to.origin, Ok(SnapshotName::parse(value).ok()))),
    ("canmount", |to, value| put(&mut to.settings.canmount, Ok(value.to_owned()))),
    ("volmode", |to, value| put(&mut to.settings.volmode, Ok(value.to_owned()))),
    ("snapdev", |to, value| put(&mut to.settings.snapdev, Ok(value.to_owned()))),
    ("creation", |to, value| put(&mut to.settings.created_seconds, number_or_none(value, "creation"))),
    ("volsize", |to, value| put(&mut to.settings.volume_bytes, number_or_none(value, "volsize"))),
    ("recordsize", |to, value| put(&mut to.settings.block_bytes, number_or_none(value, "recordsize"))),
    ("volblocksize", |to, value| match value {
        "-" => Ok(()),
        _ => put(&mut to.settings.block_bytes, number(value, "volblocksize")),
    }),
    ("keystatus", |to, value| put(&mut to.settings.key_status, Ok(value.to_owned()))),
    ("encryptionroot", |to, value| put(&mut to.settings.encryption_root, Ok(DatasetName::new(value).ok()))),
    ("createtxg", |to, value| put(&mut to.createtxg, number_or_none(value, "createtxg").map(Txg))),
];

/// The one native property that holds free text; the user properties are the others.
const MOUNTPOINT: &str = "mountpoint";

/// More than a value with its lines can have: `zfs set` takes 8 KiB.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// The properties with free text, in the order in which they are asked for.
fn texts() -> impl Iterator<Item = &'static str> {
    std::iter::once(MOUNTPOINT).chain(USER_PROPERTIES)
}

/// The properties of one dataset, from `zfs get`.
#[derive(Debug)]
pub(super) struct Properties {
    kind: DatasetKind,
    guid: Guid,
    createtxg: Txg,
    written_bytes: u64,
    referenced_bytes: u64,
    encryption: Encryption,
    is_readonly: bool,
    resume_token: Option<String>,
    origin: Option<SnapshotName>,
    settings: Settings,
    user: UserProperties,
}

impl Default for Properties {
    fn default() -> Self {
        Self {
            kind: DatasetKind::Filesystem,
            guid: Guid(0),
            createtxg: Txg(0),
            written_bytes: 0,
            referenced_bytes: 0,
            encryption: Encryption::Off,
            is_readonly: false,
            resume_token: None,
            origin: None,
            settings: Settings::default(),
            user: UserProperties::default(),
        }
    }
}

impl Properties {
    pub(super) fn guid(&self) -> Guid {
        self.guid
    }

    pub(super) fn into_dataset(self, name: DatasetName, points: Vec<Point>) -> Dataset {
        // The scratch snapshot of a healing is no point of the copy.
        let is_healed = self.user.local(HEALING_PROPERTY).is_some();
        let is_scratch = |point: &Point| is_healed && point.name.as_str() == HEALING_SNAPSHOT;
        let history = History::new(points.into_iter().filter(|point| !is_scratch(point)).collect());
        let Self { kind, guid, createtxg, written_bytes, referenced_bytes, encryption, is_readonly, .. } =
            self;
        let Self { resume_token, origin, settings, user, .. } = self;
        Dataset {
            name,
            guid,
            createtxg,
            kind,
            encryption,
            referenced_bytes,
            written_bytes,
            is_readonly,
            resume_token,
            origin,
            settings,
            user,
            history,
            lineage: BTreeMap::new(),
            line_history: None,
        }
    }

    /// Takes a value and its source as they were printed.
    fn take_text(&mut self, property: &str, text: &[u8]) -> Result<(), String> {
        let tab = text.iter().rposition(|&byte| byte == b'\t');
        let (value, source) = tab.map(|at| text.split_at(at)).ok_or("it has no source")?;
        let value = String::from_utf8_lossy(value).into_owned();
        match source {
            _ if property == MOUNTPOINT => self.settings.mountpoint = value,
            b"\t-" => {}
            _ => {
                let is_local = source == b"\tlocal";
                self.user.insert(property, UserProperty { value, is_local });
            }
        }
        Ok(())
    }
}

/// The answer of `zfs get` on its way in.
#[derive(Debug)]
pub(super) struct DatasetsReader {
    rows: Rows,
    /// The beginning of each fence's name.
    fence: String,
    datasets: BTreeMap<String, Properties>,
    current: Record,
}

/// The dataset whose lines are coming.
#[derive(Debug, Default)]
struct Record {
    name: String,
    properties: Properties,
    /// How many properties are complete.
    taken: usize,
    /// The part of a free text that was read so far.
    text: Option<Vec<u8>>,
}

impl DatasetsReader {
    /// `nonce` must be new and unpredictable; it has letters and digits only.
    pub(super) fn new(nonce: &str) -> Self {
        Self {
            rows: Rows { command: "zfs get", count: 0 },
            fence: format!("zhaul:fence-{nonce}"),
            datasets: BTreeMap::new(),
            current: Record::default(),
        }
    }

    /// What `zfs get` is to be asked for with `-o name,property,value,source`.
    pub(super) fn asks(&self) -> String {
        let fixed = PROPERTIES.iter().map(|(property, _)| (*property).to_owned());
        let fenced = texts().enumerate().map(|(at, property)| format!("{property},{}-{at}", self.fence));
        fixed.chain(fenced).collect::<Vec<_>>().join(",")
    }

    /// Takes one line without its end.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<(), Problem> {
        let Self { rows, fence, datasets, current } = self;
        rows.take(line, |line| {
            if !current.take(line, fence)? {
                return Ok(());
            }
            let Record { name, properties, .. } = mem::take(current);
            match datasets.insert(name, properties) {
                None => Ok(()),
                Some(_) => Err("this dataset was listed twice".to_owned()),
            }
        })
    }

    /// The properties of each dataset, and the name of one whose lines were cut off.
    pub(super) fn finish(self) -> (BTreeMap<String, Properties>, Option<String>) {
        (self.datasets, (self.current.taken > 0).then_some(self.current.name))
    }
}

impl Record {
    /// Takes a line; gives whether it was the last one of the dataset.
    fn take(&mut self, line: &[u8], fence: &str) -> Result<bool, String> {
        if let Some((property, take)) = PROPERTIES.get(self.taken) {
            let [name, found, value, _source] = split(line)?;
            if self.taken == 0 {
                name.clone_into(&mut self.name);
            }
            if self.name != name || found != *property {
                return Err(self.expects(property));
            }
            take(&mut self.properties, value)?;
            self.taken += 1;
            return Ok(false);
        }
        let at = self.taken - PROPERTIES.len();
        let Some(property) = texts().nth(at) else {
            return Err("nothing more was asked for".to_owned());
        };
        let Some(text) = &mut self.text else {
            let start = format!("{}\t{property}\t", self.name);
            let rest = line.strip_prefix(start.as_bytes()).ok_or_else(|| self.expects(property))?;
            self.text = Some(rest.to_vec());
            return Ok(false);
        };
        if line != format!("{}\t{fence}-{at}\t-\t-", self.name).as_bytes() {
            text.push(b'\n');
            text.extend_from_slice(line);
            return if text.len() > TEXT_BYTES_MAX { Err(self.expects(fence)) } else { Ok(false) };
        }
        let text = self.text.take().unwrap_or_default();
        self.properties.take_text(property, &text)?;
        self.taken += 1;
        Ok(texts().nth(at + 1).is_none())
    }

    fn expects(&self, property: &str) -> String {
        format!("{property} of {:?} was to come", self.name)
    }
}

fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn kind(text: &str) -> Result<DatasetKind, String> {
    match text {
        "filesystem" => Ok(DatasetKind::Filesystem),
        "volume" => Ok(DatasetKind::Volume),
        other => Err(format!("{other:?} is not a type of dataset")),
    }
}

fn encryption(value: &str) -> Encryption {
    if matches!(value, "off" | "-") { Encryption::Off } else { Encryption::On }
}

fn token(value: &str) -> Result<Option<String>, String> {
    if !is_token(value) {
        return Err("receive_resume_token is not a token".to_owned());
    }
    Ok((value != "-").then(|| value.to_owned()))
}

/// Whether `text` has only the characters of a resume token (or is `-`, for none).
pub(in crate::host) fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
