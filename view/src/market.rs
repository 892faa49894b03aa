//! What is for sale, what was bought and sold.

use serde::Serialize;
use serde_json::Value;
use symbolon_client::{
    self as client, BuyOutcome, BuyReport, DisputeReport, EndReport, Kept, ListingDetail,
    ListingView, OrderDetail, OrderView, PreviewCell, SalePlan, SellOutcome, SellReport,
    market::{ColumnType, Conformity, FreshCells, PreviewView, Rows, Schema, TableFormat},
};
use symbolon_protocol::{
    Amount,
    id::{AccountId, Hash, ListingId, OrderId},
    ledger::rows,
};

use crate::{
    get::FileFetched,
    network::Ready,
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
    /// The cells that anyone may read because a beacon picked them, counted from 0 in the file.
    pub preview_cells: Vec<u64>,
    /// The cells that anyone may read because the seller chose them.
    pub chosen_cells: Vec<u64>,
    /// Bytes of the file that anyone may read, at most.
    pub public_bytes_max: u64,
    /// The columns that the description says the file has; null if it is not read as a table.
    pub schema: Option<Columns>,
    /// The price of one access.
    pub price: Money,
    /// For how long a buyer may read it.
    pub access_ms: u64,
    /// How long a buyer has to check it before the seller is paid.
    pub window_ms: u64,
    /// The bond: it comes back when the listing has ended and all its orders are closed.
    pub bond: Money,
    /// Until when the ledger knows that the file is kept.
    pub covered_until_ms: u64,
    /// Until when it can be bought: a later buyer's access would outlast the storage that is paid for.
    pub sold_until_ms: u64,
    /// What was paid to store the parts of the listing.
    pub cost: Money,
}

impl ForSale {
    /// The result of listing this name at this price, as it was planned.
    #[must_use]
    pub fn new((name, price): (&str, Amount), plan: &SalePlan, listed: &SellReport) -> Self {
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
            chosen_cells: listed.chosen_cells.clone(),
            public_bytes_max: plan.shown.public_bytes_max,
            schema: plan.table.schema().map(Columns::from),
            price: price.into(),
            access_ms: listed.access_ms.0,
            window_ms: listed.window_ms.0,
            bond: listed.bond.into(),
            covered_until_ms: listed.covered_until_ms.0,
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
    /// Its state.
    pub state: ListingState,
    /// What its seller loses if a buyer proves that it is not right.
    pub bond: Money,
    /// Until when the ledger knows that the file is kept; null if it was not shown that. No order's access may outlast it.
    pub covered_until_ms: Option<u64>,
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
            state: view.state.into(),
            bond: view.bond.into(),
            covered_until_ms: view.covered_until_ms.map(|time| time.0),
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

/// The state of a listing.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ListingState {
    /// It takes orders.
    Open,
    /// It takes no more orders.
    Ended,
    /// A buyer has proven that it is not what it says: it takes no more orders, and open ones are refunded.
    Frozen,
}

impl From<rows::ListingState> for ListingState {
    fn from(state: rows::ListingState) -> Self {
        match state {
            rows::ListingState::Open => Self::Open,
            rows::ListingState::Ended => Self::Ended,
            rows::ListingState::Frozen => Self::Frozen,
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

/// What anyone may see of a listing's file. Every cell is checked against its content root.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Preview {
    /// The listing.
    pub listing: Id,
    /// The cells that a beacon picked: the seller could not choose them.
    pub cells: Vec<Cell>,
    /// The cells that the seller chose: they say nothing of the rest of the file.
    pub chosen_cells: Vec<Cell>,
    /// The columns of the file, in the seller's word; null if the seller says none.
    pub schema: Option<Columns>,
    /// The first rows, out of the cells that the seller chose: part of the file; null if no such cell shows any.
    pub first_rows: Option<FirstRows>,
    /// Whether the first rows are as the schema says; null if there is nothing to compare.
    pub conforms: Option<bool>,
}

impl Preview {
    /// What a listing shows.
    #[must_use]
    pub fn new(listing: &ListingId, view: &PreviewView) -> Self {
        let cells = |cells: &[PreviewCell]| cells.iter().map(Cell::from).collect();
        Self {
            listing: listing.into(),
            cells: cells(&view.cells.drawn),
            chosen_cells: cells(&view.cells.chosen),
            schema: view.schema.as_ref().map(Columns::from),
            first_rows: view.rows.as_ref().map(FirstRows::from),
            conforms: view.conformity.as_ref().map(|is| *is == Conformity::Conforms),
        }
    }
}

/// Cells that a viewer's own number picked, opened by the seller just now.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FreshPreview {
    /// The listing.
    pub listing: Id,
    /// The number.
    pub nonce: Id,
    /// The cells: the seller could not choose them.
    pub fresh_cells: Vec<Cell>,
}

impl FreshPreview {
    /// What a seller opened of a listing.
    #[must_use]
    pub fn new(listing: &ListingId, fresh: &FreshCells) -> Self {
        Self {
            listing: listing.into(),
            nonce: (&Hash(fresh.nonce)).into(),
            fresh_cells: fresh.cells.iter().map(Cell::from).collect(),
        }
    }
}

/// A seller who answers viewers.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ViewersReady {
    /// That it answers.
    pub event: Ready,
    /// Who.
    pub seller: Id,
    /// Where.
    pub addresses: Vec<String>,
}

/// The columns of a table.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Columns {
    /// How the table is written down.
    pub format: Format,
    /// The columns, in their order.
    pub columns: Vec<Column>,
}

