//! The shape of the source, proved: layers, purity, one place for `unsafe` and for printing, a doc for each file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/words.rs"]
mod words;

use std::fs;
use std::path::{Path, PathBuf};

/// Which modules each module may name; what is not here may not be named.
const LAYERS: [(&str, &[&str]); 11] = [
    ("model", &[]),
    ("zfs", &["model"]),
    ("stream", &["model"]),
    ("channel", &["stream", "model"]),
    ("policy", &["model"]),
    ("plan", &["policy", "model"]),
    ("host", &["channel", "stream", "zfs", "model"]),
    ("discover", &["host", "channel", "stream", "zfs", "policy", "plan", "model"]),
    ("execute", &["host", "channel", "stream", "zfs", "policy", "plan", "model"]),
    ("bench", &["host", "channel", "stream", "zfs", "model"]),
    ("cli", &["bench", "discover", "execute", "host", "channel", "stream", "zfs", "policy", "plan", "model"]),
];

/// The names of impure actions: pure code contains none of them.
const IMPURE: [&str; 10] = [
    "std::fs",
    "std::io::",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "tracing::",
];

/// Unit tests in a file of their own may name what they like.
fn is_test(path: &Path) -> bool {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .is_some_and(|stem| stem == "tests" || stem.ends_with("_tests"))
}

/// The files with one of these extensions, in this directory of the project and below.
fn files_in(directory: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|has| extensions.iter().any(|extension| has == *extension))
            {
                found.push(path);
            }
        }
    }
    found
}

fn files() -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let product = files_in("src", &["rs"]).into_iter().filter(|path| !is_test(path));
    let with_text = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(&src).unwrap().to_owned(), text)
    };
    let mut found: Vec<_> = product.map(with_text).collect();
    found.sort();
    assert!(found.len() > 40, "the source was not found");
    found
}

/// The top-level module that a file belongs to; `None` for main.rs and lib.rs.
fn module(path: &Path) -> Option<String> {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (name != "main" && name != "lib").then(|| name.to_owned())
}

/// The code without comments and without the unit tests, which may name what they like.
fn code(text: &str) -> String {
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let lines = product.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules that follow `crate::`, also in `use crate::{a, b}`.
fn named_modules(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let group = rest.strip_prefix('{').map(|group| group.split('}').next().unwrap_or(group));
        let parts: Vec<&str> = group.map_or_else(|| vec![rest], |group| group.split(',').collect());
        for part in parts {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let name: String = part.trim().chars().take_while(|c| is_word(*c)).collect();
            named.push(name);
        }
    }
    named
}

#[test]
fn a_module_names_only_lower_ones() {
    let mut wrong = Vec::new();
    for (path, text) in files() {
        let Some(own) = module(&path) else { continue };
        let allowed = LAYERS.iter().find(|(name, _)| *name == own);
        let Some((_, allowed)) = allowed else {
            wrong.push(format!("{}: module {own} is not in the table of layers", path.display()));
            continue;
        };
        for named in named_modules(&code(&text)) {
            let is_module = LAYERS.iter().any(|(name, _)| *name == named);
            if is_module && named != own && !allowed.contains(&named.as_str()) {
                wrong.push(format!("{}: {own} names {named}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn model_and_plan_are_pure() {
    let mut wrong = Vec::new();
    for (path, text) in files() {
        if !matches!(module(&path).as_deref(), Some("model" | "plan")) {
            continue;
        }
        // Decompressing a token reads from memory.
        let code = code(&text).replace("use std::io::Read as _;", "");
        wrong.extend(
            IMPURE
                .iter()
                .filter(|word| code.contains(*word))
                .map(|word| format!("{}: {word}", path.display())),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_lives_in_zfs_and_printing_in_cli() {
    let mut wrong = Vec::new();
    for (path, text) in files() {
        let code = code(&text);
        let own = module(&path);
        let own = own.as_deref();
        if own != Some("zfs") && (code.contains("unsafe {") || code.contains("unsafe fn")) {
            wrong.push(format!("{}: unsafe", path.display()));
        }
        if own.is_some() && own != Some("cli") {
            for word in ["println!", "eprintln!", "print!(", "std::env::", "process::exit"] {
                if code.contains(word) {
                    wrong.push(format!("{}: {word}", path.display()));
                }
            }
        }
        if code.contains("use crate::*") || code.contains("use super::*") {
            wrong.push(format!("{}: a glob import hides what it depends on", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `std::thread::spawn` and `Scope::spawn` panic where the system starts no more threads.
#[test]
fn threads_are_started_where_that_may_fail() {
    let panics = |code: &str| code.contains("thread::spawn(") || code.contains("scope.spawn(");
    let wrong: Vec<_> =
        files().into_iter().filter(|(_, text)| panics(&code(text))).map(|(path, _)| path).collect();
    assert!(wrong.is_empty(), "{wrong:?}: stream/threads.rs has what does not panic");
}

#[test]
fn every_file_says_what_lives_there() {
    let silent: Vec<String> = files()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no module doc: {}", silent.join(", "));
}

#[test]
fn no_drawers_without_an_owner_and_no_endless_files() {
    let mut wrong = Vec::new();
    for (path, text) in files() {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if ["utils", "util", "helpers", "common", "misc", "manager", "core"].contains(&stem.as_str()) {
            wrong.push(format!("{}: name the thing", path.display()));
        }
        let lines = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count();
        if lines > 450 {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_checks_can_fail() {
    assert_eq!(named_modules("use crate::{plan::Step, model}; crate::host::x()"), ["plan", "model", "host"]);
    assert_eq!(code("a\n// crate::cli\n#[cfg(test)]\nmod tests {\ncrate::cli"), "a");
}
