//! Listings: searching them, and reading their descriptions.

use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    content::FileKey,
    id::{AccountId, Hash, ListingId, VaultId},
    ledger::rows::{Chain, Listing, ListingState, Listings, PublicRef, Split, Table},
};
use symbolon_transfer::Reason;

use crate::{
    download::{LeavesWanted, Reading, spans},
    error::ClientError,
    market::{Market, custody::CustodyView},
    progress::Progress,
    term::Kept,
};

/// The most bytes of a description or preview: 64 cells that a beacon picks, 32 that the seller chooses, and their paths.
pub(super) const PUBLIC_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The listings that a caller wants to see.
#[derive(Clone, Debug, Default)]
pub struct ListingFilter {
    /// Words that must all occur in the title. Case does not matter.
    pub words: Vec<String>,
    /// Only listings of this seller.
    pub seller: Option<AccountId>,
    /// Only listings with at most this price.
    pub price_max: Option<Amount>,
    /// Whether ended listings are shown too.
    pub ended: bool,
}

/// A listing, as a program shows it.
#[derive(Clone, Debug)]
pub struct ListingView {
    /// The listing's id.
    pub id: ListingId,
    /// The seller's account.
    pub seller: AccountId,
    /// The title.
    pub title: String,
    /// The price of one access.
    pub price: Amount,
    /// Length of the file in bytes.
    pub length: u64,
    /// Number of cells of the file.
    pub cells: u64,
    /// How often it was sold.
    pub sold: u64,
    /// Its state.
    pub state: ListingState,
    /// What its seller loses if a buyer proves that it is not right.
    pub bond: Amount,
    /// Until when the ledger knows that its file is kept, in milliseconds since the Unix epoch. It takes no orders whose
    /// access would outlast that. Nothing when the ledger does not know it.
    pub covered_until_ms: Option<LedgerTime>,
    /// Whether its preview is posted.
    pub previewed: bool,
    /// Hash of the licence text.
    pub licence: Hash,
    /// When it was listed, in milliseconds since the Unix epoch.
    pub listed_ms: LedgerTime,
    /// How long a grant lasts, in milliseconds.
    pub access_ms: Millis,
    /// How long a buyer has to check a delivery, in milliseconds.
    pub window_ms: Millis,
    /// Whether the seller says that custodians of its key are the seller's own nodes.
    pub own_custodians: bool,
    /// Until when its goods are stored. Nothing when that is not known.
    pub kept: Option<Kept>,
}

impl ListingView {
    /// Whether it can be bought now: it takes orders, and its goods are stored for as long as access is sold.
    #[must_use]
    pub fn can_be_bought(&self, now_ms: LedgerTime) -> bool {
        let stored = match self.kept {
            None => true,
            Some(Kept::Over { .. }) => false,
            Some(Kept::Until { time_ms, .. }) => now_ms.saturating_add(self.access_ms) <= time_ms,
        };
        self.state == ListingState::Open && self.is_covered(now_ms) && stored
    }

    /// Whether the ledger knows that the file is kept for as long as an access that begins now.
    #[must_use]
    pub fn is_covered(&self, now_ms: LedgerTime) -> bool {
        self.covered_until_ms.is_some_and(|until| now_ms.saturating_add(self.access_ms) <= until)
    }
}

/// Everything about a listing.
#[derive(Clone, Debug)]
pub struct ListingDetail {
    /// The listing.
    pub view: ListingView,
    /// Its description: JSON, checked against the hash in the listing.
    pub document: String,
    /// The accounts that get a part of the income besides the seller.
    pub splits: Vec<Split>,
    /// The vault to which its key is sealed.
    pub vault: VaultId,
    /// Who keeps shares of the vault's secret.
    pub custody: CustodyView,
    /// The content root of the file.
    pub content_root: Hash,
}

pub(crate) fn view(chain: &Chain, id: ListingId, listing: &Listing) -> ListingView {
    let terms = &listing.terms;
    ListingView {
        id,
        seller: listing.seller,
        title: terms.title.clone(),
        price: terms.price,
        length: terms.manifest.length,
        cells: terms.cells,
        sold: listing.sold,
        state: listing.state,
        bond: terms.bond,
        covered_until_ms: Market::covered_until(chain, listing),
        previewed: listing.preview.is_some(),
        licence: terms.licence,
        listed_ms: listing.listed_ms,
        access_ms: terms.access_ms,
        window_ms: terms.window_ms,
        own_custodians: terms.own_custodians,
        kept: None,
    }
}