impl From<&Schema> for Columns {
    fn from(schema: &Schema) -> Self {
        let column = |column: &client::market::Column| Column {
            name: column.name.clone(),
            r#type: column.kind.map(Type::from),
        };
        Self { format: schema.format.into(), columns: schema.columns.iter().map(column).collect() }
    }
}

/// A column of a table.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its values are; null if it has none, or if that is not said.
    pub r#type: Option<Type>,
}

/// How a table is written down.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Format {
    /// Comma-separated values.
    Csv,
    /// Tab-separated values.
    Tsv,
    /// One JSON object on each line.
    JsonLines,
}

impl From<TableFormat> for Format {
    fn from(format: TableFormat) -> Self {
        match format {
            TableFormat::Csv => Self::Csv,
            TableFormat::Tsv => Self::Tsv,
            TableFormat::JsonLines => Self::JsonLines,
        }
    }
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Type {
    /// True or false.
    Boolean,
    /// Whole numbers.
    Integer,
    /// Numbers.
    Number,
    /// Dates.
    Date,
    /// Dates with a time of day.
    DateTime,
    /// Lists and objects of JSON.
    Structured,
    /// Text, or values of several kinds.
    Text,
}

impl From<ColumnType> for Type {
    fn from(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Boolean => Self::Boolean,
            ColumnType::Integer => Self::Integer,
            ColumnType::Number => Self::Number,
            ColumnType::Date => Self::Date,
            ColumnType::DateTime => Self::DateTime,
            ColumnType::Structured => Self::Structured,
            ColumnType::Text => Self::Text,
        }
    }
}

/// The rows at the beginning of a file.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FirstRows {
    /// The names of the columns, as the file has them.
    pub columns: Vec<String>,
    /// How many rows the cells hold.
    pub count: u64,
    /// The first of them, 20 at most. A value is cut after 200 characters.
    pub rows: Vec<Vec<String>>,
}

impl From<&Rows> for FirstRows {
    fn from(rows: &Rows) -> Self {
        Self {
            columns: rows.columns.iter().map(|column| column.name.clone()).collect(),
            count: rows.count,
            rows: rows.first.clone(),
        }
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

impl From<&PreviewCell> for Cell {
    fn from(cell: &PreviewCell) -> Self {
        Self {
            cell: cell.cell,
            offset: cell.offset,
            length: cell.plain.len(),
            text: std::str::from_utf8(&cell.plain).ok().map(str::to_owned),
        }
    }
}

/// A listing that takes no more orders.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ended {
    /// The listing.
    pub listing: Id,
    /// The bond that comes back; zero if a buyer has proven that the listing was not right.
    pub bond: Money,
    /// Orders that are still open: the bond comes back with the last of them.
    pub open_orders: u64,
    /// When the last of these is closed, unless a buyer complains; null if none is open.
    pub due_ms: Option<u64>,
}

impl From<&EndReport> for Ended {
    fn from(ended: &EndReport) -> Self {
        Self {
            listing: ended.listing.into(),
            bond: ended.bond.into(),
            open_orders: ended.open,
            due_ms: ended.due_ms.map(|time| time.0),
        }
    }
}

/// What was checked of a listing before anything was paid.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Checks {
    /// Until when access lasts.
    pub access_until_ms: u64,
    /// Until when the ledger knows that the file is kept.
    pub covered_until_ms: u64,
    /// How long a buyer has to check the file after delivery.
    pub window_ms: u64,
    /// What the seller loses if the buyer proves that it is not what was listed.
    pub bond: Money,
    /// Cells of the file: a hash of each is listed, and all of them lead to the content root.
    pub cells: u64,
    /// Preview cells that a beacon picked. They are part of the file, as are those that the seller chose.
    pub preview_cells: usize,
    /// Nodes of the file that answer.
    pub nodes: usize,
}

