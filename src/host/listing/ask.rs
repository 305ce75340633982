//! Asks `zfs` for a listing, and takes what it says of roots that it cannot open.

use std::collections::{BTreeMap, BTreeSet};

use super::points::{COLUMNS, PointsReader};
use super::properties::DatasetsReader;
use super::{Problem, join};
use crate::host::session::CompletedCommand;
use crate::host::session_words::random_key;
use crate::host::zfs_errors;
use crate::host::zfs_program::{NAMES_MAX, ZfsProgram};
use crate::model::{DatasetName, Listing, Unlisted};

/// How often a listing is asked for while datasets come and go.
const LIST_TRIES: usize = 4;

/// The listing, and the names on which the two answers do not agree.
type Try = (Listing, Vec<String>);

impl ZfsProgram {
    /// Everything at and below `roots`, without the details of snapshots. A root that cannot be opened, and a dataset that
    /// comes or goes each time it is listed, is [unlisted](Listing::unlisted); an error is one of all roots.
    pub(in crate::host) fn list(&self, roots: &[DatasetName], types: &str) -> Result<Listing, Problem> {
        until_they_agree(roots, |roots| self.list_once(roots, types))
    }

    /// Points first: where a dataset is renamed or destroyed while its points are listed, `zfs list` ends that list early
    /// and succeeds. Then it is gone by the time of `zfs get`, and so found out.
    fn list_once(&self, roots: &[DatasetName], types: &str) -> Result<Try, Problem> {
        let mut points = PointsReader::new();
        let list = ["list", "-Hp", "-r", "-t", types, "-o", COLUMNS];
        let unopened = self.read_roots(&list, roots, &mut |line| points.take(line))?;
        let opened: Vec<_> = roots.iter().filter(|root| !unopened.contains_key(*root)).cloned().collect();
        let nonce = random_key()?;
        let mut datasets = DatasetsReader::new(&nonce);
        if !opened.is_empty() {
            let asks = datasets.asks();
            let columns = "name,property,value,source";
            let get = ["get", "-Hp", "-r", "-t", "filesystem,volume", "-o", columns, &asks];
            // A root that is gone by now has been listed, so it is one on which the two answers do not agree.
            self.read_roots(&get, &opened, &mut |line| datasets.take(line))?;
        }
        let (mut listing, torn) = join(datasets, points);
        for (root, why) in unopened {
            listing.mark_unlisted(root.as_str(), self.why_unopened(root, why)?);
        }
        Ok((listing, torn))
    }

    /// Runs a `zfs` that lists `roots`; returns the roots that `zfs` could not open, and its messages.
    fn read_roots<'a>(
        &self,
        words: &[&str],
        roots: &'a [DatasetName],
        take: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
    ) -> Result<BTreeMap<&'a DatasetName, String>, Problem> {
        let names = roots.iter().map(DatasetName::as_str);
        let arguments: Vec<&str> = words.iter().copied().chain(names).collect();
        let answer = self.read(&arguments, take)?;
        match (answer.status, unopened(&answer, roots)) {
            (0, _) => Ok(BTreeMap::new()),
            (1, Some(unopened)) => Ok(unopened),
            _ => Err(zfs_errors::problem(answer)),
        }
    }

    fn why_unopened(&self, root: &DatasetName, why: String) -> Result<Unlisted, Problem> {
        Ok(match why.as_str() {
            "dataset does not exist" if self.has_pool(root)? => Unlisted::Missing,
            "dataset does not exist" | "no such pool" => Unlisted::NoPool,
            "pool I/O is currently suspended" => Unlisted::Suspended,
            _ => Unlisted::Failed(why),
        })
    }

    /// The same, but where not even all roots together can be listed, each of them for itself: an error is one of the
    /// machine, or of every root.
    pub(in crate::host) fn list_each(&self, roots: &[DatasetName], types: &str) -> Result<Listing, Problem> {
        match self.list(roots, types) {
            Ok(listing) => return Ok(listing),
            Err(problem) if roots.len() < 2 || is_of_machine(&problem) || is_of_pool(&problem) => {
                return Err(problem);
            }
            Err(problem) => tracing::debug!("asking for each root alone: {problem}"),
        }
        let mut all = Listing::default();
        let mut failed = Vec::new();
        for root in roots {
            match self.list(std::slice::from_ref(root), types) {
                Ok(listing) => all.absorb(listing),
                Err(problem) if is_of_machine(&problem) => return Err(problem),
                Err(problem) => {
                    all.mark_unlisted(root.as_str(), Unlisted::Failed(problem.to_string()));
                    failed.push(problem);
                }
            }
        }
        match failed.pop() {
            Some(problem) if failed.len() + 1 == roots.len() => Err(problem),
            _ => Ok(all),
        }
    }
}

