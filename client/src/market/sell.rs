//! Selling: a vault among custodians once, then per listing a description, the terms, the preview.
//!
//! Every id derives from the identity and the goods. So a sale that was cut short continues where it stopped when the
//! seller asks for it again.

mod chosen;
mod leaves;
mod preview;

use std::collections::BTreeSet;

use bytes::Bytes;
use symbolon_net::{Announced, PeerAddress};
use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    content::{FileKey, Layout, LayoutError, Manifest, MaskMode},
    custody::{self, Capsule},
    dispute::LeafList,
    grant,
    id::{AccountId, Hash, ListingId, NodeId, Opening, OrderId, TransactionId, VaultId},
    ledger::{
        Offer, Params, access_min, bond_min, check_epochs,
        rows::{
            Access, Accounts, Deals, Draws, Listing, ListingState, OrderState, Orders, OrdersOf,
            PublicRef, Split, Table as _, Terms,
        },
        transaction::Action,
    },
    limits::ADDRESSES_MAX,
};

use crate::{
    catalog::FileKind,
    error::ClientError,
    library::{
        budget::Budget,
        names::{Found, Name, shown},
        source::Source,
        upkeep::public_name,
        upload::{PutTerms, Replace, Request, price_of},
    },
    market::{
        Market, cover,
        description::{Described, describe},
        listings::PUBLIC_BYTES_MAX,
        vault::{Custodians, largest_vault},
    },
    place::Price,
    progress::Progress,
    term::{Kept, runs},
};
use chosen::choose;
pub use chosen::{Shown, TableFound};
use preview::PREVIEW_CELL_BYTES_MAX;

/// How to sell. The default has usual values for everything but the title and the price, which only the seller knows.
#[derive(Clone, Debug)]
pub struct SellOptions {
    /// The listing's title.
    pub title: String,
    /// The description.
    pub description: String,
    /// The price of one access.
    pub price: Amount,
    /// The licence: what a buyer may do with the file.
    pub licence_text: String,
    /// How long a grant lasts, in milliseconds. Without a value it is half of the time that the file is paid for, at
    /// most 30 days, which leaves as much time for selling.
    pub access_ms: Option<Millis>,
    /// How long a buyer has to check a delivery, in milliseconds. Without a value it is a day, and at most a quarter of the
    /// access.
    pub window_ms: Option<Millis>,
    /// The accounts that get a part of the income.
    pub splits: Vec<Split>,
    /// Number of cells to open as a preview. A beacon picks them.
    pub preview_cells: u8,
    /// Number of cells at the beginning of the file to open as well. Viewers are told that the seller chose them.
    pub show_first: u8,
    /// Ranges of bytes whose cells to open as well. Viewers are told that the seller chose them.
    pub samples: Vec<(u64, u64)>,
    /// Whether the description of a table says its columns.
    pub says_columns: bool,
    /// Addresses at which the seller will [answer viewers](Market::answering): the description says them.
    pub answers_at: Vec<Announced>,
    /// Number of epochs for which the description, the leaf list and the preview are stored. Without a value they are
    /// stored as long as the file.
    pub epochs: Option<u64>,
    /// The limit for the whole cost of storing the description, the leaf list, the preview, and a copy of the file if it
    /// needs one. The bond does not count: it comes back.
    /// A client that keeps [in step](crate::Devices) publishes the sale with what is left of this limit.
    pub cost_max: Option<Amount>,
    /// Who keeps the shares of the key, if no vault is open yet.
    pub custodians: Custodians,
}

/// The licence of a listing for which the seller gives none.
pub const USUAL_LICENCE: &str = "All rights reserved; for the buyer's own use.";

/// How long a buyer has to check a delivery if the seller does not say, and access lasts at least four times as long.
const USUAL_WINDOW: Millis = Millis::DAY;

