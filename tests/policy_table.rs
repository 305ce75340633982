//! The tables of what the policy says (`policy_table.md`) and of what stands against which threat (`threats.md`), proved to be
//! true: every row has tests, and every test named exists, is a test, and is not ignored. Also that no two tests on real pools
//! share a dataset.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const TABLE: &str = include_str!("policy_table.md");
const THREATS: &str = include_str!("threats.md");

/// The promises of the design.
const PROMISES: usize = 12;

/// The threats, T1 and following.
const THREATS_COUNT: usize = 20;

/// A sentence and the tests that it names.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    sentence: String,
    tests: Vec<String>,
}

/// The rows of all tables in a text, whose first cell is the sentence and whose last one names the tests; an error names the
/// line that is not one.
fn rows(text: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let ([sentence, tests] | [sentence, _, tests]) = cells.as_slice() else {
            return Err(format!("two or three cells are wanted: {line}"));
        };
        if cells.contains(&"") {
            return Err(format!("a cell is empty: {line}"));
        }
        if matches!(*sentence, "Sentence" | "Promise" | "Threat" | "---") {
            continue;
        }
        let tests: Vec<&str> = tests.split(", ").collect();
        let plain = |test: &&str| test.strip_prefix('`')?.strip_suffix('`').map(str::to_owned);
        let plain: Option<Vec<String>> = tests.iter().map(plain).collect();
        let tests = plain.filter(|tests| tests.iter().all(|test| test.contains("::")));
        let tests = tests.ok_or_else(|| format!("it names no test, or not in backticks: {line}"))?;
        rows.push(Row { sentence: (*sentence).to_owned(), tests });
    }
    Ok(rows)
}

/// Why `text` has no test of this name that runs.
fn fault(text: &str, function: &str) -> Option<&'static str> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let Some(place) = lines.iter().position(|line| *line == format!("fn {function}() {{")) else {
        return Some("there is no such function");
    };
    if text.contains("#![cfg") {
        return Some("its file is not always compiled");
    }
    let before = lines[..place].iter().rev();
    let attributes: Vec<&&str> =
        before.take_while(|line| line.starts_with("#[") || line.starts_with("///")).collect();
    if attributes.iter().any(|line| line.starts_with("#[ignore") || line.starts_with("#[cfg")) {
        return Some("it does not run");
    }
    if attributes.iter().any(|line| **line == "#[test]") { None } else { Some("it is no test") }
}

fn real() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real")
}

#[test]
fn every_row_names_tests_that_exist_and_run() {
    let (policy, threats) = (rows(TABLE).unwrap(), rows(THREATS).unwrap());
    assert!(policy.len() > 60, "{} rows", policy.len());
    assert!(policy.iter().all(|row| row.tests.iter().all(|test| !test.contains('/'))), "real pools only");
    let mut faults = Vec::new();
    for test in policy.iter().chain(&threats).flat_map(|row| &row.tests) {
        faults.extend(fault_of(test).map(|fault| format!("{test}: {fault}")));
    }
    assert_eq!(faults, Vec::<String>::new());
}

/// Why `test`, `module::function` of the tests on real pools or `file.rs::function`, is not one that runs.
fn fault_of(test: &str) -> Option<&'static str> {
    let (place, function) = test.rsplit_once("::")?;
    if place.contains('/') {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
        return fault(&fs::read_to_string(file).unwrap_or_default(), function);
    }
    let (mut directory, mut modules) = (real(), "main.rs");
    for module in place.split("::") {
        let listed = fs::read_to_string(directory.join(modules)).unwrap_or_default();
        if !listed.lines().any(|line| line == format!("mod {module};")) {
            return Some("there is no such module");
        }
        (directory, modules) = (directory.join(module), "mod.rs");
    }
    fault(&fs::read_to_string(directory.with_extension("rs")).unwrap_or_default(), function)
}

