//! The market: access to files, sold and bought through an escrow ledger.
//!
//! - [`sell`](Market::sell): a vault among custodians once, then per listing a description, the terms, the preview;
//! - [`listings`](Market::listings), [`preview`](Market::preview): what is for sale, and what can be seen of it;
//! - [`buy`](Market::buy): escrow, the custodians' releases, the key, the grant;
//! - [`orders`](Market::orders), [`get`](Market::get): what was bought, and that it is what was listed.
//!
//! It stands on the [library](crate::library), whose files it sells and reads, and on the [wallet](crate::wallet). It
//! knows nothing of how a file is stored or read, and neither room below knows it: what they have to ask it, whether
//! a listing needs what is about to go, was handed down to them.
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
mod buy;
mod goods;
mod listings;
mod orders;
mod own;
mod sell;
mod vault;

use std::{ops::Deref, sync::Arc};

pub use buy::{BuyOutcome, BuyReport};
pub use goods::Sale;
pub use listings::{ListingDetail, ListingFilter, ListingView, PreviewCell};
pub use orders::OrderView;
pub use sell::{SalePlan, SellOptions, SellOutcome, SellReport, USUAL_LICENCE};

use crate::{
    library::{Devices, Library},
    wallet::Wallet,
};
use own::OwnListings;

/// The market where it may block.
pub(crate) type Local = crate::local::Local<Market>;

/// Where an identity sells and buys. Cloning is cheap. It does all that its [library](Library) does.
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
    /// The market of an identity, over a library that asks it what is for sale.
    #[must_use]
    pub fn new(wallet: Wallet, devices: Devices) -> Self {
        let own = OwnListings(wallet.clone());
        let library = Library::with_promises(wallet, devices, Arc::new(own.clone()));
        Self { library, own }
    }

    /// What the identity has stored.
    #[must_use]
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Works on this machine's files where that holds up no other task.
    pub(crate) async fn local<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Local) -> T + Send + 'static,
    ) -> T {
        Local::run(self, self.host(), work).await
    }
}