impl Default for SellOptions {
    fn default() -> Self {
        Self {
            title: String::new(),
            description: String::new(),
            price: Amount::ZERO,
            licence_text: String::from(USUAL_LICENCE),
            access_ms: None,
            window_ms: None,
            splits: Vec::new(),
            preview_cells: 1,
            show_first: 0,
            samples: Vec::new(),
            says_columns: true,
            answers_at: Vec::new(),
            epochs: None,
            cost_max: None,
            custodians: Custodians::default(),
        }
    }
}

/// The result of checking a sale before anything is spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalePlan {
    /// How long a grant lasts, in milliseconds.
    pub access_ms: Millis,
    /// How long a buyer has to check a delivery, in milliseconds.
    pub window_ms: Millis,
    /// The bond. It comes back when the listing has ended and all its orders are closed. A seller who listed what is not
    /// so loses it.
    pub bond: Amount,
    /// Number of epochs for which the description, the leaf list and the preview are stored.
    pub epochs: u64,
    /// Until when it can be bought, in milliseconds since the Unix epoch. After that the file is not paid for as long
    /// as access would last.
    pub sold_until_ms: LedgerTime,
    /// The most that storing the parts of the listing costs in all.
    pub cost: Amount,
    /// What of the file everyone will be able to read.
    pub shown: Shown,
    /// Whether the file is a table. Its columns are a part of the description then.
    pub table: TableFound,
}

/// The terms of a sale after their check.
struct Checked {
    plan: SalePlan,
    preview_cells: u8,
    document: Vec<u8>,
}

impl Checked {
    /// The number of cells that everyone will be able to read.
    fn open_cells(&self) -> u64 {
        u64::from(self.preview_cells) + self.plan.shown.chosen.len() as u64
    }
}

/// What ending a listing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndReport {
    /// The listing.
    pub listing: ListingId,
    /// The bond that comes back, or has come back. Zero if a buyer has proven that the listing was not right.
    pub bond: Amount,
    /// Orders that are still open. The bond comes back with the last of them.
    pub open: u64,
    /// When the last of these is closed at the latest, unless a buyer complains, in milliseconds since the Unix epoch.
    pub due_ms: Option<LedgerTime>,
}

/// How a sale ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SellOutcome {
    /// It is listed.
    Listed,
    /// It was listed before, on the same terms.
    Already,
}

/// What selling did.
#[derive(Clone, Debug)]
pub struct SellReport {
    /// The listing.
    pub listing: ListingId,
    /// The vault that guards its key.
    pub vault: VaultId,
    /// The custodians.
    pub custodians: Vec<NodeId>,
    /// How many of them are enough to open it.
    pub threshold: usize,
    /// Numbers of the cells that are opened as a preview. The beacon picked them.
    pub preview_cells: Vec<u64>,
    /// Numbers of the cells that the seller chose to open.
    pub chosen_cells: Vec<u64>,
    /// How long a grant lasts, in milliseconds.
    pub access_ms: Millis,
    /// How long a buyer has to check a delivery, in milliseconds.
    pub window_ms: Millis,
    /// The bond.
    pub bond: Amount,
    /// Until when the ledger knows that the file is kept, in milliseconds since the Unix epoch.
    pub covered_until_ms: LedgerTime,
    /// Until when it can be bought, in milliseconds since the Unix epoch.
    pub sold_until_ms: LedgerTime,
    /// The amount that was paid for storing the parts of the listing.
    pub cost: Amount,
    /// How it ended.
    pub outcome: SellOutcome,
}

