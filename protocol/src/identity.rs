//! Who someone is: a phrase, the keys that follow from it, and what others need to know of them. See
//! `spec/identity.md`.

pub mod envelope;
pub mod signature;
