//! What is read, and by what right.

use symbolon_protocol::{
    content::{FileKey, Manifest},
    grant::{Caveat, Grant},
};

/// Whether content leaves are computed while reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeavesWanted {
    /// They are not.
    No,
    /// They are, to be compared with a content root.
    Yes,
}

/// What is read, and by what right.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What the object is.
    pub manifest: Manifest,
    /// What opens it.
    pub key: FileKey,
    /// The right that nodes are shown; public objects need none.
    pub grant: Option<Grant>,
    /// Whether content leaves are computed.
    pub leaves: LeavesWanted,
    /// Under a grant for some cells only: the bytes that are wanted, from the first up to and without
    /// the second. Whole slices would be refused, so only cells around these bytes are asked for, and
    /// everything else in the groups is zeros.
    pub only: Option<(u64, u64)>,
}

/// Whether a grant is for some of an object's cells only.
#[must_use]
pub fn is_for_cells(grant: &Grant) -> bool {
    let mut caveats = grant.links.iter().flat_map(|link| &link.caveats);
    caveats.any(|caveat| matches!(caveat, Caveat::Cells { .. }))
}
