//! What every verb uses: the home, the identity, the ledger, and a client of them.

use std::{net::SocketAddr, path::Path, time::Duration};

use symbolon_client::{Client, ConnectOptions, Devices, calling_endpoint};
use symbolon_ledger::{Keeping, Ledger, LedgerTicket, Remote, TicketError};
use symbolon_net::{Congestion, Endpoint, Host};
use symbolon_protocol::{
    Amount,
    identity::Identity,
    ledger::rows::{Accounts, Chain, Chains, Holds, Nodes, PoolsTable},
};

use crate::{
    args::Global,
    env,
    error::{Error, Kind},
    home::{self, DEFAULT_IDENTITY, Home},
    keys, names,
    output::{Chatter, Format, Output},
};

/// Bytes read of a ticket's file.
const TICKET_BYTES_MAX: u64 = 16 * 1024;

/// What every verb uses.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) home: Home,
    pub(crate) out: Output,
    pub(crate) host: Host,
    /// The congestion control, if the user chose one.
    pub(crate) congestion: Option<Congestion>,
    who: Option<String>,
    ledger: Option<String>,
}

/// What the user has agreed to in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// Nothing yet.
    Open,
    /// Yes, or a limit the cost must keep.
    Given,
}

impl Consent {
    /// From `--yes` and a limit.
    pub(crate) fn from(yes: bool, limit: Option<Amount>) -> Self {
        if yes || limit.is_some() { Self::Given } else { Self::Open }
    }
}

impl Context {
    /// From the options every verb has.
    pub(crate) fn new(global: &Global) -> Result<Self, Error> {
        Ok(Self {
            home: Home::find(global.home.clone())?,
            out: output(global),
            host: Host::system(),
            congestion: global.congestion,
            who: global.who.clone(),
            ledger: global.ledger.clone(),
        })
    }

    /// The same with another home and identity: what `demo` does as several people.
    pub(crate) fn of(&self, home: &Home, who: &str) -> Self {
        Self { home: home.clone(), who: Some(who.to_owned()), ledger: None, ..self.clone() }
    }

    /// The name of the identity to use: the one in the arguments, the only one, or the default one.
    pub(crate) fn name(&self) -> Result<String, Error> {
        if let Some(name) = &self.who {
            return Ok(name.clone());
        }
        let mut names = self.home.identities()?;
        match names.len() {
            1 => Ok(names.remove(0)),
            0 => Ok(DEFAULT_IDENTITY.to_owned()),
            _ if names.iter().any(|name| name == DEFAULT_IDENTITY) => {
                Ok(DEFAULT_IDENTITY.to_owned())
            }
            _ => Err(Error::usage(
                "this home has several identities and none of them is named default",
            )
            .hint(format!("choose one with --as: {}", names.join(", ")))),
        }
    }

    /// The identity, opened with its passphrase when it has one.
    pub(crate) fn identity(&self) -> Result<Identity, Error> {
        let name = self.name()?;
        keys::open(&self.home, &name, &self.out)
    }

    /// The ledger in the arguments, if there is one.
    pub(crate) fn named_ticket(&self) -> Result<Option<LedgerTicket>, Error> {
        let Some(text) = &self.ledger else { return Ok(None) };
        let text = home::text_or_file(text, TICKET_BYTES_MAX)?;
        let ticket = text.parse().map_err(|error: TicketError| {
            Error::usage(error.to_string())
                .hint("a ticket is one line, printed by: symbolon ledger run")
        })?;
        Ok(Some(ticket))
    }

    /// The ledger in the arguments, or the home's.
    pub(crate) fn ticket(&self) -> Result<LedgerTicket, Error> {
        if let Some(ticket) = self.named_ticket()? {
            return Ok(ticket);
        }
        self.home.ticket()?.ok_or_else(|| {
            let home = self.home.root().display();
            Error::new(Kind::NotFound, format!("no network is known in {home}")).hint(
                "start one of your own with: symbolon up; or join one with: symbolon init --ledger TICKET",
            )
        })
    }

    /// An endpoint that calls others and is never called.
    pub(crate) async fn endpoint(
        &self,
        ticket: &LedgerTicket,
        secret: [u8; 32],
    ) -> Result<Endpoint, Error> {
        Ok(calling_endpoint(ticket, secret, self.congestion).await?)
    }

    /// The ledger and an endpoint, for verbs that need no identity.
    pub(crate) async fn ledger(&self) -> Result<(Ledger, Endpoint), Error> {
        let ticket = self.ticket()?;
        let endpoint = self.endpoint(&ticket, self.host.random()).await?;
        self.check_running(&ticket)?;
        let ledger = Self::reach(&ticket, &endpoint, self.home.root(), &self.host);
        in_time(ledger.head()).await?;
        self.warn_of(&ledger);
        Ok((ledger, endpoint))
    }

    /// A client of the chosen identity, once the ledger has answered.
    pub(crate) async fn client(&self) -> Result<Client, Error> {
        self.check_running(&self.ticket()?)?;
        let client = self.client_offline().await?;
        in_time(client.recent_chain()).await?;
        self.warn_of(client.ledger());
        Ok(client)
    }