impl From<&client::Checks> for Checks {
    fn from(checks: &client::Checks) -> Self {
        Self {
            access_until_ms: checks.access_until_ms.0,
            covered_until_ms: checks.covered_until_ms.0,
            window_ms: checks.window_ms.0,
            bond: checks.bond.into(),
            cells: checks.cells,
            preview_cells: checks.preview_cells,
            nodes: checks.nodes,
        }
    }
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
    /// What was checked before it was paid; null if it was paid before.
    pub checks: Option<Checks>,
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
            checks: bought.checks.as_ref().map(Checks::from),
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
        let order = |order: &OrderView| Order::new(account, order);
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
    /// When the next step follows by itself: the refund while the key is not delivered or a cell is asked for, else the
    /// payment of the seller.
    pub due_ms: u64,
    /// Until when the buyer may read the file.
    pub access_until_ms: u64,
    /// Why the buyer has the money back; null if that is not so.
    pub refund: Option<Refund>,
}

impl Order {
    /// An order as this account sees it.
    #[must_use]
    pub fn new(account: AccountId, order: &OrderView) -> Self {
        Self {
            order: order.id.into(),
            listing: order.listing.into(),
            side: if order.buyer == account { Side::Bought } else { Side::Sold },
            buyer: order.buyer.into(),
            amount: order.amount.into(),
            state: order.state.into(),
            ordered_ms: order.ordered_ms.0,
            due_ms: order.due_ms.0,
            access_until_ms: order.access_until_ms.0,
            refund: order.refund.map(Refund::from),
        }
    }
}

/// Why a buyer has the money back.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Refund {
    /// Too few custodians released the key in time.
    NotDelivered,
    /// The releases open another key than the listed one.
    BadKey,
    /// A listed cell does not open to what was listed.
    BadCell,
    /// Nodes keep another cell than the listed one.
    OtherCell,
    /// Too few nodes gave a cell, even to the ledger.
    Unavailable,
    /// Another buyer has proven that the listing is not right.
    Frozen,
}

impl Refund {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::NotDelivered => "too few custodians released the key in time",
            Self::BadKey => "the releases open another key than the listed one",
            Self::BadCell => "a listed cell does not open to what was listed",
            Self::OtherCell => "nodes keep another cell than the listed one",
            Self::Unavailable => "too few nodes gave a cell, even to the ledger",
            Self::Frozen => "another buyer has proven that the listing is not right",
        }
    }
}

impl From<rows::Refund> for Refund {
    fn from(refund: rows::Refund) -> Self {
        match refund {
            rows::Refund::NotDelivered => Self::NotDelivered,
            rows::Refund::BadKey => Self::BadKey,
            rows::Refund::BadCell => Self::BadCell,
            rows::Refund::OtherCell => Self::OtherCell,
            rows::Refund::Unavailable => Self::Unavailable,
            rows::Refund::Frozen => Self::Frozen,
        }
    }
}

/// Everything about an order.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OrderShown {
    /// The entry for it in a list of orders.
    #[serde(flatten)]
    pub order: Order,
    /// What is bought.
    pub title: String,
    /// Who sells.
    pub seller: Id,
    /// The state of the listing.
    pub listing_state: ListingState,
    /// Releases of custodians on the ledger.
    pub releases: usize,
    /// How many of them open the key.
    pub required: usize,
    /// How long the buyer has to check the file after delivery.
    pub window_ms: u64,
    /// What the seller loses if the buyer proves that it is not what was listed.
    pub bond: Money,
    /// The cell that nodes are to put on the ledger; null if none is asked for.
    pub asked_cell: Option<u64>,
    /// How many nodes have put theirs there.
    pub answered: usize,
    /// How often nodes were asked for a cell and gave it.
    pub given: u8,
}

