//! The names of copies, run after run.

use super::*;
use crate::host::fake::{TokenFields, history, write_token};
use crate::model::{
    Answer, DatasetKind, Guid, Proxmox, ProxmoxState, SendFlags, Storage, Unlisted, UserProperty,
    WRITER_PROPERTY,
};
use crate::policy::Flags;

fn name(text: &str) -> DatasetName {
    DatasetName::new(text).unwrap()
}

/// `NAME POINTS`; the GUID of a dataset is the length of its name.
fn dataset(text: &str) -> Dataset {
    let (at, points) = text.split_once(' ').unwrap_or((text, ""));
    let guid = Guid(u64::try_from(at.len()).unwrap());
    let mut dataset = Dataset::new(name(at), guid, DatasetKind::Filesystem);
    dataset.history = history(points).unwrap();
    dataset
}

fn listing(datasets: &[&str]) -> Listing {
    Listing::new(datasets.iter().map(|text| dataset(text)))
}

struct Case<'a> {
    roots: &'a [&'a str],
    include_root: bool,
    source: &'a [&'a str],
    left_out: &'a [&'a str],
    has_storages: bool,
    /// The datasets that could not be listed at the source.
    unlisted: &'a [&'a str],
    there: Listing,
}

impl<'a> Case<'a> {
    fn new(roots: &'a [&'a str], source: &'a [&'a str], there: &[&str]) -> Self {
        Self {
            roots,
            include_root: false,
            source,
            left_out: &[],
            has_storages: true,
            unlisted: &[],
            there: listing(there),
        }
    }

    /// `SOURCE -> COPY`, with what has the usual name in brackets; names on the target are below `t/r`.
    fn names(&self) -> Vec<String> {
        let flags = Flags {
            dataset: self.roots.iter().map(|root| name(root)).collect(),
            backup_dataset: Some(name("t/r")),
            hostname: "pve0".to_owned(),
            ..Flags::default()
        };
        let mut policy = Policy::from_flags(&flags).unwrap();
        for root in &mut policy.roots {
            root.include_root = self.include_root;
        }
        let mut source = listing(self.source);
        for name in self.unlisted {
            source.mark_unlisted(*name, Unlisted::NoPool);
        }
        let storage = |id: &str, at: &str| Storage { id: id.to_owned(), dataset: name(at), is_sparse: true };
        let proxmox = Proxmox {
            state: ProxmoxState::Whole,
            storages: self
                .has_storages
                .then(|| vec![storage("local-zfs", "p/data"), storage("fast", "q/vms")]),
            ..Proxmox::default()
        };
        let inventory = Inventory {
            source: Answer::Listed(source.clone()),
            targets: BTreeMap::new(),
            proxmox,
            host: "pve0".to_owned(),
            append_only: BTreeSet::new(),
        };
        let is_container = |one: &DatasetName| {
            source.has_children(one)
                && policy.roots.iter().any(|root| root.dataset == *one && !root.include_root)
        };
        let selected: BTreeSet<&DatasetName> = source
            .datasets()
            .map(|dataset| &dataset.name)
            .filter(|one| !is_container(one) && !self.left_out.contains(&one.as_str()))
            .collect();
        let target = &policy.targets[0];
        let named = names(&policy, &inventory, &source, &selected, target, &self.there);
        assert_eq!(named.selected.len(), selected.len());
        let shown = selected.iter().map(|one| match named.get(one).unwrap() {
            CopyName::Called { name, taken_by: None } => format!("{one} -> {name}"),
            CopyName::Called { name, taken_by: Some(by) } => format!("{one} -> {name} ({by})"),
            CopyName::Contested { name, other, .. } => format!("{one} ? {name} {other}"),
            CopyName::Invalid(error) => format!("{one} ! {error}"),
        });
        shown.collect()
    }
}

const TWO: [&str; 2] = ["p/data", "q/vms"];

