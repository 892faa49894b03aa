//! The wallet: an identity on one ledger. It holds the identity's accounts and their history, the grants that it gives,
//! passes on and takes back, and its own folder on this machine.
//!
//! - [`account`](Wallet::account), [`history`](Wallet::history), [`transfer`](Wallet::transfer): money;
//! - [`delegate`](Wallet::delegate), [`undelegate`](Wallet::undelegate), [`stakes`](Wallet::stakes): stake;
//! - [`attenuate`](Wallet::attenuate), [`revoke`](Wallet::revoke), [`grants`](Wallet::grants),
//!   [`redeem`](Wallet::redeem): rights;
//! - [`network`](Wallet::network): ledger, nodes and machine, for code that knows no names.
//!
//! The wallet stands below the other rooms: it knows no name, no folder, no upload and no listing. Its rows lie in the
//! same index as theirs, and other devices see that index. The library sends and fetches it.
//!
//! A program that only pays needs nothing else:
//!
//! ```
//! use symbolon_client::{Amount, ClientError, Sent, Setup, Wallet};
//! use symbolon_protocol::id::AccountId;
//!
//! async fn pay(setup: Setup, payee: AccountId, bill: &str) -> Result<Sent, ClientError> {
//!     let wallet = Wallet::new(setup)?;
//!     // A second payment of the same bill sends nothing.
//!     wallet.transfer(payee, Amount::credits(5), Some(bill)).await
//! }
//! ```

pub(crate) mod account;
mod clock;
mod grants;
mod met;
mod stake;
mod transfer;
mod vote;
mod vouchers;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use symbolon_ledger::Ledger;
use symbolon_net::{Endpoint, Host};
use symbolon_protocol::{id::AccountId, identity::Identity};
use symbolon_transfer::{Network, Owner};

pub use account::AccountView;
pub use stake::{Delegated, Stakes, Unbinding};
pub use transfer::Sent;

use crate::{catalog::Catalog, error::ClientError, locks::NameLock};

/// The wallet where it may block.
pub(crate) type Local = crate::local::Local<Wallet>;

/// The parts that a client is made from.
#[derive(Debug)]
pub struct Setup {
    /// The identity that the client acts for.
    pub identity: Identity,
    /// The ledger.
    pub ledger: Ledger,
    /// An endpoint with the identity's access key.
    pub endpoint: Endpoint,
    /// The source of time and randomness, and of threads for blocking work.
    pub host: Host,
    /// The identity's own folder. It has one folder for each ledger, with index, journal and leaves.
    pub dir: PathBuf,
}

/// An identity on one ledger. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Wallet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    identity: Identity,
    network: Network,
    dir: PathBuf,
    catalog: Catalog,
}

impl AsRef<Self> for Wallet {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Wallet {
    /// Makes a wallet. Blocks.
    pub fn new(setup: Setup) -> Result<Self, ClientError> {
        let Setup { identity, ledger, endpoint, host, dir } = setup;
        // Files that are stored on one ledger are unknown to every other one, or over there.
        let dir = dir.join(ledger.chain().to_string());
        std::fs::create_dir_all(&dir)
            .map_err(|source| ClientError::Io { path: dir.clone(), source })?;
        let catalog = Catalog::new(&dir.join("index.redb"), identity.names_key(), host.clone());
        let network = Network::new(ledger, endpoint, host, met::read(&dir));
        let inner = Inner { identity, network, dir, catalog };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The identity that the wallet belongs to.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// The ledger, the nodes and the machine, for code that knows no names.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.inner.network
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        self.network().ledger()
    }

    /// Ends all connections, those of the rooms above too.
    pub async fn close(&self) {
        self.remember_met().await;
        self.network().peers().close().await;
    }

    /// The account that holds its money.
    pub(crate) fn me(&self) -> AccountId {
        self.inner.identity.account()
    }

    /// The owner in whose name it stores files.
    pub(crate) fn owner(&self) -> Owner {
        let identity = self.identity();
        Owner { account_key: identity.account_key(), peer: identity.peer() }
    }

    pub(crate) fn host(&self) -> &Host {
        self.network().host()
    }

    /// The folder of this identity on this ledger. Only code that may block may read or write in it.
    pub(crate) fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Runs work on this machine's files on a thread where it holds up no other task.
    pub(crate) fn local<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Local) -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        Local::run(self, self.host(), work)
    }

    /// Takes the lock of `slot`. Refuses when another process has it. The error calls it `name`.
    pub(crate) async fn lock(&self, slot: Vec<u8>, name: String) -> Result<NameLock, ClientError> {
        let folder = self.dir().join("locks");
        self.host().in_turn(move || NameLock::take(&folder, &slot, &name)).await
    }
}

impl<R: AsRef<Wallet>> crate::local::Local<R> {
    /// The identity's rows on this machine.
    pub(crate) fn catalog(&self) -> &Catalog {
        let room: &R = self;
        &room.as_ref().inner.catalog
    }
}
