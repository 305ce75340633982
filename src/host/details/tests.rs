//! Details of snapshots as `zfs list` prints them.

use super::*;

fn ask(lines: &[&[u8]], status: i32, errors: &str) -> Result<Vec<Option<Details>>, Problem> {
    let names = ["tank/a@x", "tank/a@y 1"];
    let snapshots: Vec<_> = names
        .iter()
        .zip([7, 8])
        .map(|(name, guid)| (SnapshotName::parse(name).unwrap(), Guid(guid)))
        .collect();
    let mut reader = DetailsReader::default();
    lines.iter().try_for_each(|line| reader.take(line))?;
    reader.finish(
        &snapshots,
        &names.map(str::to_owned),
        CompletedCommand { status, errors: errors.to_owned() },
    )
}

const X: &[u8] = b"tank/a@x\t7\t2\ton\t5\t6";
const Y: &[u8] = b"tank/a@y 1\t8\t0\toff\t0\t9";

#[test]
fn each_snapshot_gets_its_own_details() {
    let x = Details { used_bytes: 5, written_bytes: 6, holds: 2, is_destroy_deferred: true };
    let y = Details { used_bytes: 0, written_bytes: 9, holds: 0, is_destroy_deferred: false };
    assert_eq!(ask(&[Y, X], 0, "").unwrap(), [Some(x), Some(y)]);
    let gone = "cannot open 'tank/a@y 1': dataset does not exist";
    assert_eq!(ask(&[X], 1, gone).unwrap(), [Some(x), None]);
    let other: &[u8] = b"tank/a@y 1\t9\t0\toff\t0\t9";
    assert_eq!(ask(&[X, other], 0, "").unwrap(), [Some(x), None], "the name is another's by now");
}

#[test]
fn an_answer_with_holes_is_an_error() {
    let gone = "cannot open 'tank/a@y 1': dataset does not exist";
    let bad: [(&[&[u8]], i32, &str); 7] = [
        (&[X], 0, ""),
        (&[X], 1, ""),
        (&[X], 1, "cannot open 'tank/a@z': dataset does not exist"),
        (&[X], 1, &format!("{gone}; internal error")),
        (&[X], 2, gone),
        (&[X, Y], 1, gone),
        (&[], 1, "permission denied"),
    ];
    for (lines, status, errors) in bad {
        let result = ask(lines, status, errors);
        assert!(result.is_err(), "{status} {errors:?}: {result:?}");
    }
}

#[test]
fn lines_that_lie_are_refused_with_their_number() {
    let bad: [(&[u8], &str); 5] = [
        (b"tank/a@y 1", "1 columns"),
        (b"tank/a@y 1\t8\t-1\toff\t0\t9", "\"-1\" is not a number"),
        (b"tank/a@y 1\t8\t0\tmaybe\t0\t9", "defer_destroy is \"maybe\""),
        (b"tank/\xff@y\t8\t0\toff\t0\t9", "not UTF-8"),
        (X, "listed before"),
    ];
    for (line, why) in bad {
        let text = ask(&[X, line], 0, "").unwrap_err().to_string();
        assert!(text.contains(why) && text.contains("line 2"), "{text}");
    }
}
