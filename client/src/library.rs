//! The library: what an identity has stored, under names of its own, the same on each of its devices.
//!
//! - [`put`](Library::put): a [`Source`] becomes segments, with one journal for all that is not stored yet;
//! - [`get`](Library::get): what is read goes into a [`Sink`]; [`open`](Library::open): a [`Reader`](crate::Reader),
//!   which is `AsyncRead` and `AsyncSeek`;
//! - folder: many files at once, small ones in packs; names, versions, moving, removing;
//! - index: all of that on the network; [`Devices`]: in step with the identity's other devices;
//! - [`share`](Library::share): a name becomes a grant;
//! - upkeep: what is stored where, whether it is still there;
//! - ahead: what is asked for before it is wanted.
//!
//! It stands on the [wallet](crate::wallet), which pays and grants. It knows no listing, order, vault or price of
//! access. What others were promised of what it keeps it asks a `Promises` that was handed down to it; what a room above it stores it keeps under the kind that the room says.
//!
//! A gateway needs nothing of the market:
//!
//! ```
//! use symbolon_client::{
//!     ClientError, Devices, GetOptions, Library, Name, Progress, PutOptions, Readable, Setup, Sink,
//!     Wallet,
//! };
//!
//! async fn keep(setup: Setup, text: &str) -> Result<Vec<u8>, ClientError> {
//!     let library = Library::new(Wallet::new(setup)?, Devices::default());
//!     let (name, quiet) = (Name::new("notes/first.txt")?, Progress::silent());
//!     let source = text.as_bytes().to_vec().into();
//!     library.put(source, &name, &PutOptions::default(), &quiet).await?;
//!     let what = Readable::from(&name);
//!     let got = library.get(&what, Sink::Memory, &GetOptions::default(), &quiet).await?;
//!     Ok(got.bytes.unwrap_or_default())
//! }
//! ```

pub(crate) mod ahead;
mod deletion;
mod devices;
mod folder;
pub(crate) mod get;
mod index;
pub(crate) mod names;
pub(crate) mod promises;
mod put;
mod share;
pub(crate) mod source;
pub(crate) mod upkeep;
pub(crate) mod upload;
mod verify;

use std::{
    ops::Deref,
    sync::{Arc, Mutex},
};

pub use crate::catalog::FileKind;
pub use devices::Devices;
pub use folder::{
    FileFault, FolderGot, FolderOptions, FolderPlan, FolderQuote, FolderStored, GetPlan, Moved,
    NotKept, Removed, Selection, Usage,
};
pub use get::{GetOptions, GetOutcome, GetReport, Outgoing, Readable, Sink};
pub use index::{Growth, IndexView, PublishReport, PullReport};
pub use names::{
    FileView, Name, NameError, NameKind, NameView, NameWalk, Pattern, VersionView, is_unprintable,
    printable, shown,
};
pub use source::{Incoming, Source};
pub use upkeep::{FilesView, SegmentView, ShardHealth, ShardView, StatView};
pub use upload::{PutOptions, PutOutcome, PutReport, Replace, usual_epochs};
pub use verify::{VerifiedObject, VerifyReport};

use crate::wallet::Wallet;
use index::AtRoot;
use promises::Promises;

/// The library where it may block.
pub(crate) type Local = crate::local::Local<Library>;

/// What an identity has stored. Cloning is cheap. It does all that its [wallet](Wallet) does.
#[derive(Clone, Debug)]
pub struct Library {
    wallet: Wallet,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    devices: Devices,
    promises: Option<Arc<dyn Promises>>,
    /// The root record that was seen on the ledger, or set there, by this process.
    at_root: Mutex<Option<AtRoot>>,
}

impl Deref for Library {
    type Target = Wallet;

    fn deref(&self) -> &Wallet {
        &self.wallet
    }
}

impl AsRef<Wallet> for Library {
    fn as_ref(&self) -> &Wallet {
        &self.wallet
    }
}

impl Library {
    /// The library of an identity that sells nothing. What it has for sale on another device stays listed when it is
    /// removed here, and buyers find before they pay that it is gone: whoever sells takes the library of a
    /// [`Market`](crate::Market).
    #[must_use]
    pub fn new(wallet: Wallet, devices: Devices) -> Self {
        Self::assemble(wallet, devices, None)
    }

    /// A library that asks what others were promised.
    pub(crate) fn with_promises(
        wallet: Wallet,
        devices: Devices,
        promises: Arc<dyn Promises>,
    ) -> Self {
        Self::assemble(wallet, devices, Some(promises))
    }

    fn assemble(wallet: Wallet, devices: Devices, promises: Option<Arc<dyn Promises>>) -> Self {
        let inner = Inner { devices, promises, at_root: Mutex::default() };
        Self { wallet, inner: Arc::new(inner) }
    }

    /// The identity whose library it is.
    #[must_use]
    pub fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    /// Works on this machine's files where that holds up no other task.
    pub(crate) async fn local<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Local) -> T + Send + 'static,
    ) -> T {
        Local::run(self, self.host(), work).await
    }
}
