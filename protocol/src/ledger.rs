//! Money, deals, epochs, listings and orders as rules: `validate`, then `apply`. See `spec/ledger.md`.
//!
//! An engine drives the rules: [`execute::genesis`] once, then for every block a [`execute::BlockBuilder`]
//! over the state of the block before. The result of a block is a [`state::Update`] with the changed rows,
//! and its [`block::Event`]s. No code in this module knows a disk or a clock.

mod account;
pub mod admission;
pub mod beacon;
pub mod block;
mod books;
mod care;
pub mod changes;
mod claim;
mod closing;
mod collateral;
pub mod commit;
mod dispute;
mod epoch;
pub mod evidence;
pub mod execute;
mod extend;
pub mod fees;
mod field;
mod kept;
pub mod last;
pub mod light;
mod listing;
mod lost;
pub mod motion;
mod nodes;
mod order;
pub mod params;
mod place;
pub mod proposer;
mod proving;
mod range;
mod redemption;
mod revocation;
mod root;
pub mod rows;
mod sale;
mod signing;
pub mod slots;
mod stake;
pub mod state;
pub mod statement;
pub mod status;
mod storage;
pub mod transaction;
pub mod tree;
mod vault;
mod window;

pub use books::{Sheet, sheet};
pub use care::{CARED_DEALS_MAX, CARED_SHARDS_MAX, CARETAKERS_MAX};
pub use claim::REWARDS_MAX;
pub use closing::DEAL_KEPT_EPOCHS;
pub use collateral::{capacity_deposit, collateral_for, repair_cost};
pub use dispute::GIVEN_MAX;
pub use extend::{EXTENDED_DEALS_MAX, EXTENDED_SHARDS_MAX, extension_cost};
pub use fees::{deposit, fee};
pub use field::{FieldFault, check_fields};
pub use kept::kept_ms;
pub use listing::COVERED_DEALS_MAX;
pub use lost::DECLARED_SHARDS_MAX;
pub use params::Params;
pub use place::PLACED_SHARDS_MAX;
pub use range::{Offer, OutOfRange, PREVIEW_CELLS_MAX, access_min, bond_min, check_epochs};
pub use status::Status;
pub use storage::{Cost, deal_cost, slot_rate};
pub use window::window_offset;

#[cfg(test)]
mod tests;
