//! Plain, standard English: words that only this project would use in their place are found wherever they stand, in names,
//! messages, comments and pages.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files_in;

/// Words and phrases of no standard, and what to write instead.
const DIALECT: [(&str, &str); 22] = [
    ("told", "reported, named, distinguished"),
    ("tells", "reports, shows, names"),
    ("nobody", "no one, no process, no user: which"),
    ("lies", "is; for false data: is wrong"),
    ("anew", "again"),
    ("goes on", "continues"),
    ("made of", "consists of, built from"),
    ("makes up for", "catches up with"),
    ("so many", "the number of what"),
    ("so long", "for how long"),
    ("what came", "the received data, the answer"),
    ("the other end", "the peer, the target, the receiver"),
    ("of then", "of that month, of that time"),
    ("lane", "connection; in a plan: replication"),
    ("lanes", "connections"),
    ("doomed", "to destroy; a deferred destroy"),
    ("parted", "diverged"),
    ("unmarkable", "cannot get a bookmark"),
    ("outflow", "metered writer"),
    ("vessel", "splice pipe"),
    ("shaker", "handshake"),
    ("senseless", "unexpected"),
];

/// What contains a word for a reason: this list, the word with which a connection begins, and the user of that name.
fn may(path: &Path, line: &str) -> bool {
    path.ends_with("architecture/words.rs")
        || line.contains(r#"b"zhaul lane 1""#)
        || line.contains(r#"["-u", "nobody""#)
}

/// Letters in lower case, everything else a space: names fall into their words.
fn plain(line: &str) -> String {
    let letter = |letter: char| if letter.is_alphanumeric() { letter.to_ascii_lowercase() } else { ' ' };
    let text: String = line.chars().map(letter).collect();
    format!(" {} ", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn pages() -> impl Iterator<Item = PathBuf> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let in_directories =
        ["src", "tests", "benches"].into_iter().flat_map(|dir| files_in(dir, &["rs", "md", "toml", "sh"]));
    in_directories.chain([readme])
}

#[test]
fn words_are_those_of_the_trade() {
    let mut faults = Vec::new();
    for path in pages() {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !may(&path, line)) {
            let plain = plain(line);
            for (word, better) in DIALECT {
                if plain.contains(&format!(" {word} ")) {
                    faults.push(format!("{}:{}: {word:?}; write: {better}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} lines:\n{}", faults.len(), faults.join("\n"));
}
