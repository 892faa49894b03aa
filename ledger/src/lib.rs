//! The ledger port with its two engines, embedded and remote, and the mirror.
//!
//! The other crates use a [`Ledger`]: they submit transactions, read rows and follow blocks. Behind
//! it is one of two engines. [`Embedded`] makes the blocks in this process and stores them on this
//! disk. [`Remote`] asks another machine's ledger and checks the answers. [`answer`] serves the
//! requests of remote engines. A [`Mirror`] [`join`]s a ledger on other machines and executes its
//! blocks, and is served in the same way. The rules are in `symbolon_protocol::ledger`; this crate
//! contains none.

extern crate alloc;

mod embedded;
mod error;
mod executor;
mod field;
mod figures;
mod join;
mod mirror;
mod port;
mod remote;
mod serve;
mod ticket;

pub use embedded::{Embedded, Options, Together, founder, founder_at};
pub use error::LedgerError;
pub use executor::{
    CheckedBlocks, EPOCHS_KEPT, Opened, Replica, Signed, begin_guard, has_guard, sign_after,
};
pub use figures::{BOUNDS_MS, Figures, Times};
pub use join::{Joined, join};
pub use mirror::{Mirror, Mirrored, was_away};
pub use port::{Follow, History, Ledger, Outcome, RECENT, ROWS_MAX};
pub use remote::{Checkpoint, Keeping, Remote};
pub use serve::{Engine, answer};
pub use ticket::{LedgerTicket, TicketError};
