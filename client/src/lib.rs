//! An owner's or buyer's side: put, get, share, sell, buy.
//!
//! A program connects with a ledger's ticket, an identity and a folder of its own:
//!
//! ```
//! use std::path::Path;
//! use symbolon_client::{
//!     Client, ClientError, GetOptions, Identity, LedgerTicket, Name, Progress, PutOptions,
//!     Readable, Sink,
//! };
//!
//! async fn share(ticket: &str, dir: &Path, who: [Identity; 2]) -> Result<(), ClientError> {
//!     let ([me, friend], quiet) = (who, Progress::silent());
//!     let ticket: LedgerTicket = ticket.parse()?;
//!     let me = Client::connect(&ticket, me, dir.join("me")).await?;
//!     me.faucet().await?;
//!     let name = Name::new("notes/first.txt")?;
//!     let text = b"Hello from far away".to_vec();
//!     me.put(text.into(), &name, &PutOptions::default(), &quiet).await?;
//!     let what = Readable::from(&name);
//!     let hello = me.open(&what, &quiet).await?.read_at(0, 5).await?;
//!     assert_eq!(hello, b"Hello");
//!     let friend = Client::connect(&ticket, friend, dir.join("friend")).await?;
//!     let reader = friend.identity().recipient();
//!     let grant = me.share(&name, &reader, Vec::new(), None, &quiet).await?;
//!     let copy = Sink::File(dir.join("copy.txt"));
//!     friend.get(&grant.into(), copy, &GetOptions::default(), &quiet).await?;
//!     Ok(())
//! }
//! # use symbolon_client::{Amount, Host, Phrase};
//! # use symbolon_ledger::{Embedded, Options, answer};
//! # use symbolon_net::{BindOptions, Endpoint};
//! # use symbolon_node::{Limits, Node, NodeOptions};
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #     let (folder, host) = (tempfile::tempdir()?, Host::system());
//! #     let params = symbolon_protocol::ledger::Params::development();
//! #     let options = Options { key: host.random(), params, host: host.clone() };
//! #     let ledger = Embedded::open(&folder.path().join("ledger"), options).await?;
//! #     let endpoint = Endpoint::iroh(BindOptions::new(host.random())).await?;
//! #     let (chain, authority, address) = (ledger.chain(), ledger.authority(), endpoint.address());
//! #     let ticket = LedgerTicket { chain, authority, address }.to_string();
//! #     tokio::spawn(answer(ledger.clone(), endpoint));
//! #     let mut nodes = Vec::new();
//! #     for number in 0..3 {
//! #         let secret = host.random();
//! #         let endpoint = Endpoint::iroh(BindOptions::new(secret)).await?;
//! #         let dir = folder.path().join(format!("node {number}"));
//! #         std::fs::create_dir_all(&dir)?;
//! #         let (capacity, price, payout) = (1 << 30, Amount(1), endpoint.id().into());
//! #         let limits = Limits::for_capacity(capacity);
//! #         let (custody, accept_loss) = (true, false);
//! #         let options = NodeOptions { dir, capacity, price, payout, custody, limits, accept_loss };
//! #         let ledger = ledger.clone().into();
//! #         nodes.push(Node::start(options, secret, endpoint, ledger, host.clone()).await?);
//! #     }
//! #     for node in &nodes {
//! #         node.registered().await;
//! #     }
//! #     let person = || Identity::from_phrase(&Phrase::from_entropy(&host.random()));
//! #     share(&ticket, folder.path(), [person(), person()]).await?;
//! #     assert_eq!(std::fs::read(folder.path().join("copy.txt"))?, b"Hello from far away");
//! #     Ok(())
//! # }
//! ```
//!
//! - [`connect`](Client::connect): from a ticket to a client; [`Devices`]: in step with the identity's other devices;
//! - [`put`](Client::put): a [`Source`] becomes segments, with one journal for all that is not stored yet;
//! - [`get`](Client::get): what is read goes into a [`Sink`]; [`open`](Client::open): a [`Reader`], which is
//!   `AsyncRead` and `AsyncSeek`;
//! - folder: many files at once, small ones in packs; names, versions, moving, removing;
//! - index: all of that on the network, so that every device of an identity sees it;
//! - ahead: what is asked for before it is wanted; met: which nodes answered, on the disk;
//! - upkeep: what is stored where, whether it is still there;
//! - rights: sharing, narrowing and revoking grants; market: selling and buying access.
//!
//! Segments go to nodes and come back through [`symbolon_transfer`], which knows none of that. This crate knows the
//! ledger only as a port, and prints nothing. No call blocks its thread: what reads or writes the index or other files
//! of this machine does so on a thread of its own.

mod account;
mod ahead;
mod buy;
mod catalog;
mod connect;
mod deletion;
mod devices;
mod error;
mod folder;
mod get;
mod goods;
mod index;
mod listings;
mod locks;
mod met;
mod names;
mod network;
mod put;
mod rights;
mod sell;
mod source;
mod term;
mod upkeep;
mod upload;
mod verify;

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use symbolon_ledger::Ledger;
use symbolon_net::Endpoint;
use symbolon_protocol::id::AccountId;
use symbolon_transfer::{Network, download, durability, place, progress};

