//! The parts of results and listings that must agree: kinds of problems, and everything but numbers that are a pool's own.

use std::collections::BTreeMap;

use zhaul::host::{HostError, NotMade, Problem, Refusal};
use zhaul::model::{Dataset, Guid, Listing, Point};

use super::deed::Side;

/// A problem's kind; what it says in words is each host's own.
pub(crate) fn kind(problem: &Problem) -> &'static str {
    match problem {
        Problem::Unreachable(_) => "Unreachable",
        Problem::NotFound => "NotFound",
        Problem::Exists => "Exists",
        Problem::Busy(_) => "Busy",
        Problem::Held => "Held",
        Problem::Cloned => "Cloned",
        Problem::NoSpace(_) => "NoSpace",
        Problem::Denied(_) => "Denied",
        Problem::Locked => "Locked",
        Problem::Modified => "Modified",
        Problem::Changed(_) => "Changed",
        Problem::Cancelled => "Cancelled",
        Problem::Stalled(_) => "Stalled",
        Problem::Protocol(_) => "Protocol",
        Problem::Unsafe(_) => "unsafe",
        Problem::NeverReceivable(_) => "NeverReceivable",
        Problem::PoolHangs(_) => "PoolHangs",
        Problem::Other(_) => "Other",
    }
}

/// A result, and beside it the words that help whoever reads a failure.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Must agree.
    pub(crate) compared: String,
    /// Need not.
    pub(crate) words: String,
}

impl Outcome {
    pub(crate) fn new(compared: &str) -> Self {
        Self { compared: compared.to_owned(), words: String::new() }
    }

    pub(crate) fn of(result: Result<(), HostError>) -> Self {
        match result {
            Ok(()) => Self::new("ok"),
            Err(error) => Self { compared: kind(&error.problem).to_owned(), words: error.chain() },
        }
    }

    /// Which points a call left out, in the order of their names; of one alone only why.
    pub(crate) fn of_not_made(result: Result<Vec<NotMade>, HostError>) -> Self {
        let not_made = match result {
            Ok(not_made) => not_made,
            Err(error) => return Self::of(Err(error)),
        };
        let mut words: Vec<_> =
            not_made.iter().map(|left| format!("{}: {}", left.name, kind(&left.problem))).collect();
        words.sort();
        if words.is_empty() { Self::new("ok") } else { Self::new(&words.join(", ")) }
    }

    /// Which points were refused, in the order of their names: hosts do not promise one.
    pub(crate) fn of_refusals(result: Result<Vec<Refusal>, HostError>) -> Self {
        let refusals = match result {
            Ok(refusals) => refusals,
            Err(error) => return Self::of(Err(error)),
        };
        let mut refused: Vec<_> =
            refusals.iter().map(|refusal| format!("{}: {}", refusal.name, kind(&refusal.problem))).collect();
        refused.sort();
        let words: Vec<_> = refusals.iter().map(|refusal| refusal.problem.to_string()).collect();
        Self { compared: format!("ok {refused:?}"), words: words.join("; ") }
    }
}

/// GUIDs as numbers in the order in which they were first seen.
#[derive(Debug, Default)]
pub(crate) struct Guids(BTreeMap<Guid, usize>);

impl Guids {
    fn number(&mut self, guid: Guid) -> usize {
        let next = self.0.len() + 1;
        *self.0.entry(guid).or_insert(next)
    }

    /// One line for each dataset and each of its points.
    pub(crate) fn show(&mut self, side: Side, listed: &Result<Listing, HostError>) -> Vec<String> {
        match listed {
            Err(error) => vec![format!("cannot be listed: {}", kind(&error.problem))],
            Ok(listing) => {
                let mut lines = Vec::new();
                for dataset in listing.datasets() {
                    lines.push(self.dataset(side, dataset));
                    lines.extend(dataset.history.points().map(|point| self.point(point)));
                }
                lines
            }
        }
    }

    /// Whether it was written to says nothing at a source, where a file system is mounted and so changes by itself.
    fn dataset(&mut self, side: Side, dataset: &Dataset) -> String {
        let mut line = format!("{} {:?} guid {}", dataset.name, dataset.kind, self.number(dataset.guid));
        for (word, is_so) in [
            ("readonly", dataset.is_readonly),
            ("token", dataset.resume_token.is_some()),
            ("written", side == Side::Target && dataset.written_bytes > 0),
        ] {
            if is_so {
                line = format!("{line} {word}");
            }
        }
        match &dataset.origin {
            Some(origin) => format!("{line} origin {origin}"),
            None => line,
        }
    }

    fn point(&mut self, point: &Point) -> String {
        let (mark, name, guid) = (point.kind.separator(), &point.name, self.number(point.guid));
        let to_destroy = if point.is_destroy_deferred() { " deferred" } else { "" };
        let holds = point.details.map_or(0, |details| details.holds);
        format!("  {mark}{name} guid {guid} holds {holds} clones {}{to_destroy}", point.clones)
    }
}
