//! What a session writes on standard error, by whom it is.

use crossbeam_channel::unbounded;

use super::*;

fn records(input: &[u8]) -> Vec<(String, bool)> {
    let (sender, receiver) = unbounded();
    read_errors(input, "abc", &sender);
    drop(sender);
    receiver.iter().map(|record| (record.text, record.is_complete)).collect()
}

#[test]
fn text_goes_to_the_trailer_that_follows_it() {
    let input =
        b"Welcome\nzhaul-worker 1 abc\n\nabc 0\ncannot open 'x':\n dataset does not exist\n\nabc 1\nbye";
    let expected =
        [("Welcome", true), ("", true), ("cannot open 'x':; dataset does not exist", true), ("bye", false)];
    assert_eq!(records(input), expected.map(|(text, is_complete)| (text.to_owned(), is_complete)));
}

#[test]
fn a_long_text_keeps_its_beginning_and_its_end() {
    let mut input = b"the cause\n".to_vec();
    input.extend((0..10_000).flat_map(|n| format!("line {n}\n").into_bytes()));
    input.extend(b"how it ended\n\nabc 1\n");
    let (text, _) = &records(&input)[0];
    assert!(
        text.starts_with("the cause") && text.ends_with("how it ended") && text.contains("[...]"),
        "{text}"
    );
    assert!(text.len() < 20 << 10, "{}", text.len());
}

#[test]
fn endless_text_is_cut_and_made_printable() {
    let mut input = b"\x1b[2J\xff\n".to_vec();
    input.extend(vec![b'x'; 1 << 20]);
    input.extend(b"\nlast\n\nabc 1\n");
    let records = records(&input);
    assert_eq!(records.len(), 2);
    let (text, is_complete) = &records[0];
    assert!(is_complete);
    assert!(text.starts_with("\\u{1b}[2J\u{fffd}") && text.len() < 20 << 10, "{}", text.len());
}
