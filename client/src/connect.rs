//! From a ledger's ticket to a client: the endpoint, the way to the ledger, and the identity's own folder.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use symbolon_ledger::{LedgerTicket, Remote, TicketError};
use symbolon_net::{BindOptions, Congestion, Endpoint, Host, NetError};
use symbolon_protocol::identity::Identity;
use symbolon_transfer::TransferError;

use crate::{Client, error::ClientError, library::Devices, wallet::Setup};

/// How long a ledger may take to answer for the first time, in milliseconds.
const FIRST_ANSWER_MS: u64 = 10_000;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Clock, randomness and blocking work.
    pub host: Host,
    /// How much may be on its way; when nothing is said, what suits the way to the ledger.
    pub congestion: Option<Congestion>,
    /// How the client keeps in step with the identity's other devices.
    pub devices: Devices,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { host: Host::system(), congestion: None, devices: Devices::default() }
    }
}

impl From<TicketError> for ClientError {
    fn from(error: TicketError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// An endpoint that calls a ledger, and the nodes that the ledger names, and is never called.
pub async fn calling_endpoint(
    ticket: &LedgerTicket,
    secret: [u8; 32],
    congestion: Option<Congestion>,
) -> Result<Endpoint, NetError> {
    let mut options = BindOptions::new(secret);
    options.accept = Vec::new();
    options.relays = ticket.relays();
    options.congestion = congestion.unwrap_or_else(|| Congestion::usual(ticket.is_local()));
    if !ticket.is_local() {
        options.listen = vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))];
    }
    Endpoint::iroh(options).await
}

impl Setup {
    /// What any of the rooms is made of, over the network of a ledger. Nothing is asked of the ledger.
    pub async fn calling(
        ticket: &LedgerTicket,
        identity: Identity,
        dir: impl Into<PathBuf>,
        host: Host,
        congestion: Option<Congestion>,
    ) -> Result<Self, ClientError> {
        let secret = identity.access_key().to_bytes();
        let opening = calling_endpoint(ticket, secret, congestion).await;
        let endpoint = opening.map_err(TransferError::Net)?;
        let ledger = Remote::new(endpoint.clone(), ticket.clone()).into();
        Ok(Self { identity, ledger, endpoint, host, dir: dir.into() })
    }
}

impl Client {
    /// A client of an identity on the network of a ledger, which keeps what is this machine's own in `dir`: one
    /// folder for each identity. The ledger has answered when this returns.
    pub async fn connect(
        ticket: &LedgerTicket,
        identity: Identity,
        dir: impl Into<PathBuf>,
    ) -> Result<Self, ClientError> {
        let client = Self::prepare(ticket, identity, dir, ConnectOptions::default()).await?;
        let waiting = client.host().sleep_ms(FIRST_ANSWER_MS);
        let answered = tokio::select! {
            biased;
            answered = client.recent_chain() => answered,
            () = waiting => Err(ClientError::NoAnswer { after_ms: FIRST_ANSWER_MS }),
        };
        answered.map(|_| client)
    }

    /// The same without a word to the ledger: the first call that needs it asks.
    pub async fn prepare(
        ticket: &LedgerTicket,
        identity: Identity,
        dir: impl Into<PathBuf>,
        options: ConnectOptions,
    ) -> Result<Self, ClientError> {
        let ConnectOptions { host, congestion, devices } = options;
        let setup = Setup::calling(ticket, identity, dir, host.clone(), congestion).await?;
        host.blocking(move || Self::assemble(setup, devices)).await
    }
}