impl Market {
    /// Plans a sale without spending anything. Refuses what the ledger or a buyer would refuse.
    pub async fn plan_sale(
        &self,
        name: &Name,
        options: &SellOptions,
    ) -> Result<SalePlan, ClientError> {
        self.catch_up().await;
        let entry = self.find(name).await?;
        let checked = self.check_sale(&entry, options).await?;
        let layout = Layout::new(entry.manifest().scheme, entry.length).map_err(invalid)?;
        let lengths = [
            (!entry.is_whole()).then_some(entry.length),
            Some(checked.document.len() as u64),
            Some(LeafList::byte_length(&layout)),
            (checked.preview_cells > 0).then_some(checked.open_cells() * PREVIEW_CELL_BYTES_MAX),
        ];
        let (candidates, params) =
            (self.network().candidates(b"quote").await?, self.network().params().await?);
        let mut cost = Amount::ZERO;
        for length in lengths.into_iter().flatten() {
            let one = price_of(&candidates, &params, length, checked.plan.epochs)?;
            cost = cost.checked_add(one).ok_or_else(too_much)?;
        }
        let segments = layout.segments();
        let transactions = self.listing_price(&entry, segments, options, &params).await?;
        let cost = cost.checked_add(transactions).ok_or_else(too_much)?;
        let needed = cost.checked_add(checked.plan.bond).ok_or_else(too_much)?;
        let balance = self.balance_lately().await?;
        if balance < needed && !self.is_listed(&entry).await? {
            return Err(ClientError::BalanceTooLow { needed, balance });
        }
        Ok(SalePlan { cost, ..checked.plan })
    }

    /// What the transactions of a sale cost at most, with the deposits that come back later. Nothing on a network without
    /// fees.
    async fn listing_price(
        &self,
        entry: &Found,
        segments: u32,
        options: &SellOptions,
        params: &Params,
    ) -> Result<Amount, ClientError> {
        let manifest = entry.manifest().clone();
        let public = PublicRef { manifest: manifest.clone(), key: [0; 32], hash: Hash([0; 32]) };
        let zero = [0; 32];
        let key = self.identity().account_key();
        let chain = self.ledger().chain();
        let mandate = grant::mandate(&chain, &key, manifest.object, &zero)
            .map_err(|error| ClientError::Grant(error.into()))?;
        // Only the sizes count.
        let terms = Terms {
            title: options.title.clone(),
            price: options.price,
            bond: Amount::ZERO,
            licence: Hash(zero),
            access_ms: Millis::ZERO,
            window_ms: Millis::ZERO,
            splits: options.splits.clone(),
            preview_cells: 0,
            document: public.clone(),
            manifest,
            cells: 0,
            leaves: public.clone(),
            masks_root: Hash(zero),
            vault: VaultId([0; 16]),
            own_custodians: false,
            capsule: Capsule { r: zero, r2: zero, c: zero, e: zero, f: zero },
            pad: zero,
            mandate,
        };
        let mut actions = vec![
            Action::List { opening: Opening(zero), terms: Box::new(terms) },
            Action::Preview { listing: ListingId([0; 16]), preview: public },
        ];
        actions.extend(cover::largest(segments));
        if !self.has_vault().await? {
            actions.push(largest_vault());
        }
        let mut sum = Amount::ZERO;
        for action in &actions {
            let price = Price::of(params, action).total();
            sum = sum.checked_add(price).ok_or_else(too_much)?;
        }
        // The accounts of a split that have no row yet, and the draw of a preview.
        let rows = options.splits.len() as u64 + u64::from(0 < options.preview_cells);
        let rows = params.deposit.checked_mul(rows);
        sum.checked_add(rows.ok_or_else(too_much)?).ok_or_else(too_much)
    }

    /// Sends a transaction whose price counts for the limit of the call.
    pub(super) async fn send_within(
        &self,
        budget: &Budget,
        id: TransactionId,
        action: Action,
    ) -> Result<(), ClientError> {
        let (price, rows) =
            (self.price_of_action(&action).await?, self.price_of_rows(&action).await?);
        let cost = price.total().checked_add(rows).unwrap_or(Amount(u128::MAX));
        let paid = budget.spend(cost)?;
        let sent = self.send(id, action).await;
        if sent.as_ref().is_err_and(ClientError::is_refusal) {
            paid.take_back(cost);
        }
        sent.map(drop)
    }

