//! The sentences of `zfs`, and what each means.

use super::*;

fn said(text: &str) -> Problem {
    problem(CompletedCommand { status: 1, errors: text.to_owned() })
}

#[test]
fn known_sentences_become_kinds() {
    assert!(matches!(said("cannot open 'tank/a': dataset does not exist"), Problem::NotFound));
    let held =
        "cannot destroy snapshot tank/a@b: it's being held. Run 'zfs holds -r tank/a@b' to see holders.";
    assert!(matches!(said(held), Problem::Held));
    let modified = "cannot receive incremental stream: destination tank/a has been modified; \
                        since most recent snapshot";
    assert!(matches!(said(modified), Problem::Modified));
    for space in [
        "cannot receive new filesystem stream: out of space",
        "cannot set property for 'p/v': size is greater than available space",
    ] {
        assert!(matches!(said(space), Problem::NoSpace(text) if text == space));
    }
    let other = "cannot receive incremental stream: most recent snapshot of tank/a does not; \
                     match incremental source";
    assert!(matches!(said(other), Problem::Changed(text) if text.contains("tank/a")));
    let killed = problem(CompletedCommand { status: 137, errors: "Killed".to_owned() }).to_string();
    assert_eq!(killed, "a signal ended zfs there: SIGKILL (Killed)");
    let exists = "cannot receive new filesystem stream: destination 'tank/a' exists; \
                      must specify -F to overwrite it";
    assert!(matches!(said(exists), Problem::Exists));
    assert!(matches!(said("cannot destroy 'tank/a': dataset is busy"), Problem::Busy(_)));
    let partial = "cannot receive incremental stream: destination tank/a contains \
                       partially-complete state from \"zfs receive -s\".";
    assert!(matches!(said(partial), Problem::Busy(_)));
    let nothing = "cannot receive incremental stream: destination 'tank/a' does not exist";
    assert!(matches!(said(nothing), Problem::NotFound));
    let origin = "cannot receive: specified origin fs (tank/a@b) does not exist";
    assert!(matches!(said(origin), Problem::NotFound));
    let suspended = "cannot open 'tank/a@1': pool I/O is currently suspended";
    assert_eq!(said(suspended).to_string(), "pool tank hangs: it is suspended after I/O errors");
    assert!(matches!(said("cannot create 'tank/a': permission denied"), Problem::Denied(_)));
    assert!(matches!(
        said("cannot receive new filesystem stream: inherited key must be loaded"),
        Problem::Locked
    ));
}

#[test]
fn what_is_not_known_keeps_its_words() {
    let said = said(
        "cannot receive: checksum mismatch or incomplete stream.; Partially received snapshot is saved.; \
             A resuming stream can be generated on the sending system by running:; zfs send -t 1-abc",
    );
    assert_eq!(
        said.to_string(),
        "cannot receive: checksum mismatch or incomplete stream.; Partially received snapshot is saved."
    );
    let silent = problem(CompletedCommand { status: 2, errors: String::new() });
    assert_eq!(silent.to_string(), "zfs ended with exit status 2 without a word");
    let missing = problem(CompletedCommand { status: 127, errors: "sh: 1: zfs: not found".to_owned() });
    assert!(missing.to_string().contains("PATH"), "{missing}");
}