    /// Warns if the ledger's last block is older than it should be.
    fn warn_of(&self, ledger: &Ledger) {
        if let Some(late) = ledger.overdue() {
            let late = crate::units::show_duration(late.0 / 1_000 * 1_000);
            self.out.warn(&format!(
                "the ledger's last block is old: the next one is {late} late. The ledger stands still, its server holds \
                 blocks back, or this machine's clock is wrong"
            ));
        }
    }

    /// The same for an identity that was opened before.
    pub(crate) async fn client_reaching(&self, identity: Identity) -> Result<Client, Error> {
        self.check_running(&self.ticket()?)?;
        let client = self.client_of(identity).await?;
        in_time(client.recent_chain()).await?;
        self.warn_of(client.ledger());
        Ok(client)
    }

    /// A client that has taken over what other devices of the identity changed.
    pub(crate) async fn client_synced(&self) -> Result<Client, Error> {
        self.client_synced_ahead(async |_| {}).await
    }

    /// The same; meanwhile `ahead` asks for what the verb will need, so that all of it together takes one round trip.
    pub(crate) async fn client_synced_ahead(
        &self,
        ahead: impl AsyncFnOnce(&Client),
    ) -> Result<Client, Error> {
        self.check_running(&self.ticket()?)?;
        let client = self.client_offline().await?;
        let rest = async {
            tokio::join!(names::catch_up(&client, &self.out), ahead(&client));
            Ok(())
        };
        tokio::try_join!(in_time(client.recent_chain()), rest)?;
        self.warn_of(client.ledger());
        Ok(client)
    }

    /// A client of the chosen identity for verbs that work without a network. If the ledger answers at once, the client
    /// first takes over what other devices changed.
    pub(crate) async fn client_local(&self) -> Result<Client, Error> {
        let client = self.client_offline().await?;
        if self.check_running(&self.ticket()?).is_ok() {
            names::catch_up_soon(&client, &self.out).await;
        }
        Ok(client)
    }

    /// A client of the chosen identity, for verbs that need no network.
    pub(crate) async fn client_offline(&self) -> Result<Client, Error> {
        let name = self.name()?;
        self.ticket()?;
        let identity = keys::open(&self.home, &name, &self.out)?;
        self.client_of(identity).await
    }

    /// A client of the chosen identity that was opened before. Nothing is sent.
    pub(crate) async fn client_of(&self, identity: Identity) -> Result<Client, Error> {
        let (name, ticket) = (self.name()?, self.ticket()?);
        let options = ConnectOptions {
            host: self.host.clone(),
            congestion: self.congestion,
            // A person is asked before publishing costs anything: see `names`.
            devices: Devices::ByHand,
        };
        Ok(Client::prepare(&ticket, identity, self.home.identity(&name)?, options).await?)
    }

    /// The ledger of a ticket, called through an endpoint. What is trusted of it is kept in a folder. Nothing is sent before the
    /// first question.
    pub(crate) fn reach(
        ticket: &LedgerTicket,
        endpoint: &Endpoint,
        folder: &Path,
        host: &Host,
    ) -> Ledger {
        let keeping = Keeping { host: host.clone(), folder: folder.to_owned() };
        Remote::keeping(endpoint.clone(), ticket.clone(), keeping).into()
    }

    /// Fails at once if the ticket is that of this home's own network and the network is not running.
    fn check_running(&self, ticket: &LedgerTicket) -> Result<(), Error> {
        let own = home::read_if_there(&self.home.ledger().join("listen"))?
            .and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse::<SocketAddr>().ok());
        let mut sockets = ticket.peers.iter().flat_map(|peer| peer.sockets());
        let is_own = own.is_some_and(|own| sockets.any(|socket| socket == own));
        if is_own && self.home.running().is_none() {
            return Err(self.not_running());
        }
        Ok(())
    }

    fn not_running(&self) -> Error {
        let home = self.home.root().display();
        Error::new(Kind::Unreachable, format!("the network on {home} is not running"))
            .hint("start it with: symbolon up")
    }

    /// Makes an error clearer: a common cause is that the home's own network is not running.
    pub(crate) fn explain(&self, error: Error) -> Error {
        if error.kind != Kind::Unreachable {
            return error;
        }
        let own = self.ledger.is_none() && self.home.ledger().is_dir();
        if own && self.home.running().is_none() {
            return self.not_running();
        }
        if error.hint.is_some() {
            return error;
        }
        error.hint("check that the ledger runs and that this is its ticket")
    }

    /// Asks before money is spent, unless the user agreed in advance. On a network with a faucet all money is play
    /// money, so there is no question.
    pub(crate) fn consent(&self, chain: &Chain, what: &str, given: Consent) -> Result<(), Error> {
        if chain.params.faucet > Amount::ZERO {
            return Ok(());
        }
        self.consent_to_loss(what, given)
    }

    /// Asks before a step that cannot be undone.
    pub(crate) fn consent_to_loss(&self, what: &str, given: Consent) -> Result<(), Error> {
        if given == Consent::Given {
            return Ok(());
        }
        if !self.out.can_ask() {
            return Err(Error::usage(
                "nothing was done: this command asks first, and there is no terminal to ask at",
            )
            .hint("agree in advance with --yes, or set a limit with --max-cost")
            .or_hint("agree in advance with --yes, or set a limit with --max-price")
            .or_hint("agree in advance with --yes"));
        }
        if self.out.ask(what)? {
            return Ok(());
        }
        Err(Error::new(Kind::Interrupted, "nothing was done"))
    }
}