#[test]
fn a_guest_with_disks_of_one_name_on_two_storages_has_two_copies() {
    let source = ["p/data", "p/data/vm-1 @b @c", "q/vms", "q/vms/vm-1 @x @y"];
    let expected = ["p/data/vm-1 -> t/r/vm-1", "q/vms/vm-1 -> t/r/fast/vm-1 (p/data/vm-1)"];
    assert_eq!(Case::new(&TWO, &source, &["t/r"]).names(), expected);
    let there = ["t/r", "t/r/fast", "t/r/fast/vm-1 @x", "t/r/vm-1 @b"];
    let expected = ["p/data/vm-1 -> t/r/vm-1", "q/vms/vm-1 -> t/r/fast/vm-1"];
    for roots in [TWO, ["q/vms", "p/data"]] {
        assert_eq!(Case::new(&roots, &source, &there).names(), expected, "GUIDs decide, not the order");
    }
    let there = ["t/r", "t/r/vm-1 @x"];
    let expected = ["p/data/vm-1 -> t/r/local-zfs/vm-1 (q/vms/vm-1)", "q/vms/vm-1 -> t/r/vm-1"];
    assert_eq!(Case::new(&TWO, &source, &there).names(), expected, "who has the name keeps it");
}

#[test]
fn the_copy_of_a_source_that_is_left_out_now_goes_to_no_other() {
    let source = ["p/data", "p/data/vm-1 @b", "q/vms", "q/vms/vm-1 @x"];
    let there = ["t/r", "t/r/vm-1 @b"];
    let case = Case { left_out: &["p/data/vm-1"], ..Case::new(&TWO, &source, &there) };
    assert_eq!(case.names(), ["q/vms/vm-1 -> t/r/fast/vm-1 (p/data/vm-1)"]);
}

#[test]
fn a_copy_of_which_it_is_not_known_whose_it_is_stays_as_it_is() {
    let source = ["p/data", "p/data/vm-1 @b", "q/vms", "q/vms/vm-1 @x"];
    let expected = ["p/data/vm-1 -> t/r/local-zfs/vm-1 (t/r/vm-1)", "q/vms/vm-1 -> t/r/fast/vm-1 (t/r/vm-1)"];
    assert_eq!(Case::new(&TWO, &source, &["t/r", "t/r/vm-1 @old"]).names(), expected);
    // Only one source could have it: that was recreated.
    let alone = ["p/data", "p/data/vm-1 @b"];
    let one = Case::new(&["p/data"], &alone, &["t/r", "t/r/vm-1 @old"]).names();
    assert_eq!(one, ["p/data/vm-1 -> t/r/vm-1"]);
    let mut case = Case::new(&TWO, &source, &["t/r", "t/r/vm-1 @old"]);
    let writer = UserProperty { value: "77 pve0:q/vms/vm-1".to_owned(), is_local: true };
    case.there.get_mut(&name("t/r/vm-1")).unwrap().user.insert(WRITER_PROPERTY, writer);
    let expected = ["p/data/vm-1 -> t/r/local-zfs/vm-1 (t/r/vm-1)", "q/vms/vm-1 -> t/r/vm-1"];
    assert_eq!(case.names(), expected, "the copy says whose it is");
}

#[test]
fn two_sources_with_the_same_history_are_distinguished_or_blocked() {
    let there = ["t/r", "t/r/vm-1 @b @c"];
    for (source, expected) in [
        (
            ["p/data", "p/data/vm-1 @b @c", "q/vms", "q/vms/vm-1 @b @c"],
            ["p/data/vm-1 ? t/r/vm-1 q/vms/vm-1", "q/vms/vm-1 ? t/r/vm-1 p/data/vm-1"],
        ),
        (
            ["p/data", "p/data/vm-1 @b @c", "q/vms", "q/vms/vm-1 @b @c #c"],
            ["p/data/vm-1 -> t/r/local-zfs/vm-1 (q/vms/vm-1)", "q/vms/vm-1 -> t/r/vm-1"],
        ),
        (
            ["p/data", "p/data/vm-1 @b @c", "q/vms", "q/vms/vm-1 @b #b"],
            ["p/data/vm-1 -> t/r/vm-1", "q/vms/vm-1 -> t/r/fast/vm-1 (p/data/vm-1)"],
        ),
    ] {
        assert_eq!(Case::new(&TWO, &source, &there).names(), expected);
    }
    let source = ["p/data", "p/data/vm-1 @b @c", "q/vms", "q/vms/vm-1 @b @c"];
    let mut case = Case::new(&TWO, &source, &there);
    let guid = "p/data/vm-1".len();
    let writer = UserProperty { value: format!("{guid} pve0:p/data/vm-1"), is_local: true };
    case.there.get_mut(&name("t/r/vm-1")).unwrap().user.insert(WRITER_PROPERTY, writer);
    let case = Case { source: &["p/data", "p/data/vm-1 @b @c", "q/vms", "q/vms/vm-1 @b @c"], ..case };
    // Both datasets' names are of different length, and so are their GUIDs.
    assert_eq!(case.names(), ["p/data/vm-1 -> t/r/vm-1", "q/vms/vm-1 -> t/r/fast/vm-1 (p/data/vm-1)"]);
}

