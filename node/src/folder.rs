//! The node's folder at a start: whose it is, and whether what the node kept is still there.
//!
//! A disk that is not mounted looks like an empty folder. A node that went on with it would fail its proofs, so the
//! folder, the store and the ledger must agree about what was kept, or the operator must accept the loss.

use std::{io, path::Path};

use symbolon_ledger::{Ledger, ROWS_MAX};
use symbolon_net::Host;
use symbolon_protocol::{
    id::{ChainId, NodeId},
    ledger::rows::{Chain, Deal, DealState, Deals, Node as NodeRow, Slots},
};
use symbolon_store::{Shards, StoreError, durable};
use tracing::warn;

use crate::{node::NodeError, options::NodeOptions};

/// Opens the folder's store. First checks that the folder belongs to this node and that the store
/// is not a new one in place of a lost one. Folder and store both carry a marker, and the ledger
/// knows whether there was a store.
pub(crate) async fn open_store(
    options: &NodeOptions,
    host: &Host,
    node: NodeId,
    chain: ChainId,
    row: Option<&NodeRow>,
) -> Result<Shards, NodeError> {
    let (dir, accept_loss) = (options.dir.clone(), options.accept_loss);
    let (slots, bytes) = row.map_or((0, 0), |row| (row.slots, row.used));
    host.blocking(move || {
        let path = dir.join("node");
        let ours = format!("{node} {chain}\n");
        let failed = |source| NodeError::Folder { path: path.clone(), source };
        let in_folder = match std::fs::read_to_string(&path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        if in_folder.as_ref().is_some_and(|found| *found != ours) {
            return Err(NodeError::WrongFolder { path: dir });
        }
        let store = open_shards(&dir, accept_loss)?;
        match store.marker()? {
            Some(found) if found != ours.as_bytes() => {
                return Err(NodeError::WrongFolder { path: dir });
            }
            Some(_) => {}
            None if !store.is_new()? && in_folder.is_none() => {
                return Err(NodeError::WrongFolder { path: dir });
            }
            None => {
                let was_there = in_folder.is_some() || slots != 0 || bytes != 0;
                if store.is_new()? && was_there && !accept_loss {
                    return Err(NodeError::StoreGone { path: dir, slots, bytes });
                }
                store.set_marker(ours.as_bytes())?;
            }
        }
        if accept_loss {
            store.accept_loss()?;
        }
        if in_folder.is_none() {
            durable::write_whole(&path, ours.as_bytes()).map_err(failed)?;
        }
        Ok(store)
    })
    .await
}

/// Checks that a store without any shard is not that of a node which has to prove some: an old copy of the folder
/// would be one. A shard whose deal is over may be gone before it leaves the slot table, so only open deals count.
pub(crate) async fn check_holds(
    options: &NodeOptions,
    host: &Host,
    ledger: &Ledger,
    (chain, node, row): (&Chain, NodeId, Option<&NodeRow>),
    store: &Shards,
) -> Result<(), NodeError> {
    let Some(row) = row.filter(|row| row.slots != 0) else { return Ok(()) };
    let asked = store.clone();
    let fine = host.blocking(move || {
        Ok::<_, StoreError>(asked.used_bytes()? != 0 || asked.has_accepted_loss()?)
    });
    if fine.await? {
        return Ok(());
    }
    let slots = ledger.scan(Slots, &node.0, None, ROWS_MAX).await?;
    let deals: Vec<_> = slots.iter().map(|(_, slot)| slot.deal).collect();
    let deals = ledger.rows(Deals, &deals).await?;
    let is_due = |deal: &Deal| deal.state == DealState::Open && chain.epoch < deal.end;
    match deals.iter().flatten().any(is_due) {
        true => Err(NodeError::NoShards {
            path: options.dir.clone(),
            slots: row.slots,
            bytes: row.used,
        }),
        false => Ok(()),
    }
}

fn open_shards(dir: &Path, accept_loss: bool) -> Result<Shards, StoreError> {
    if !accept_loss {
        return Shards::open(dir);
    }
    let (store, lost) = Shards::open_without_lost(dir)?;
    if lost > 0 {
        warn!(lost, "removed shards whose files are gone");
    }
    Ok(store)
}
