//! A node deletes shards of ended deals at their owner's request, signs a receipt, and deletes no
//! others.

use symbolon_node::Node;
use symbolon_protocol::{
    deletion::DeletionReceipt,
    grant::{Caveat, Grant, ability},
    id::DealId,
    identity::Identity,
    ledger::{
        Params,
        rows::{DealState, Nodes},
        transaction::{Acceptance, Action, DealTerms},
    },
    wire::storage::{Refusal, RefusalCode, Request, Response},
};

use crate::life::damage;
use crate::world::{CAPACITY, NODE_SECRET, PRICE, Peer, World, code, named, shard};

const EPOCH_MS: u64 = 60_000;

struct Kept {
    world: World,
    node: Node,
    owner: Peer,
    terms: DealTerms,
    accepted: Acceptance,
}

impl Kept {
    /// A node with one shard of an open deal.
    async fn new(params: Params) -> Self {
        let world = World::with(params).await;
        let node = world.node().await;
        let owner = world.peer(&world.owner, &node).await;
        let terms = world.terms(1, 4096);
        let grant = world.own_grant();
        let accepted = owner.store(&terms, 1, PRICE, &grant, &shard(4096)).await.unwrap();
        world.open_deal(&terms, accepted.clone()).await;
        Self { world, node, owner, terms, accepted }
    }

    fn grant(&self) -> Grant {
        let set = ability::DELETE;
        self.world.grant(self.world.owner.peer(), vec![Caveat::Abilities { set }])
    }

    async fn ask(&self, index: u8, grant: Grant) -> Result<DeletionReceipt, Refusal> {
        let request = Request::Delete { deal: self.terms.deal(), index, grant };
        match self.owner.ask(&request).await? {
            Response::Deleted { receipt } => Ok(receipt),
            other => panic!("not an answer to a deletion: {other:?}"),
        }
    }

    async fn end(&self) {
        let action = Action::EndDeal { deal: self.terms.deal() };
        self.world.apply(&self.world.owner.account_key(), action).await;
    }

    fn check(&self, receipt: &DeletionReceipt) {
        receipt.verify(&self.world.ledger.chain()).unwrap();
        assert_eq!((receipt.node, receipt.deal), (self.node.id(), self.terms.deal()));
        assert_eq!((receipt.index, receipt.root), (1, self.accepted.root));
        assert_eq!(files(&self.world), 0);
    }
}

