//! The meaning of the flags of `vm-backup.sh`, with a policy file and without.

use super::*;

fn name(text: &str) -> DatasetName {
    DatasetName::new(text).unwrap()
}

fn flags(words: &[(&str, &str)]) -> Flags {
    let mut flags = Flags { hostname: "pve0".to_owned(), ..Flags::default() };
    for (flag, value) in words {
        match *flag {
            "dataset" => flags.dataset.push(name(value)),
            "backup-host" => flags.backup_host = Some((*value).to_owned()),
            "backup-dataset" => flags.backup_dataset = Some(name(value)),
            "archive-host" => flags.archive_host = Some((*value).to_owned()),
            "archive-dataset" => flags.archive_dataset = Some(name(value)),
            other => panic!("{other}"),
        }
    }
    flags
}

/// `name=address:root` of each target.
fn targets(policy: &Policy) -> String {
    let one = |t: &Target| format!("{}={}:{}", t.name, t.address, t.root);
    policy.targets.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn file() -> Policy {
    let text = "[source]\ndatasets = [\"rpool/data\", \"tank/vm\"]\nexclude = [\"rpool/data/tmp\"]\n[bookmarks]\nkeep = 9\n\
        [[backup]]\nhost = \"nfs8\"\nport = 22\ndataset = \"tank/b\"\n[[archive]]\nhost = \"nfs9\"\ndataset = \"tank/a\"\n";
    Policy::parse(text, "f").unwrap()
}

#[test]
fn without_a_file_the_old_script_s_defaults_hold() {
    let policy = Policy::from_flags(&flags(&[("dataset", "tank/vm")])).unwrap();
    assert_eq!(targets(&policy), "nfs8=nfs8:tank/backup/pve0 nfs9=nfs9:tank/archive/pve0");
    assert_eq!(policy.keep_at_source, super::super::KeepRules::last(15));
    assert_eq!(policy.roots.first().unwrap().dataset, name("tank/vm"));
    assert!(policy.selected.is_empty());
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("archive-host", "")], "nfs8=nfs8:tank/backup/pve0"),
        (&[("backup-host", ""), ("archive-dataset", "t/a")], "nfs9=nfs9:t/a"),
        (
            &[("backup-host", "root@x"), ("archive-host", "x")],
            "x=root@x:tank/backup/pve0 x-archive=x:tank/archive/pve0",
        ),
        (&[("backup-host", "local"), ("backup-dataset", "b/b"), ("archive-host", "")], "local=local:b/b"),
    ];
    for (words, expected) in cases {
        let words = [&[("dataset", "tank/vm")], words].concat();
        assert_eq!(targets(&Policy::from_flags(&flags(&words)).unwrap()), expected);
    }
}

#[test]
fn without_a_file_mistakes_are_explained() {
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[], "--dataset: it is missing"),
        (&[("dataset", "a"), ("dataset", "a/b")], "--dataset: a/b is below a"),
        (&[("dataset", "a"), ("backup-host", "-x")], "--backup-host: the host \"-x\" starts"),
        (&[("dataset", "a"), ("archive-host", "x y")], "--archive-host: the host"),
        (
            &[("dataset", "tank"), ("backup-host", "local")],
            "--backup-dataset: the copies in tank/backup/pve0",
        ),
    ];
    for (words, expected) in cases {
        let error = Policy::from_flags(&flags(words)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let nameless = Flags { hostname: String::new(), ..flags(&[("dataset", "a")]) };
    let error = Policy::from_flags(&nameless).unwrap_err().to_string();
    assert!(error.starts_with("--backup-dataset: \"tank/backup/\""), "{error}");
}

#[test]
fn with_a_file_flags_choose_and_override() {
    let cases: [(&[(&str, &str)], &str); 7] = [
        (&[], "nfs8=nfs8:tank/b nfs9=nfs9:tank/a"),
        (&[("archive-host", "")], "nfs8=nfs8:tank/b"),
        (&[("backup-host", "NFS8")], "nfs8=nfs8:tank/b nfs9=nfs9:tank/a"),
        (&[("backup-host", "me@nfs8")], "nfs8=me@nfs8:tank/b nfs9=nfs9:tank/a"),
        (&[("backup-host", "other")], "other=other:tank/b nfs9=nfs9:tank/a"),
        (&[("backup-dataset", "tank/x")], "nfs8=nfs8:tank/x nfs9=nfs9:tank/a"),
        (&[("archive-host", "nfs8")], "nfs8=nfs8:tank/b nfs8-archive=nfs8:tank/a"),
    ];
    for (words, expected) in cases {
        let policy = file().with_flags(&flags(words)).unwrap();
        assert_eq!(targets(&policy), expected, "{words:?}");
        let is_same = targets(&policy).split(' ').count() == 2
            && !expected.contains("other")
            && !expected.contains("tank/x")
            && !expected.contains("nfs8-");
        assert_eq!(policy.keep_bookmarks, is_same.then_some(9), "left-out targets may need any bookmark");
    }
}

#[test]
fn with_a_file_a_dataset_selects_within_the_roots() {
    let policy = file().with_flags(&flags(&[("dataset", "rpool/data/vm-1")])).unwrap();
    assert_eq!(policy.roots.len(), 2, "names on the targets follow from the roots");
    for (dataset, expected) in [
        ("rpool/data/vm-1", true),
        ("rpool/data/vm-1/x", true),
        ("rpool/data/vm-10", false),
        ("tank/vm", false),
    ] {
        assert_eq!(policy.is_selected(&name(dataset)), expected, "{dataset}");
    }
    assert!(file().is_selected(&name("tank/vm")) && file().is_excluded(&name("rpool/data/tmp/x")));
    for (dataset, expected) in [
        (
            "tank/other",
            "--dataset: tank/other is not among the policy's sources; name one of rpool/data, tank/vm",
        ),
        ("rpool", "--dataset: rpool is not among"),
        ("rpool/data/tmp/x", "--dataset: the policy leaves rpool/data/tmp/x out"),
    ] {
        let error = file().with_flags(&flags(&[("dataset", dataset)])).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn of_several_targets_one_must_be_named() {
    let text = "[source]\ndatasets = [\"d\"]\n[[backup]]\nhost = \"a\"\ndataset = \"t\"\n[[backup]]\nname = \"second\"\nhost = \"b\"\ndataset = \"t\"\n";
    let policy = Policy::parse(text, "f").unwrap();
    let with = |words| policy.clone().with_flags(&flags(words));
    assert_eq!(targets(&with(&[("backup-host", "second")]).unwrap()), "second=b:t");
    assert_eq!(targets(&with(&[("backup-host", "b"), ("backup-dataset", "u")]).unwrap()), "second=b:u");
    let error = with(&[("backup-host", "c")]).unwrap_err().to_string();
    assert!(error.contains("name one of a, second"), "{error}");
    let error = with(&[("backup-dataset", "u")]).unwrap_err().to_string();
    assert!(error.starts_with("--backup-dataset: the policy has several of this kind: a, second"), "{error}");
}
