//! What of this host nothing is known of: a pool that is away or does not answer may have the very point that is needed.

use crate::cli::render::{escape, unlisted_here_next, unlisted_what};
use crate::model::{Answer, DatasetName, Inventory, Unlisted};
use crate::plan::unlisted_sources;
use crate::policy::Policy;

/// Datasets here of which nothing is known.
#[derive(Debug)]
pub(super) struct Unknown {
    /// This one and those below it; `None` for all.
    pub(super) dataset: Option<String>,
    pub(super) why: String,
    pub(super) next: String,
}

impl Unknown {
    /// Whether nothing is known of this one.
    pub(super) fn has(&self, name: &DatasetName) -> bool {
        let is_within = |above: &str| {
            name.as_str().strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.dataset.as_deref().is_none_or(is_within)
    }

    /// Why, and what makes it known again.
    pub(super) fn lines(&self) -> String {
        format!("here, {}\n  next: {}", escape(&self.why), escape(&self.next))
    }
}

/// What is not known here. A root that does not exist is known: what was in it is lost.
pub(super) fn here(policy: &Policy, inventory: &Inventory) -> Vec<Unknown> {
    let listing = match &inventory.source {
        Answer::Listed(listing) => listing,
        Answer::CouldNotAsk(why) => {
            let next =
                "`zpool status` shows which pool does not answer; then the same command again".to_owned();
            let why = format!("nothing could be listed: {why}");
            return vec![Unknown { dataset: None, why, next }];
        }
    };
    let sources = unlisted_sources(policy, listing).into_iter();
    let unknown = sources.filter(|(_, why)| *why != Unlisted::Missing).map(|(name, why)| Unknown {
        why: unlisted_what(&name, &why),
        next: unlisted_here_next(&name, &why),
        dataset: Some(name),
    });
    unknown.collect()
}
