//! What no account's history has: pay of a node that was withheld, and collateral that it has forfeited. Blocks have it, and
//! a ledger keeps those of the last epochs.

use symbolon_ledger::{Ledger, LedgerError};
use symbolon_protocol::{
    id::NodeId,
    ledger::{
        block::{Event, Place, Reason},
        rows::HoldKey,
    },
};
use symbolon_view::earnings::{Epoch, Forfeit, FromBlocks};

use crate::error::Error;

/// Reads all blocks that the ledger keeps.
pub(super) async fn read(ledger: &Ledger, id: &NodeId) -> Result<FromBlocks, Error> {
    let head = ledger.head().await?.header.height;
    let mut found = FromBlocks { from_height: 0, withheld: Vec::new(), forfeited: Vec::new() };
    let (mut next, mut follow) = (0, ledger.follow(0));
    while next <= head {
        match follow.next().await {
            Ok(block) => {
                let header = &block.header.header;
                let at = (header.height, header.facts.time_ms.0);
                block.events.iter().for_each(|event| take(&mut found, at, event, id));
                next = block.header.header.height.saturating_add(1);
            }
            // More blocks may be dropped while these are read.
            Err(LedgerError::Pruned { oldest, .. }) if next < oldest.height => {
                next = oldest.height;
                found =
                    FromBlocks { from_height: next, withheld: Vec::new(), forfeited: Vec::new() };
                follow = ledger.follow(next);
            }
            Err(error) => return Err(error.into()),
        }
    }
    found.withheld.reverse();
    found.forfeited.reverse();
    Ok(found)
}

/// Notes an event of a block, if it is about this node.
fn take(found: &mut FromBlocks, (height, time_ms): (u64, u64), event: &Event, id: &NodeId) {
    let Event::Moved { from: Place::Collateral | Place::Storage, to, amount, reason } = event
    else {
        return;
    };
    let amount = (*amount).into();
    match (to, reason) {
        (Place::Collateral, Reason::Proven { node, epoch }) if node == id => {
            found.withheld.push(Epoch { epoch: *epoch, height, time_ms, amount });
        }
        (Place::Hold { hold }, Reason::Collateral { node }) if node == id => {
            let deal = match hold {
                HoldKey::Deal { deal } | HoldKey::Repair { deal } => Some(deal.into()),
                HoldKey::Order { .. }
                | HoldKey::Listing { .. }
                | HoldKey::Complaint { .. }
                | HoldKey::Motion { .. } => None,
            };
            found.forfeited.push(Forfeit { deal, height, time_ms, amount });
        }
        (Place::Repair, Reason::Collateral { node } | Reason::Silent { node, .. })
            if node == id =>
        {
            found.forfeited.push(Forfeit { deal: None, height, time_ms, amount });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::{
        Amount,
        id::{AccountId, DealId, OrderId, PeerId},
    };

    use super::*;

    #[test]
    fn what_a_node_did_not_get_is_found_in_blocks() {
        let (id, other, deal) = (PeerId([1; 32]), PeerId([2; 32]), DealId([3; 16]));
        let moved =
            |from, to, amount, reason| Event::Moved { from, to, amount: Amount(amount), reason };
        let proven = |node| Reason::Proven { node, epoch: 7 };
        let collateral = |node| Reason::Collateral { node };
        let silent = |node| Reason::Silent { node, order: OrderId([9; 16]) };
        let hold = Place::Hold { hold: HoldKey::Deal { deal } };
        let payout = Place::Account { account: AccountId([4; 32]) };
        let events = [
            moved(Place::Storage, Place::Collateral, 1, proven(id)),
            moved(Place::Storage, Place::Collateral, 10, proven(other)),
            moved(Place::Storage, payout, 100, proven(id)),
            moved(Place::Collateral, hold, 2, collateral(id)),
            moved(Place::Collateral, hold, 20, collateral(other)),
            moved(Place::Collateral, Place::Repair, 3, collateral(id)),
            moved(Place::Collateral, Place::Repair, 4, silent(id)),
            moved(Place::Collateral, Place::Repair, 40, silent(other)),
            moved(Place::Collateral, payout, 200, collateral(id)),
            moved(payout, Place::Collateral, 300, collateral(id)),
        ];
        let mut found = FromBlocks { from_height: 0, withheld: Vec::new(), forfeited: Vec::new() };
        events.iter().for_each(|event| take(&mut found, (5, 6), event, &id));
        let withheld: Vec<_> =
            found.withheld.iter().map(|one| (one.epoch, one.amount.as_str())).collect();
        assert_eq!(withheld, [(7, Amount(1).to_string().as_str())]);
        let forfeited: Vec<_> = found
            .forfeited
            .iter()
            .map(|one| (one.deal.is_some(), one.amount.as_str().to_owned()))
            .collect();
        let of = |deal, amount: u128| (deal, Amount(amount).to_string());
        assert_eq!(forfeited, [of(true, 2), of(false, 3), of(false, 4)]);
    }
}