/// Whether the other datasets of the pool fare no better.
fn is_of_pool(problem: &Problem) -> bool {
    matches!(problem, Problem::PoolHangs(_))
}

/// Whether a failure is one of the whole machine, so that nothing else there would do better.
pub(in crate::host) fn is_of_machine(problem: &Problem) -> bool {
    matches!(problem, Problem::Cancelled | Problem::Unreachable(_))
}

/// Lists until the two answers of one listing agree. Names on which they do not agree are asked for again, alone,
/// so that the next answers are close together. After the last try these names are left out and reported.
fn until_they_agree(
    roots: &[DatasetName],
    mut list: impl FnMut(&[DatasetName]) -> Result<Try, Problem>,
) -> Result<Listing, Problem> {
    let (mut all, mut torn) = list(roots)?;
    for _ in 1..LIST_TRIES {
        if torn.is_empty() {
            break;
        }
        let again = if torn.len() > NAMES_MAX { roots.to_vec() } else { apart(&torn, &mut all) };
        if again.is_empty() {
            return Ok(all);
        }
        let (mut listing, still_torn) = list(&again)?;
        for name in &again {
            all.forget(name);
            if listing.why_unlisted(name) == Some(&Unlisted::Missing) && !roots.contains(name) {
                listing.forget(name);
            }
        }
        all.absorb(listing);
        torn = still_torn;
    }
    for name in torn {
        all.mark_unlisted(name, Unlisted::Changing);
    }
    Ok(all)
}

/// The datasets to ask for again, none below another. An invalid name cannot be asked for, and is left out of `all`.
fn apart(torn: &[String], all: &mut Listing) -> Vec<DatasetName> {
    let mut names = BTreeSet::new();
    for torn in torn {
        match DatasetName::new(torn) {
            Ok(name) => drop(names.insert(name)),
            Err(_) => all.mark_unlisted(torn, Unlisted::BadName(torn.clone())),
        }
    }
    let mut again: Vec<DatasetName> = Vec::new();
    for name in names {
        if !again.iter().any(|above| name.is_within(above)) {
            again.push(name);
        }
    }
    again
}

