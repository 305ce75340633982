//! The reader of policy files gets files in which values, keys and sections were damaged.
//!
//! Each round starts from a file in which every key stands, so that all small grammars are reached: addresses, dataset names,
//! patterns, name formats, sizes, lengths of time, time zones. In every round: no panic and no endless work; what is taken
//! is within its bounds and nothing that ssh or ZFS could misread; what is refused says where, and what to write instead.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use zhaul::model::DatasetName;
use zhaul::policy::{Address, EXAMPLE, Policy, TargetKind};

use crate::random::Random;

/// A round that takes longer does needless work: a file has some hundred lines.
const PATIENCE: Duration = Duration::from_secs(5);
const FILE: &str = "fuzz.toml";

/// Lines that stand in the file beside the example's own.
const MORE: &str = "rate = \"400MiB/s\"\nport = 22\nssh-config = \"/etc/x\"\nkeep = 200\n";

/// The replacements of a value: each is a limit of some grammar, or beyond it.
const VALUES: [&str; 40] = [
    "\"\"",
    "\" \"",
    "\"-oProxyCommand=x\"",
    "\"root@-x\"",
    "\"a@b@c\"",
    "\"fe80::1%eth0\"",
    "\"fe80::1%\"",
    "\"[::1]\"",
    "\"nfs8;reboot\"",
    "\"nfs8\\nreboot\"",
    "\"local\"",
    "\"LOCAL\"",
    "\"rpool\"",
    "\"rpool/\"",
    "\"rpool//a\"",
    "\"rpool/../a\"",
    "\"rpool/a@b\"",
    "\"tank/backup/pve0/deep\"",
    "\"**\"",
    "\"rpool/**/*-disk-?\"",
    "\"rpool/a**\"",
    "\"%Y%m%d%H%M%S\"",
    "\"%Y-%Y-%m-%d-%H%M%S\"",
    "\"%Y-%m-%d-%H%M%S%\"",
    "\"%d.%m.%Y %H:%M:%S\"",
    "\"0s\"",
    "\"9223372036854775807w\"",
    "\"100y\"",
    "\"forever\"",
    "\"1.5GiB\"",
    "\"99999999999P\"",
    "\"18446744073709551615\"",
    "\"Europe/Istanbul\"",
    "\"UTC\"",
    "-1",
    "9223372036854775807",
    "99999999999999999999",
    "true",
    "[]",
    "{ a = 1 }",
];

/// The lines of a good file; comments that show a key are that key.
fn good_lines() -> Vec<String> {
    let is_key = |key: &str| key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
    let plain = |line: &str| {
        let shown = line.strip_prefix("# ");
        let shown = shown.filter(|rest| rest.split_once(" = ").is_some_and(|(key, _)| is_key(key)));
        shown.unwrap_or(line).to_owned()
    };
    let lines = EXAMPLE.lines().map(plain).filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.collect()
}

fn text(letters: usize, random: &mut Random) -> String {
    const LETTERS: &str = "aZ09-._:/@%*?#\"'\\[]{}=,\n\t ü\u{0}\u{202e}💾";
    let letters_known: Vec<char> = LETTERS.chars().collect();
    (0..letters).map(|_| letters_known[random.below(letters_known.len())]).collect()
}

/// Damages the file in one way.
fn damage(random: &mut Random, lines: &mut Vec<String>) {
    let (at, other) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(9) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(other, lines[at].clone()),
        2 => lines.swap(at, other),
        3 => lines.insert(at, MORE.lines().nth(random.below(4)).unwrap().to_owned()),
        4 => {
            let length = random.below(400);
            lines.insert(at, text(length, random));
        }
        5 => {
            let depth = random.below(3000);
            lines[at] = format!("datasets = {}", ["[", "{a=", "\"\\u", "'''"][random.below(4)].repeat(depth));
        }
        6 => within_line(random, &mut lines[at]),
        _ => {
            let key = lines[at].split(" = ").next().unwrap_or_default().to_owned();
            let value = match random.below(3) {
                0 => format!("\"{}\"", text(1, random).repeat(random.below(600))),
                _ => VALUES[random.below(VALUES.len())].to_owned(),
            };
            let is_list = lines[at].ends_with(']') && random.below(4) > 0;
            lines[at] = if is_list { format!("{key} = [{value}]") } else { format!("{key} = {value}") };
        }
    }
}