pub use account::{AccountView, Sent};
pub use buy::{BuyOutcome, BuyReport, OrderView};
pub use catalog::FileKind;
pub use connect::{ConnectOptions, calling_endpoint};
pub use devices::Devices;
pub use error::{ClientError, ErrorKind};
pub use folder::{
    FileFault, FolderGot, FolderOptions, FolderPlan, FolderQuote, FolderStored, GetPlan, Moved,
    NotKept, Removed, Selection, Usage,
};
pub use get::{GetOptions, GetOutcome, GetReport, Outgoing, Readable, Sink};
pub use goods::Sale;
pub use index::{Growth, IndexView, PublishReport, PullReport};
pub use listings::{ListingDetail, ListingFilter, ListingView, PreviewCell};
pub use names::{
    Name, NameError, NameKind, NameView, NameWalk, Pattern, VersionView, is_unprintable, printable,
    shown,
};
pub use sell::{SalePlan, SellOptions, SellOutcome, SellReport, USUAL_LICENCE};
pub use source::{Incoming, Source};
pub use symbolon_ledger::{LedgerTicket, TicketError};
pub use symbolon_net::{Congestion, Host};
pub use symbolon_protocol::{
    Amount,
    grant::{Caveat, GrantToken},
    identity::{Identity, Phrase, Recipient},
};
pub use symbolon_transfer::{
    NodeView, TransferError,
    check::{Depth, ShardCheck},
    delete::Deletion,
    durability::{Durability, HISTORY_EPOCHS, Record, UNAVAILABLE_MAX, durability},
    place::Quote,
    progress::{Awaited, Progress, Step, Wait},
    reader::{ReadCost, ReadFault, Reader},
};
pub use term::{Kept, LedgerClock};
pub use upkeep::{FileView, FilesView, SegmentView, ShardHealth, ShardView, StatView};
pub use upload::{PutOptions, PutOutcome, PutReport, Replace, usual_epochs};
pub use verify::{VerifiedObject, VerifyReport};

use crate::{catalog::Catalog, index::AtRoot};

/// What this crate keeps behind a lock is whole whatever happened to whoever held it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a client is made of.
#[derive(Debug)]
pub struct Setup {
    /// Whose side it is.
    pub identity: Identity,
    /// The ledger.
    pub ledger: Ledger,
    /// An endpoint that answers with the identity's access key.
    pub endpoint: Endpoint,
    /// Clock, randomness and blocking work.
    pub host: Host,
    /// The identity's own folder. In it each ledger has one: index, journal, leaves.
    pub dir: PathBuf,
}

/// A user's side of the network. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    identity: Identity,
    network: Network,
    dir: PathBuf,
    catalog: Catalog,
    devices: Devices,
    /// The root record that was seen on the ledger, or set there, by this process.
    at_root: Mutex<Option<AtRoot>>,
}

impl Client {
    /// Puts a client together that keeps in step with other devices [by hand](Devices::ByHand). Blocks.
    pub fn new(setup: Setup) -> Result<Self, ClientError> {
        Self::assemble(setup, Devices::ByHand)
    }

    fn assemble(setup: Setup, devices: Devices) -> Result<Self, ClientError> {
        let Setup { identity, ledger, endpoint, host, dir } = setup;
        // What is stored on one ledger is not there, or over, on every other.
        let dir = dir.join(ledger.chain().to_string());
        std::fs::create_dir_all(&dir)
            .map_err(|source| ClientError::Io { path: dir.clone(), source })?;
        let catalog = Catalog::new(dir.join("names.redb"), identity.names_key(), host.clone());
        let network = Network::new(ledger, endpoint, host, met::read(&dir));
        let at_root = Mutex::default();
        let inner = Inner { identity, network, dir, catalog, devices, at_root };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whose side it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        self.network().ledger()
    }

    /// Ends all connections.
    pub async fn close(self) {
        self.remember_met().await;
        self.network().peers().close().await;
    }

    fn me(&self) -> AccountId {
        self.inner.identity.account()
    }

    fn host(&self) -> &Host {
        self.network().host()
    }

    /// Works on this machine's files where that holds up no other task.
    async fn local<T: Send + 'static>(&self, work: impl FnOnce(&Local) -> T + Send + 'static) -> T {
        let local = Local(self.clone());
        self.host().in_turn(move || work(&local)).await
    }
}

/// A client where it may block: what reads or writes the index or other files is a method of this, and only
/// [`Client::local`] hands it out.
#[derive(Clone, Debug)]
struct Local(Client);

impl Deref for Local {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

impl Local {
    fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    /// The folder of this identity on this ledger.
    fn dir(&self) -> &Path {
        &self.inner.dir
    }
}
