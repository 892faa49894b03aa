//! An owner's or buyer's side: put, get, share, sell, buy.
//!
//! - [`upload`](Client::put): source -> segments -> stripes -> shards -> nodes -> deal, one journal;
//! - [`download`](Client::get): deals -> slices from the fastest nodes -> stripes -> sink;
//! - [`Reader`]: anywhere in a file, one cell at a time;
//! - folder: many files at once, small ones in packs; names, versions, moving, removing;
//! - index: all of that on the network, so that every device of an identity sees it;
//! - ahead, survey, met: what is asked for before it is wanted, which nodes answer, which did before;
//! - upkeep: what is stored where, whether it is still there;
//! - rights: sharing, narrowing and revoking grants; market: selling and buying access.
//!
//! Decisions are taken by the pure sessions of `protocol::session`; this crate carries them out. It
//! knows the ledger only as a port, and prints nothing.

mod account;
mod ahead;
mod buffers;
mod buy;
mod catalog;
mod deletion;
mod download;
mod durability;
mod error;
mod folder;
mod get;
mod goods;
mod index;
mod listings;
mod locks;
mod met;
mod names;
mod peers;
mod place;
mod progress;
mod put;
mod reader;
mod rights;
mod rows;
mod sell;
mod source;
mod survey;
mod term;
mod upkeep;
mod upload;
mod verify;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use symbolon_ledger::Ledger;
use symbolon_net::{Endpoint, Host};
use symbolon_protocol::{id::AccountId, identity::Identity};

pub use account::{AccountView, Sent};
pub use buy::{BuyOutcome, BuyReport, OrderView};
pub use catalog::FileKind;
pub use deletion::Deletion;
pub use durability::{Durability, HISTORY_EPOCHS, Record, UNAVAILABLE_MAX, durability};
pub use error::{ClientError, ErrorKind};
pub use folder::{
    FileFault, FolderGot, FolderOptions, FolderPlan, FolderQuote, FolderStored, GetPlan, Moved,
    NotKept, Removed, Selection, Usage,
};
pub use get::{GetOptions, GetOutcome, GetReport, ReadFault, Readable, Sink};
pub use goods::Sale;
pub use index::{Growth, IndexView, PublishReport, PullReport};
pub use listings::{ListingDetail, ListingFilter, ListingView, PreviewCell};
pub use names::{
    Name, NameError, NameKind, NameView, Pattern, VersionView, is_unprintable, printable, shown,
};
pub use place::{NodeView, Quote};
pub use progress::{Awaited, Progress, Step, Wait};
pub use reader::{ReadCost, Reader};
pub use sell::{SalePlan, SellOptions, SellOutcome, SellReport};
pub use source::Source;
pub use term::{Kept, LedgerClock};
pub use upkeep::{FileView, FilesView, SegmentView, ShardHealth, ShardView, StatView};
pub use upload::{PutOptions, PutOutcome, PutReport, Replace};
pub use verify::{Depth, ShardCheck, VerifiedObject, VerifyReport};

use crate::{
    buffers::Buffers, catalog::Catalog, index::AtRoot, met::Acquaintance, peers::Peers,
    place::ChainSeen, survey::Survey,
};

/// The file with the nodes that were met.
const MET: &str = "met";

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
    ledger: Ledger,
    host: Host,
    dir: PathBuf,
    catalog: Catalog,
    peers: Arc<Peers>,
    buffers: Buffers,
    chain: Mutex<Option<ChainSeen>>,
    /// Which nodes answered a moment ago.
    survey: tokio::sync::Mutex<Option<Survey>>,
    /// Which answered before.
    met: Mutex<Acquaintance>,
    /// The root record that was seen on the ledger, or set there, by this process.
    at_root: Mutex<Option<AtRoot>>,
}

impl Client {
    /// Puts a client together.
    pub fn new(setup: Setup) -> Result<Self, ClientError> {
        let Setup { identity, ledger, endpoint, host, dir } = setup;
        // What is stored on one ledger is not there, or over, on every other.
        let dir = dir.join(ledger.chain().to_string());
        std::fs::create_dir_all(&dir)
            .map_err(|source| ClientError::Io { path: dir.clone(), source })?;
        let catalog = Catalog::new(dir.join("names.redb"), identity.names_key(), host.clone());
        let peers = Arc::new(Peers::new(endpoint, host.clone()));
        let met = Mutex::new(Acquaintance::read(&dir.join(MET)));
        let inner = Inner {
            identity,
            ledger,
            host,
            dir,
            catalog,
            peers,
            buffers: Buffers::default(),
            chain: Mutex::default(),
            survey: tokio::sync::Mutex::default(),
            met,
            at_root: Mutex::default(),
        };
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
        &self.inner.ledger
    }

    /// Ends all connections.
    pub async fn close(self) {
        self.remember_met().await;
        self.inner.peers.close().await;
    }

    fn me(&self) -> AccountId {
        self.inner.identity.account()
    }

    fn host(&self) -> &Host {
        &self.inner.host
    }

    fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    fn peers(&self) -> &Arc<Peers> {
        &self.inner.peers
    }

    fn buffers(&self) -> &Buffers {
        &self.inner.buffers
    }
}
