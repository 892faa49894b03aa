//! The library: the files that an identity has stored, under names of its own. It is the same on each of its devices.
//!
//! - [`put`](Library::put): turns a [`Source`] into segments; a journal keeps every upload that is not finished;
//! - [`get`](Library::get): reads a file into a [`Sink`]; [`open`](Library::open): gives a [`Reader`](crate::Reader),
//!   which is `AsyncRead` and `AsyncSeek`;
//! - folder: stores and reads many files at once, small ones in packs; names, versions, moving, removing;
//! - index: the names and keys on the network; [`Devices`]: how the client keeps in step with the identity's other
//!   devices;
//! - buckets: tables of items under plain keys, for a gateway;
//! - [`share`](Library::share): turns a name into a grant;
//! - readers: who read what this identity has shared, by the nodes' signed words;
//! - upkeep: where files are stored, and whether nodes still keep them;
//! - ahead: requests that are sent early.
//!
//! The library stands on the [wallet](crate::wallet), which pays and grants. It knows no listing, order, vault or price
//! of access. A room above it may have promised files to other people; the library asks the `Promises` that this room
//! has handed down. A room above it may also store objects of its own; the room names their kind, and the library keeps
//! them under that kind.
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

mod agreed;
pub(crate) mod ahead;
mod buckets;
pub(crate) mod budget;
mod deletion;
mod devices;
mod digests;
mod folder;
pub(crate) mod get;
mod index;
mod keep;
mod moves;
pub(crate) mod names;
pub(crate) mod promises;
mod put;
mod readers;
mod renew;
pub(crate) mod segments;
mod share;
pub(crate) mod source;
mod stored;
pub(crate) mod upkeep;
pub(crate) mod upload;
mod verify;
mod widen;

use std::{
    ops::Deref,
    sync::{Arc, Mutex},
};

pub use crate::catalog::FileKind;
pub use agreed::Agreement;
pub use buckets::{
    Attribute, AttributeKind, BucketName, BucketView, Check, Checksum, CopyOptions, Etag, Expected,
    ItemBytes, ItemKey, ItemMark, ItemOptions, ItemReader, ItemView, PackOptions, PackReport, Page,
    PageEntry, PageOptions, PageToken, PartView, PartedId, PartedView, PutItem, RemovedItem,
    Setting, Start, Sum, TidyReport, VersionId, Versions,
};
pub use devices::Devices;
pub use digests::{SumKind, sum_of_sums, sum_of_whole};
pub use folder::{
    FileFault, FolderGot, FolderOptions, FolderPlan, FolderQuote, FolderShared, FolderStored,
    GetPlan, Moved, NotKept, Removed, Selection, Usage,
};
pub use get::{GetOptions, GetOutcome, GetReport, Outgoing, Readable, Sink};
pub use index::{Growth, IndexView, PublishReport, PullReport};
pub use keep::{KeepOptions, KeepReport, Renewing};
pub use moves::{ShardEvent, ShardEventKind, ShardHistory};
pub use names::{
    FileView, FolderWalk, Listed, Name, NameError, NameKind, NameView, NameWalk, Pattern,
    VersionView, is_unprintable, printable, shown,
};
pub use readers::{ReaderRow, Readers};
pub use renew::Renewal;
pub use segments::Stored;
pub use source::{Incoming, Source};
pub use upkeep::{FilesView, SOON, SegmentView, ShardHealth, ShardView, StatView};
pub use upload::{PutOptions, PutOutcome, PutReport, Replace, usual_epochs};
pub use verify::{VerifiedObject, VerifyReport};

use crate::wallet::Wallet;
use index::AtRoot;
use promises::Promises;

/// The library on a thread where it may block.
pub(crate) type Local = crate::local::Local<Library>;

/// The files that an identity has stored. Cloning is cheap. It does all that its [wallet](Wallet) does.
#[derive(Clone, Debug)]
pub struct Library {
    wallet: Wallet,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    devices: Devices,
    promises: Option<Arc<dyn Promises>>,
    /// The root record that this process last saw on the ledger, or set there.
    at_root: Mutex<Option<AtRoot>>,
    /// Small items of buckets that are about to be written.
    arriving: Mutex<buckets::Arriving>,
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
    /// Makes the library of an identity that sells nothing. It does not know the listings that the identity may have
    /// made on another device. Removing a file here leaves such a listing open, and its buyers find before they pay
    /// that the file is gone. A program that sells takes the library of a [`Market`](crate::Market).
    #[must_use]
    pub fn new(wallet: Wallet, devices: Devices) -> Self {
        Self::assemble(wallet, devices, None)
    }

    /// Makes a library that asks `promises` before it removes an object or stores it anew.
    pub(crate) fn with_promises(
        wallet: Wallet,
        devices: Devices,
        promises: Arc<dyn Promises>,
    ) -> Self {
        Self::assemble(wallet, devices, Some(promises))
    }

    fn assemble(wallet: Wallet, devices: Devices, promises: Option<Arc<dyn Promises>>) -> Self {
        let (at_root, arriving) = (Mutex::default(), Mutex::default());
        let inner = Inner { devices, promises, at_root, arriving };
        Self { wallet, inner: Arc::new(inner) }
    }

    /// The wallet of the identity.
    #[must_use]
    pub fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    /// Runs work on this machine's files on a thread where it holds up no other task.
    pub(crate) fn local<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Local) -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        Local::run(self, self.host(), work)
    }
}
