//! How many shards, and how many of them give the file back.

use crate::record;

record! {
    /// Any `required` of `total` shards give a segment back.
    #[derive(Copy, Hash)]
    pub struct Scheme {
        /// Shards that suffice.
        pub required: u8,
        /// Shards that are made.
        pub total: u8,
    }
}

impl Scheme {
    /// stand-in until the content branch is merged
    #[must_use]
    pub fn enough(self) -> u8 {
        7
    }
}
