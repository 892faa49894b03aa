//! Begins to follow the ledger in the middle: at the head, with what the rows say.
//!
//! A ledger keeps the blocks of the last epochs only. A node that is new, or was away for longer,
//! cannot take the blocks in between. It reads the rows that those blocks would have told it of:
//! which of its shards are paid, which deals are over, which grants are void, and which orders wait
//! for a release. A remote ledger proves each row under a signed header. The prover reads the slot
//! table by itself when the copy is missing.
//!
//! The head is read before the rows. So whatever changes while they are read is in a later block,
//! which the node follows. Every change here may be made twice.

use symbolon_ledger::{Ledger, LedgerError};
use symbolon_net::Host;
use symbolon_protocol::{
    id::NodeId,
    ledger::{
        block::SignedHeader,
        rows::{
            Chains, Deal, DealState, Deals, Nodes, Order, OrderState, Orders, Revocations, Table,
        },
    },
    wire::ledger::OldestBlock,
};
use symbolon_store::{Change, Shard, ShardState, Shards};
use tracing::info;

use crate::{answer, custodian, follow::CannotFollow, shared::Shared};

/// What was learned from rows.
struct Checkpoint {
    head: SignedHeader,
    /// The shards that became paid.
    paid: Vec<Shard>,
}

/// The last height that this node need not follow. A used store knows it. A new one takes its first
/// checkpoint.
pub(crate) async fn first_height(
    ledger: &Ledger,
    host: &Host,
    store: &Shards,
    node: NodeId,
) -> Result<u64, CannotFollow> {
    if let Some(height) = store.height()? {
        return Ok(height);
    }
    let reader = Reader { ledger, host, store, node };
    Ok(reader.take().await?.head.header.height)
}

/// Goes on from a checkpoint, because the ledger no longer keeps the next block.
pub(crate) async fn go_on(shared: &Shared, oldest: OldestBlock) -> Result<(), CannotFollow> {
    let (from, node) = (shared.view.height(), shared.key.id());
    let reader = Reader { ledger: &shared.ledger, host: &shared.host, store: &shared.store, node };
    let asked_tick = shared.host.ticks_ms();
    let Checkpoint { head, paid } = reader.take().await?;
    let head = head.header;
    if head.height < oldest.height {
        let what = "the oldest block that it keeps is after its last";
        return Err(LedgerError::Forged { what }.into());
    }
    for shard in &paid {
        shared.admission.count_paid(&shard.info.owner, shard.info.length);
    }
    shared.view.shards_left.notify_one();
    custodian::look_at_vaults(shared).await?;
    custodian::find_open_orders(shared).await?;
    answer::find_questions(shared).await?;
    let (chain, row) = shared.ledger.pair((Chains, &()), (Nodes, &node)).await?;
    shared.view.reached(head.height, head.facts.time_ms, asked_tick);
    if let Some(chain) = chain {
        shared.view.epoch_began(chain.epoch);
        shared.set_params(chain.params);
    }
    if let Some(window) = row.and_then(|row| row.window) {
        shared.view.window_opened(window.epoch);
    }
    info!(from, to = head.height, "blocks are missing; went on with the ledger's rows");
    Ok(())
}

struct Reader<'a> {
    ledger: &'a Ledger,
    host: &'a Host,
    store: &'a Shards,
    node: NodeId,
}

impl Reader<'_> {
    async fn take(&self) -> Result<Checkpoint, CannotFollow> {
        let head = self.ledger.head().await?;
        self.learn_all(Revocations, |(link, by), _| Some(Change::Revoked { link, by })).await?;
        let learned = |order, row: Order| match row.state {
            OrderState::Refunded => Some(Change::Refunded { order }),
            OrderState::Paid | OrderState::Delivered | OrderState::Asked | OrderState::Settled => {
                Some(Change::Ordered { order })
            }
        };
        self.learn_all(Orders, learned).await?;
        let paid = self.learn_of_shards().await?;
        let (store, height) = (self.store.clone(), head.header.height);
        self.host.blocking(move || store.follow(height, &[Change::SlotsMissed])).await?;
        Ok(Checkpoint { head, paid })
    }

    /// Stores what the rows of a table say, page by page.
    async fn learn_all<T: Table + Copy>(
        &self,
        table: T,
        change: impl Fn(T::Key, T::Row) -> Option<Change>,
    ) -> Result<(), CannotFollow> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.ledger.scan(table, &[], after.as_deref(), ROWS).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let rows = page.into_iter().filter_map(|(key, row)| Some((T::parse(&key)?, row)));
            self.learn(rows.filter_map(|(key, row)| change(key, row)).collect()).await?;
        }
    }

    /// Stores which of the node's shards are paid, and which of their deals are over.
    async fn learn_of_shards(&self) -> Result<Vec<Shard>, CannotFollow> {
        let (mut after, mut paid) = (None, Vec::new());
        loop {
            let store = self.store.clone();
            let page = self.host.blocking(move || store.list(after, SHARDS)).await?;
            let Some(last) = page.last() else { return Ok(paid) };
            after = Some((last.info.deal, last.info.index));
            let deals: Vec<_> = page.iter().map(|shard| shard.info.deal).collect();
            let rows = self.ledger.rows(Deals, &deals).await?;
            let known = page.iter().zip(rows);
            let changes = known.filter_map(|(shard, row)| self.of_deal(shard, row)).collect();
            paid.extend(self.learn(changes).await?);
        }
    }

    /// What a deal's row says of a stored shard, if that is new.
    fn of_deal(&self, shard: &Shard, row: Option<Deal>) -> Option<Change> {
        let (deal, index) = (shard.info.deal, shard.info.index);
        let Some(row) = row else {
            // The row of a deal that is over leaves the state. Without one, an unpaid shard may still be paid.
            return (shard.state == ShardState::Active).then_some(Change::Ended { deal });
        };
        let ours = row.kept_by(&self.node).filter(|(kept, _)| *kept == index);
        let ours = ours.filter(|_| row.state == DealState::Open);
        // A shard that is paid no longer may still be in the slot table. Before it is deleted, the
        // ledger is asked for that.
        match (shard.state, ours) {
            (ShardState::Unpaid { .. }, Some((_, slot))) => {
                Some(Change::Opened { deal, index, root: slot.root })
            }
            (ShardState::Active, None) => Some(Change::Ended { deal }),
            // An unpaid shard of a deal that is over goes when its acceptance is over.
            _ => None,
        }
    }

    async fn learn(&self, changes: Vec<Change>) -> Result<Vec<Shard>, CannotFollow> {
        let store = self.store.clone();
        Ok(self.host.blocking(move || store.learn(&changes)).await?)
    }
}

/// Rows of one page of a scan.
const ROWS: usize = 256;
/// Shards whose deals are requested together.
const SHARDS: usize = 1_024;