/// How long to wait until a goodbye has left. Everything that matters was answered before. To learn whether the goodbye
/// arrived would take round trips, and the command does not need to know.
const GOODBYE: Duration = Duration::from_millis(10);

/// Ends a client's connections.
pub(crate) async fn close(client: Client) {
    drop(tokio::time::timeout(GOODBYE, client.close()).await);
}

/// Ends an endpoint's connections.
pub(crate) async fn hang_up(endpoint: Endpoint) {
    drop(tokio::time::timeout(GOODBYE, endpoint.close()).await);
}

/// How long a ledger may take to answer for the first time.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// Waits for a ledger's first answer, up to [`FIRST_ANSWER`].
async fn in_time<T, E: Into<Error>>(
    answer: impl Future<Output = Result<T, E>>,
) -> Result<(), Error> {
    match tokio::time::timeout(FIRST_ANSWER, answer).await {
        Ok(answer) => answer.map(drop).map_err(Into::into),
        Err(_) => {
            let after = FIRST_ANSWER.as_secs();
            Err(Error::new(
                Kind::Unreachable,
                format!("the ledger did not answer in {after} seconds"),
            ))
        }
    }
}

/// The ledger's own row.
pub(crate) async fn chain(ledger: &Ledger) -> Result<Chain, Error> {
    let row = ledger.row(Chains, &()).await?;
    row.ok_or_else(|| Error::new(Kind::Corrupt, "the ledger has no row about itself"))
}

/// Where results of a command line go.
pub(crate) fn output(global: &Global) -> Output {
    let format = if global.json { Format::Json } else { Format::Human };
    let chatter = if global.quiet { Chatter::Quiet } else { Chatter::Normal };
    Output::new(format, chatter, env::no_colour()).with_progress(global.progress)
}

/// Where all the money is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Books {
    pub(crate) accounts: Amount,
    pub(crate) account_count: usize,
    pub(crate) holds: Amount,
    pub(crate) storage: Amount,
    /// The part of `storage` that nodes earn with the proofs of their open windows.
    pub(crate) due: Amount,
    pub(crate) repair: Amount,
    pub(crate) treasury: Amount,
    pub(crate) deposits: Amount,
    pub(crate) collateral: Amount,
    pub(crate) stake: Amount,
    pub(crate) unbonding: Amount,
    pub(crate) rewards: Amount,
    pub(crate) issued: Amount,
}

impl Books {
    /// The sum of all places; it must equal what was issued.
    pub(crate) fn sum(&self) -> Option<Amount> {
        let storage = [self.storage, self.repair, self.deposits, self.collateral];
        let validators = [self.stake, self.unbonding, self.rewards];
        let places = [self.accounts, self.holds, self.treasury].into_iter().chain(storage);
        places.chain(validators).try_fold(Amount::ZERO, Amount::checked_add)
    }
}

/// Counts the money in all rows of a ledger at one height; tries again when a block came in between.
pub(crate) async fn books(ledger: &Ledger) -> Result<Books, Error> {
    const TRIES: u32 = 20;
    for _ in 0..TRIES {
        let before = chain(ledger).await?.height;
        let too_much = || Error::new(Kind::Corrupt, "the ledger holds more than can be counted");
        let add = |sum: Amount, amount| sum.checked_add(amount).ok_or_else(too_much);
        let accounts = ledger.scan_all(Accounts, &[]).await?;
        let holds = ledger.scan_all(Holds, &[]).await?;
        let nodes = ledger.scan_all(Nodes, &[]).await?;
        let pools = ledger.row(PoolsTable, &()).await?;
        if chain(ledger).await?.height != before {
            continue;
        }
        let pools =
            pools.ok_or_else(|| Error::new(Kind::Corrupt, "the ledger has no row of its pools"))?;
        return Ok(Books {
            account_count: accounts.len(),
            accounts: accounts.iter().map(|(_, row)| row.balance).try_fold(Amount::ZERO, add)?,
            holds: holds.iter().map(|(_, row)| row.amount).try_fold(Amount::ZERO, add)?,
            storage: pools.storage,
            due: nodes.iter().map(|(_, row)| row.due()).try_fold(Amount::ZERO, add)?,
            repair: pools.repair,
            treasury: pools.treasury,
            deposits: pools.deposits,
            collateral: pools.collateral,
            stake: pools.stake,
            unbonding: pools.unbonding,
            rewards: pools.rewards,
            issued: pools.issued,
        });
    }
    Err(Error::new(
        Kind::Unreachable,
        "the ledger makes blocks faster than its money can be counted",
    ))
}