#[test]
fn every_threat_has_its_row() {
    let number = |row: Row| row.sentence.strip_prefix('T')?.split_once(". ")?.0.parse::<usize>().ok();
    let numbers: Vec<usize> = rows(THREATS).unwrap().into_iter().filter_map(number).collect();
    assert_eq!(numbers, (1..=THREATS_COUNT).collect::<Vec<_>>());
}

#[test]
fn every_sentence_stands_once_and_every_promise_stands() {
    let rows = rows(TABLE).unwrap();
    let sentences: BTreeSet<&str> = rows.iter().map(|row| row.sentence.as_str()).collect();
    assert_eq!(sentences.len(), rows.len(), "a sentence stands twice");
    for row in &rows {
        let named: BTreeSet<&String> = row.tests.iter().collect();
        assert_eq!(named.len(), row.tests.len(), "{row:?}");
    }
    let number = |row: &Row| row.sentence.split_once(". ")?.0.parse::<usize>().ok();
    let promises: Vec<usize> = rows.iter().filter_map(number).collect();
    assert_eq!(promises, (1..=PROMISES).collect::<Vec<_>>());
}

#[test]
fn what_is_wrong_in_the_table_is_seen() {
    for bad in
        ["| A sentence. | |", "| A sentence. | a::b |", "| A sentence. | `b` |", "| | `a::b` |", "| One. |"]
    {
        assert!(rows(bad).is_err(), "{bad}");
    }
    let row = Row { sentence: "One.".to_owned(), tests: vec!["a::b".to_owned(), "c::d".to_owned()] };
    assert_eq!(rows("| Sentence | Tests |\n| --- | --- |\n| One. | `a::b`, `c::d` |\n"), Ok(vec![row]));
    let good = "/// Why.\n#[test]\n#[should_panic]\nfn a() {\n}\n";
    assert_eq!(fault(good, "a"), None);
    assert_eq!(fault(good, "b"), Some("there is no such function"));
    assert_eq!(fault(&good.replace("fn a", "// fn a"), "a"), Some("there is no such function"));
    assert_eq!(fault(&good.replace("#[test]\n", ""), "a"), Some("it is no test"));
    assert_eq!(fault(&good.replace("#[should_panic]", "#[ignore = \"slow\"]"), "a"), Some("it does not run"));
    assert_eq!(fault(&good.replace("#[should_panic]", "#[cfg(any())]"), "a"), Some("it does not run"));
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("the directory of the tests") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

/// Tests on real pools run side by side: each names datasets of its own.
#[test]
fn no_two_tests_on_real_pools_share_a_dataset() {
    const MAKERS: [&str; 2] = ["Scratch::new(\"", "Pair::new(\""];
    // Whatever makes them: `let (mut world, archive) = with_february("months-written");`.
    let of_a_world = |line: &str| -> Option<String> {
        let (left, right) = line.trim().strip_prefix("let ")?.split_once(" = ")?;
        let is_world = ["world", "attacker"].iter().any(|word| left.contains(word));
        let (maker, rest) = right.split_once("(\"").filter(|_| is_world)?;
        let is_function = maker.chars().all(|c| c.is_alphanumeric() || "_:".contains(c));
        is_function.then(|| rest.to_owned())
    };
    let mut users: BTreeMap<String, String> = BTreeMap::new();
    for path in files_below(&real()) {
        for line in fs::read_to_string(&path).unwrap().lines() {
            let made = MAKERS.iter().find_map(|maker| Some(line.split_once(maker)?.1.to_owned()));
            let made = made.or_else(|| of_a_world(line));
            let Some((name, _)) = made.as_deref().and_then(|rest| rest.split_once('"')) else { continue };
            let here = format!("{}: {}", path.display(), line.trim());
            if let Some(there) = users.insert(name.to_owned(), here.clone()) {
                panic!("{name:?} is of two tests:\n{there}\n{here}");
            }
        }
    }
    assert!(users.len() > 180, "{} names", users.len());
}
