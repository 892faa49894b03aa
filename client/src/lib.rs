//! An owner's or buyer's side: put, get, share, sell, buy.
//!
//! - [`put`](Client::put): a source becomes segments, with one journal for all that is not stored yet;
//! - [`get`](Client::get): what is read goes to a file, standard output or memory; [`open`](Client::open): a [`Reader`];
//! - folder: many files at once, small ones in packs; names, versions, moving, removing;
//! - index: all of that on the network, so that every device of an identity sees it;
//! - ahead: what is asked for before it is wanted; met: which nodes answered, on the disk;
//! - upkeep: what is stored where, whether it is still there;
//! - rights: sharing, narrowing and revoking grants; market: selling and buying access.
//!
//! Segments go to nodes and come back through [`symbolon_transfer`], which knows none of that. This crate knows the
//! ledger only as a port, and prints nothing.

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
use symbolon_net::{Endpoint, Host};
use symbolon_protocol::{id::AccountId, identity::Identity};
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