/// The roots that `zfs` says it could not open, and its words, if it says nothing else. Only the very sentence counts:
/// anything else, taken for "nothing there", would lead to a full send.
fn unopened<'a>(
    answer: &CompletedCommand,
    roots: &'a [DatasetName],
) -> Option<BTreeMap<&'a DatasetName, String>> {
    let sentences: Vec<&str> = answer.errors.split("; ").filter(|said| !said.is_empty()).collect();
    let read = |said: &&str| {
        roots.iter().find_map(|root| {
            let why = said.strip_prefix("cannot open '")?.strip_prefix(root.as_str())?.strip_prefix("': ")?;
            Some((root, why.to_owned()))
        })
    };
    let unopened: Option<BTreeMap<_, _>> = sentences.iter().map(read).collect();
    unopened.filter(|unopened| !unopened.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dataset, DatasetKind, Guid};

    fn name(text: &str) -> DatasetName {
        DatasetName::new(text).unwrap()
    }

    fn attempt(listed: &[&str], torn: &[&str]) -> Try {
        let dataset = |at: &&str| Dataset::new(name(at), Guid(1), DatasetKind::Volume);
        (Listing::new(listed.iter().map(dataset)), torn.iter().map(|name| (*name).to_owned()).collect())
    }

    /// The listing that these answers make, and the roots of each call.
    fn play(mut answers: Vec<Try>) -> (Listing, Vec<Vec<String>>) {
        answers.reverse();
        let mut asked = Vec::new();
        let listed = until_they_agree(&[name("t")], |roots| {
            asked.push(roots.iter().map(ToString::to_string).collect());
            Ok(answers.pop().unwrap())
        });
        assert!(answers.is_empty());
        (listed.unwrap(), asked)
    }

    #[test]
    fn what_the_answers_do_not_agree_on_is_asked_for_again_alone() {
        let mut gone = Listing::default();
        gone.mark_unlisted("t/old", Unlisted::Missing);
        let (all, asked) = play(vec![
            attempt(&["t", "t/a", "t/new/below"], &["t/old", "t/new", "t/old/below"]),
            attempt(&["t/new"], &["t/old"]),
            (gone, Vec::new()),
        ]);
        assert_eq!(asked, [vec!["t"], vec!["t/new", "t/old"], vec!["t/old"]]);
        let listed: Vec<_> = all.datasets().map(|dataset| dataset.name.as_str()).collect();
        assert_eq!(listed, ["t", "t/a", "t/new"], "what is below it now counts");
        assert_eq!(all.unlisted().count(), 0, "what is gone is gone");
    }

    #[test]
    fn what_changes_for_ever_is_left_out_by_name_and_nothing_else_is() {
        let again = || attempt(&[], &["t/x"]);
        let (all, asked) =
            play(vec![attempt(&["t", "t/a"], &["t/x", "t/\u{1b}"]), again(), again(), again()]);
        assert_eq!(asked.len(), LIST_TRIES);
        assert_eq!(all.datasets().count(), 2);
        let unlisted: Vec<_> = all.unlisted().collect();
        let bad = Unlisted::BadName("t/\u{1b}".to_owned());
        assert_eq!(unlisted, [("t/\u{1b}", &bad), ("t/x", &Unlisted::Changing)]);
    }

    #[test]
    fn a_root_that_goes_stays_named_and_an_error_is_one() {
        let mut gone = Listing::default();
        gone.mark_unlisted("t", Unlisted::Missing);
        let (all, _) = play(vec![attempt(&["t/a"], &["t"]), (gone, Vec::new())]);
        assert_eq!((all.datasets().count(), all.why_unlisted(&name("t"))), (0, Some(&Unlisted::Missing)));
        let mut answers = vec![Err(Problem::Cancelled), Ok(attempt(&["t"], &["t/a"]))];
        let failed = until_they_agree(&[name("t")], |_| answers.pop().unwrap());
        assert!(matches!(failed, Err(Problem::Cancelled)));
        let many: Vec<String> = (0..=NAMES_MAX).map(|at| format!("t/{at}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (_, asked) = play(vec![attempt(&["t"], &many), attempt(&["t"], &[])]);
        assert_eq!(asked[1], ["t"], "more than NAMES_MAX names are asked for together");
    }

    #[test]
    fn only_zfs_own_sentence_about_a_root_makes_it_unlisted() {
        let roots = ["a", "a/b"].map(|root| DatasetName::new(root).unwrap());
        let said = |errors: &str| {
            let answer = CompletedCommand { status: 1, errors: errors.to_owned() };
            unopened(&answer, &roots).map(|found| found.into_values().collect::<Vec<_>>())
        };
        let missing = "cannot open 'a': dataset does not exist";
        let suspended = "cannot open 'a/b': pool I/O is currently suspended";
        assert_eq!(said(missing), Some(vec!["dataset does not exist".to_owned()]));
        let both = vec!["dataset does not exist".to_owned(), "pool I/O is currently suspended".to_owned()];
        assert_eq!(said(&format!("{missing}; {suspended}")), Some(both));
        for other in ["", "cannot open 'c': dataset does not exist", "cannot open 'a/'", "internal error"] {
            assert_eq!(said(other), None, "{other}");
            if !other.is_empty() {
                assert_eq!(said(&format!("{missing}; {other}")), None, "{other}");
            }
        }
    }
}
