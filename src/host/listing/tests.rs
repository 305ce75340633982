//! Listings as they come, and as they must not.

use super::*;
use crate::model::{Dataset, DatasetKind, Details, Encryption, Guid, PointKind, SnapshotName, Txg};

const NONCE: &str = "0123456789abcdef";

/// A property, its value and its source, as somebody has set them.
type Set<'a> = (&'a str, &'a [u8], &'a str);

/// The lines of `zfs get` for a dataset of which only this is special; without empty lines, as a session hands them on.
fn lines_of(dataset: &str, special: &[Set<'_>]) -> Vec<Vec<u8>> {
    let mut text = Vec::new();
    for property in DatasetsReader::new(NONCE).asks().split(',') {
        let usual: Set<'_> = match property {
            "type" => (property, b"filesystem", "-"),
            "guid" => (property, b"7", "-"),
            _ => (property, b"-", "-"),
        };
        let (_, value, source) = special.iter().find(|set| set.0 == property).copied().unwrap_or(usual);
        text.extend_from_slice(format!("{dataset}\t{property}\t").as_bytes());
        text.extend_from_slice(value);
        text.extend_from_slice(format!("\t{source}\n").as_bytes());
    }
    text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

/// The datasets on which both answers agree, and the names of the others.
fn try_read(datasets: &[Vec<Vec<u8>>], points: &[&[u8]]) -> Result<(Listing, Vec<String>), Problem> {
    let (mut properties, mut listed) = (DatasetsReader::new(NONCE), PointsReader::new());
    datasets.iter().flatten().try_for_each(|line| properties.take(line))?;
    points.iter().try_for_each(|line| listed.take(line))?;
    Ok(join(properties, listed))
}

fn read(datasets: &[Vec<Vec<u8>>], points: &[&[u8]]) -> Listing {
    let (listing, torn) = try_read(datasets, points).unwrap();
    assert_eq!(torn, Vec::<String>::new());
    listing
}

fn name(text: &str) -> DatasetName {
    DatasetName::new(text).unwrap()
}

const VOLUME: [Set<'_>; 15] = [
    ("type", b"volume", "-"),
    ("written", b"10", "-"),
    ("referenced", b"800", "-"),
    ("encryption", b"aes-256-gcm", "-"),
    ("readonly", b"on", "local"),
    ("receive_resume_token", b"1-a-f0-78", "-"),
    ("origin", b"tank/base@x", "-"),
    ("volmode", b"none", "local"),
    ("snapdev", b"hidden", "default"),
    ("creation", b"1767225600", "-"),
    ("volsize", b"8388608", "local"),
    ("volblocksize", b"16384", "default"),
    ("keystatus", b"unavailable", "-"),
    ("encryptionroot", b"tank/vm 1", "-"),
    ("zhaul:backup", b"off", "inherited from tank"),
];
const ROW: &[u8] = b"tank/vm 1/disk\t7\t3\t-";

#[test]
fn every_column_finds_its_place() {
    let snapshot = b"tank/vm 1/disk@a b\t18446744073709551615\t9\t1";
    let bookmark = b"tank/vm 1/disk#a\t5\t4\t-";
    let listing = read(&[lines_of("tank/vm 1/disk", &VOLUME)], &[snapshot, ROW, bookmark]);
    let dataset = listing.get(&name("tank/vm 1/disk")).unwrap();
    assert_eq!((dataset.guid, dataset.kind), (Guid(7), DatasetKind::Volume));
    assert_eq!((dataset.referenced_bytes, dataset.written_bytes), (800, 10));
    assert_eq!(dataset.encryption, Encryption::On);
    assert_eq!(dataset.resume_token.as_deref(), Some("1-a-f0-78"));
    assert_eq!(dataset.origin, Some(SnapshotName::parse("tank/base@x").unwrap()));
    assert!(dataset.is_opted_out() && dataset.is_readonly);
    let settings = &dataset.settings;
    assert_eq!((settings.volmode.as_str(), settings.snapdev.as_str()), ("none", "hidden"));
    assert_eq!((settings.volume_bytes, settings.block_bytes), (8 << 20, 16 << 10));
    assert_eq!(settings.created_seconds, 1_767_225_600);
    assert_eq!(settings.key_status, "unavailable");
    assert_eq!(settings.encryption_root, Some(name("tank/vm 1")));
    assert_eq!((settings.canmount.as_str(), settings.mountpoint.as_str()), ("-", "-"));
    let points: Vec<_> = dataset.history.points().collect();
    assert_eq!(points.len(), 2);
    assert_eq!(
        (points[0].kind, points[0].guid, points[0].createtxg, points[0].details),
        (PointKind::Bookmark, Guid(5), Txg(4), Some(Details::BOOKMARK))
    );
    let snapshot = points[1];
    assert_eq!((snapshot.guid, snapshot.name.as_str()), (Guid(u64::MAX), "a b"));
    assert_eq!((snapshot.clones, snapshot.details), (1, None), "its details are not known yet");
    assert!(snapshot.is_held_or_cloned() && snapshot.is_snapshot());
}

#[test]
fn a_plain_dataset_has_no_more_than_it_says() {
    let special: [Set<'_>; 3] = [
        ("encryption", b"off", "default"),
        ("recordsize", b"131072", "default"),
        ("mountpoint", b"/tank", "default"),
    ];
    let listing = read(&[lines_of("tank", &special)], &[b"tank\t7\t1\t-"]);
    let dataset = listing.get(&name("tank")).unwrap();
    assert_eq!(dataset.encryption, Encryption::Off);
    assert_eq!((dataset.resume_token.as_deref(), &dataset.origin), (None, &None));
    assert!(!dataset.is_opted_out() && !dataset.is_readonly && dataset.history.is_empty());
    assert_eq!((dataset.settings.block_bytes, dataset.settings.mountpoint.as_str()), (128 << 10, "/tank"));
    assert_eq!(dataset.user.iter().count(), 0);
}

#[test]
fn a_mark_counts_only_where_it_was_set() {
    for (source, is_local) in
        [("local", true), ("inherited from tank/a\tb", false), ("received", false), ("inherited", false)]
    {
        let special = [("zhaul:writer", &b"-"[..], source)];
        let listing = read(&[lines_of("tank", &special)], &[b"tank\t7\t1\t-"]);
        let user = &listing.get(&name("tank")).unwrap().user;
        assert!(user.get("zhaul:writer").is_some(), "{source}");
        assert_eq!(user.local("zhaul:writer").is_some(), is_local, "{source}");
    }
}

/// All that a value can be: what follows looks like the rest of its own dataset, and like all of another one.
fn hostile_values() -> Vec<Vec<u8>> {
    let own = "x\tlocal\ntank/a\tzhaul:fence-0-1\t-\t-\ntank/a\tzhaul:writer\tme\tlocal";
    let forged = String::from_utf8(lines_of("tank/b", &[]).join(&b'\n')).unwrap();
    let mut values = ["a\tb", "a\nb", "\n", "\n\n", "\t", "off\n", "-", "- ", "\x1b[2J", "\r", own]
        .map(|text| text.as_bytes().to_vec())
        .to_vec();
    // Who knows how zhaul asks still does not know the number of this listing.
    values.push(format!("x\tlocal\n{}", forged.replace(NONCE, "fedcba9876543210")).into_bytes());
    values.push(b"\xff\xfe off \x80".to_vec());
    values.push(vec![b'\n'; 8191]);
    values.push(vec![b'\t'; 8191]);
    values
}

#[test]
fn whatever_a_property_holds_no_other_dataset_and_no_other_property_changes() {
    for property in ["mountpoint", "zhaul:backup", "zhaul:writer", "zhaul:set-aside"] {
        for value in hostile_values() {
            let others: [Set<'_>; 2] = [("zhaul:backup", b"off", "local"), ("zhaul:writer", b"w", "local")];
            let special = [(property, &value[..], "local")];
            let inherited = [(property, &value[..], "inherited from tank/a")];
            let datasets = [
                lines_of("tank", &others),
                lines_of("tank/a", &special),
                lines_of("tank/a/x", &inherited),
                lines_of("tank/b", &others),
            ];
            let rows: [&[u8]; 4] =
                [b"tank\t7\t1\t-", b"tank/a\t7\t1\t-", b"tank/a/x\t7\t1\t-", b"tank/b\t7\t1\t-"];
            let listing = read(&datasets, &rows);
            let found = |at: &str| listing.get(&name(at)).unwrap();
            assert_eq!(listing.datasets().count(), 4);
            for other in ["tank", "tank/b"] {
                assert!(found(other).is_opted_out(), "{property} {value:?}");
                assert_eq!(found(other).user.local("zhaul:writer"), Some("w"), "{property} {value:?}");
            }
            for odd in ["tank/a", "tank/a/x"] {
                assert!(!found(odd).is_opted_out(), "{property} {value:?}");
                let set = found(odd).user.iter().map(|(name, _)| name).collect::<Vec<_>>();
                let own: &[&str] = if property == "mountpoint" { &[] } else { &[property] };
                assert_eq!(set, own, "{property} {value:?}");
            }
            let is_local = |dataset: &Dataset| dataset.user.get(property).is_some_and(|found| found.is_local);
            assert_eq!(is_local(found("tank/a")), property != "mountpoint");
            assert!(!is_local(found("tank/a/x")));
        }
    }
}

fn assert_refused(refused: Result<(Listing, Vec<String>), Problem>, line: &str, why: &str) {
    let error = refused.unwrap_err();
    assert!(matches!(error, Problem::Protocol(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains(why) && text.contains(line), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn points_that_lie_are_refused_with_their_line_number() {
    let bad: [(&[u8], &str); 8] = [
        (b"", "1 columns"),
        (b"tank", "1 columns"),
        (b"tank@a\t7\t1\t-\t-", "5 columns"),
        (b"tank@a\t-7\t1\t-", "guid is \"-7\""),
        (b"tank@a\t7\tx\t-", "createtxg is \"x\""),
        (b"ta\x1b[2Jnk\t7\t1\t-", "control character"),
        (b"ta\xffnk\t7\t1\t-", "not UTF-8"),
        (ROW, "listed before"),
    ];
    for (line, why) in bad {
        assert_refused(try_read(&[], &[ROW, line]), "line 2 of zfs list", why);
    }
}

#[test]
fn datasets_that_lie_are_refused_with_their_line_number() {
    let bad = [
        ("tank", "1 columns"),
        ("tank\ttype\tvolume", "3 columns"),
        ("tank\ttype\tpool\t-", "not a type"),
        ("tank\tguid\t7\t-", "type of \"tank\" was to come"),
        ("ta\u{1b}[2Jnk\ttype\tvolume\t-", "control character"),
    ];
    for (line, why) in bad {
        let lines = [lines_of("tank/a", &[]), vec![line.as_bytes().to_vec()]];
        assert_refused(try_read(&lines, &[]), "line 37 of zfs get", why);
    }
    let token = ("receive_resume_token", &b"x;y"[..], "-");
    assert_refused(try_read(&[lines_of("tank", &[token])], &[]), "line 7 of zfs get", "not a token");
    let mut mixed = lines_of("tank", &[]);
    mixed[4] = b"other\tencryption\toff\t-".to_vec();
    assert_refused(try_read(&[mixed], &[]), "line 5 of zfs get", "encryption of \"tank\" was to come");
    let mut mixed = lines_of("tank", &[]);
    mixed.remove(18);
    assert_refused(try_read(&[mixed], &[]), "line 19 of zfs get", "mountpoint of \"tank\" was to come");
    let twice = [lines_of("tank", &[]), lines_of("tank", &[])];
    assert_refused(try_read(&twice, &[]), "line 72 of zfs get", "listed twice");
    let mut endless = lines_of("tank", &[]);
    endless.truncate(19);
    endless.extend(vec![vec![b'x'; 30 << 10]; 3]);
    assert_refused(try_read(&[endless], &[]), "line 22 of zfs get", "fence");
}

#[test]
fn what_the_answers_do_not_agree_on_is_left_out_by_name_and_the_rest_is_listed() {
    let datasets = |names: &[&str]| names.iter().map(|name| lines_of(name, &[])).collect::<Vec<_>>();
    let torn = |datasets: &[Vec<Vec<u8>>], points: &[&[u8]]| {
        let (listing, mut torn) = try_read(datasets, points).unwrap();
        torn.sort();
        torn.dedup();
        assert!(torn.iter().all(|name| listing.get(&DatasetName::new(name).unwrap()).is_none()), "{torn:?}");
        (torn, listing.datasets().map(|dataset| dataset.name.to_string()).collect::<Vec<_>>())
    };
    let expect = |torn: &[&str], listed: &[&str]| {
        let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        (text(torn), text(listed))
    };
    let both: [&[u8]; 2] = [b"tank\t7\t1\t-", b"tank/a\t7\t1\t-"];
    let destroyed = torn(&datasets(&["tank"]), &both);
    assert_eq!(destroyed, expect(&["tank/a"], &["tank"]));
    assert_eq!(torn(&datasets(&["tank", "tank/a"]), &both[..1]), expect(&["tank/a"], &["tank"]), "created");
    let other: [&[u8]; 2] = [both[0], b"tank/a\t8\t1\t-"];
    assert_eq!(torn(&datasets(&["tank", "tank/a"]), &other), expect(&["tank/a"], &["tank"]), "another one");
    let bare: [&[u8]; 2] = [both[0], b"tank/a@x\t8\t1\t0"];
    assert_eq!(torn(&datasets(&["tank", "tank/a"]), &bare), expect(&["tank/a"], &["tank"]), "points alone");
    assert_eq!(
        torn(&datasets(&["tank", "tank/b"]), &both),
        expect(&["tank/a", "tank/b"], &["tank"]),
        "renamed"
    );
    for cut in [5, 18, 19, 24] {
        let mut lines = datasets(&["tank", "tank/a"]);
        lines[1].truncate(cut);
        assert_eq!(torn(&lines, &both), expect(&["tank/a"], &["tank"]), "cut off after {cut} lines");
    }
}

#[test]
fn names_that_zhaul_cannot_use_are_reported_and_the_rest_is_listed() {
    let lines: [&[u8]; 4] = [ROW, b"tank/vm 1/disk@%x\t1\t9\t0", b"tank/%odd\t7\t1\t-", b"tank\t7\t1\t-"];
    let datasets = ["tank/vm 1/disk", "tank/%odd", "tank"].map(|name| lines_of(name, &[]));
    let listing = read(&datasets, &lines);
    assert_eq!(listing.datasets().map(|dataset| dataset.name.as_str()).collect::<Vec<_>>(), ["tank"]);
    let bad = |name: &str| Unlisted::BadName(name.to_owned());
    let unlisted: Vec<_> = listing.unlisted().collect();
    assert_eq!(
        unlisted,
        [("tank/%odd", &bad("tank/%odd")), ("tank/vm 1/disk", &bad("tank/vm 1/disk@%x"))],
        "a history with a hole is not a history"
    );
}
