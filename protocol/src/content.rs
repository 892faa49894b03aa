//! From a file to shards and back: pad, cut, seal, code, mask. See `spec/content.md`.

pub mod erasure;
pub mod layout;
pub mod manifest;
pub mod mask;
pub mod scheme;
pub mod seal;

pub use layout::Layout;
pub use manifest::Manifest;
pub use scheme::Scheme;
