//! Listings as they come, and as they must not.

use super::*;

/// The lines of `zfs get` for a dataset, from its values.
fn properties(dataset: &str, values: [&str; 9]) -> Vec<String> {
    let pairs = PROPERTIES.split(',').zip(values);
    pairs.map(|(property, value)| format!("{dataset}\t{property}\t{value}")).collect()
}

fn read(datasets: &[Vec<String>], points: &[&[u8]]) -> Result<Result<Listing, String>, Problem> {
    let (mut told, mut listed) = (DatasetsReader::new(), PointsReader::new());
    datasets.iter().flatten().try_for_each(|line| told.take(line.as_bytes()))?;
    points.iter().try_for_each(|line| listed.take(line))?;
    Ok(told.join(listed))
}

fn name(text: &str) -> DatasetName {
    DatasetName::new(text).unwrap()
}

const VOLUME: [&str; 9] =
    ["volume", "7", "10", "800", "aes-256-gcm", "on", "1-a-f0-78", "tank/base@x", "off"];
const PLAIN: [&str; 9] = ["filesystem", "7", "0", "8", "off", "off", "-", "-", "-"];
const ROW: &[u8] = b"tank/vm 1/disk\t7\t3\t-";

#[test]
fn every_column_finds_its_place() {
    let snapshot = b"tank/vm 1/disk@a b\t18446744073709551615\t9\t1";
    let bookmark = b"tank/vm 1/disk#a\t5\t4\t-";
    let listing = read(&[properties("tank/vm 1/disk", VOLUME)], &[snapshot, ROW, bookmark]).unwrap().unwrap();
    let dataset = listing.get(&name("tank/vm 1/disk")).unwrap();
    assert_eq!((dataset.guid, dataset.kind), (Guid(7), DatasetKind::Volume));
    assert_eq!((dataset.referenced_bytes, dataset.written_bytes), (800, 10));
    assert_eq!(dataset.encryption, Encryption::On);
    assert_eq!(dataset.resume_token.as_deref(), Some("1-a-f0-78"));
    assert_eq!(dataset.origin, Some(SnapshotName::parse("tank/base@x").unwrap()));
    assert!(dataset.is_opted_out && dataset.is_readonly);
    let points: Vec<_> = dataset.history.points().collect();
    assert_eq!(points.len(), 2);
    assert_eq!(
        (points[0].kind, points[0].guid, points[0].createtxg, points[0].details),
        (PointKind::Bookmark, Guid(5), Txg(4), Some(Details::BOOKMARK))
    );
    let snapshot = points[1];
    assert_eq!((snapshot.guid, snapshot.name.as_str()), (Guid(u64::MAX), "a b"));
    assert_eq!((snapshot.clones, snapshot.details), (1, None), "its details are not known yet");
    assert!(snapshot.is_pinned() && snapshot.is_snapshot());
}

#[test]
fn a_plain_dataset_has_no_more_than_it_says() {
    let listing = read(&[properties("tank", PLAIN)], &[b"tank\t7\t1\t-"]).unwrap().unwrap();
    let dataset = listing.get(&name("tank")).unwrap();
    assert_eq!(dataset.encryption, Encryption::Off);
    assert_eq!((dataset.resume_token.as_deref(), &dataset.origin), (None, &None));
    assert!(!dataset.is_opted_out && !dataset.is_readonly && dataset.history.is_empty());
}

fn assert_refused(refused: Result<Result<Listing, String>, Problem>, line: &str, why: &str) {
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
        assert_refused(read(&[], &[ROW, line]), "line 2 of zfs list", why);
    }
}

#[test]
fn datasets_that_lie_are_refused_with_their_line_number() {
    let bad = [
        ("tank", "1 columns"),
        ("tank\ttype\tvolume\tlocal", "4 columns"),
        ("tank\ttype\tpool", "not a type"),
        ("tank\tguid\t7", "type of \"tank\" was to come"),
        ("ta\u{1b}[2Jnk\ttype\tvolume", "control character"),
    ];
    for (line, why) in bad {
        let lines = [properties("tank/a", PLAIN), vec![line.to_owned()]];
        assert_refused(read(&lines, &[]), "line 10 of zfs get", why);
    }
    let mut values = PLAIN;
    values[6] = "x;y";
    assert_refused(read(&[properties("tank", values)], &[]), "line 7 of zfs get", "not a token");
    let mut mixed = properties("tank", PLAIN);
    mixed[4] = "other\tencryption\toff".to_owned();
    assert_refused(read(&[mixed], &[]), "line 5 of zfs get", "encryption of \"tank\" was to come");
    let twice = [properties("tank", PLAIN), properties("tank", PLAIN)];
    assert_refused(read(&twice, &[]), "line 18 of zfs get", "told of before");
}

#[test]
fn answers_that_do_not_agree_are_no_listing() {
    let told = [properties("tank", PLAIN)];
    let torn = |datasets: &[Vec<String>], points: &[&[u8]]| read(datasets, points).unwrap().unwrap_err();
    assert_eq!(torn(&told, &[]), "tank", "destroyed after the first call");
    assert_eq!(torn(&[], &[b"tank\t7\t1\t-"]), "tank", "made after the first call");
    assert_eq!(torn(&told, &[b"tank\t8\t1\t-"]), "tank", "another one by the second call");
    assert_eq!(torn(&told, &[b"tank@a\t9\t1\t0"]), "tank", "points of what was not listed");
    let renamed: [&[u8]; 2] = [b"tank\t7\t1\t-", b"tank/new\t9\t1\t-"];
    assert_eq!(torn(&[told.concat(), properties("tank/old", VOLUME)], &renamed), "tank/new");
    let cut = properties("tank", PLAIN)[..5].to_vec();
    assert_eq!(torn(&[cut], &[b"tank\t7\t1\t-"]), "tank", "cut off");
}

#[test]
fn names_of_others_that_we_cannot_say_are_passed_over() {
    let lines: [&[u8]; 3] = [ROW, b"tank/vm 1/disk@%x\t1\t9\t0", b"tank/%odd\t7\t1\t-"];
    let told = [properties("tank/vm 1/disk", VOLUME), properties("tank/%odd", PLAIN)];
    let listing = read(&told, &lines).unwrap().unwrap();
    assert!(listing.get(&name("tank/vm 1/disk")).unwrap().history.is_empty());
    assert_eq!(listing.datasets().count(), 1);
}
