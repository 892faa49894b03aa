//! Connections between peers: iroh QUIC endpoints, an in-memory transport, and framing.
//!
//! An [`Endpoint`] answers under one ed25519 key and dials others by a [`PeerAddress`]. A
//! [`Connection`] carries streams. A stream is a [`Sender`] and a [`Receiver`], which move framed
//! messages and raw bytes.
//!
//! The same types stand for two kinds of endpoint: real QUIC over iroh, and [`MemoryNetwork`] for
//! tests and the simulator, where latency passes in virtual time. [`Host`] gives the other crates
//! their clock, randomness and threads for blocking work.
//!
//! This crate knows nothing of shards, grants or money. No other crate names iroh.

extern crate alloc;

mod address;
mod cipher;
mod congestion;
pub mod crowd;
mod endpoint;
mod error;
mod gate;
mod host;
mod memory;
mod quic;
mod stream;
pub mod watch;

pub use address::{Alpn, Announced, NotAnAddress, PeerAddress};
pub use cipher::Cipher;
pub use congestion::{Congestion, UnknownCongestion};
pub use endpoint::{Connection, Endpoint};
pub use error::NetError;
pub use gate::{Gate, Pass};
pub use host::Host;
pub use memory::{Latency, MemoryNetwork};
pub use quic::{BindOptions, peer_id};
pub use stream::{Receiver, Sender};