fn files(world: &World) -> usize {
    let folders = std::fs::read_dir(world.dir.path().join("node/shards")).unwrap();
    folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

#[tokio::test(start_paused = true)]
async fn a_shard_of_an_ended_deal_goes_at_once_and_its_room_is_free() {
    let kept = Kept::new(Params::development()).await;
    kept.world.opened(&kept.node).await;
    assert_eq!(kept.node.status().await.unwrap().slots, 1);
    kept.end().await;
    let receipt = kept.ask(1, kept.grant()).await.unwrap();
    kept.check(&receipt);
    let status = kept.node.status().await.unwrap();
    assert_eq!((status.used, status.shards, status.unpaid_bytes), (0, 0, 0));
    let Response::Info { free, .. } = kept.owner.ask(&Request::Info).await.unwrap() else {
        panic!("not the terms");
    };
    assert_eq!(free, CAPACITY);
    let row = kept.world.ledger.row(Nodes, &kept.node.id()).await.unwrap().unwrap();
    assert_eq!((row.used, row.slots), (4096, 1), "the table waits for the node's next turn");

    // The node has proven this epoch and is paid. The next epoch challenges nothing.
    kept.world.pass(2 * EPOCH_MS).await;
    let status = kept.node.status().await.unwrap();
    assert_eq!((status.passed, status.missed, status.slots), (1, 0, 0));

    // Asked again, the node signs a receipt again.
    let again = kept.ask(1, kept.grant()).await.unwrap();
    kept.check(&again);
    assert!(receipt.time_ms < again.time_ms);
    kept.node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_shard_whose_last_proof_is_due_stays() {
    let kept = Kept::new(Params::development()).await;
    damage(&kept.world, 100);
    kept.world.opened(&kept.node).await;
    kept.end().await;
    assert_eq!(code(kept.ask(1, kept.grant()).await), RefusalCode::Busy, "it cannot be proven");
    assert_eq!(kept.node.status().await.unwrap().passed, 0);
    damage(&kept.world, 100);
    kept.world.pass(EPOCH_MS / 4).await;
    let receipt = kept.ask(1, kept.grant()).await.unwrap();
    kept.check(&receipt);
    let status = kept.node.status().await.unwrap();
    assert_eq!((status.passed, status.missed), (1, 0));
    kept.node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deal_that_never_began_leaves_nothing() {
    let kept = Kept::new(Params::development()).await;
    kept.end().await;
    assert_eq!(kept.world.deal(&kept.terms.deal()).await.state, DealState::Cancelled);
    let receipt = kept.ask(1, kept.grant()).await.unwrap();
    kept.check(&receipt);
    assert_eq!(kept.node.status().await.unwrap().used, 0);
    kept.node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_shard_of_an_open_deal_or_another_owner_stays() {
    let kept = Kept::new(Params::development()).await;
    assert_eq!(code(kept.ask(1, kept.grant()).await), RefusalCode::Bound, "it waits");
    kept.world.opened(&kept.node).await;
    assert_eq!(code(kept.ask(1, kept.grant()).await), RefusalCode::Bound, "it runs");

    // An accepted shard may still become part of a deal, and must then be proven.
    let waiting = kept.world.terms(2, 8192);
    let (store, bytes) = (kept.world.own_grant(), shard(8192));
    kept.owner.store(&waiting, 0, PRICE, &store, &bytes).await.unwrap();
    let delete = |deal| Request::Delete { deal, index: 0, grant: kept.grant() };
    assert_eq!(code(kept.owner.ask(&delete(waiting.deal())).await), RefusalCode::Bound);
    assert_eq!(code(kept.owner.ask(&delete(DealId([9; 16]))).await), RefusalCode::NotFound);

    kept.end().await;
    for index in [0, 2, 3, 255] {
        assert_eq!(code(kept.ask(index, kept.grant()).await), RefusalCode::NotFound, "{index}");
    }
    let to_read = kept.world.own_grant();
    assert_eq!(code(kept.ask(1, to_read).await), RefusalCode::NotAllowed, "no such ability");
    let stranger = Identity::from_seed(&[99; 64]);
    let caveats = named(vec![Caveat::Abilities { set: ability::DELETE }]);
    let (chain, nonce) = (kept.world.ledger.chain(), kept.world.host.random());
    let own =
        Grant::issue(&chain, &stranger.account_key(), kept.world.owner.peer(), caveats, &nonce);
    assert_eq!(code(kept.ask(1, own.unwrap()).await), RefusalCode::NotAllowed, "of another owner");
    let others = kept.world.grant(stranger.peer(), Vec::new());
    assert_eq!(code(kept.ask(1, others).await), RefusalCode::NotYourGrant);
    assert_eq!(files(&kept.world), 2, "nothing was deleted");
    kept.ask(1, kept.grant()).await.unwrap();
    assert_eq!(files(&kept.world), 1);
    kept.node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_away_deletes_by_itself_and_says_so_when_asked() {
    let kept = Kept::new(Params::development()).await;
    kept.world.opened(&kept.node).await;
    let Kept { world, node, owner, terms, accepted } = kept;
    owner.endpoint.close().await;
    node.stop().await;
    let action = Action::EndDeal { deal: terms.deal() };
    world.apply(&world.owner.account_key(), action).await;
    assert_eq!(files(&world), 1);
    world.pass(2 * EPOCH_MS).await;

    let node = world.node_with(world.options("node"), NODE_SECRET).await;
    world.pass(1_000).await;
    assert_eq!(files(&world), 0, "the block that ended the deal was followed");
    let owner = world.peer(&world.owner, &node).await;
    let kept = Kept { world, node, owner, terms, accepted };
    let receipt = kept.ask(1, kept.grant()).await.unwrap();
    kept.check(&receipt);
    kept.node.stop().await;
}
