//! Holds the beginning of a resumed stream back until it has a whole block: see [`FirstBlock`].

use std::time::{Duration, Instant};

use super::Problem;
use super::session::LOOK;
use crate::stream::lead::WithLead;
use crate::stream::{ByteSource, Cancel};
use crate::zfs::FirstBlock;

/// What is read at once.
const PIECE_BYTES: usize = 128 << 10;

/// Reads the beginning of `source`. While nothing comes, `doubt` is asked, with the time since the last byte, why nothing will.
pub(super) fn until_first_block<S: ByteSource>(
    mut source: S,
    cancel: &Cancel,
    doubt: &mut dyn FnMut(Duration) -> Option<Problem>,
) -> Result<WithLead<S>, Problem> {
    let (mut lead, mut first) = (Vec::new(), FirstBlock::default());
    let mut piece = vec![0; PIECE_BYTES];
    let mut heard = Instant::now();
    loop {
        match source.read_within(&mut piece, Some(LOOK)) {
            Ok(Some(0)) => {
                source.confirm_end().map_err(|error| Problem::Other(error.to_string()))?;
                return Err(Problem::Protocol("the stream ended before its first block".to_owned()));
            }
            Ok(Some(count)) => {
                let bytes = piece.get(..count).unwrap_or_default();
                lead.extend_from_slice(bytes);
                if first.is_in(bytes) {
                    return Ok(WithLead::new(lead, source));
                }
                heard = Instant::now();
            }
            Ok(None) => {
                if let Some(problem) = doubt(heard.elapsed()) {
                    return Err(problem);
                }
            }
            Err(_) if cancel.is_requested() => return Err(Problem::Cancelled),
            Err(error) => return Err(Problem::Other(error.to_string())),
        }
    }
}
