//! The next action for a problem.

use crate::channel::connection_advice;
use crate::host::{Problem, UnsafeCopy};
use crate::model::{DatasetName, VolumeName};

/// The next action where a dataset was destroyed or renamed while the run was under way.
pub(super) fn for_gone(dataset: &DatasetName) -> String {
    let guest = VolumeName::parse(dataset.last()).map(|volume| volume.guest.to_string());
    let what = guest.unwrap_or_else(|| dataset.to_string());
    format!(
        "if that was meant, nothing, since what the targets have stays; else `zhaul restore {what}` brings it back"
    )
}

/// The next action; every one leaves all data alone.
pub(super) fn for_problem(problem: &Problem) -> String {
    let advice = match problem {
        Problem::Unsafe(copy) => {
            let UnsafeCopy { dataset, property, wanted, .. } = copy.as_ref();
            return format!(
                "as root there: zfs set {property}={wanted} {dataset}; for copies to come: zfs allow -u USER {property} on the target's dataset"
            );
        }
        Problem::PoolHangs(hanging) => {
            let pool = &hanging.pool;
            return format!(
                "zpool status {pool} there shows which devices do not answer; when they do again, zpool clear {pool}; the next run continues"
            );
        }
        Problem::Unreachable(text) => return format!("{}; the next run continues", connection_advice(text)),
        Problem::Busy(text) if text.contains("is receiving into it") => {
            "if no other program sends to it any more, end that process there (kill and its number): what zhaul sent stays, and the next run resumes"
        }
        Problem::Busy(_) => {
            "another receive may be running there, or the dataset is mounted; the next run tries again"
        }
        Problem::Held => "zfs holds names the tags that keep it",
        Problem::Cloned => "zfs list -o name,clones names the clone that keeps it",
        Problem::NoSpace(_) => {
            "make room there; nothing is pruned beyond the policy, and the next run resumes where this one stopped"
        }
        Problem::Denied(text) if text.contains("the agent there") => {
            "the options of `zhaul agent` in that machine's authorized_keys decide it; the message says which"
        }
        Problem::Denied(_) => "log in as root there, or grant the permission with zfs allow",
        Problem::Locked => {
            "load it there (zfs load-key), or, if its source is encrypted no more, rename the copy aside"
        }
        Problem::Modified => {
            "see what was written there; to give it up: zfs rollback to the newest snapshot of the target"
        }
        Problem::NotFound | Problem::Exists | Problem::Changed(_) => {
            "another program changed it meanwhile; the next run plans again"
        }
        Problem::NeverReceivable(text) if text.contains("to match previous receive") => {
            "rename the copy there (zfs rename): the next run sends everything; the old one stays until you destroy it"
        }
        Problem::NeverReceivable(_) => {
            "upgrade OpenZFS there, or enable the pool's features (zpool status names them; zpool upgrade enables them, and older OpenZFS \
             cannot import the pool afterwards)"
        }
        Problem::Cancelled | Problem::Stalled(_) => "the next run resumes where this one stopped",
        Problem::Protocol(_) | Problem::Other(_) => "see the message; the next run tries again",
    };
    advice.to_owned()
}
