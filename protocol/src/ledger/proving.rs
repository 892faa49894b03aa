//! Storage proofs and their pay.

use alloc::boxed::Box;

use crate::{
    id::{AccountId, NodeId},
    ledger::{
        block::{Place, Reason},
        books::Books,
        rows::{Node, Nodes, Slot, Slots, Window},
        state::State,
        status::Status,
    },
    proof::{self, LeafProof},
};

/// A checked storage proof.
#[derive(Debug)]
pub(super) struct Effect {
    id: NodeId,
    node: Box<Node>,
    epoch: u64,
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    epoch: u64,
    leaves: &[LeafProof],
) -> Result<Effect, Status> {
    let id = NodeId::from(sender);
    let node = books.get(Nodes, &id).ok_or(Status::UnknownNode)?;
    // A proof for another window answers other challenges: it cannot be checked at all.
    let window = node.window.filter(|window| window.epoch == epoch).ok_or(Status::WrongEpoch)?;
    check_leaves(books, &id, &node, &window, leaves)?;
    if node.passed_epoch == Some(epoch) {
        return Err(Status::AlreadyProven);
    }
    Ok(Effect { id, node: Box::new(node), epoch })
}

fn check_leaves<S: State + ?Sized>(
    books: &Books<'_, S>,
    id: &NodeId,
    node: &Node,
    window: &Window,
    leaves: &[LeafProof],
) -> Result<(), Status> {
    // Drawing the challenges reads many rows, so the rules first refuse a count that cannot be right.
    let (weighted, uniform) = proof::challenge_counts(node.slot_bytes);
    if leaves.len() != weighted + uniform {
        return Err(Status::BadProof);
    }
    let slot = |position| {
        books.get(Slots, &(*id, position)).expect("slot tables are dense below their count")
    };
    let seed = node.challenge_seed(books.id(), id, window);
    let length_of = |position| slot(position).length;
    let (slots, longest) = (node.slots, node.longest());
    let challenges = proof::challenges(&seed, slots, longest, node.slot_bytes, length_of);
    if challenges.len() != leaves.len() {
        return Err(Status::BadProof);
    }
    for (challenge, leaf) in challenges.iter().zip(leaves) {
        let Slot { root, length, .. } = slot(challenge.slot);
        proof::verify_leaf(&root, length, challenge.leaf, leaf).map_err(|_| Status::BadProof)?;
    }
    Ok(())
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, effect: Effect) {
    let Effect { id, mut node, epoch } = effect;
    assert!(node.slots > 0, "only a node with slots has something to prove");
    assert!(node.passed_epoch < Some(epoch), "an epoch is paid once");
    node.passed_epoch = Some(epoch);
    node.passed += 1;
    node.missed_in_row = 0;
    let withheld = node.withholds(&books.chain.params, node.rate);
    node.withheld = node.withheld.checked_add(withheld).expect("part of what was issued");
    node.clean = node.clean.saturating_add(1);
    node.record = node.record.checked_add(node.rate).unwrap_or(node.record);
    node.proven = node.proven.saturating_add(node.slot_bytes);
    books.put(Nodes, &id, &node);
    let (payout, reason) =
        (Place::Account { account: node.payout }, Reason::Proven { node: id, epoch });
    let paid = node.rate.checked_sub(withheld).expect("a part of the pay");
    books.transfer(Place::Storage, Place::Collateral, withheld, reason);
    books.transfer(Place::Storage, payout, paid, reason);
}