    /// What the rows cost that a listing makes for ever: those of accounts of a split, and the draw of a preview.
    async fn price_of_rows(&self, action: &Action) -> Result<Amount, ClientError> {
        let Action::List { terms, .. } = action else { return Ok(Amount::ZERO) };
        let deposit = self.network().params().await?.deposit;
        if deposit == Amount::ZERO {
            return Ok(Amount::ZERO);
        }
        let accounts: BTreeSet<AccountId> =
            terms.splits.iter().map(|split| split.account).collect();
        let accounts: Vec<AccountId> = accounts.into_iter().collect();
        let rows = self.network().rows_of(Accounts, &accounts).await?;
        let mut new = rows.iter().filter(|row| row.is_none()).count() as u64;
        if 0 < terms.preview_cells {
            let root = terms.manifest.content_root;
            new += u64::from(self.ledger().row(Draws, &root).await?.is_none());
        }
        Ok(deposit.checked_mul(new).unwrap_or(Amount(u128::MAX)))
    }

    /// Checks the terms of a sale, and that the file is stored.
    async fn check_sale(
        &self,
        entry: &Found,
        options: &SellOptions,
    ) -> Result<Checked, ClientError> {
        let chain = self.network().chain_row().await?;
        let now_ms = self.clock_of(&chain).now_ms;
        let name = entry.name.to_string();
        let (end, paid_until_ms) = match self.kept(&chain, &entry.object).await? {
            Kept::Until { epoch, time_ms } => (epoch, time_ms),
            Kept::Over { since_ms } => return Err(ClientError::Over { name, since_ms }),
        };
        let left_ms = paid_until_ms.saturating_since(now_ms);
        let params = &chain.params;
        // A buyer must be able to check what was delivered, and to complain, as long as nodes are bound to keep it.
        let window_least = options.window_ms.unwrap_or(params.window_ms_min);
        let access_least = access_min(params, window_least);
        let access_ms = options.access_ms.unwrap_or_else(|| half(left_ms).max(access_least));
        let window_ms = options.window_ms.unwrap_or_else(|| usual_window(params, access_ms));
        // A file in a pack gets an object of its own first. These are its cells in that object.
        let layout = Layout::new(entry.manifest().scheme, entry.length).map_err(invalid)?;
        let cells = layout.cells();
        let preview_cells = u8::try_from(cells.min(u64::from(options.preview_cells)))
            .expect("at most what was asked for");
        let offer = Offer {
            title: &options.title,
            access_ms,
            window_ms,
            splits: &options.splits,
            preview_cells,
            cells,
        };
        offer.check(params)?;
        if left_ms < access_ms {
            let wanted_ms = now_ms.saturating_add(access_ms);
            return Err(ClientError::EndsEarly { name, paid_until_ms, wanted_ms });
        }
        let epochs = options.epochs.unwrap_or_else(|| end.saturating_sub(chain.epoch).max(1));
        check_epochs(epochs, params)?;
        let sold_until_ms = paid_until_ms.saturating_sub(access_ms);
        let (bond, cost) = (bond_min(params, options.price), Amount::ZERO);
        let mut shown = choose(&layout, options, preview_cells)?;
        let table = self.table_of(entry, &layout, options, &mut shown).await?;
        let document = self.describe_sale(entry, options, &table)?;
        let plan =
            SalePlan { access_ms, window_ms, bond, epochs, sold_until_ms, cost, shown, table };
        Ok(Checked { plan, preview_cells, document })
    }

