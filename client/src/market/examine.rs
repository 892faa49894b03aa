//! Examining a purchase: is the key the listed one, and is every cell of the file what was listed of it? What is found
//! comes with everything that proves it. It is judged here by the same code as on the ledger, so no complaint is made
//! that would be dismissed.

use symbolon_protocol::{
    content::{CellPlace, FileKey, Layout, erasure::rebuild_cell, mask::ShardMask},
    dispute::{
        Complaint, KeptCell, KeyFault, LeafList, LeafOpening, Listed, MaskOpening, NotProven,
        OtherKey, Verdict, judge_answers, judge_cell, judge_kept,
    },
    grant::bought,
    id::{DealId, Hash, ListingId, OrderId},
    ledger::rows::{Listing, Order, Orders},
    limits::CELL_BYTES,
    session::NodeFault,
};
use symbolon_transfer::shard::{SLICE_STRIPES, ShardAt};
use tokio::task::JoinSet;

use crate::{
    download::{Group, LeavesWanted, Reading, spans},
    error::ClientError,
    market::{Market, buy::Opened, orders::is_open},
    progress::{Progress, Step},
};

/// How long a node may take to give one cell, in milliseconds.
const CELL_MS: u64 = 10_000;

/// How often nodes are asked for a cell that too few of them give.
const ROUNDS: usize = 2;

/// What an examination came to.
#[derive(Clone, Debug)]
pub enum Examined {
    /// Key and cells are what was listed.
    AsListed {
        /// The cells that were compared.
        cells: u64,
    },
    /// Something is not.
    Wrong(Box<Finding>),
}

/// Something that is not as it was listed, with what proves it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The order.
    pub order: OrderId,
    /// What is wrong.
    pub wrong: Wrong,
    pub(super) evidence: Evidence,
}

/// What is wrong with a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wrong {
    /// The releases open another key than the listed one.
    Key,
    /// A cell is as it was listed, and does not open to what was listed.
    Cell {
        /// The cell's number, counted over the whole file.
        cell: u64,
    },
    /// Nodes keep another cell than the listed one.
    Kept {
        /// The cell's number, counted over the whole file.
        cell: u64,
    },
    /// Too few nodes give a cell.
    Missing {
        /// The cell's number, counted over the whole file.
        cell: u64,
        /// Shards whose cells can be read.
        usable: usize,
        /// How many are needed.
        required: u8,
    },
}

/// What proves a finding.
#[derive(Clone, Debug)]
pub(super) enum Evidence {
    /// The key has to be shown as the releases on the ledger open it.
    Key(KeyFault),
    /// All is known.
    Whole(Complaint),
}

/// An order, and what was listed of what it bought.
pub(super) struct Case {
    pub(super) id: OrderId,
    pub(super) order: Order,
    pub(super) listing: Listing,
    leaves: LeafList,
    layout: Layout,
}

fn unproven(error: NotProven) -> ClientError {
    ClientError::Internal(format!("what was found proves nothing: {error}"))
}

impl Case {
    fn listed(&self) -> Listed<'_> {
        let terms = &self.listing.terms;
        Listed {
            manifest: &terms.manifest,
            masks_root: &terms.masks_root,
            capsule: &terms.capsule,
            pad: &terms.pad,
        }
    }

    /// What of the listing a key contradicts, if anything.
    fn key_fault(&self, key: &FileKey) -> Option<KeyFault> {
        if self.listing.terms.manifest.check_key(key).is_err() {
            return Some(KeyFault::File);
        }
        Some(match self.leaves.other_key(key, &self.layout)? {
            OtherKey::Cell(cell) => KeyFault::Cell { leaf: self.leaves.open(cell)? },
            OtherKey::Mask(segment) => KeyFault::Mask { masks: self.leaves.open_masks(segment)? },
        })
    }

    /// The first cell of a group that is not the listed one.
    fn other_cell(&self, group: &Group) -> Option<u64> {
        let is_listed = |(cell, leaf): &(u64, &Hash)| {
            self.leaves.parts(*cell).is_some_and(|parts| parts.leaf(*cell) == **leaf)
        };
        let other = (group.first_cell..).zip(&group.leaves).find(|one| !is_listed(one));
        other.map(|(cell, _)| cell)
    }

    fn found(&self, wrong: Wrong, complaint: Complaint) -> Finding {
        Finding { order: self.id, wrong, evidence: Evidence::Whole(complaint) }
    }
}

/// One cell of a purchase, and what was listed of it.
struct Cell<'a> {
    case: &'a Case,
    key: FileKey,
    place: CellPlace,
    leaf: LeafOpening,
    masks: MaskOpening,
    deal: DealId,
}

