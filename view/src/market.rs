//! What is for sale, what was bought and sold.

use serde::Serialize;
use serde_json::Value;
use symbolon_client::{
    BuyOutcome, BuyReport, Kept, ListingDetail, ListingView, OrderView, PreviewCell, SellOutcome,
    SellReport,
};
use symbolon_protocol::{
    Amount,
    id::{AccountId, ListingId},
    ledger::rows,
};

use crate::{
    get::FileFetched,
    plain::{Id, Money},
    vault::Custody,
};

/// A file that is for sale.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ForSale {
    /// What was done.
    pub outcome: ForSaleOutcome,
    /// Its name.
    pub name: String,
    /// The listing.
    pub listing: Id,
    /// The vault that guards its key.
    pub vault: Id,
    /// The nodes that keep shares of the vault's secret.
    pub custodians: Vec<Id>,
    /// How many of those are needed to release the key.
    pub threshold: usize,
    /// The cells that anyone may read, counted from 0 in the file.
    pub preview_cells: Vec<u64>,
    /// The price of one access.
    pub price: Money,
    /// For how long a buyer may read it.
    pub access_ms: u64,
    /// Until when it can be bought: a later buyer's access would outlast the storage that is paid for.
    pub sold_until_ms: u64,
    /// What was paid to store the parts of the listing.
    pub cost: Money,
}

impl ForSale {
    /// The result of listing this name at this price.
    #[must_use]
    pub fn new(name: &str, price: Amount, listed: &SellReport) -> Self {
        Self {
            outcome: match listed.outcome {
                SellOutcome::Listed => ForSaleOutcome::Listed,
                SellOutcome::Already => ForSaleOutcome::Already,
            },
            name: name.to_owned(),
            listing: listed.listing.into(),
            vault: listed.vault.into(),
            custodians: Id::list(&listed.custodians),
            threshold: listed.threshold,
            preview_cells: listed.preview_cells.clone(),
            price: price.into(),
            access_ms: listed.access_ms.0,
            sold_until_ms: listed.sold_until_ms.0,
            cost: listed.cost.into(),
        }
    }
}

/// Whether it was listed now.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ForSaleOutcome {
    /// It listed it.
    Listed,
    /// Nothing: it was listed already.
    Already,
}

/// What is for sale.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Listings {
    /// One for each listing.
    pub listings: Vec<Listing>,
}

/// Something that is for sale.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Listing {
    /// The listing.
    pub listing: Id,
    /// Whose it is.
    pub seller: Id,
    /// What it is called.
    pub title: String,
    /// The price of one access.
    pub price: Money,
    /// Bytes of the file.
    pub length: u64,
    /// Cells of the file.
    pub cells: u64,
    /// How often it was sold.
    pub sold: u64,
    /// Whether it takes orders.
    pub open: bool,
    /// Whether its preview is open.
    pub previewed: bool,
    /// The hash of its licence.
    pub licence: Id,
    /// When it was listed.
    pub listed_ms: u64,
    /// For how long a buyer may read it.
    pub access_ms: u64,
    /// How long a buyer has to check it before the seller is paid.
    pub window_ms: u64,
    /// Whether the seller says that some of the nodes that keep its key are the seller's own.
    pub own_custodians: bool,
    /// Until when it is stored; null if it is not stored, or if that is unknown.
    pub stored_until_ms: Option<u64>,
    /// Whether it is stored no longer.
    pub over: bool,
}

impl From<&ListingView> for Listing {
    fn from(view: &ListingView) -> Self {
        Self {
            listing: view.id.into(),
            seller: view.seller.into(),
            title: view.title.clone(),
            price: view.price.into(),
            length: view.length,
            cells: view.cells,
            sold: view.sold,
            open: view.open,
            previewed: view.previewed,
            licence: view.licence.into(),
            listed_ms: view.listed_ms.0,
            access_ms: view.access_ms.0,
            window_ms: view.window_ms.0,
            own_custodians: view.own_custodians,
            stored_until_ms: match view.kept {
                Some(Kept::Until { time_ms, .. }) => Some(time_ms.0),
                _ => None,
            },
            over: matches!(view.kept, Some(Kept::Over { .. })),
        }
    }
}

/// Everything about a listing.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Detail {
    /// The entry for it in a list of listings.
    #[serde(flatten)]
    pub listing: Listing,
    /// The seller's description as it was listed: JSON, or a text where it is none.
    pub document: Value,
    /// The other accounts that are paid.
    pub splits: Vec<Split>,
    /// The vault that guards its key.
    pub vault: Id,
    /// Who keeps shares of the vault's secret.
    pub custody: Custody,
    /// The root over all cells of the file.
    pub content_root: Id,
}

impl From<&ListingDetail> for Detail {
    fn from(detail: &ListingDetail) -> Self {
        let document = serde_json::from_str(&detail.document)
            .unwrap_or_else(|_| Value::String(detail.document.clone()));
        let split =
            |split: &rows::Split| Split { account: split.account.into(), share_bp: split.share_bp };
        Self {
            listing: (&detail.view).into(),
            document,
            splits: detail.splits.iter().map(split).collect(),
            vault: detail.vault.into(),
            custody: detail.custody.into(),
            content_root: detail.content_root.into(),
        }
    }
}