    /// The description of a file that is for sale.
    fn describe_sale(
        &self,
        entry: &Found,
        options: &SellOptions,
        table: &TableFound,
    ) -> Result<Vec<u8>, ClientError> {
        let addresses: Vec<_> = options.answers_at.iter().map(ToString::to_string).collect();
        if ADDRESSES_MAX < addresses.len() {
            let why = format!("at most {ADDRESSES_MAX} addresses of the seller can be said");
            return Err(ClientError::Usage(why));
        }
        let peer = PeerAddress { id: self.identity().peer(), addresses };
        let document = describe(&Described {
            title: &options.title,
            description: &options.description,
            licence_text: &options.licence_text,
            file: &shown(entry.name.last()),
            length: entry.length,
            schema: table.schema(),
            answering: Some(&peer).filter(|peer| !peer.addresses.is_empty()),
        })?;
        if document.len() as u64 > PUBLIC_BYTES_MAX {
            let why =
                format!("the description may have {PUBLIC_BYTES_MAX} bytes: no buyer reads more");
            return Err(ClientError::Usage(why));
        }
        Ok(document)
    }

    /// Lists a file for sale.
    pub async fn sell(
        &self,
        name: &Name,
        options: &SellOptions,
        progress: &Progress,
    ) -> Result<SellReport, ClientError> {
        let budget = Budget::of(options.cost_max);
        let selling = self.sell_here(name, options, &budget, progress);
        self.changing(&budget, progress, selling).await
    }

