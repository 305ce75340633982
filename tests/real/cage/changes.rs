//! The changes that an append-only key may ask for.

use zhaul::host::TargetHost as _;
use zhaul::model::{Change, DatasetName, Guid, PointName, SetAside, SetAsideCause, SnapshotId, Writer};

use super::attacker::{Attacker, NEWEST, dataset, guid, point, writer};
use crate::look::{self, guids};
use crate::pool::zfs;
use crate::world::{DAY_2, GUEST};

#[test]
#[expect(clippy::too_many_lines, reason = "a table: one row for each attack")]
fn an_append_only_key_changes_nothing_but_what_it_must() {
    let attacker = Attacker::new("cage-changes", "");
    let (files, outside) = (attacker.inside(GUEST), attacker.outside());
    let copy = files.as_str().to_owned();
    // Two months of an archive.
    for month in ["2026-Feb", "2026-Apr"] {
        zfs(&["snapshot", &format!("{copy}@{month}")]);
    }
    let of = |name: &str| guid(&format!("{copy}@{name}"));
    let point = |name: &str| PointName::new(name).unwrap();
    let own = guid(&copy);
    let rename = |from: &str, to: &str| Change::RenameSnapshot {
        dataset: files.clone(),
        from: point(from),
        guid: of(from),
        to: point(to),
    };
    let away = |to: String| Change::RenameDataset {
        from: files.clone(),
        guid: own,
        to: DatasetName::new(&to).unwrap(),
    };
    let all = vec![(point(NEWEST), of(NEWEST))];
    let writer = || Writer { guid: Guid(1), label: "evil:x".to_owned() };
    let aside = |dataset: &DatasetName, base: Option<SnapshotId>| {
        let cause = SetAsideCause::Diverged;
        Change::SetAside(SetAside { dataset: dataset.clone(), guid: own, base, cause, writer: writer() })
    };
    let append = "--append-only";
    let store = |name: &str, value: &str| Change::StoreConfig {
        dataset: files.clone(),
        snapshot: point(NEWEST),
        guid: of(NEWEST),
        properties: [(name.to_owned(), value.to_owned())].into(),
    };
    let attacks: Vec<(&str, &str, Change)> = vec![
        ("destroy", append, Change::DestroySnapshots { dataset: files.clone(), snapshots: all.clone() }),
        ("destroy all", append, Change::DestroyDataset { dataset: files.clone(), guid: own, snapshots: all }),
        (
            "roll back",
            append,
            Change::Rollback { dataset: files.clone(), to: point(NEWEST), guid: of(NEWEST) },
        ),
        ("rename a copy", append, away(attacker.world.backup("gone"))),
        ("an expired name", append, away(format!("{copy}.superseded-2000-01-01-000000"))),
        ("swap months", append, rename("2026-Feb", "2026-Aug")),
        ("a month with more", append, rename("2026-Feb", "2026-Feb-zzz")),
        ("back to a date", append, rename("2026-Feb", "2020-01-01-000000")),
        ("another month than its date's", append, rename(NEWEST, "2026-Mar")),
        ("a date that has expired", append, rename(NEWEST, "2000-01-01-000000")),
        (
            "the root",
            "does not rename its root",
            aside(&DatasetName::new(&attacker.world.backup_root()).unwrap(), None),
        ),
        ("a base that is none", "it does not exist", {
            aside(&files, Some(SnapshotId { name: point("nowhere"), guid: Guid(5) }))
        }),
        ("outside: set aside", "--root", aside(&outside, None)),
        ("outside: claim", "--root", Change::Claim { dataset: outside.clone(), guid: own, writer: writer() }),
        ("outside: create", "--root", Change::CreateContainer { dataset: outside.clone(), is_plain: false }),
        ("outside: abort", "--root", Change::AbortReceive { dataset: outside, token: "1-x".to_owned() }),
        ("a property of a dataset", "not the properties of a guest", store("mountpoint", "/")),
        ("a mark", "not the properties of a guest", store("zhaul:set-aside", "{}")),
        ("a line break in a property", "not the properties of a guest", store("zhaul:guest", "a\nb")),
        (
            "a line break in a claim",
            "control characters",
            Change::Claim {
                dataset: files.clone(),
                guid: own,
                writer: Writer { guid: Guid(1), label: "x\ntank8".to_owned() },
            },
        ),
    ];
    for (what, words, change) in attacks {
        attacker.fails(what, words, |attacker| attacker.change(&change));
    }
    let below = |name: &str| DatasetName::new(name).unwrap();
    for root in ["tank8", "rpool", &attacker.world.backup_root().replace("/pve0", "")] {
        attacker.fails("list outside", "--root", |attacker| {
            attacker.remote.list(&below(root)).map(drop).map_err(|error| error.chain())
        });
    }
    // Set aside once, and then not again, from whatever base.
    let before = guids(&copy);
    let base = |name: &str| Some(SnapshotId { name: point(name), guid: of(name) });
    attacker.change(&aside(&files, base(NEWEST))).unwrap();
    let kept: Vec<String> =
        guids(&copy).into_values().chain(guids(&look::set_aside(&copy)).into_values()).collect();
    assert!(before.values().all(|guid| kept.contains(guid)), "nothing is lost");
    let again = |base| {
        Change::SetAside(SetAside {
            dataset: files.clone(),
            guid: guid(&copy),
            base,
            cause: SetAsideCause::NothingInCommon,
            writer: writer(),
        })
    };
    for base in [None, base(NEWEST)] {
        let change = again(base);
        attacker.fails("set aside again", "once in 22 hours", |attacker| attacker.change(&change));
    }
}

#[test]
fn a_configuration_that_is_stored_is_never_stored_again() {
    let attacker = Attacker::new("cage-config", "");
    let copy = attacker.world.backup(GUEST);
    let store = |properties: &[(&str, &str)]| Change::StoreConfig {
        dataset: dataset(&copy),
        snapshot: point(NEWEST),
        guid: guid(&format!("{copy}@{NEWEST}")),
        properties: properties
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    attacker.change(&store(&[("zhaul:guest", "lxc/101 pve0 1"), ("zhaul:config-1", "eHg=")])).ok();
    let before = attacker.house();
    for properties in [
        &[("zhaul:guest", "lxc/666 pve0 1")][..],
        &[("zhaul:config-1", "ZXZpbA==")],
        &[("zhaul:config-2", "ZXZpbA==")],
        &[("zhaul:guest", "-")],
    ] {
        drop(attacker.change(&store(properties)));
        assert_eq!(before, attacker.house(), "{properties:?}");
    }
    for (name, value) in [
        ("zhaul:guest ", "x"),
        ("zhaul:config-100", "x"),
        ("zhaul:config-1=x", "y"),
        ("-r", "x"),
        ("", "x"),
        ("canmount", "on"),
        ("zhaul:guest", "\u{1b}[2J"),
        ("zhaul:guest", "a\tb"),
        ("zhaul:guest", "\u{9b}"),
    ] {
        let change = store(&[(name, value)]);
        attacker.fails(name, "not the properties of a guest", |attacker| attacker.change(&change));
    }
}

#[test]
fn a_claim_of_the_root_stops_no_run() {
    let mut attacker = Attacker::new("cage-root", "");
    let root = attacker.world.backup_root();
    let claim = Change::Claim { dataset: dataset(&root), guid: guid(&root), writer: writer() };
    drop(attacker.change(&claim));
    attacker.world.run(DAY_2);
}
