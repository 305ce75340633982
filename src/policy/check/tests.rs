//! The content that a policy file may have, and the words of its errors.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::super::EXAMPLE;
use super::*;

const MINIMAL: &str = "[source]\ndatasets = [\"rpool/data\"]\n";

fn parse(text: &str) -> Policy {
    Policy::parse(text, "zhaul.toml").unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn error(text: &str) -> String {
    match Policy::parse(text, "zhaul.toml") {
        Ok(_) => panic!("was taken:\n{text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_example_says_what_it_shows() {
    let policy = parse(EXAMPLE);
    assert_eq!(policy.roots.len(), 1);
    assert_eq!(policy.keep_at_source, KeepRules::last(15));
    assert_eq!(policy.keep_bookmarks, None);
    // Who sets only datasets and targets leaves nothing out.
    assert_eq!(policy.exclude, []);
    let [backup, archive] = policy.targets.as_slice() else { panic!() };
    assert_eq!(backup.address.to_string(), "root@nfs8");
    let TargetKind::Backup(rules) = &backup.kind else { panic!() };
    assert_eq!((rules.keep.last, rules.keep.yearly), (Some(7), Some(3)));
    assert_eq!(rules.keep_superseded, Some(SignedDuration::from_hours(90 * 24)));
    assert_eq!(archive.name, TargetName("nfs9".to_owned()));
    let TargetKind::Archive(rules) = &archive.kind else { panic!() };
    assert!(rules.catch_up);
}

/// The example with its optional lines uncommented still holds.
#[test]
fn what_the_example_comments_out_is_valid_too() {
    let is_key = |line: &str| {
        line.strip_prefix("# ")
            .is_some_and(|l| l.contains(" = ") && l.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    let full: Vec<&str> =
        EXAMPLE.lines().map(|line| if is_key(line) { line.trim_start_matches("# ") } else { line }).collect();
    let policy = parse(&full.join("\n"));
    assert_eq!(policy.keep_bookmarks, Some(200));
    assert_eq!(policy.time_zone.iana_name(), Some("Europe/Berlin"));
    assert_eq!(policy.exclude.first().unwrap().as_str(), "rpool/data/vm-9*");
    assert_eq!(
        policy.transfer.rate.to_string(),
        "08:00-18:00 at most 50.0 MiB/s, otherwise at most 400 MiB/s"
    );
    assert_eq!(policy.keep_at_source.daily, Some(7));
    let Address::Ssh { port, config, .. } = &policy.targets.first().unwrap().address else { panic!() };
    assert_eq!((*port, config.as_deref()), (Some(22), Some(std::path::Path::new("/etc/zhaul/ssh_config"))));
}

#[test]
fn the_example_shows_every_key() {
    // The reader itself lists the keys that it knows.
    let mut keys = BTreeSet::new();
    for section in ["", "[source]\n", "[bookmarks]\n", "[transfer]\n", "[[backup]]\n", "[[archive]]\n"] {
        let unknown = toml::from_str::<PolicyFile>(&format!("{section}zzz = 1\n")).unwrap_err();
        let known = unknown.message().split('`').skip(1).step_by(2).skip(1);
        keys.extend(known.map(|key| key.replace('_', "-")));
    }
    assert!(keys.len() >= 30, "{keys:?}");
    for key in keys {
        let shows = |line: &str| {
            let line = line.trim_start_matches("# ");
            line.split_once(" = ").is_some_and(|(word, _)| word == key)
                || line.trim_matches(['[', ']']) == key
        };
        assert!(EXAMPLE.lines().any(shows), "{key} is not in the example");
    }
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let policy = parse(MINIMAL);
    assert!(policy.targets.is_empty(), "a policy may only snapshot and prune");
    assert_eq!(policy.keep_at_source, KeepRules::last(15));
    assert_eq!(policy.name_format.to_string(), NameFormat::DEFAULT);
    assert_eq!(policy.guest_config.as_deref(), Some(std::path::Path::new("/etc/pve")));
    assert_eq!(policy.transfer.jobs, 2);
    let policy = parse(&format!(
        "{MINIMAL}guest-config = \"\"\nkeep-daily = 3\n[[backup]]\nhost = \"local\"\ndataset = \"tank/b\"\n"
    ));
    assert_eq!(policy.guest_config, None);
    assert_eq!((policy.keep_at_source.last, policy.keep_at_source.daily), (None, Some(3)));
    let backup = policy.targets.first().unwrap();
    assert_eq!((backup.name.to_string().as_str(), &backup.address), ("local", &Address::Local));
    let TargetKind::Backup(rules) = &backup.kind else { panic!() };
    assert!(rules.keep.is_empty());
    assert_eq!((rules.on_divergence, rules.on_no_base), (BackupDivergence::Keep, OnNoBase::Supersede));
}

#[test]
fn the_first_spelling_with_underscores_is_understood() {
    let policy = parse(&format!(
        "{MINIMAL}include_root = true\n[[backup]]\nhost = \"a\"\ndataset = \"t/a\"\non_divergence = \"stop\"\non_no_base = \"stop\"\n\
         keep_superseded = \"forever\"\n[[archive]]\nhost = \"b\"\ndataset = \"t/b\"\ncatch_up = false\non_divergence = \"branch\"\n"
    ));
    assert!(policy.roots.first().unwrap().include_root);
    let kinds: Vec<&TargetKind> = policy.targets.iter().map(|target| &target.kind).collect();
    let [TargetKind::Backup(backup), TargetKind::Archive(archive)] = kinds.as_slice() else { panic!() };
    assert_eq!((backup.on_divergence, backup.on_no_base), (BackupDivergence::Stop, OnNoBase::Stop));
    assert_eq!(backup.keep_superseded, None);
    assert_eq!((archive.catch_up, archive.on_divergence), (false, ArchiveDivergence::Keep));
}

#[test]
fn errors_name_file_line_key_and_fix() {
    assert_eq!(
        error("[source]\ndatasets = [\"rpool/data\"]\nkeep-daly = 7\n"),
        "zhaul.toml:3: keep-daly: there is no such key; did you mean keep-daily?"
    );
    assert_eq!(
        error("[source]\ndatasets = [\"rpool/data\"]\nkeep_last = 7\n"),
        "zhaul.toml:3: keep_last: there is no such key; did you mean keep-last?"
    );
    assert_eq!(
        error("[source]\ndatasets = [\n  \"rpool/data\",\n  \"rpool/da%ta\",\n]\n"),
        "zhaul.toml:4: datasets: \"rpool/da%ta\" is not a valid dataset name: only letters, digits and '-_.: ' are allowed; \
         write it as `zfs list` prints it, for example \"rpool/data\""
    );
    assert_eq!(
        error(&format!("{MINIMAL}keep-daily = 0\n")),
        "zhaul.toml:3: keep-daily: 0 is not between 1 and 4294967295; remove the line if keep-daily is not to apply"
    );
    assert_eq!(
        error(&format!("timezone = \"Europe/Berln\"\n{MINIMAL}")),
        "zhaul.toml:1: timezone: there is no time zone \"Europe/Berln\"; did you mean \"Europe/Berlin\"?"
    );
}

#[test]
fn wrong_values_are_refused() {
    let backup = |line: &str| format!("{MINIMAL}[[backup]]\nhost = \"nfs8\"\ndataset = \"tank/b\"\n{line}\n");
    let transfer = |line: &str| format!("{MINIMAL}[transfer]\n{line}\n");
    let source = |line: &str| format!("{MINIMAL}{line}\n");
    let cases = [
        (source("keep-last = -1"), "zhaul.toml:3: keep-last: -1 is not"),
        (source("keep-last = 99999999999"), "zhaul.toml:3: keep-last: 99999999999 is not"),
        (source("keep-last = 99999999999999999999"), "zhaul.toml:3: keep-last: "),
        (
            source("keep-last = \"15\""),
            "zhaul.toml:3: keep-last: invalid type: string \"15\", expected a whole number",
        ),
        (source("include-root = \"yes\""), "zhaul.toml:3: include-root: "),
        (source("exclude = [\"rpool/[x]\"]"), "zhaul.toml:3: exclude: "),
        (
            source("exclude = [\"rpool/*\"]"),
            "zhaul.toml:3: exclude: \"rpool/*\" leaves out the whole of rpool/data",
        ),
        (source("guest-config = \"~/pve\""), "zhaul.toml:3: guest-config: \"~/pve\" is not an absolute path"),
        (source("datasets = []"), "zhaul.toml:3: datasets: duplicate key"),
        (source("[bookmarks]\nkeep = 0"), "zhaul.toml:4: keep: 0"),
        (source("nonsense"), "zhaul.toml:3: "),
        (source("[sorce]\nx = 1"), "zhaul.toml:3: sorce: there is no such key; did you mean source?"),
        (format!("name = \"%Y\"\n{MINIMAL}"), "zhaul.toml:1: name: "),
        (format!("lock = \"x\"\n{MINIMAL}"), "zhaul.toml:1: lock: "),
        (transfer("jobs = 0"), "zhaul.toml:4: jobs: 0 is not between 1 and 64"),
        (transfer("buffer = \"1MiB\""), "zhaul.toml:4: buffer: 1.00 MiB is not between"),
        (transfer("buffer = \"lots\""), "zhaul.toml:4: buffer: \"lots\" is not a size"),
        (transfer("rate = \"400\""), "zhaul.toml:4: rate: 400 B a second"),
        (transfer("stall-limit = \"10m\""), "zhaul.toml:4: stall-limit: the unit of \"10m\" could be"),
        (transfer("stall-limit = \"0s\""), "zhaul.toml:4: stall-limit: "),
        (backup("port = 0"), "zhaul.toml:6: port: 0"),
        (backup("port = 65536"), "zhaul.toml:6: port: 65536"),
        (backup("ssh-config = \"c\""), "zhaul.toml:6: ssh-config: "),
        (backup("name = \"a b\""), "zhaul.toml:6: name: "),
        (backup("name = \"source\""), "zhaul.toml:6: name: "),
        (
            backup("on-divergence = \"branch\""),
            "zhaul.toml:6: on-divergence: \"branch\" means nothing here; write \"keep\" or \"remove\" or \"stop\"",
        ),
        (backup("keep-superseded = \"never\""), "zhaul.toml:6: keep-superseded: "),
        (
            backup("keep-dayly = 1"),
            "zhaul.toml:6: keep-dayly: there is no such key; did you mean keep-daily?",
        ),
        (source("[[backup]]\ndataset = \"tank/b\""), "zhaul.toml:3: [[backup]]: it has no host"),
        (source("[[archive]]\nhost = \"b\""), "zhaul.toml:3: [[archive]]: it has no dataset"),
        (
            source("[[backup]]\nhost = \"-oX\"\ndataset = \"tank/b\""),
            "zhaul.toml:4: host: the host \"-oX\" starts with '-'",
        ),
        (
            source("[[backup]]\nhost = \"local\"\nport = 1\ndataset = \"tank/b\""),
            "zhaul.toml:5: port: this machine",
        ),
        (String::new(), "zhaul.toml:1: [source]: it is missing; add datasets"),
        ("[source]\n".to_owned(), "zhaul.toml:1: [source]: it names no datasets"),
        ("[source]\ndatasets = []\n".to_owned(), "zhaul.toml:2: datasets: the list is empty"),
    ];
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        let error = error(&text);
        if !error.starts_with(expected) {
            wrong.push(format!("got:      {error}\nexpected: {expected}"));
        }
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_its_own_backup_and_no_two_share_a_place() {
    let roots = |list: &str| format!("[source]\ndatasets = [{list}]\n");
    let target =
        |host: &str, dataset: &str| format!("[[backup]]\nhost = \"{host}\"\ndataset = \"{dataset}\"\n");
    let data = roots("\"rpool/data\"");
    let cases = [
        (roots("\"a/b\", \"a/b\""), "zhaul.toml:2: datasets: a/b is listed twice"),
        (roots("\"a/b\", \"a\""), "zhaul.toml:2: datasets: a/b is below a"),
        (roots("\"a\", \"a/b\""), "zhaul.toml:2: datasets: a/b is below a"),
        (
            data.clone() + &target("local", "rpool/data/copies"),
            "zhaul.toml:5: dataset: the copies in rpool/data/copies would",
        ),
        (data.clone() + &target("local", "rpool/data"), "zhaul.toml:5: dataset: the copies"),
        (
            data.clone() + &target("local", "rpool"),
            "zhaul.toml:5: dataset: the source rpool/data is within rpool",
        ),
        (
            data.clone() + &target("a", "t/b") + &target("a", "t/c"),
            "zhaul.toml:7: name: two targets are called a",
        ),
        (
            data.clone() + &target("a", "t/b") + &target("root@A", "t/b/c"),
            "zhaul.toml:8: dataset: t/b/c on A overlaps t/b of the target a",
        ),
    ];
    for (text, expected) in cases {
        let error = error(&text);
        assert!(error.starts_with(expected), "got:      {error}\nexpected: {expected}");
    }
    let ports = target("a", "t/b") + &target("a", "t/b") + "name = \"other\"\nport = 2222\n";
    assert_eq!(parse(&(data.clone() + &ports)).targets.len(), 2, "another port is another machine");
    parse(&(data + &target("nfs8", "rpool/data")));
}

proptest! {
    #[test]
    fn no_text_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let outcome = Policy::parse(&String::from_utf8_lossy(&bytes), "f");
        prop_assert!(outcome.is_err());
    }

    #[test]
    fn no_damage_to_the_example_panics(cut in 0..4000_usize, length in 0..40_usize, insert in "[ -~\n]{0,12}") {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        let from = cut.min(bytes.len());
        let to = (from + length).min(bytes.len());
        bytes.splice(from..to, insert.bytes());
        if let Err(error) = Policy::parse(&String::from_utf8_lossy(&bytes), "f") {
            let message = error.to_string();
            prop_assert!(message.starts_with("f:") && !message.contains('\n'), "{}", message);
        }
    }

    #[test]
    fn no_value_panics(key in "(host|dataset|name|keep-last|port|on-no-base|keep-superseded|ssh-config)", value in "\\PC{0,20}") {
        let value = toml::Value::String(value);
        let text = format!("{MINIMAL}[[backup]]\n{key} = {value}\n");
        prop_assert!(Policy::parse(&text, "f").is_err(), "a backup needs host and dataset");
    }
}
