//! Which files import each other, so that neither can be read alone.
//!
//! An import of something that a module re-exports counts as one of that module. A module and its submodules may know each
//! other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::{code, files};

type Imports = BTreeMap<String, BTreeSet<String>>;

/// `plan/restore/mod.rs` is `plan/restore`.
fn module_of(path: &Path) -> String {
    let name = path.with_extension("").to_string_lossy().into_owned();
    name.strip_suffix("/mod").map_or(name.clone(), str::to_owned)
}

/// The paths in a use tree: `a::{b, c::d}` has `a::b` and `a::c::d`.
fn leaves(prefix: &str, tree: &str, into: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((before, group)) = tree.strip_suffix('}').and_then(|tree| tree.split_once('{')) else {
        return into.push(format!("{prefix}{tree}"));
    };
    let (prefix, mut depth, mut start) = (format!("{prefix}{before}"), 0_u32, 0);
    for (place, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                leaves(&prefix, &group[start..place], into);
                start = place + 1;
            }
            _ => {}
        }
    }
    if !group[start..].trim().is_empty() {
        leaves(&prefix, &group[start..], into);
    }
}

/// All paths that a file names: in its `use` lines, and those that begin with `super::` or `crate::` elsewhere.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = String::new();
    for (place, part) in code.split("\nuse ").enumerate() {
        let (tree, after) = if place == 0 { ("", part) } else { part.split_once(';').unwrap_or((part, "")) };
        if !tree.is_empty() {
            leaves("", &tree.split_whitespace().collect::<Vec<_>>().join(" "), &mut found);
        }
        rest.push_str(after);
    }
    for start in ["super::", "crate::"] {
        let is_path = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
        let all = rest.match_indices(start).map(|(at, _)| &rest[at..]);
        found.extend(all.map(|path| path.chars().take_while(|letter| is_path(*letter)).collect::<String>()));
    }
    found
}

/// The file that a path leads to from `module`, if it is one of `known`.
fn resolve(module: &str, path: &str, known: &BTreeSet<String>) -> Option<String> {
    let mut words: Vec<&str> = path.split("::").collect();
    let mut at: Vec<&str> = module.split('/').collect();
    match words.first().copied() {
        Some("crate") => at.clear(),
        Some("super") => {}
        Some(first) if known.contains(&format!("{module}/{first}")) => {}
        _ => return None,
    }
    while let Some(first @ ("crate" | "super")) = words.first().copied() {
        if first == "super" {
            at.pop();
        }
        words.remove(0);
    }
    let mut best = Some(at.join("/")).filter(|name| known.contains(name));
    for word in words {
        at.push(word);
        if !known.contains(&at.join("/")) {
            break;
        }
        best = Some(at.join("/"));
    }
    let is_inside = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}/"));
    best.filter(|best| !is_inside(best, module) && !is_inside(module, best))
}

fn imports(files: &[(String, String)]) -> Imports {
    let known: BTreeSet<String> = files.iter().map(|(module, _)| module.clone()).collect();
    let of = |(module, code): &(String, String)| {
        let named = paths(code).iter().filter_map(|path| resolve(module, path, &known)).collect();
        (module.clone(), named)
    };
    files.iter().map(of).collect()
}

/// Everything that can be reached from `module`.
fn reachable<'a>(imports: &'a Imports, module: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = imports.get(module).into_iter().flatten().map(String::as_str).collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(imports.get(next).into_iter().flatten().map(String::as_str));
        }
    }
    found
}

/// The sets of files that all reach each other.
fn circles(imports: &Imports) -> BTreeSet<Vec<&str>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|module| (module.as_str(), reachable(imports, module))).collect();
    let circle = |module: &&str| -> Vec<&str> {
        reach[*module].iter().copied().filter(|other| reach[*other].contains(*module)).collect()
    };
    reach.keys().map(circle).filter(|circle| !circle.is_empty()).collect()
}

#[test]
fn no_two_files_need_each_other_to_be_understood() {
    let product = files().into_iter().map(|(path, text)| (module_of(&path), code(&text)));
    let product: Vec<(String, String)> =
        product.filter(|(module, _)| module != "lib" && module != "main").collect();
    let imports = imports(&product);
    assert_eq!(circles(&imports), BTreeSet::new());
}

#[test]
fn a_circle_is_found() {
    let file = |name: &str, code: &str| (name.to_owned(), format!("\n{code}"));
    let round = imports(&[
        file("plan/a", "use super::b::{One, c::Two};"),
        file("plan/b", "fn f() { super::c::g() }"),
        file("plan/c", "use crate::{model::Name, plan::a};"),
        file("plan/d", "use super::a;"),
        file("model", ""),
        file("plan", ""),
    ]);
    assert_eq!(circles(&round), BTreeSet::from([vec!["plan/a", "plan/b", "plan/c"]]));
}