    async fn sell_here(
        &self,
        name: &Name,
        options: &SellOptions,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<SellReport, ClientError> {
        let checked = self.check_sale(&self.find(name).await?, options).await?;
        let entry = self.object_of_its_own(name, budget, progress).await?;
        let (vault_id, vault) = self.vault(&options.custodians, budget, progress).await?;
        let listed = self.list_file(&entry, vault_id, (options, &checked), budget, progress);
        let (id, listing, outcome) = listed.await?;
        let (access_ms, window_ms) = (listing.terms.access_ms, listing.terms.window_ms);
        let (bond, epochs) = (listing.terms.bond, checked.plan.epochs);
        // An earlier call may have been cut off before, or the file is kept for longer now.
        let covered_until_ms = self.cover(id, &entry.object, budget, progress).await?;
        let chosen_cells = checked.plan.shown.chosen;
        let posted =
            self.post_preview(&entry, (id, listing), (&chosen_cells, epochs), budget, progress);
        let preview_cells = posted.await?;
        Ok(SellReport {
            access_ms,
            window_ms,
            bond,
            covered_until_ms,
            sold_until_ms: covered_until_ms.saturating_sub(access_ms),
            cost: budget.paid(),
            listing: id,
            vault: vault_id,
            threshold: vault.key.required(),
            custodians: vault.custodians,
            preview_cells,
            chosen_cells,
            outcome,
        })
    }

    /// Takes a listing off the market. Its bond comes back as soon as none of its orders is open.
    pub async fn end_listing(&self, id: &ListingId) -> Result<EndReport, ClientError> {
        let row = self.own.end(id).await?;
        let bond = match row.state {
            ListingState::Frozen => Amount::ZERO,
            ListingState::Open | ListingState::Ended => row.terms.bond,
        };
        let due_ms = if row.open == 0 { None } else { Some(self.last_due(id).await?) };
        Ok(EndReport { listing: *id, bond, open: row.open, due_ms })
    }

    /// When the last of the open orders of an own listing is closed, unless a buyer complains.
    async fn last_due(&self, id: &ListingId) -> Result<LedgerTime, ClientError> {
        let prefix = [&self.me().0[..], &id.0].concat();
        let keys = self.network().scan_all(OrdersOf, &prefix).await?;
        let ids: Vec<OrderId> =
            keys.iter().filter_map(|(key, _)| Some(OrdersOf::parse(key)?.1.1)).collect();
        let rows = self.network().rows_of(Orders, &ids).await?;
        let row = self.own.row(id).await?;
        let due = rows.into_iter().flatten().map(|order| match order.state {
            OrderState::Paid => order.due_ms.saturating_add(row.terms.window_ms),
            OrderState::Delivered | OrderState::Asked => order.due_ms,
            OrderState::Settled | OrderState::Refunded => LedgerTime::ZERO,
        });
        Ok(due.max().unwrap_or(LedgerTime::ZERO))
    }

    /// Whether a file is for sale.
    async fn is_listed(&self, entry: &Found) -> Result<bool, ClientError> {
        let listed = self.own.of(&[entry.manifest().object]).await?;
        Ok(listed.iter().any(|(_, _, listing)| listing.state == ListingState::Open))
    }

    /// Puts a listing on the ledger, or finds the one that is there.
    async fn list_file(
        &self,
        entry: &Found,
        vault: VaultId,
        (options, checked): (&SellOptions, &Checked),
        budget: &Budget,
        progress: &Progress,
    ) -> Result<(ListingId, Listing, SellOutcome), ClientError> {
        let object = entry.manifest().object;
        let listed = self.own.of(&[object]).await?;
        let taken: BTreeSet<ListingId> = listed.iter().map(|(_, id, _)| *id).collect();
        for (_, id, listing) in listed {
            if listing.state != ListingState::Open {
                continue;
            }
            if !same_terms(&listing, options, checked) {
                let what =
                    format!("a listing of {:?} on other terms ({id})", entry.name.to_string());
                return Err(ClientError::Exists { name: what });
            }
            if self.shows(&listing).await? {
                return Ok((id, listing, SellOutcome::Already));
            }
            progress.note("what it shows is not paid for any more: listing it anew");
            self.own.end(&id).await?;
        }
        let mut counts = 0..=u32::MAX;
        let count = counts.find(|count| !taken.contains(&self.own.id(&object, *count)));
        let count = count.expect("fewer listings than numbers");
        let id = self.own.id(&object, count);
        let terms = self.terms(entry, (id, vault), (options, checked), budget, progress);
        let opening = self.own.opening(&object, count);
        let action = Action::List { opening, terms: Box::new(terms.await?) };
        let id_of_sale = TransactionId(self.host().random());
        let sent = self.send_within(budget, id_of_sale, action).await;
        if sent.as_ref().is_err_and(ClientError::is_refusal) {
            // What was stored for it is of no use now, and the money for it comes back.
            self.drop_public(FileKind::Document { listing: id }).await?;
            self.drop_public(FileKind::Leaves { listing: id }).await?;
        }
        sent?;
        let listing = self.own.row(&id).await?;
        Ok((id, listing, SellOutcome::Listed))
    }

    async fn terms(
        &self,
        entry: &Found,
        (id, vault): (ListingId, VaultId),
        (options, checked): (&SellOptions, &Checked),
        budget: &Budget,
        progress: &Progress,
    ) -> Result<Terms, ClientError> {
        let list = self.leaf_list(entry, progress).await?;
        progress.note("publishing the description and what is listed of every cell");
        let kind = FileKind::Leaves { listing: id };
        let leaves = self.publish(kind, list.to_bytes(), checked.plan.epochs, budget).await?;
        let kind = FileKind::Document { listing: id };
        let document = checked.document.clone();
        let document = self.publish(kind, document, checked.plan.epochs, budget).await?;
        let manifest = entry.manifest().clone();
        let cells = layout(&manifest)?.cells();
        let chain = self.ledger().chain();
        let label = custody::label(&chain, &self.me(), &vault, &manifest.content_root);
        let secret = self.identity().vault_secret(&chain, &vault);
        let (capsule, point) = Capsule::seal(&secret, &label, &self.host().random());
        let pad = custody::pad(&entry.object.key.expose(), &custody::listing_key(&point));
        let key = self.identity().account_key();
        let mandate = grant::mandate(&chain, &key, manifest.object, &self.host().random())
            .map_err(|error| ClientError::Grant(error.into()))?;
        Ok(Terms {
            title: options.title.clone(),
            price: options.price,
            bond: checked.plan.bond,
            licence: Hash(*blake3::hash(options.licence_text.as_bytes()).as_bytes()),
            access_ms: checked.plan.access_ms,
            window_ms: checked.plan.window_ms,
            splits: options.splits.clone(),
            preview_cells: u8::try_from(cells.min(u64::from(options.preview_cells)))
                .expect("at most what was asked for"),
            document,
            manifest,
            cells,
            leaves,
            masks_root: list.masks_root(),
            own_custodians: self.vault_has_own(&vault).await?,
            vault,
            capsule,
            pad,
            mandate,
        })
    }

    /// Whether the deals of a listing's description, leaf list and preview still run.
    async fn shows(&self, listing: &Listing) -> Result<bool, ClientError> {
        let mut ids = Vec::new();
        let terms = &listing.terms;
        for public in listing.preview.iter().chain([&terms.document, &terms.leaves]) {
            let key = FileKey::from_bytes(public.key);
            let segments = layout(&public.manifest)?.segments();
            ids.extend((0..segments).map(|segment| key.deal(&listing.seller, segment)));
        }
        let deals = self.network().rows_of(Deals, &ids).await?;
        Ok(deals.iter().all(|deal| deal.as_ref().is_some_and(runs)))
    }

    /// Stores public content under a name of its own.
    async fn publish(
        &self,
        kind: FileKind,
        bytes: Vec<u8>,
        epochs: u64,
        budget: &Budget,
    ) -> Result<PublicRef, ClientError> {
        let name = public_name(kind)
            .ok_or_else(|| ClientError::Internal("own files are not public".into()))?;
        let hash = Hash(*blake3::hash(&bytes).as_bytes());
        let options = PutTerms::plain(epochs, budget.left(), Replace::Overwrite);
        let request = Request {
            // No file's name has a zero byte, so no file has this slot.
            slot: [b"\0", name.as_bytes()].concat(),
            name,
            kind,
            access: Access::Public,
            // Anyone may repair what anyone may read.
            mask: MaskMode::None,
            options: &options,
            paid: budget.counter(),
            turn: None,
        };
        let source = Source::Bytes(Bytes::from(bytes));
        let entry = self.store_public(source, &request, &Progress::silent()).await?;
        Ok(PublicRef { manifest: entry.manifest, key: entry.key.expose(), hash })
    }
}

/// Half of a time span, rounded down to whole days, hours, minutes or seconds, and 30 days at most.
fn half(left: Millis) -> Millis {
    const SECOND: u64 = 1_000;
    const DAY: u64 = 86_400 * SECOND;
    let half = (left.0 / 2).min(30 * DAY);
    let unit = [DAY, 3_600 * SECOND, 60 * SECOND, SECOND].into_iter().find(|unit| *unit <= half);
    Millis(half - half % unit.unwrap_or(1))
}

/// How long buyers check if the seller does not say.
fn usual_window(params: &Params, access_ms: Millis) -> Millis {
    USUAL_WINDOW.min(access_ms / 4).max(params.window_ms_min)
}

fn too_much() -> ClientError {
    ClientError::Usage(String::from("the price exceeds every amount"))
}

fn invalid(error: LayoutError) -> ClientError {
    ClientError::Internal(error.to_string())
}

fn layout(manifest: &Manifest) -> Result<Layout, ClientError> {
    manifest.layout().map_err(|error| ClientError::Index(error.to_string()))
}

/// Whether an open listing already has the terms that the caller asks for.
fn same_terms(listing: &Listing, options: &SellOptions, checked: &Checked) -> bool {
    let terms = &listing.terms;
    let same = |hash: &Hash, bytes: &[u8]| hash.0 == *blake3::hash(bytes).as_bytes();
    terms.title == options.title
        && terms.price == options.price
        && terms.splits == options.splits
        && options.access_ms.is_none_or(|access_ms| access_ms == terms.access_ms)
        && options.window_ms.is_none_or(|window_ms| window_ms == terms.window_ms)
        && terms.preview_cells == checked.preview_cells
        && same(&terms.licence, options.licence_text.as_bytes())
        && same(&terms.document.hash, &checked.document)
}
