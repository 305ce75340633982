//! Which size of a transfer is known before it starts.

use super::*;
use crate::model::{
    CopyEncryption, DatasetKind, DatasetName, Details, Encryption, Guid, History, Point, PointKind,
    PointName, ResumePoint, SendFlags, Txg,
};
use crate::plan::Base;

fn point(kind: PointKind, txg: u64, written_bytes: u64) -> Point {
    Point {
        kind,
        name: PointName::new(&format!("p{txg}")).unwrap(),
        guid: Guid(txg),
        createtxg: Txg(txg),
        clones: 0,
        details: Some(Details { written_bytes, ..Details::default() }),
    }
}

fn dataset() -> Dataset {
    Dataset {
        referenced_bytes: 1_000,
        written_bytes: 7,
        is_readonly: true,
        history: History::new(vec![
            point(PointKind::Bookmark, 1, 0),
            point(PointKind::Snapshot, 2, 20),
            point(PointKind::Snapshot, 3, 30),
            point(PointKind::Snapshot, 4, 40),
        ]),
        ..Dataset::new(DatasetName::new("tank/a").unwrap(), Guid(99), DatasetKind::Volume)
    }
}

fn transfer(base: Option<u64>, end: Option<u64>) -> Transfer {
    let name = PointName::new("x").unwrap();
    let snapshot = dataset().name.snapshot(&name).unwrap();
    Transfer {
        snapshot: snapshot.clone(),
        guid: end.map(Guid),
        base: base.map(|guid| Base {
            origin: None,
            kind: PointKind::Snapshot,
            name,
            guid: Guid(guid),
            createtxg: Txg(guid),
        }),
        fallback: None,
        resume: None,
        target: snapshot,
        origin: None,
        creates_dataset: base.is_none(),
        kind: DatasetKind::Volume,
        encryption: Encryption::Off,
        copy_encryption: CopyEncryption::AsSent,
        writer: None,
    }
}

#[test]
fn an_increment_has_what_was_written_between_its_ends() {
    let cases = [
        (None, Some(4), Some(1_000)),
        (Some(2), Some(4), Some(70)),
        (Some(2), Some(3), Some(30)),
        (Some(1), Some(3), Some(50)),
        (Some(4), None, Some(7)),
        (Some(3), None, Some(47)),
        (Some(5), Some(4), None),
    ];
    for (base, end, expected) in cases {
        assert_eq!(
            stream_bytes(&mut Histories::default(), &transfer(base, end), &dataset()),
            expected,
            "{base:?} to {end:?}"
        );
    }
}

#[test]
fn what_the_target_has_already_is_not_sent_again() {
    let flags = SendFlags { large_block: true, embed: true, compress: true, raw: false };
    let mut resumed = transfer(Some(2), Some(4));
    resumed.resume = Some(ResumePoint { object: 1, offset: 0, received_bytes: 60, flags });
    assert_eq!(stream_bytes(&mut Histories::default(), &resumed, &dataset()), Some(10));
}
