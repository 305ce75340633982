//! Lines of an answer, with their limits.

use super::*;

/// Gives its pieces one by one, then ends.
struct Pieces(Vec<Option<&'static [u8]>>);

impl ByteSource for Pieces {
    fn read_within(&mut self, buffer: &mut [u8], _limit: Option<Duration>) -> io::Result<Option<usize>> {
        if self.0.is_empty() {
            return Ok(Some(0));
        }
        let Some(piece) = self.0.remove(0) else {
            return Ok(None);
        };
        buffer[..piece.len()].copy_from_slice(piece);
        Ok(Some(piece.len()))
    }
}

#[test]
fn lines_are_put_together_from_pieces() {
    let pieces = vec![Some(&b"one\n\ntw"[..]), None, Some(b"o\nthr"), Some(b"ee")];
    let mut lines = Lines::new(Pieces(pieces));
    let limit = Duration::ZERO;
    assert_eq!(lines.next(limit).unwrap(), Line::Text(b"one"));
    assert!(!lines.is_silent(), "something is still unread");
    assert_eq!(lines.next(limit).unwrap(), Line::Text(b""));
    assert_eq!(lines.next(limit).unwrap(), Line::Late);
    assert_eq!(lines.next(limit).unwrap(), Line::Text(b"two"));
    assert_eq!(lines.next(limit).unwrap(), Line::Text(b"three"));
    assert_eq!(lines.next(limit).unwrap(), Line::End);
    assert!(!lines.is_silent(), "an end is not silence");
}

#[test]
fn a_line_without_end_is_refused() {
    let long: &'static [u8] = vec![b'x'; 40 << 10].leak();
    let error = Lines::new(Pieces(vec![Some(long)])).next(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
