//! The market: access to files, sold and bought through an escrow ledger.
//!
//! - [`sell`](Market::sell): a vault among custodians once, then per listing a description, the terms, the preview;
//! - [`listings`](Market::listings), [`preview`](Market::preview): what is for sale, and what is open of it: cells that
//!   the seller could not choose, and others that the seller chose;
//! - [`fresh_preview`](Market::fresh_preview), [`answering`](Market::answering): cells that a viewer's own number picks,
//!   and the seller who opens them while it is online;
//! - [`buy`](Market::buy): escrow, the custodians' releases, the key, the grant;
//! - [`orders`](Market::orders), [`get`](Market::get): reading a bought file, and checking that it is the one that was
//!   listed;
//! - [`examine`](Market::examine), [`dispute`](Market::dispute): finding out what is wrong with a bought file, and getting
//!   the money back.
//!
//! The market stands on the [library](crate::library), whose files it sells and reads, and on the
//! [wallet](crate::wallet). It does not know how a file is stored or read, and neither room below knows the market. The
//! library has one question for it: whether a listing needs a file that is about to be removed. The market hands the
//! library a value that answers it.
//!
//! A program that only looks around and buys:
//!
//! ```
//! use symbolon_client::{
//!     BuyReport, ClientError, Devices, ListingFilter, Market, Progress, Setup, Wallet,
//! };
//!
//! async fn first(setup: Setup, words: &str) -> Result<Option<BuyReport>, ClientError> {
//!     let market = Market::new(Wallet::new(setup)?, Devices::default());
//!     let words = words.split_whitespace().map(String::from).collect();
//!     let found = market.listings(&ListingFilter { words, ..ListingFilter::default() }).await?;
//!     let Some(first) = found.first() else { return Ok(None) };
//!     market.buy(&first.id, first.price, &Progress::silent()).await.map(Some)
//! }
//! ```

mod ahead;
mod answering;
mod buy;
mod care;
mod cared;
mod cover;
mod custody;
mod description;
mod dispute;
mod examine;
mod fresh;
mod goods;
mod listings;
mod orders;
mod own;
mod previews;
mod sell;
mod table;
mod vault;

use std::{ops::Deref, sync::Arc};

pub use answering::{Answering, ViewerLimits};
pub use buy::{BuyOutcome, BuyReport};
pub use care::CareReport;
pub use cared::{CareSums, CareView, LATELY, UncareReport};
pub use custody::{
    CustodianState, CustodianView, CustodyView, DealOutcome, DealReport, Rotation, VaultView,
};
pub use dispute::{DisputeOutcome, DisputeReport};
pub use examine::{Examined, Finding, Wrong};
pub use fresh::FreshCells;
pub use goods::{CheckedListing, Checks, Sale};
pub use listings::{ListingDetail, ListingFilter, ListingView};
pub use orders::{OrderDetail, OrderView};
pub use previews::{OpenCells, PreviewCell, PreviewView};
pub use sell::{
    EndReport, SalePlan, SellOptions, SellOutcome, SellReport, Shown, TableFound, USUAL_LICENCE,
};
pub use table::{Column, ColumnType, Conformity, NotATable, Rows, Schema, TableFormat};
pub use vault::Custodians;

use crate::{
    library::{Devices, Library},
    wallet::Wallet,
};
use own::OwnListings;

/// The market on a thread where it may block.
pub(crate) type Local = crate::local::Local<Market>;

/// The room where an identity sells and buys. Cloning is cheap. It does all that its [library](Library) does.
#[derive(Clone, Debug)]
pub struct Market {
    library: Library,
    own: OwnListings,
}

impl Deref for Market {
    type Target = Library;

    fn deref(&self) -> &Library {
        &self.library
    }
}

impl AsRef<Wallet> for Market {
    fn as_ref(&self) -> &Wallet {
        self.library.wallet()
    }
}

impl Market {
    /// Makes the market of an identity. Its library asks the market's listings before it removes a file.
    #[must_use]
    pub fn new(wallet: Wallet, devices: Devices) -> Self {
        let own = OwnListings(wallet.clone());
        let library = Library::with_promises(wallet, devices, Arc::new(own.clone()));
        Self { library, own }
    }

    /// The files that the identity has stored.
    #[must_use]
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Runs work on this machine's files on a thread where it holds up no other task.
    pub(crate) fn local<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Local) -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        Local::run(self, self.host(), work)
    }
}
