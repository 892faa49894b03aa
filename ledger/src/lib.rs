//! Who orders transactions: the ledger port and its embedded and remote engines.
//!
//! Everything else sees a [`Ledger`]: submit, read rows, follow blocks. Behind it is either the
//! [`Embedded`] engine, which makes the blocks in this process and keeps them on this disk, or a
//! [`Remote`] one, which asks somebody's ledger and believes nothing it has not checked. [`answer`]
//! answers those who ask. The rules are `symbolon_protocol::ledger`; nothing here knows one.

extern crate alloc;

mod embedded;
mod error;
mod executor;
mod port;
mod remote;
mod serve;
mod ticket;

pub use embedded::{Embedded, Options};
pub use error::LedgerError;
pub use executor::Replica;
pub use port::{BlockPage, Follow, Ledger, Outcome, RECENT, ROWS_MAX};
pub use remote::Remote;
pub use serve::{Engine, answer};
pub use ticket::{LedgerTicket, TicketError};
