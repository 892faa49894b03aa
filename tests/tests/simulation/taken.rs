//! Ids that others see before they are on the ledger: every node tells a thief what it was asked for, and the thief opens
//! a deal and a vault with the same openings first. The thief gets ids of its own, and the owner notices nothing.

use std::sync::{Arc, Mutex};

use ed25519_dalek::SigningKey;
use symbolon_client::{Progress, Readable, Sink, Source};
use symbolon_ledger::Ledger;
use symbolon_protocol::{
    Amount, LedgerTime,
    custody::{self, CustodyTerms, VaultSecret},
    id::{AccountId, DealId, Hash, NodeId, Opening, TransactionId, VaultId},
    ledger::{
        Status,
        rows::{Deals, Vaults},
        transaction::{Acceptance, Action, DealTerms, Transaction},
    },
    wire::storage::Request,
};
use symbolon_tests::{
    between::Twist,
    sim::{Trace, World, called, derive},
};

use super::{put_options, sell_options};

const PRICE: Amount = Amount(1_000_000_007);
const NODES: usize = 8;

/// What the thief has opened, in the order in which it saw it.
#[derive(Default)]
struct Loot {
    deals: Vec<(Opening, AccountId)>,
    vaults: Vec<(Opening, AccountId)>,
    /// Outcomes of what it has sent.
    outcomes: Vec<Status>,
}

/// An account that is also a node, so that it can accept its own shards.
#[derive(Clone)]
struct Thief {
    key: SigningKey,
    ledger: Ledger,
    loot: Arc<Mutex<Loot>>,
}

impl Thief {
    fn account(&self) -> AccountId {
        AccountId(self.key.verifying_key().to_bytes())
    }

    async fn send(&self, id: [u8; 16], action: Action) -> Status {
        let until = self.ledger.head().await.unwrap().header.height + 100;
        let chain = self.ledger.chain();
        let signed = Transaction::build(chain, &self.key, TransactionId(id), until, action);
        self.ledger.submit(signed).await.unwrap().status
    }

    /// Sends an action before the node that it was seen by has answered.
    fn steal(&self, opening: &Opening, action: Action) {
        let (thief, id) = (self.clone(), opening.0[..16].try_into().unwrap());
        tokio::spawn(async move {
            let status = thief.send(id, action).await;
            thief.loot.lock().unwrap().outcomes.push(status);
        });
    }

    /// A deal of one shard with an opening of another account.
    fn deal(&self, terms: &DealTerms) -> Action {
        let (owner, required, total) = (self.account(), 1, 1);
        let terms = DealTerms { owner, required, total, length: 1024, ..terms.clone() };
        let (chain, shard) = (self.ledger.chain(), (0, Hash([7; 32])));
        let accepted = Acceptance::build(
            &chain,
            &terms,
            &self.key,
            shard,
            (Amount(1), u64::MAX),
            LedgerTime::NEVER,
        );
        Action::OpenDeal { terms, acceptances: vec![accepted], cost_max: Amount::credits(1) }
    }

    /// A vault of one custodian with an opening of another account.
    fn vault(&self, opening: Opening) -> Action {
        let secret = VaultSecret::from_seed(&[7; 32]);
        let (key, _) = custody::share(&secret, 1, 1, &[8; 32]).unwrap();
        let (chain, owner) = (self.ledger.chain(), self.account());
        let (vault, node) = (VaultId::of(&owner, &opening), NodeId::from(owner));
        let terms = CustodyTerms {
            chain: &chain,
            vault: &vault,
            owner: &owner,
            key: &key,
            index: 1,
            node: &node,
        };
        let custodians = vec![terms.accept(&self.key, LedgerTime::NEVER)];
        Action::OpenVault { opening, key, custodians }
    }

    /// Listens at a node.
    fn twist(&self) -> Twist {
        let thief = self.clone();
        Arc::new(move |request, response| {
            let mut loot = thief.loot.lock().unwrap();
            match request {
                Request::Store { terms, .. } => {
                    let seen = (terms.opening, terms.owner);
                    if !loot.deals.contains(&seen) {
                        loot.deals.push(seen);
                        thief.steal(&terms.opening, thief.deal(terms));
                    }
                }
                Request::KeepShare { opening, owner, .. } => {
                    let seen = (*opening, *owner);
                    if !loot.vaults.contains(&seen) {
                        loot.vaults.push(seen);
                        thief.steal(opening, thief.vault(*opening));
                    }
                }
                _ => {}
            }
            response
        })
    }
}

pub(super) async fn taken(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    let key = SigningKey::from_bytes(&derive(seed, "thief"));
    let thief = Thief { key, ledger: world.ledger(), loot: Arc::default() };
    let register = Action::RegisterNode {
        payout: thief.account(),
        addresses: Vec::new(),
        custody_key: Some([9; 32]),
        caretaker: false,
        price: Amount(1),
        capacity: 1 << 30,
        operator: None,
        agrees_until: 0,
        leaving: false,
    };
    for (id, action) in [([1; 16], Action::Faucet), ([2; 16], register)] {
        assert_eq!(thief.send(id, action).await, Status::Applied);
    }
    for number in 0..NODES {
        world.kill_node(number).await;
        world.start_node_behind(number, &["seller", "buyer"], thief.twist()).await;
    }
    let (seller, buyer) = (world.client("seller"), world.client("buyer"));
    seller.faucet().await.unwrap();
    buyer.faucet().await.unwrap();
    let data = world.bytes("goods", 150_000);
    let source = Source::Bytes(data.clone().into());
    seller.put(source, &called("goods"), &put_options(100), &Progress::silent()).await.unwrap();
    let options = sell_options("goods", PRICE);
    let sold = seller.sell(&called("goods"), &options, &Progress::silent()).await.unwrap();
    let bought = buyer.buy(&sold.listing, PRICE, &Progress::silent()).await.unwrap();
    let token = Readable::Token(bought.token.clone());
    let got = buyer.get(&token, Sink::Memory, &Default::default(), &Progress::silent()).await;
    assert!(got.unwrap().bytes.unwrap() == data);
    seller.close().await;
    buyer.close().await;
    world.audit().await;
    compare(&mut world, &thief).await;
    world.finish().await
}

/// Both have what they opened: the thief was first every time, and its loot is its own.
async fn compare(world: &mut World, thief: &Thief) {
    let (ledger, me) = (world.ledger(), thief.account());
    let loot = std::mem::take(&mut *thief.loot.lock().unwrap());
    assert!(!loot.deals.is_empty() && loot.vaults.len() == 1);
    assert_eq!(loot.outcomes.len(), loot.deals.len() + loot.vaults.len());
    assert!(loot.outcomes.iter().all(|status| *status == Status::Applied), "{:?}", loot.outcomes);
    for (opening, owner) in &loot.deals {
        let [theirs, own] = [&me, owner].map(|account| DealId::of(account, opening));
        let stolen = ledger.row(Deals, &theirs).await.unwrap().unwrap();
        let opened = ledger.row(Deals, &own).await.unwrap().unwrap();
        assert_eq!([stolen.owner, opened.owner], [me, *owner]);
        world.note(format!("deal {own} is its owner's, {theirs} the thief's"));
    }
    for (opening, owner) in &loot.vaults {
        let [theirs, own] = [&me, owner].map(|account| VaultId::of(account, opening));
        let stolen = ledger.row(Vaults, &theirs).await.unwrap().unwrap();
        let opened = ledger.row(Vaults, &own).await.unwrap().unwrap();
        assert_eq!([stolen.owner, opened.owner], [me, *owner]);
        world.note(format!("vault {own} is its owner's, {theirs} the thief's"));
    }
}