impl ListingFilter {
    fn shows(&self, view: &ListingView, now_ms: LedgerTime) -> bool {
        let title = view.title.to_lowercase();
        self.words.iter().all(|word| title.contains(&word.to_lowercase()))
            && self.seller.is_none_or(|seller| seller == view.seller)
            && self.price_max.is_none_or(|price| view.price <= price)
            && (self.ended || view.can_be_bought(now_ms))
    }
}

impl Market {
    /// The listings that pass a filter, newest first.
    pub async fn listings(&self, filter: &ListingFilter) -> Result<Vec<ListingView>, ClientError> {
        let rows = self.network().scan_all(Listings, &[]).await?;
        let chain = self.network().recent_chain().await?;
        let now_ms = self.clock_of(&chain).now_ms;
        let mut views = Vec::new();
        for (key, listing) in rows {
            let Some(id) = Listings::parse(&key) else { continue };
            let view = view(&chain, id, &listing);
            if filter.shows(&view, now_ms) {
                views.push((view, listing));
            }
        }
        // Only the listings that are shown, because this reads the deals of each of their sellers.
        let mut views = self.with_goods(&chain, views).await?;
        views.retain(|view| filter.shows(view, now_ms));
        views.sort_by_key(|view| std::cmp::Reverse((view.listed_ms, view.id)));
        Ok(views)
    }

    /// The ids of all listings, ended ones too.
    pub async fn listing_ids(&self) -> Result<Vec<ListingId>, ClientError> {
        let rows = self.network().scan_all(Listings, &[]).await?;
        Ok(rows.iter().filter_map(|(key, _)| Listings::parse(key)).collect())
    }

    /// The row of a listing as it was a moment ago.
    pub(crate) async fn listing_lately(&self, id: &ListingId) -> Result<Listing, ClientError> {
        self.ledger().row_lately(Listings, id).await?.ok_or(ClientError::NoListing(*id))
    }

    /// The row of a listing on the ledger, without its description.
    pub async fn listing_view(&self, id: &ListingId) -> Result<ListingView, ClientError> {
        let chain = self.network().recent_chain().await?;
        Ok(view(&chain, *id, &self.listing_lately(id).await?))
    }

    /// A listing with its description.
    pub async fn listing(&self, id: &ListingId) -> Result<ListingDetail, ClientError> {
        let listing = self.own.row(id).await?;
        let document = self.read_public(&listing.seller, &listing.terms.document).await?;
        let document = String::from_utf8(document)
            .map_err(|_| ClientError::Grant("the description is not text".into()))?;
        let terms = &listing.terms;
        let chain = self.network().recent_chain().await?;
        let kept = self.goods(&chain, &listing.seller, &terms.manifest).await?.kept;
        Ok(ListingDetail {
            view: ListingView { kept: Some(kept), ..view(&chain, *id, &listing) },
            document,
            splits: terms.splits.clone(),
            vault: terms.vault,
            custody: self.custody_of_listing(&listing).await?,
            content_root: terms.manifest.content_root,
        })
    }

    /// Reads a seller's public content and compares it with its hash.
    pub(crate) async fn read_public(
        &self,
        seller: &AccountId,
        public: &PublicRef,
    ) -> Result<Vec<u8>, ClientError> {
        self.read_public_of(seller, public, PUBLIC_BYTES_MAX).await
    }

    /// The same for content of at most `bytes_max` bytes.
    pub(crate) async fn read_public_of(
        &self,
        seller: &AccountId,
        public: &PublicRef,
        bytes_max: u64,
    ) -> Result<Vec<u8>, ClientError> {
        let corrupt = |why: Reason| ClientError::Corrupt { segment: 0, why };
        let manifest = public.manifest.clone();
        if manifest.length > bytes_max {
            return Err(corrupt("the public content is larger than this program reads".into()));
        }
        let layout = manifest.layout().map_err(|error| corrupt(error.into()))?;
        let (spans, _) = spans(&layout, 0, u64::MAX, 0);
        let key = FileKey::from_bytes(public.key);
        let (owner, leaves) = (*seller, LeavesWanted::No);
        let reading = Reading { owner, manifest, key, grant: None, leaves, only: None };
        let mut groups = self.network().read(reading, spans, &Progress::silent());
        let mut bytes = Vec::new();
        while let Some(group) = groups.next().await {
            bytes.extend(group?.plain);
        }
        if *blake3::hash(&bytes).as_bytes() == public.hash.0 {
            return Ok(bytes);
        }
        Err(corrupt("the public content does not have the hash that was published for it".into()))
    }
}