#[test]
fn a_partial_receive_is_a_copy_that_has_begun() {
    let source = ["p/data", "p/data/vm-1 @b", "q/vms", "q/vms/vm-1 @x"];
    let mut case = Case::new(&TWO, &source, &["t/r", "t/r/vm-1"]);
    let point = dataset("q/vms/vm-1 @x").history.newest_snapshot().unwrap().guid;
    let flags = SendFlags { large_block: true, embed: true, compress: true, raw: false };
    let token = write_token(&TokenFields {
        toname: "q/vms/vm-1@x".to_owned(),
        toguid: point.0,
        fromguid: None,
        object: 1,
        offset: 1,
        bytes: 1,
        flags,
    });
    case.there.get_mut(&name("t/r/vm-1")).unwrap().resume_token = Some(token);
    let expected = ["p/data/vm-1 -> t/r/local-zfs/vm-1 (q/vms/vm-1)", "q/vms/vm-1 -> t/r/vm-1"];
    assert_eq!(case.names(), expected);
}

#[test]
fn roots_of_one_name_have_copies_of_their_own() {
    let source = ["p/a/vm @a", "p/b/vm @b", "q/b/vm @c"];
    let roots = ["p/a/vm", "p/b/vm", "q/b/vm"];
    let expected = ["p/a/vm -> t/r/vm", "p/b/vm -> t/r/b/vm (p/a/vm)", "q/b/vm -> t/r/q/b/vm (p/a/vm)"];
    assert_eq!(Case::new(&roots, &source, &["t/r"]).names(), expected);
    let there = ["t/r", "t/r/b", "t/r/b/vm @b", "t/r/q", "t/r/q/b", "t/r/q/b/vm @c", "t/r/vm @a"];
    let expected = ["p/a/vm -> t/r/vm", "p/b/vm -> t/r/b/vm", "q/b/vm -> t/r/q/b/vm"];
    assert_eq!(Case::new(&["q/b/vm", "p/b/vm", "p/a/vm"], &source, &there).names(), expected);
}

#[test]
fn a_root_that_is_asked_for_later_takes_nothing_from_its_children() {
    let roots = ["p/data"];
    let source = ["p/data @r", "p/data/vm-1 @b"];
    let case = |there| Case { include_root: true, ..Case::new(&roots, &source, there) };
    assert_eq!(case(&[]).names(), ["p/data -> t/r", "p/data/vm-1 -> t/r/vm-1"]);
    assert_eq!(case(&["t/r @r"]).names(), ["p/data -> t/r", "p/data/vm-1 -> t/r/vm-1"]);
    let expected = ["p/data -> t/r/data (t/r)", "p/data/vm-1 -> t/r/vm-1"];
    assert_eq!(case(&["t/r", "t/r/vm-1 @b"]).names(), expected, "a container is not to make way");
    assert_eq!(case(&["t/r"]).names(), expected, "nor one that is empty");
    let expected = ["p/data -> t/r/data", "p/data/vm-1 -> t/r/vm-1"];
    assert_eq!(case(&["t/r", "t/r/data @r", "t/r/vm-1 @b"]).names(), expected, "nor later on");
    let source = ["p/data @r", "p/data/data @b", "p/data/vm-1"];
    let case = Case { include_root: true, ..Case::new(&roots, &source, &["t/r"]) };
    assert_eq!(case.names()[0], "p/data -> t/r/p/data (t/r)");
}