impl Cell<'_> {
    fn index_key(&self, index: u8) -> [u8; 32] {
        self.key.shard_mask_key(self.place.segment, index)
    }

    fn unmasked(&self, index: u8, kept: &[u8]) -> Vec<u8> {
        let mut cell = kept.to_vec();
        let offset = u64::from(self.place.stripe) * CELL_BYTES as u64;
        ShardMask::of_key(&self.index_key(index)).apply(offset, &mut cell);
        cell
    }

    /// Judges the cell of its own shard, as its node gives it.
    fn judge_own(
        &self,
        root: &Hash,
        (kept, path): (Vec<u8>, Vec<Hash>),
    ) -> Result<Option<Finding>, ClientError> {
        let Self { case, leaf, masks, .. } = self;
        let key = self.index_key(self.place.shard);
        let shown = KeptCell { root, bytes: &kept, path: &path };
        let verdict = judge_kept(&case.listed(), leaf, masks, &key, &shown).map_err(unproven)?;
        if verdict == Verdict::Dismissed {
            return self.judge_sealed(self.unmasked(self.place.shard, &kept));
        }
        let (leaf, masks, deal) = (leaf.clone(), masks.clone(), self.deal);
        let complaint = Complaint::OtherCell { leaf, masks, key, deal, kept, path };
        Ok(Some(case.found(Wrong::Kept { cell: self.leaf.cell }, complaint)))
    }

    /// Judges the sealed cell, which is the listed one.
    fn judge_sealed(&self, sealed: Vec<u8>) -> Result<Option<Finding>, ClientError> {
        let (case, leaf) = (self.case, &self.leaf);
        let key = self.key.cell_key(self.place.segment, self.place.in_segment);
        let manifest = &case.listing.terms.manifest;
        match judge_cell(manifest, leaf, &key, &sealed).map_err(unproven)? {
            Verdict::Dismissed => Ok(None),
            Verdict::Upheld => {
                let complaint = Complaint::BadCell { leaf: leaf.clone(), key, sealed };
                Ok(Some(case.found(Wrong::Cell { cell: leaf.cell }, complaint)))
            }
        }
    }

    /// Judges the cells of other shards, from which the cell is rebuilt.
    fn judge_others(&self, answers: &[(u8, Vec<u8>)]) -> Result<Option<Finding>, ClientError> {
        let scheme = self.case.layout.scheme();
        let keys: Vec<_> = (0..scheme.total).map(|index| self.index_key(index)).collect();
        let verdict = judge_answers(scheme, &self.place, &self.leaf.parts.sealed, &keys, answers);
        match verdict {
            Verdict::Dismissed => {
                let open = |(index, kept): &(u8, Vec<u8>)| (*index, self.unmasked(*index, kept));
                let cells: Vec<_> = answers.iter().map(open).collect();
                self.judge_sealed(rebuild_cell(scheme, &cells, self.place.shard))
            }
            // The nodes show the ledger the same cells.
            Verdict::Upheld => Ok(Some(self.ask(Wrong::Kept { cell: self.leaf.cell }))),
        }
    }

    /// The complaint that has the nodes put the cell on the ledger.
    fn ask(&self, wrong: Wrong) -> Finding {
        let total = self.case.layout.scheme().total;
        let keys = (0..total).map(|index| self.index_key(index)).collect();
        let (leaf, path, deal) = (self.leaf.clone(), self.masks.path.clone(), self.deal);
        self.case.found(wrong, Complaint::Unavailable { leaf, keys, path, deal })
    }
}

impl Market {
    /// Examines a purchase whose order is open. The buyer alone can.
    pub async fn examine(
        &self,
        id: &OrderId,
        progress: &Progress,
    ) -> Result<Examined, ClientError> {
        let mut case = self.case(id).await?;
        progress.note("comparing the key with the listing");
        let opened = self.open_key(
            id,
            Some(case.order.clone()),
            (&case.order.listing, &case.listing),
            progress,
        );
        let Opened { key, order, .. } = opened.await?;
        case.order = order;
        if let Some(fault) = case.key_fault(&key) {
            let evidence = Evidence::Key(fault);
            let finding = Finding { order: *id, wrong: Wrong::Key, evidence };
            return Ok(Examined::Wrong(Box::new(finding)));
        }
        progress.note("comparing every cell with the listing");
        let found = self.examine_cells(&case, key, progress).await?;
        Ok(match found {
            Some(finding) => Examined::Wrong(Box::new(finding)),
            None => Examined::AsListed { cells: case.layout.cells() },
        })
    }

    /// An open order of this buyer, and what was listed.
    pub(super) async fn case(&self, id: &OrderId) -> Result<Case, ClientError> {
        let order = self.ledger().row(Orders, id).await?.ok_or(ClientError::NoOrder(*id))?;
        let listing = self.own.row(&order.listing).await?;
        if !is_open(order.state) {
            return Err(ClientError::OrderClosed { order: *id, state: order.state });
        }
        let of: (&ListingId, &Listing) = (&order.listing, &listing);
        self.check_order(id, of, &order)?;
        let leaves = self.leaves_of_purchase(&order.listing, &listing).await?;
        let layout = listing.terms.manifest.layout();
        let layout = layout.map_err(|error| ClientError::Grant(error.into()))?;
        Ok(Case { id: *id, order, listing, leaves, layout })
    }

