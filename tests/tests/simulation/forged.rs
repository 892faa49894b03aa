//! Placeholder.
pub(super) fn forged() {}