#[test]
fn a_root_keeps_its_copy_when_it_gets_or_loses_children() {
    let roots = ["p/data"];
    let lone = ["p/data @r"];
    let grown = ["p/data @r", "p/data/vm-1 @b"];
    assert_eq!(Case::new(&roots, &lone, &["t/r"]).names(), ["p/data -> t/r/data"]);
    assert_eq!(Case::new(&roots, &lone, &["t/r @r"]).names(), ["p/data -> t/r"], "vm-backup.sh's");
    let case = Case { include_root: true, ..Case::new(&roots, &grown, &["t/r", "t/r/data @r"]) };
    assert_eq!(case.names(), ["p/data -> t/r/data", "p/data/vm-1 -> t/r/vm-1"]);
}

#[test]
fn a_parent_that_is_selected_after_its_children_has_a_copy_beside_the_container() {
    let roots = ["p/data"];
    let source = ["p/data", "p/data/a @a", "p/data/a/b @b", "p/data/a/new"];
    let there = ["t/r", "t/r/a", "t/r/a/b @b"];
    let expected = [
        "p/data/a -> t/r/local-zfs/a (t/r/a)",
        "p/data/a/b -> t/r/a/b",
        "p/data/a/new -> t/r/local-zfs/a/new",
    ];
    assert_eq!(Case::new(&roots, &source, &there).names(), expected);
    // A dataset that has neither snapshots nor children is not known; it blocks this one, as ever.
    assert_eq!(Case::new(&roots, &source, &["t/r", "t/r/a"]).names()[0], "p/data/a -> t/r/a");
}

#[test]
fn a_child_goes_with_its_parent() {
    let source = ["p/data", "p/data/ct @a", "q/vms", "q/vms/ct @x", "q/vms/ct/below"];
    let expected =
        ["p/data/ct -> t/r/ct", "q/vms/ct -> t/r/fast/ct (p/data/ct)", "q/vms/ct/below -> t/r/fast/ct/below"];
    assert_eq!(Case::new(&TWO, &source, &["t/r"]).names(), expected);
    let there = ["t/r", "t/r/ct @a", "t/r/fast", "t/r/fast/ct @x"];
    let expected = ["p/data/ct -> t/r/ct", "q/vms/ct -> t/r/fast/ct", "q/vms/ct/below -> t/r/fast/ct/below"];
    assert_eq!(Case::new(&TWO, &source, &there).names(), expected);
}

#[test]
fn a_copy_keeps_its_name_when_roots_or_storages_change() {
    let source = ["p/data", "p/data/vm-1 @b"];
    assert_eq!(
        Case::new(&["p/data"], &source, &["t/r", "t/r/data", "t/r/data/vm-1 @b"]).names()[0],
        "p/data/vm-1 -> t/r/data/vm-1"
    );
    let source = ["p", "p/data", "p/data/vm-1 @b"];
    let wider = Case { left_out: &["p/data"], ..Case::new(&["p"], &source, &["t/r", "t/r/vm-1 @b"]) };
    assert_eq!(wider.names(), ["p/data/vm-1 -> t/r/vm-1"]);
    let source = ["p/data", "p/data/vm-1 @b"];
    let there = ["t/r", "t/r/gone", "t/r/gone/vm-1 @b"];
    let mut case = Case::new(&["p/data"], &source, &there);
    assert_eq!(case.names(), ["p/data/vm-1 -> t/r/vm-1"], "renamed by a person: it starts over");
    case.has_storages = false;
    assert_eq!(case.names(), ["p/data/vm-1 -> t/r/gone/vm-1"]);
}

