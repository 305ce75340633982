//! Every mutant of `tests/mutants.toml` can be made: its edits still apply to the source.

#![expect(clippy::unwrap_used, reason = "in a test, a file that cannot be read is a failure")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn text<'a>(table: &'a toml::Table, key: &str) -> &'a str {
    table[key].as_str().unwrap()
}

#[test]
fn every_edit_applies_at_one_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file: toml::Table = fs::read_to_string(root.join("tests/mutants.toml")).unwrap().parse().unwrap();
    let mut names = BTreeSet::new();
    for mutant in file["mutant"].as_array().unwrap().iter().map(|one| one.as_table().unwrap()) {
        let name = text(mutant, "name");
        assert!(names.insert(name), "{name} is there twice");
        assert!(text(mutant, "off").ends_with('.'), "{name} says what is switched off");
        let plays = mutant.get("plays").map_or("nights", |plays| plays.as_str().unwrap());
        assert!(["nights", "fake"].contains(&plays), "{name} plays {plays}");
        for edit in mutant["edits"].as_array().unwrap().iter().map(|one| one.as_table().unwrap()) {
            let source = fs::read_to_string(root.join(text(edit, "file"))).unwrap();
            let count = source.matches(text(edit, "old")).count();
            assert_eq!(count, 1, "{name}: {} in {}", text(edit, "old"), text(edit, "file"));
            assert_ne!(text(edit, "old"), text(edit, "new"), "{name}");
        }
    }
}