impl OrderShown {
    /// An order as this account sees it.
    #[must_use]
    pub fn new(account: AccountId, detail: &OrderDetail) -> Self {
        Self {
            order: Order::new(account, &detail.view),
            title: detail.title.clone(),
            seller: detail.seller.into(),
            listing_state: detail.listing_state.into(),
            releases: detail.releases,
            required: detail.required,
            window_ms: detail.window_ms.0,
            bond: detail.bond.into(),
            asked_cell: detail.asked.map(|(cell, _)| cell),
            answered: detail.asked.map_or(0, |(_, answered)| answered),
            given: detail.given,
        }
    }
}

/// A bought file that was acknowledged.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Acknowledged {
    /// The order.
    pub order: Id,
}

/// A bought file that was compared with its listing, and what became of a complaint.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Disputed {
    /// The order.
    pub order: Id,
    /// What became of it.
    pub outcome: DisputeOutcome,
    /// What was found to be wrong; null if nothing was, or if an earlier call found it.
    pub wrong: Option<Wrong>,
    /// The cell that it is about; null if it is about the key.
    pub cell: Option<u64>,
    /// Why the buyer has the money back; null if that is not so.
    pub refund: Option<Refund>,
    /// What came back of the order.
    pub refunded: Money,
    /// The buyer's part of the seller's bond.
    pub from_bond: Money,
    /// What was lost of the bond of the complaint.
    pub lost: Money,
}

impl Disputed {
    /// A file that is what was listed.
    #[must_use]
    pub fn nothing(order: OrderId) -> Self {
        let none = || Money::from(Amount::ZERO);
        Self {
            order: order.into(),
            outcome: DisputeOutcome::NothingWrong,
            wrong: None,
            cell: None,
            refund: None,
            refunded: none(),
            from_bond: none(),
            lost: none(),
        }
    }

    /// What became of a complaint.
    #[must_use]
    pub fn new(wrong: Option<client::Wrong>, report: &DisputeReport) -> Self {
        let (outcome, refund) = match report.outcome {
            client::DisputeOutcome::Refunded(refund) => {
                (DisputeOutcome::Refunded, Some(refund.into()))
            }
            client::DisputeOutcome::Given => (DisputeOutcome::Given, None),
            _ => (DisputeOutcome::Dismissed, None),
        };
        let (wrong, cell) = wrong.map_or((None, None), |wrong| {
            let (wrong, cell) = Wrong::of(wrong);
            (Some(wrong), cell)
        });
        Self {
            order: report.order.into(),
            outcome,
            wrong,
            cell,
            refund,
            refunded: report.refunded.into(),
            from_bond: report.from_bond.into(),
            lost: report.lost.into(),
        }
    }
}

/// What became of a complaint.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum DisputeOutcome {
    /// The key and every cell are what was listed: no complaint was made.
    NothingWrong,
    /// The buyer has the money back.
    Refunded,
    /// Nodes have put the cell on the ledger, and it is the listed one.
    Given,
    /// The complaint was dismissed.
    Dismissed,
}

/// What is wrong with a bought file.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Wrong {
    /// The releases open another key than the listed one.
    Key,
    /// A cell is as it was listed, and does not open to what was listed.
    Cell,
    /// Nodes keep another cell than the listed one.
    Kept,
    /// Too few nodes give a cell.
    Missing,
}

impl Wrong {
    fn of(wrong: client::Wrong) -> (Self, Option<u64>) {
        match wrong {
            client::Wrong::Cell { cell } => (Self::Cell, Some(cell)),
            client::Wrong::Kept { cell } => (Self::Kept, Some(cell)),
            client::Wrong::Missing { cell, .. } => (Self::Missing, Some(cell)),
            _ => (Self::Key, None),
        }
    }
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
    /// The buyer did not get a cell: nodes are to put it on the ledger.
    Asked,
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
            Self::Asked => "asked",
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
            rows::OrderState::Asked => Self::Asked,
        }
    }
}
