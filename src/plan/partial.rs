//! The decision on a receive that broke off: resume it, drop it, or leave it to a person.
//!
//! A resume token comes from the target and is not to be trusted (openzfs issue 14153): it is only ever compared with what we
//! would send anyway, and gives nothing but the place to resume at.

use super::PartialFault;
use super::builder::Builder;
use super::comparison::GuidIndex;
use super::trust::Trust;
use crate::model::{
    Dataset, Encryption, Point, PointKind, ResumePoint, ResumeToken, SendFlags, SnapshotName,
};

/// The verdict on a partial receive.
#[derive(Debug)]
pub(super) enum Partial<'a> {
    /// There is none.
    None,
    /// It is ours, and both ends of its stream still exist.
    Resumable {
        /// The snapshot it makes.
        to: &'a Point,
        /// The base it started from; `None` for a full stream.
        base: Option<&'a Point>,
        /// Where it resumes.
        resume: ResumePoint,
    },
    /// It is ours, but cannot be completed any more.
    Stale {
        /// Why.
        fault: PartialFault,
    },
    /// It is not ours, or cannot be understood.
    Foreign {
        /// Why.
        fault: PartialFault,
    },
}

/// Judges the partial receive on `target`, if there is one, for source dataset `source` and the origin of a clone.
pub(super) fn judge<'a>(
    builder: &mut Builder,
    (source, origin): (&'a Dataset, Option<&'a Point>),
    trust: &Trust<'_>,
    index: &GuidIndex<'a>,
    target: &Dataset,
) -> Partial<'a> {
    let Some(text) = &target.resume_token else {
        return Partial::None;
    };
    let token = match ResumeToken::parse(text) {
        Ok(token) => token,
        Err(error) => {
            return Partial::Foreign { fault: PartialFault::Token { error: error.to_string() } };
        }
    };
    let is_of_source = SnapshotName::parse(&token.to_name).is_ok_and(|name| *name.dataset() == source.name);
    let Some(to) = index.find(token.to_guid) else {
        let fault = PartialFault::SnapshotGone { snapshot: token.to_name };
        return if is_of_source { Partial::Stale { fault } } else { Partial::Foreign { fault } };
    };
    if to.kind == PointKind::Bookmark {
        return Partial::Stale { fault: PartialFault::OnlyBookmark { bookmark: to.name.clone() } };
    }
    let base = match token.from_guid {
        None => None,
        Some(guid) => match index.base(builder, trust, guid) {
            Some(base) => Some(base),
            // The stream of a clone begins at its origin.
            None if origin.is_some_and(|origin| origin.guid == guid) => origin,
            None if index.find(guid).is_some() => {
                return Partial::Stale { fault: PartialFault::BaseDoubtful { guid } };
            }
            None => return Partial::Stale { fault: PartialFault::BaseGone { guid } },
        },
    };
    let flags = SendFlags {
        large_block: token.large_block,
        embed: token.embed,
        compress: token.compress,
        raw: token.raw,
    };
    if flags.raw != (source.encryption == Encryption::On) {
        return Partial::Foreign { fault: PartialFault::Encryption };
    }
    let resume = ResumePoint {
        object: token.object,
        offset: token.offset,
        received_bytes: token.received_bytes,
        flags,
    };
    Partial::Resumable { to, base, resume }
}
