//! Where every byte of a file goes: stripes, segments, cells.

/// The sizes of one file under one scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {}
