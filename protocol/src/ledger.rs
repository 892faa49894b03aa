//! Money, deals, epochs, listings and orders as rules: `validate`, then `apply`. See `spec/ledger.md`.

pub mod block;
pub mod execute;
pub mod params;
pub mod rows;
pub mod state;
pub mod status;
pub mod transaction;
pub mod tree;

pub use params::Params;
pub use status::Status;