impl Detail {
    /// What the seller's description says under this key, where that is a text with anything in it.
    #[must_use]
    pub fn says(&self, key: &str) -> Option<&str> {
        self.document.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }
}

/// Another account that is paid from a sale.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Split {
    /// Who.
    pub account: Id,
    /// The part of the income, in hundredths of a percent.
    pub share_bp: u16,
}

/// The cells of a listing that anyone may read, checked against its content root.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Preview {
    /// The listing.
    pub listing: Id,
    /// One for each cell.
    pub cells: Vec<Cell>,
}

impl Preview {
    /// The cells of a listing.
    #[must_use]
    pub fn new(listing: &ListingId, cells: &[PreviewCell]) -> Self {
        let cell = |cell: &PreviewCell| Cell {
            cell: cell.cell,
            offset: cell.offset,
            length: cell.plain.len(),
            text: std::str::from_utf8(&cell.plain).ok().map(str::to_owned),
        };
        Self { listing: listing.into(), cells: cells.iter().map(cell).collect() }
    }
}

/// A cell that anyone may read.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cell {
    /// Which cell of the file, from 0.
    pub cell: u64,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub length: usize,
    /// The bytes as text; null if they are not valid UTF-8.
    pub text: Option<String>,
}

/// A listing that takes no more orders.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ended {
    /// The listing.
    pub listing: Id,
}

/// Access that was bought.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Bought {
    /// What was done.
    pub outcome: BoughtOutcome,
    /// The order.
    pub order: Id,
    /// What was bought.
    pub listing: Id,
    /// What was paid for it.
    pub paid: Money,
    /// The custodians that released the key, by their numbers in the vault.
    pub custodians: Vec<u8>,
    /// The grant, `grant1...`.
    pub grant: String,
    /// The result of fetching it; null if that was not asked for.
    pub fetched: Option<FileFetched>,
}

impl Bought {
    /// The result of a purchase, and of fetching the file.
    #[must_use]
    pub fn new(bought: &BuyReport, fetched: Option<FileFetched>) -> Self {
        Self {
            outcome: match bought.outcome {
                BuyOutcome::Bought => BoughtOutcome::Bought,
                BuyOutcome::Resumed => BoughtOutcome::Resumed,
                BuyOutcome::Already => BoughtOutcome::Already,
            },
            order: bought.order.into(),
            listing: bought.listing.into(),
            paid: bought.paid.into(),
            custodians: bought.custodians.clone(),
            grant: bought.token.to_text(),
            fetched,
        }
    }
}

/// What buying did.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum BoughtOutcome {
    /// It paid, and has the key.
    Bought,
    /// It went on with an order that was paid before.
    Resumed,
    /// Nothing: it was bought before.
    Already,
}

/// What was bought and not fetched.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Purchase {
    /// The order.
    pub order: Id,
    /// The grant, `grant1...`.
    pub grant: String,
}

impl From<&BuyReport> for Purchase {
    fn from(bought: &BuyReport) -> Self {
        Self { order: bought.order.into(), grant: bought.token.to_text() }
    }
}

/// What an account bought and sold.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Orders {
    /// Whose.
    pub account: Id,
    /// One for each order.
    pub orders: Vec<Order>,
}

impl Orders {
    /// The orders of this account.
    #[must_use]
    pub fn new(account: AccountId, orders: &[OrderView]) -> Self {
        let order = |order: &OrderView| Order {
            order: order.id.into(),
            listing: order.listing.into(),
            side: if order.buyer == account { Side::Bought } else { Side::Sold },
            buyer: order.buyer.into(),
            amount: order.amount.into(),
            state: order.state.into(),
            ordered_ms: order.ordered_ms.0,
            due_ms: order.due_ms.0,
        };
        Self { account: account.into(), orders: orders.iter().map(order).collect() }
    }
}

/// A purchase.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Order {
    /// The order.
    pub order: Id,
    /// What it is for.
    pub listing: Id,
    /// The side of the order on which the account is.
    pub side: Side,
    /// Who pays.
    pub buyer: Id,
    /// How much.
    pub amount: Money,
    /// Its state.
    pub state: OrderState,
    /// When it was made.
    pub ordered_ms: u64,
    /// When the next step follows by itself: the refund while the key is not delivered, else the payment of the seller.
    pub due_ms: u64,
}

/// The side of an order on which an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Side {
    /// It pays.
    Bought,
    /// It is paid.
    Sold,
}

impl Side {
    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Bought => "bought",
            Self::Sold => "sold",
        }
    }
}

/// The state of an order.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum OrderState {
    /// The money is in escrow; custodians may release the key.
    Paid,
    /// The key is delivered; the buyer's time to check runs.
    Delivered,
    /// The seller is paid.
    Settled,
    /// The buyer got the money back.
    Refunded,
}

impl OrderState {
    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Delivered => "delivered",
            Self::Settled => "settled",
            Self::Refunded => "refunded",
        }
    }
}

impl From<rows::OrderState> for OrderState {
    fn from(state: rows::OrderState) -> Self {
        match state {
            rows::OrderState::Paid => Self::Paid,
            rows::OrderState::Delivered => Self::Delivered,
            rows::OrderState::Settled => Self::Settled,
            rows::OrderState::Refunded => Self::Refunded,
        }
    }
}