#[test]
fn what_is_not_known_is_not_taken_for_absent() {
    // Whose is the copy: of the recreated `p/data/vm-1`, or of what is on the missing pool?
    let source = ["p/data", "p/data/vm-1 @b", "p/data/vm-2"];
    let there = ["t/r", "t/r/vm-1 @x"];
    let case = Case { unlisted: &["q"], ..Case::new(&TWO, &source, &there) };
    assert_eq!(case.names(), ["p/data/vm-1 ? t/r/vm-1 q/vms", "p/data/vm-2 -> t/r/vm-2"]);
    let case = Case { unlisted: &["q"], ..Case::new(&TWO, &source, &["t/r", "t/r/vm-1 @b"]) };
    assert_eq!(case.names()[0], "p/data/vm-1 -> t/r/vm-1", "GUIDs decide");
    let source = ["p/data", "p/data/vm-1 @b", "q/vms", "q/vms/vm-1 @x"];
    let case = Case { unlisted: &["q/vms/vm-1"], ..Case::new(&TWO, &source, &there) };
    assert_eq!(case.names()[0], "p/data/vm-1 ? t/r/vm-1 q/vms/vm-1");
    let mut case = Case::new(&TWO, &source, &["t/r", "t/r/vm-1 @b"]);
    case.there.mark_unlisted("t/r/fast", Unlisted::Changing);
    let expected = ["p/data/vm-1 -> t/r/vm-1", "q/vms/vm-1 -> t/r/fast/vm-1"];
    assert_eq!(case.names(), expected, "nothing begins elsewhere while a copy may be there");
    case.there.mark_unlisted("t/r/vm-1", Unlisted::Changing);
    assert_eq!(case.names(), ["p/data/vm-1 -> t/r/vm-1", "q/vms/vm-1 -> t/r/vm-1"]);
}

#[test]
fn a_disk_that_a_migration_has_given_another_number_keeps_its_copy() {
    let moved = "p/data/vm-100-disk-2 @b @c";
    let there = ["t/r", "t/r/vm-100-disk-0 @a @b @c"];
    let cases: &[(&[&str], &[&str])] = &[
        (&["p/data", moved], &["p/data/vm-100-disk-2 -> t/r/vm-100-disk-0"]),
        // The disk that had the name there is another one, or an earlier state of the same.
        (
            &["p/data", "p/data/vm-100-disk-0 @x", moved],
            &[
                "p/data/vm-100-disk-0 -> t/r/local-zfs/vm-100-disk-0 (p/data/vm-100-disk-2)",
                "p/data/vm-100-disk-2 -> t/r/vm-100-disk-0",
            ],
        ),
        (
            &["p/data", "p/data/vm-100-disk-0 @a @b", moved],
            &[
                "p/data/vm-100-disk-0 -> t/r/local-zfs/vm-100-disk-0 (p/data/vm-100-disk-2)",
                "p/data/vm-100-disk-2 -> t/r/vm-100-disk-0",
            ],
        ),
        // Who lacks the newest snapshot does not continue, and another guest never does.
        (&["p/data", "p/data/vm-100-disk-2 @a @b"], &["p/data/vm-100-disk-2 -> t/r/vm-100-disk-2"]),
        (&["p/data", "p/data/vm-101-disk-0 @b @c"], &["p/data/vm-101-disk-0 -> t/r/vm-101-disk-0"]),
    ];
    for (source, expected) in cases {
        assert_eq!(Case::new(&["p/data"], source, &there).names(), *expected, "{source:?}");
    }
    // It stays there when the copy has snapshots that the source has left.
    let with_writer = |copy: &str, writer: &str| {
        let source = ["p/data", moved];
        let mut case = Case::new(&["p/data"], &source, &["t/r"]);
        let mut copy = dataset(copy);
        let value = format!("{} {writer}", dataset(moved).guid);
        copy.user.insert(WRITER_PROPERTY, UserProperty { value, is_local: true });
        case.there.insert(copy);
        case.names()
    };
    let named = with_writer("t/r/vm-100-disk-0 @b @c @d", "pve1:p/data/vm-100-disk-2");
    assert_eq!(named, ["p/data/vm-100-disk-2 -> t/r/vm-100-disk-0"]);
    // The copy of one that was renamed here follows it, and what an admin has renamed on the target stays the admin's.
    for (copy, writer) in [
        ("t/r/vm-100-disk-0 @b @c", "pve1:p/data/vm-100-disk-0"),
        ("t/r/vm-100-disk-2-old @b @c", "pve1:p/data/vm-100-disk-2"),
    ] {
        assert_eq!(with_writer(copy, writer), ["p/data/vm-100-disk-2 -> t/r/vm-100-disk-2"]);
    }
}