/// Changes, drops or adds one letter of a line.
fn within_line(random: &mut Random, line: &mut String) {
    let mut letters: Vec<char> = line.chars().collect();
    let at = random.below(letters.len() + 1);
    let letter = text(1, random).chars().next().unwrap();
    match (random.below(3), at < letters.len()) {
        (0, true) => letters[at] = letter,
        (1, true) => drop(letters.remove(at)),
        _ => letters.insert(at, letter),
    }
    *line = letters.into_iter().collect();
}

/// An accepted policy has everything that later parts of the program rely on.
fn check_taken(policy: &Policy) {
    assert!(!policy.roots.is_empty(), "nothing to back up");
    for root in &policy.roots {
        assert_eq!(DatasetName::new(root.dataset.as_str()).as_ref(), Ok(&root.dataset));
        policy.is_excluded(&root.dataset);
    }
    let transfer = &policy.transfer;
    assert!((1..=64).contains(&transfer.jobs), "{transfer:?}");
    assert!((4 << 20..=64 << 30).contains(&transfer.buffer.0), "{transfer:?}");
    let limits = transfer.rate.windows.iter().filter_map(|window| window.bytes_per_second);
    let mut limits = limits.chain(transfer.rate.otherwise);
    assert!(limits.all(|rate| rate.get() >= 16 << 10), "{transfer:?}");
    assert!(transfer.stall_limit.is_positive(), "{transfer:?}");
    assert!(
        policy.lock.as_ref().is_none_or(|path| path.is_absolute())
            && policy.guest_config.as_ref().is_none_or(|path| path.is_absolute())
    );
    for seconds in [0, 1_767_225_599, 1_772_323_200] {
        let at = Timestamp::from_second(seconds).unwrap();
        let name = policy.name_format.name(at).unwrap();
        assert_eq!(policy.name_format.time(&name), Some(at), "{name} is ours");
    }
    for target in &policy.targets {
        check_address(&target.address);
        assert!(!target.name.0.is_empty() && target.name.0.chars().all(|letter| letter.is_ascii_graphic()));
        if let TargetKind::Backup(rules) = &target.kind {
            assert!(rules.keep_superseded.is_none_or(|time| time.is_positive()), "{rules:?}");
        }
    }
}

fn check_address(address: &Address) {
    let Address::Ssh { host, user, config, .. } = address else { return };
    for word in [Some(host), user.as_ref()].into_iter().flatten() {
        assert!(!word.is_empty() && !word.starts_with('-'), "{word:?} goes to ssh");
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-._:%+@".contains(letter);
        assert!(word.chars().all(allowed), "{word:?} goes to ssh");
    }
    assert!(config.as_ref().is_none_or(|path| path.is_absolute()));
}

/// A refusal names the file, a line of it, and what to do.
fn check_refused(error: &str, text: &str) {
    let rest = error.strip_prefix(&format!("{FILE}:")).unwrap_or_else(|| panic!("where? {error:?}"));
    let (line, rest) = rest.split_once(": ").unwrap_or_else(|| panic!("which line? {error:?}"));
    let line: usize = line.parse().unwrap_or_else(|_| panic!("which line? {error:?}"));
    assert!(line >= 1 && line <= text.lines().count() + 1, "there is no line {line}: {error:?}");
    let (what, fix) = rest.rsplit_once("; ").unwrap_or_else(|| panic!("what to do? {error:?}"));
    assert!(!what.is_empty() && fix.len() > 5, "{error:?}");
}

/// One round: a file, some damage, and what comes of it.
pub(crate) fn round(random: &mut Random) {
    let mut lines = good_lines();
    let times = random.below(4);
    for _ in 0..times {
        if !lines.is_empty() {
            damage(random, &mut lines);
        }
    }
    let text = lines.join("\n");
    let started = Instant::now();
    let parsed = Policy::parse(&text, FILE);
    assert!(started.elapsed() < PATIENCE, "it took {:?}", started.elapsed());
    match parsed {
        Ok(policy) => check_taken(&policy),
        Err(error) => {
            assert!(times > 0, "the example is good: {error}");
            check_refused(&error.to_string(), &text);
        }
    }
}
