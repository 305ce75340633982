//! A dataset that is busy for a moment.
//!
//! After each receive, clone, rename or promote of a volume the kernel looks at it once more in the background and owns it
//! meanwhile (`zvol_create_minor`), also where its copy gets no device; where it has one, so does udev. A call that
//! needs the volume for itself just then fails with EBUSY, before it changes anything, and succeeds a moment later.

use std::time::Duration;

use crate::host::{HostError, Problem};
use crate::stream::Cancel;

/// How long each further attempt waits: less than 4 s in all.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// What `zfs` says of EBUSY (`libzfs_util.c`). Other reasons why a dataset is in use do not pass by themselves.
const PHRASE: &str = "is busy";

/// Makes an attempt, and further ones as long as the dataset is busy.
pub(super) fn patiently<T>(
    cancel: &Cancel,
    mut attempt: impl FnMut() -> Result<T, HostError>,
) -> Result<T, HostError> {
    for pause in PAUSES {
        match attempt() {
            Err(error) if is_busy(&error.problem) => {
                tracing::info!("{}; trying again in {pause:?}", error.chain());
                if cancel.sleep(pause).is_err() {
                    return Err(error);
                }
            }
            ended => return ended,
        }
    }
    attempt()
}

fn is_busy(problem: &Problem) -> bool {
    matches!(problem, Problem::Busy(text) if text.contains(PHRASE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(answers: &[Option<Problem>]) -> (usize, Result<(), HostError>) {
        let mut made = 0;
        let ended = patiently(&Cancel::new().unwrap(), || {
            made += 1;
            let answer = answers.get(made - 1).cloned().flatten();
            answer.map_or(Ok(()), |problem| Err(HostError::new("nfs8", "receive into", "tank/x@a", problem)))
        });
        (made, ended)
    }

    #[test]
    fn only_what_passes_by_itself_is_tried_again() {
        let busy = || Some(Problem::Busy("cannot receive: dataset is busy".to_owned()));
        assert!(matches!(attempts(&[busy(), busy()]), (3, Ok(()))));
        let partial = Problem::Busy("destination contains partially-complete state".to_owned());
        assert!(matches!(attempts(&[busy(), Some(partial)]), (2, Err(_))));
        assert!(matches!(attempts(&[Some(Problem::Exists)]), (1, Err(_))));
    }

    #[test]
    fn what_stays_busy_is_given_up() {
        let busy = || Some(Problem::Busy("dataset is busy".to_owned()));
        let (made, ended) = attempts(&[busy(), busy(), busy(), busy(), busy(), busy()]);
        assert_eq!(made, PAUSES.len() + 1);
        assert!(matches!(ended.unwrap_err().problem, Problem::Busy(_)));
    }
}
