//! Everything that can be done in a scenario, as plain data: by the program through its two traits, and by a person with `zfs`.
//!
//! Names are relative to the scenario's root on the side they are on: `a@1`, `a#1`; the root itself is the empty text.

/// Which of the two machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Target,
}

/// One stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transfer {
    /// The snapshot that is sent.
    pub(crate) of: &'static str,
    /// `@1` or `#1` of the same dataset; `None` for a full stream.
    pub(crate) base: Option<&'static str>,
    /// The snapshot that it makes.
    pub(crate) into: &'static str,
    /// The target's snapshot that it is received as a clone of.
    pub(crate) origin: Option<&'static str>,
}

/// How much of a stream gets through.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// Its beginning and nothing of what it holds.
    Begin,
    /// Half of what it holds.
    Half,
    /// Everything but its end.
    End,
}

/// One step of a scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed {
    /// The program lists both sides and knows that state from now on; without this deed, it always knows the present state.
    Plan,
    /// Lists what is at and below a name, and shows it.
    List(Side, &'static str),
    Snapshot(&'static [&'static str]),
    Bookmark(&'static str, &'static str),
    Estimate(Transfer),
    Send(Transfer),
    Cut(Transfer, Cut),
    /// Continues with the token that the target has now.
    Resume(Transfer),
    DestroySnapshots(Side, &'static str, &'static [&'static str]),
    DestroyBookmarks(&'static str, &'static [&'static str]),
    RenameDataset(&'static str, &'static str),
    RenameSnapshot(&'static str, &'static str),
    Rollback(&'static str),
    CreateContainer(&'static str),
    /// At a pool that does not exist.
    CreateElsewhere,
    ListElsewhere,
    AbortReceive(&'static str),
    DestroyDataset(&'static str),
    /// Behind the program's back.
    Person(Side, Act),
}

/// An action of a person.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Create(&'static str),
    CreateVolume(&'static str),
    /// Writes data that was never written before.
    Write(&'static str),
    Snapshot(&'static str),
    Bookmark(&'static str, &'static str),
    Hold(&'static str),
    Release(&'static str),
    Clone(&'static str, &'static str),
    Rollback(&'static str),
    RollbackPastNewer(&'static str),
    /// A snapshot or bookmark.
    DestroyPoint(&'static str),
    /// `zfs destroy -d`.
    DestroyDeferred(&'static str),
    /// A dataset without children, with its snapshots.
    Destroy(&'static str),
    Rename(&'static str, &'static str),
}

/// A full stream of `of` into `into`.
pub(crate) const fn full(of: &'static str, into: &'static str) -> Transfer {
    Transfer { of, base: None, into, origin: None }
}

/// What `of` has more than `base`, into `into`.
pub(crate) const fn from(base: &'static str, of: &'static str, into: &'static str) -> Transfer {
    Transfer { of, base: Some(base), into, origin: None }
}

/// A person's deed at the source.
pub(crate) const fn here(act: Act) -> Deed {
    Deed::Person(Side::Source, act)
}

/// A person's deed at the target.
pub(crate) const fn there(act: Act) -> Deed {
    Deed::Person(Side::Target, act)
}

/// `a@1` and `a@2` at the source, both with data, `a@1` at the target; then more.
pub(crate) fn begun(more: &[Deed]) -> Vec<Deed> {
    let mut deeds = vec![
        here(Act::Create("a")),
        here(Act::Write("a")),
        Deed::Snapshot(&["a@1"]),
        Deed::Bookmark("a@1", "a#1"),
        here(Act::Write("a")),
        Deed::Snapshot(&["a@2"]),
        Deed::Send(full("a@1", "a@1")),
    ];
    deeds.extend(more);
    deeds
}