    async fn examine_cells(
        &self,
        case: &Case,
        key: FileKey,
        progress: &Progress,
    ) -> Result<Option<Finding>, ClientError> {
        let (owner, manifest) = (case.listing.seller, case.listing.terms.manifest.clone());
        let grant = Some(bought(case.id, &case.order, &case.listing));
        let total_bytes = Some(manifest.length);
        let reading =
            Reading { owner, manifest, key, grant, leaves: LeavesWanted::Yes, only: None };
        progress.step(Step::Planned { total_bytes });
        let mut done = 0;
        // Each round ends at the end of the file, or at a group with something wrong.
        loop {
            let (mut left, _) = spans(&case.layout, 0, u64::MAX, done);
            let Some(next) = left.next() else { return Ok(None) };
            let (rest, _) = spans(&case.layout, 0, u64::MAX, done);
            let mut groups = self.network().read(reading.clone(), rest, progress);
            let mut at = (next.segment, next.first * SLICE_STRIPES);
            loop {
                match groups.next().await {
                    None => return Ok(None),
                    Some(Ok(group)) => {
                        at = (group.segment, group.first_stripe);
                        if case.other_cell(&group).is_some() {
                            break;
                        }
                        progress.step(Step::Moved { bytes: group.plain.len() as u64 });
                        done += 1;
                        at = after(&case.layout, at);
                    }
                    Some(Err(error)) if error.is_of_data() => break,
                    Some(Err(error)) => return Err(error.into()),
                }
            }
            drop(groups);
            for cell in cells_of(&case.layout, at) {
                if let Some(finding) = self.examine_cell(case, &reading, cell).await? {
                    return Ok(Some(finding));
                }
            }
            done += 1;
        }
    }

    /// Looks at one cell by itself.
    async fn examine_cell(
        &self,
        case: &Case,
        reading: &Reading,
        number: u64,
    ) -> Result<Option<Finding>, ClientError> {
        let outside = || ClientError::Internal(format!("the file has no cell {number}"));
        let place = case.layout.cell(number).ok_or_else(outside)?;
        let (deal, row) = self.network().deal_of(reading, place.segment).await?;
        let leaf = case.leaves.open(number).ok_or_else(outside)?;
        let masks = case.leaves.open_masks(place.segment).ok_or_else(outside)?;
        let cell = Cell { case, key: reading.key.clone(), place, leaf, masks, deal };
        let mut usable = 0;
        for _ in 0..ROUNDS {
            let shards: Vec<ShardAt> = self
                .network()
                .deal_nodes(&row)
                .await?
                .into_iter()
                .map(|(index, address, root)| {
                    let (length, grant) = (row.length, reading.grant.clone());
                    ShardAt { address, deal, index, root, length, grant }
                })
                .collect();
            let own = shards.iter().find(|shard| shard.index == place.shard);
            if let Some(shard) = own
                && let Ok(answer) = self.ask_cell(shard.clone(), place.stripe).await.1
            {
                return cell.judge_own(&shard.root, answer);
            }
            let others = shards.into_iter().filter(|shard| shard.index != place.shard);
            let answers = self.ask_others(others, place.stripe, row.required).await;
            if usize::from(row.required) <= answers.len() {
                return cell.judge_others(&answers);
            }
            usable = answers.len();
        }
        let required = row.required;
        Ok(Some(cell.ask(Wrong::Missing { cell: number, usable, required })))
    }

    /// The cells of as many shards as give it back.
    async fn ask_others(
        &self,
        shards: impl Iterator<Item = ShardAt>,
        stripe: u32,
        required: u8,
    ) -> Vec<(u8, Vec<u8>)> {
        let mut asks = JoinSet::new();
        for shard in shards {
            let market = self.clone();
            asks.spawn(async move { market.ask_cell(shard, stripe).await });
        }
        let mut answers = Vec::new();
        while answers.len() < usize::from(required)
            && let Some(joined) = asks.join_next().await
        {
            if let Ok((index, Ok((kept, _)))) = joined {
                answers.push((index, kept));
            }
        }
        answers
    }

    async fn ask_cell(&self, shard: ShardAt, stripe: u32) -> (u8, GivenCell) {
        let given = tokio::select! {
            given = shard.cell_and_path(self.network(), stripe) => given,
            () = self.host().sleep_ms(CELL_MS) => Err(NodeFault::Slow),
        };
        (shard.index, given)
    }
}

/// A cell as a node keeps it and its path, or the node's fault.
type GivenCell = Result<(Vec<u8>, Vec<Hash>), NodeFault>;

/// The group after one, by its segment and its first stripe.
fn after(layout: &Layout, (segment, stripe): (u32, u32)) -> (u32, u32) {
    let next = stripe + SLICE_STRIPES;
    match layout.segment(segment) {
        Ok(of) if next < of.stripes => (segment, next),
        _ => (segment + 1, 0),
    }
}

/// The numbers of the cells of a group.
fn cells_of(layout: &Layout, (segment, stripe): (u32, u32)) -> impl Iterator<Item = u64> + use<> {
    let cells = layout.segment(segment).ok().map(|of| {
        let first = of.first_cell + u64::from(stripe) * u64::from(of.required);
        let end = of.first_cell
            + u64::from(of.stripes.min(stripe + SLICE_STRIPES)) * u64::from(of.required);
        first..end
    });
    cells.into_iter().flatten()
}
