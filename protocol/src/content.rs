//! From a file to shards and back: pad, cut, seal, code, mask. See `spec/content.md`.
//!
//! [`Layout`] gives the place of every byte. [`SegmentCoder`] turns one stripe of plain bytes into the
//! cells of all shards, and back. [`Manifest`] is what a reader needs besides the [`FileKey`].

pub mod erasure;
pub mod key;
pub mod layout;
pub mod manifest;
pub mod mask;
pub mod scheme;
pub mod seal;
pub mod segment;

pub use key::{FileKey, MaskKey};
pub use layout::{CellPlace, Layout, LayoutError, Location, SegmentLayout, StripeLayout};
pub use manifest::{Codec, Manifest, MaskMode};
pub use scheme::{Scheme, SchemeError};
pub use segment::{ContentError, Rebuilder, SegmentCoder};
