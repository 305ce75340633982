//! Reads the content of a snapshot where it is, in digests: only these leave the machine.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::session_words::random_key;
use super::{HostError, Outgoing, Problem, SendSpec};
use crate::model::{ContentSalt, CopyEncryption, Encryption, Guid, RateSchedule, SnapshotName, Span};
use crate::stream::rate::{RateLimit, SystemClock};
use crate::stream::{ByteSource, Cancel};
use crate::zfs::ContentReader;

/// How much is read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// How often the reader reports, also where nothing came.
const WORD: Duration = Duration::from_millis(500);

/// As long as a large hole may take; after this long without a byte the pool does not give any more.
const SILENCE_MAX: Duration = Duration::from_secs(15 * 60);

/// How many spans are reported at once.
pub(super) const SPANS_MAX: usize = 1000;

/// A snapshot whose content is to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentSpec {
    /// The snapshot.
    pub snapshot: SnapshotName,
    /// Its GUID: any other is refused.
    pub guid: Guid,
    /// Whether its blocks are read as they are on disk, encrypted: no key is needed.
    pub is_raw: bool,
    /// What each digest begins with.
    pub salt: ContentSalt,
    /// How many bytes are read in a second at most; `None`: no limit.
    pub bytes_per_second: Option<NonZeroU64>,
}

impl ContentSpec {
    /// What is sent in order to read it.
    pub(super) fn send(&self) -> SendSpec {
        SendSpec {
            snapshot: self.snapshot.clone(),
            guid: Some(self.guid),
            base: None,
            resume: None,
            encryption: if self.is_raw { Encryption::On } else { Encryption::Off },
            copy_encryption: CopyEncryption::AsSent,
        }
    }
}

/// 128 random bits as text.
pub fn random_salt() -> Result<ContentSalt, Problem> {
    random_key().map(ContentSalt)
}

/// Some spans that were read, in their order.
#[derive(Debug)]
pub struct ReadSpans {
    /// None, where nothing came for a while.
    pub spans: Vec<Span>,
    /// The bytes that were read so far.
    pub bytes: u64,
}

/// Where spans go; an error ends the reading.
pub type TakeSpans<'a> = &'a mut dyn FnMut(ReadSpans) -> Result<(), Problem>;

/// Reads the stream of a snapshot to its end.
pub(super) fn read(
    mut outgoing: Box<dyn Outgoing + '_>,
    spec: &ContentSpec,
    cancel: &Cancel,
    failed: &dyn Fn(Problem) -> HostError,
    take: TakeSpans<'_>,
) -> Result<(), HostError> {
    let mut source = outgoing.stream(cancel)?;
    read_source(source.as_mut(), spec, cancel, take).map_err(failed)?;
    drop(source);
    outgoing.finish()
}

fn read_source(
    source: &mut (dyn ByteSource + '_),
    spec: &ContentSpec,
    cancel: &Cancel,
    take: TakeSpans<'_>,
) -> Result<(), Problem> {
    let schedule = spec.bytes_per_second.map(RateSchedule::constant).unwrap_or_default();
    let limit = RateLimit::new(schedule, SystemClock::new(TimeZone::UTC));
    let mut reader = ContentReader::new(spec.salt.clone(), spec.is_raw);
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut bytes, mut spans) = (0_u64, Vec::new());
    let (mut reported, mut heard) = (Instant::now(), Instant::now());
    loop {
        let most = limit.take(CHUNK_BYTES, cancel).map_err(|_| Problem::Cancelled)?;
        match source.read_within(&mut buffer[..most], Some(WORD)) {
            Ok(Some(0)) => break,
            Ok(Some(read)) => {
                heard = Instant::now();
                bytes += u64::try_from(read).unwrap_or(u64::MAX);
                reader.feed(&buffer[..read]).map_err(|error| Problem::Protocol(error.to_string()))?;
                spans.append(&mut reader.spans());
            }
            Ok(None) if heard.elapsed() >= SILENCE_MAX => {
                return Err(Problem::Stalled(SILENCE_MAX.as_secs()));
            }
            Ok(None) => {}
            Err(_) if cancel.is_requested() => return Err(Problem::Cancelled),
            Err(error) => return Err(Problem::Other(error.to_string())),
        }
        if spans.len() >= SPANS_MAX || reported.elapsed() >= WORD {
            reported = Instant::now();
            report(&mut spans, bytes, take)?;
        }
    }
    // The end of a pipe is not the end of a stream.
    source.confirm_end().map_err(|error| Problem::Other(error.to_string()))?;
    spans.extend(reader.finish().map_err(|error| Problem::Protocol(error.to_string()))?);
    report(&mut spans, bytes, take)
}

/// Reports at least once.
fn report(spans: &mut Vec<Span>, bytes: u64, take: TakeSpans<'_>) -> Result<(), Problem> {
    loop {
        let rest = spans.split_off(spans.len().min(SPANS_MAX));
        take(ReadSpans { spans: std::mem::replace(spans, rest), bytes })?;
        if spans.is_empty() {
            return Ok(());
        }
    }
}
