//! The words of a reason: they follow "because" in a plan, and stand beside each point that is destroyed.

use crate::plan::{PartialFault, Reason};

/// Why a step is in the plan, or a point is destroyed.
pub(in crate::cli) fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::GuestSnapshot { guest, volumes: 1 } => format!("guest {guest}"),
        Reason::GuestSnapshot { guest, volumes } => {
            format!("guest {guest}: all {volumes} volumes in one transaction group")
        }
        Reason::PoolSnapshot { datasets: 1, .. } => "a restore point".to_owned(),
        Reason::PoolSnapshot { pool, datasets } => {
            format!("all {datasets} datasets of pool {pool} in one transaction group")
        }
        Reason::BookmarkOfSnapshot => {
            "the next increment can start from it when the snapshot is gone".to_owned()
        }
        Reason::Sending => {
            "its stream may take more than one run, and a target that is down may need it".to_owned()
        }
        Reason::NotSending => "no target holds a part of its stream".to_owned(),
        Reason::MissingBookmarks { count } => {
            format!("{count} zhaul snapshots have no bookmark (a crash, or the guest has moved)")
        }
        Reason::Container => "an empty unmounted container for what is received below it".to_owned(),
        Reason::Resumes { received_bytes } => format!("a partial receive already has {received_bytes}"),
        Reason::CannotResume { fault } => {
            format!("the partial receive cannot be resumed: {}", fault_text(fault))
        }
        Reason::NothingThere => "the target has nothing yet".to_owned(),
        Reason::CommonBase { base } => format!("the newest common snapshot is @{base}"),
        Reason::CloneOf { origin } => format!("it is a clone, and the target has its origin as {origin}"),
        Reason::OriginOfClones => "clones begin at it".to_owned(),
        Reason::NextSnapshot => "the next snapshot".to_owned(),
        Reason::MonthDue { month } => format!("{month} is due"),
        Reason::ArchiveForced => "--archive".to_owned(),
        Reason::NotRenamed => "it was received, but not renamed".to_owned(),
        Reason::RolledBack { base } => {
            format!("the source no longer has what followed @{base} (a rollback, most likely)")
        }
        Reason::FinishesSetAside => "an interrupted run left the setting aside half done".to_owned(),
        Reason::ChildrenMoveBack => "the datasets below it move back, now that it exists again".to_owned(),
        Reason::Unclaimed => "it has no writer yet, and this source has its snapshots".to_owned(),
        Reason::SourceRenamed { from } => format!("its source was called {from} when it was marked"),
        Reason::TakesOver { from } => format!("it was the copy of {from}"),
        Reason::RenamedAtSource { from } => {
            format!("the dataset was renamed at the source; {from} is its copy")
        }
        Reason::OntoBase => "an increment is only received onto its base".to_owned(),
        Reason::NothingInCommon => {
            "the source knows none of its snapshots: it was recreated under the same name, or has lost them all".to_owned()
        }
        Reason::WrittenAfter { base } => format!("it was written to after @{base}"),
        Reason::UnknownAfter { base } => {
            format!("it has snapshots after the newest common one, @{base}, that the source does not know")
        }
        Reason::NotKept { rules } => format!("kept by no rule ({rules})"),
        Reason::BookmarksKeep { keep } => {
            format!("older than the newest {keep} bookmarks (bookmarks.keep), and no target needs it")
        }
        Reason::LineLeft => {
            "the dataset has received an older snapshot again since, so it does not contain them any more"
                .to_owned()
        }
        Reason::SupersededSince { since } => format!("set aside since {since}, longer than keep-superseded"),
    }
}

/// Why a partial receive cannot be resumed.
pub(super) fn fault_text(fault: &PartialFault) -> String {
    match fault {
        PartialFault::Token { error } => format!("its resume token cannot be read: {error}"),
        PartialFault::SnapshotGone { snapshot } => {
            format!("the snapshot that it would make, {snapshot}, is gone from the source")
        }
        PartialFault::OnlyBookmark { bookmark } => {
            format!("of the snapshot that it would make only the bookmark #{bookmark} is left")
        }
        PartialFault::BaseGone { guid } => format!("its base (GUID {guid}) is gone from the source"),
        PartialFault::BaseDoubtful { guid } => format!(
            "of its base (GUID {guid}) only a bookmark is left, and it is not certain that the source still contains it"
        ),
        PartialFault::Encryption => {
            "it is raw where it must be plain, or plain where it must be raw".to_owned()
        }
        PartialFault::NotNewestBase => "its base is not the newest common snapshot".to_owned(),
    }
}
