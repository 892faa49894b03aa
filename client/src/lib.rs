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
//! #     let (chain, peers) = (ledger.chain(), vec![endpoint.address()]);
//! #     let ticket = LedgerTicket { chain, peers }.to_string();
//! #     tokio::spawn(answer(ledger.clone(), endpoint));
//! #     let mut nodes = Vec::new();
//! #     for number in 0..3 {
//! #         let secret = host.random();
//! #         let endpoint = Endpoint::iroh(BindOptions::new(secret)).await?;
//! #         let dir = folder.path().join(format!("node {number}"));
//! #         std::fs::create_dir_all(&dir)?;
//! #         let (capacity, price, payout) = (1 << 30, Amount(1), endpoint.id().into());
//! #         let limits = Limits::for_capacity(capacity);
//! #         let (operator, custody, caretaker, accept_loss) = (None, true, false, false);
//! #         let options = NodeOptions {
//! #             dir, capacity, price, payout, operator, custody, caretaker, limits, accept_loss,
//! #         };
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
//! A [`Client`] is three rooms, one above the other; [`Client::connect`] makes one from a ticket:
//!
//! - [`wallet`]: an identity's accounts, grants and history;
//! - [`library`]: names, folders, versions, and the index that every device of the identity sees;
//! - [`market`]: selling and buying access.
//!
//! Each room is a type of its own. A program can use it without the rooms above it. Each room does all that the rooms
//! below it do, and none can call a room above it.
//!
//! [`symbolon_transfer`] sends segments to nodes and fetches them; it knows none of these things. This crate knows the
//! ledger only as a port, and prints nothing. No call blocks its thread: code that reads or writes the index or other
//! files of this machine runs on a thread of its own.

mod catalog;
mod client;
mod connect;
mod error;
pub mod library;
mod local;
mod locks;
pub mod market;
mod term;
pub mod wallet;

use std::sync::{Mutex, MutexGuard, PoisonError};

use symbolon_transfer::{download, durability, place, progress, reader};

pub use client::Client;
pub use connect::{ConnectOptions, calling_endpoint};
pub use error::{ClientError, ErrorKind, NotFresh, NotListed};
pub use library::{
    Agreement, Attribute, AttributeKind, BucketName, BucketView, Check, Checksum, CopyOptions,
    Devices, Etag, Expected, FileFault, FileKind, FileView, FilesView, FolderGot, FolderOptions,
    FolderPlan, FolderQuote, FolderShared, FolderStored, FolderWalk, GetOptions, GetOutcome,
    GetPlan, GetReport, Growth, Incoming, IndexView, ItemBytes, ItemKey, ItemMark, ItemOptions,
    ItemReader, ItemView, KeepOptions, KeepReport, Library, Listed, Moved, Name, NameError,
    NameKind, NameView, NameWalk, NotKept, Outgoing, PackOptions, PackReport, Page, PageEntry,
    PageOptions, PageToken, PartView, PartedId, PartedView, Pattern, PublishReport, PullReport,
    PutItem, PutOptions, PutOutcome, PutReport, Readable, ReaderRow, Readers, Removed, RemovedItem,
    Renewal, Renewing, Replace, SOON, SegmentView, Selection, Setting, ShardEvent, ShardEventKind,
    ShardHealth, ShardHistory, ShardView, Sink, Source, Start, StatView, Stored, Sum, SumKind,
    TidyReport, Usage, VerifiedObject, VerifyReport, VersionId, VersionView, Versions,
    is_unprintable, printable, shown, sum_of_sums, sum_of_whole, usual_epochs,
};
pub use market::{
    BuyOutcome, BuyReport, CareReport, CareSums, CareView, CheckedListing, Checks, CustodianState,
    CustodianView, Custodians, CustodyView, DealOutcome, DealReport, DisputeOutcome, DisputeReport,
    EndReport, Examined, Finding, LATELY, ListingDetail, ListingFilter, ListingView, Market,
    OrderDetail, OrderView, PreviewCell, Rotation, Sale, SalePlan, SellOptions, SellOutcome,
    SellReport, USUAL_LICENCE, UncareReport, VaultView, Wrong,
};
pub use symbolon_ledger::{LedgerTicket, TicketError};
pub use symbolon_net::{Congestion, Host};
pub use symbolon_protocol::{
    Amount,
    grant::{Caveat, GrantToken, Voucher},
    identity::{Identity, Phrase, Recipient},
};
pub use symbolon_transfer::{
    NodeView, TransferError,
    check::{Depth, ShardCheck},
    delete::Deletion,
    durability::{Durability, HISTORY_EPOCHS, Record, UNAVAILABLE_MAX, durability},
    place::{Price, Quote},
    progress::{Awaited, Progress, Step, Wait},
    reader::{ReadCost, ReadFault, Reader},
};
pub use term::{Kept, LedgerClock};
pub use wallet::{AccountView, Delegated, Sent, Setup, Stakes, Unbinding, Wallet};

/// Locks a mutex, also after a holder has panicked: no holder in this crate leaves the value half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
