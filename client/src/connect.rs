//! From a ledger's ticket to a client: makes the endpoint and the connection to the ledger, and opens the identity's
//! own folder.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use symbolon_ledger::{Keeping, LedgerTicket, Remote, TicketError};
use symbolon_net::{BindOptions, Congestion, Endpoint, Host, NetError};
use symbolon_protocol::identity::Identity;
use symbolon_transfer::TransferError;

use crate::{Client, error::ClientError, library::Devices, wallet::Setup};

/// Milliseconds that a ledger may take for its first answer.
const FIRST_ANSWER_MS: u64 = 10_000;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The source of time and randomness, and of threads for blocking work.
    pub host: Host,
    /// The congestion control. Without one, the client takes the usual one for the way to the ledger.
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

/// Makes an endpoint that calls a ledger and the nodes that the ledger names. It accepts no calls.
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
    /// The parts that any of the rooms is made from, for a ledger's network. Asks the ledger nothing.
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
        let dir = dir.into();
        let keeping = Keeping { host: host.clone(), folder: dir.clone() };
        let ledger = Remote::keeping(endpoint.clone(), ticket.clone(), keeping).into();
        Ok(Self { identity, ledger, endpoint, host, dir })
    }
}

impl Client {
    /// Connects an identity to the network of a ledger. The client keeps its own data on this machine in `dir`, one
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

    /// Makes the same client, but does not call the ledger. The first method that needs the ledger calls it.
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
