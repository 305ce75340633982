//! Compares the content of one snapshot on two machines: both read it at the same time, and only digests meet.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::host::{
    ContentSpec, HostError, Problem, ReadSpans, SourceHost, TakeSpans, TargetHost, random_salt,
};
use crate::model::{ByteCount, Guid, SnapshotName, Span};
use crate::stream::Cancel;
use crate::stream::threads::beside;

/// As many reports of one machine wait for the other one.
const WAITING_MAX: usize = 16;

/// A machine that reads a snapshot.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "hosts are seen by what they do")]
pub enum Reader<'a> {
    /// This one.
    Source(&'a dyn SourceHost),
    /// A backup or archive.
    Target(&'a dyn TargetHost),
}

impl Reader<'_> {
    fn content(self, spec: &ContentSpec, cancel: &Cancel, take: TakeSpans<'_>) -> Result<(), HostError> {
        match self {
            Self::Source(host) => host.content(spec, cancel, take),
            Self::Target(host) => host.content(spec, cancel, take),
        }
    }
}

/// A snapshot on a machine.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "hosts are seen by what they do")]
pub struct Side<'a> {
    /// The machine.
    pub reader: Reader<'a>,
    /// The snapshot there.
    pub snapshot: &'a SnapshotName,
}

/// How two snapshots are compared.
#[derive(Debug, Clone, Copy)]
pub struct HowToCompare {
    /// The GUID of both.
    pub guid: Guid,
    /// Whether their blocks are read as they are on disk, encrypted.
    pub is_raw: bool,
    /// How many bytes each machine reads in a second at most; `None`: no limit.
    pub bytes_per_second: Option<NonZeroU64>,
}

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// All is the same.
    Same {
        /// How much was read on each side.
        read: ByteCount,
    },
    /// Something differs.
    Differs {
        /// The first part of the content that is not the same; `None` where one side ends before.
        at: Option<(u64, u64)>,
    },
}

/// Reads both, and stops at the first difference. `Err` says which one could not be read. `watch` gets how many bytes were
/// read of the first one so far.
pub fn compare(
    (first, second): (Side<'_>, Side<'_>),
    how: HowToCompare,
    cancel: &Cancel,
    watch: &(dyn Fn(ByteCount) + Sync),
) -> Result<Compared, HostError> {
    let setup = |error: std::io::Error| {
        HostError::new(first.snapshot, "compare with", second.snapshot, Problem::Other(error.to_string()))
    };
    let salt = random_salt()
        .map_err(|problem| HostError::new(first.snapshot, "compare with", second.snapshot, problem))?;
    let spec = |side: Side<'_>| ContentSpec {
        snapshot: side.snapshot.clone(),
        guid: how.guid,
        is_raw: how.is_raw,
        salt: salt.clone(),
        bytes_per_second: how.bytes_per_second,
    };
    // Whichever side ends the comparison, the other one is not read on.
    let stopped = cancel;
    let cancel = cancel.child().map_err(setup)?;
    let read = AtomicU64::new(0);
    thread::scope(|scope| {
        let (sender, ours) = bounded(WAITING_MAX);
        let (to_them, theirs) = bounded(WAITING_MAX);
        let (first_spec, second_spec) = (spec(first), spec(second));
        let (cancel, read) = (&cancel, &read);
        let note = move |bytes: u64| {
            read.store(bytes, Ordering::Relaxed);
            watch(ByteCount(bytes));
        };
        let reading =
            beside(scope, "read-here", move || pass_on(first.reader, &first_spec, cancel, &sender, &note));
        let other = beside(scope, "read-there", move || {
            pass_on(second.reader, &second_spec, cancel, &to_them, &|_| {})
        });
        let differs = match (&reading, &other) {
            (Ok(_), Ok(_)) => first_difference(Spans::new(ours), Spans::new(theirs)),
            _ => None,
        };
        // Where they differ, both still read.
        if differs.is_some() {
            cancel.request();
        }
        let failed = |problem| HostError::new(first.snapshot, "compare with", second.snapshot, problem);
        let died = || failed(Problem::Other("the thread that read it died; this is a bug".to_owned()));
        let results = [reading, other].map(|reader| match reader {
            Ok(handle) => handle.join().unwrap_or_else(|_| Err(died())),
            Err(error) => Err(setup(error)),
        });
        let mut errors: Vec<HostError> = results.into_iter().filter_map(Result::err).collect();
        // One that was stopped because of the other one has nothing to say.
        errors.sort_by_key(|error| matches!(error.problem, Problem::Cancelled));
        let error = errors.into_iter().next();
        if stopped.is_requested() {
            return Err(failed(Problem::Cancelled));
        }
        match (differs, error) {
            (Some(Difference::End), Some(error)) if !matches!(error.problem, Problem::Cancelled) => {
                Err(error)
            }
            (Some(Difference::At(at)), _) => Ok(Compared::Differs { at: Some(at) }),
            (Some(Difference::End), _) => Ok(Compared::Differs { at: None }),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(Compared::Same { read: ByteCount(read.load(Ordering::Relaxed)) }),
        }
    })
}

/// How the two begin to differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    /// In this part: object and offset.
    At((u64, u64)),
    /// One of them ends before the other one, because it has less or could not be read.
    End,
}

fn pass_on(
    reader: Reader<'_>,
    spec: &ContentSpec,
    cancel: &Cancel,
    to: &Sender<Vec<Span>>,
    note: &dyn Fn(u64),
) -> Result<(), HostError> {
    reader.content(spec, cancel, &mut |ReadSpans { spans, bytes }| {
        note(bytes);
        if cancel.is_requested() {
            return Err(Problem::Cancelled);
        }
        if spans.is_empty() {
            return Ok(());
        }
        to.send(spans).map_err(|_| Problem::Cancelled)
    })
}

/// The spans of one side, as they come.
struct Spans {
    from: Receiver<Vec<Span>>,
    here: VecDeque<Span>,
}

impl Spans {
    fn new(from: Receiver<Vec<Span>>) -> Self {
        Self { from, here: VecDeque::new() }
    }

    /// `None` at the end, whatever that means.
    fn next(&mut self) -> Option<Span> {
        while self.here.is_empty() {
            self.here.extend(self.from.recv().ok()?);
        }
        self.here.pop_front()
    }
}

fn first_difference(mut ours: Spans, mut theirs: Spans) -> Option<Difference> {
    loop {
        match (ours.next(), theirs.next()) {
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) => {
                let at = (one.object, one.offset).min((other.object, other.offset));
                return Some(Difference::At(at));
            }
            (None, None) => return None,
            (Some(_), None) | (None, Some(_)) => return Some(Difference::End),
        }
    }
}
