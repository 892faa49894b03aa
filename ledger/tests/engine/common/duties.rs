//! A node with a shard to prove, custodians with a release to post, and a buyer with an order to acknowledge: whatever
//! else is submitted, these must be in time.

use symbolon_ledger::Ledger;
use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    content::{
        Manifest, Scheme,
        manifest::{Codec, MaskMode},
    },
    custody::{
        self, Capsule, CustodyTerms, DeliveryKey, DeliverySecret, Release, ReleaseRequest, Share,
        VaultKey, VaultSecret,
    },
    grant::mandate,
    id::{
        DealId, Hash, ListingId, NodeId, ObjectId, Opening, OrderId, PeerId, TransactionId, VaultId,
    },
    ledger::{
        Status,
        rows::{Access, Listings, Nodes, PublicRef, Slots, Terms},
        transaction::{Acceptance, Action, DealTerms, Transaction},
    },
    limits::LEAF_BYTES,
};

use super::{
    account, key,
    shards::{leaves, shard_root},
    transaction,
};

/// Who pays for the shard, and sells.
pub(crate) const OWNER: u8 = 1;
/// Who buys.
pub(crate) const BUYER: u8 = 2;
/// The node with the shard. It is a custodian too.
pub(crate) const NODE: u8 = 9;
/// All custodians. A capsule needs two of them.
pub(crate) const CUSTODIANS: [u8; 3] = [NODE, 10, 11];
const OPENING: Opening = Opening([4; 32]);
const OBJECT: ObjectId = ObjectId([5; 16]);
const PRICE: Amount = Amount(3);
const LICENCE: Hash = Hash([4; 32]);

pub(crate) fn node_id(number: u8) -> NodeId {
    PeerId(account(number).0)
}

async fn must(ledger: &Ledger, who: u8, id: u8, action: Action) {
    let signed = transaction(ledger.chain(), who, id, action);
    assert_eq!(ledger.submit(signed).await.unwrap().status, Status::Applied);
}

/// Registers the custodians, and opens a deal for one shard of the first of them.
pub(crate) async fn open_deal(ledger: &Ledger) {
    must(ledger, OWNER, 1, Action::Faucet).await;
    for number in CUSTODIANS {
        let register = Action::RegisterNode {
            payout: account(8),
            addresses: Vec::new(),
            custody_key: Some([number; 32]),
            caretaker: false,
            price: Amount::credits(1),
            capacity: 1 << 30,
            operator: None,
            agrees_until: 0,
            leaving: false,
        };
        must(ledger, number, 1, register).await;
    }
    let terms = DealTerms {
        owner: account(OWNER),
        opening: OPENING,
        object: OBJECT,
        segment: 0,
        required: 1,
        total: 1,
        length: LEAF_BYTES as u64,
        access: Access::Public,
        epochs: 5_000,
    };
    let (root, price) = (shard_root(&terms.deal(), 0, terms.length), Amount::credits(1));
    let accepted = Acceptance::build(
        &ledger.chain(),
        &terms,
        &key(NODE),
        (0, root),
        (price, u64::MAX),
        LedgerTime::NEVER,
    );
    let open = Action::OpenDeal { terms, acceptances: vec![accepted], cost_max: price };
    must(ledger, OWNER, 2, open).await;
}

/// Waits until the node's window is open. Returns its proof.
pub(crate) async fn proof(ledger: &Ledger) -> Transaction {
    let mut follow = ledger.follow(ledger.head().await.unwrap().header.height);
    let (row, window) = loop {
        let row = ledger.row(Nodes, &node_id(NODE)).await.unwrap().unwrap();
        let open = row.window.filter(|window| row.passed_epoch != Some(window.epoch));
        if let Some(window) = open {
            break (row, window);
        }
        follow.next().await.unwrap();
    };
    let slot = ledger.row(Slots, &(node_id(NODE), 0)).await.unwrap().unwrap();
    let leaves = leaves(&ledger.chain(), (&node_id(NODE), &row), &window, &[slot]);
    let action = Action::Prove { epoch: window.epoch, leaves };
    let mut id = [7; 16];
    id[..8].copy_from_slice(&window.epoch.to_le_bytes());
    Transaction::build(ledger.chain(), &key(NODE), TransactionId(id), 9_000, action)
}

/// A paid order.
pub(crate) struct Sale {
    vault: (VaultKey, Vec<Share>),
    capsule: Capsule,
    label: Hash,
    delivery: DeliveryKey,
    listing: ListingId,
}

fn vault_id() -> VaultId {
    VaultId::of(&account(OWNER), &OPENING)
}

fn order_id() -> OrderId {
    OrderId::of(&account(BUYER), &OPENING)
}

impl Sale {
    /// Opens a vault, lists something, and orders it.
    pub(crate) async fn paid(ledger: &Ledger) -> Self {
        let chain = ledger.chain();
        let secret = VaultSecret::from_seed(&[44; 32]);
        let vault = custody::share(&secret, 2, 3, &[45; 32]).unwrap();
        let label = custody::label(&chain, &account(OWNER), &vault_id(), &Hash([2; 32]));
        let capsule = Capsule::seal(&secret, &label, &[49; 32]).0;
        let listing = ListingId::of(&account(OWNER), &OPENING);
        let context = custody::release_context(&chain, &order_id(), &listing);
        let delivery =
            DeliveryKey::make(&DeliverySecret::from_seed(&[47; 32]), &context, &[51; 32]);
        let sale = Self { vault, capsule, label, delivery, listing };
        sale.open_vault(ledger).await;
        let terms = sale.terms(ledger);
        must(ledger, OWNER, 4, Action::List { opening: OPENING, terms: Box::new(terms) }).await;
        let deals = vec![DealId::of(&account(OWNER), &OPENING)];
        must(ledger, OWNER, 5, Action::CoverListing { listing, first: 0, deals }).await;
        must(ledger, BUYER, 1, Action::Faucet).await;
        let row = ledger.row(Listings, &listing).await.unwrap().unwrap();
        let order = Action::Order {
            opening: OPENING,
            listing,
            listed_ms: row.listed_ms,
            holder: PeerId([9; 32]),
            delivery: sale.delivery.clone(),
            price: PRICE,
            licence: LICENCE,
        };
        must(ledger, BUYER, 2, order).await;
        sale
    }

    async fn open_vault(&self, ledger: &Ledger) {
        let (chain, owner, vault) = (ledger.chain(), account(OWNER), vault_id());
        let accept = |(index, number): (u8, u8)| {
            let (key_of, node) = (&self.vault.0, &node_id(number));
            let terms = CustodyTerms {
                chain: &chain,
                vault: &vault,
                owner: &owner,
                key: key_of,
                index,
                node,
            };
            terms.accept(&key(number), LedgerTime::NEVER)
        };
        let custodians = (1..).zip(CUSTODIANS).map(accept).collect();
        let open = Action::OpenVault { opening: OPENING, key: self.vault.0.clone(), custodians };
        must(ledger, OWNER, 3, open).await;
    }

    fn terms(&self, ledger: &Ledger) -> Terms {
        let manifest = Manifest {
            version: 1,
            codec: Codec::ReedSolomon8,
            mask: MaskMode::ChaCha20,
            scheme: Scheme { required: 1, total: 1 },
            object: OBJECT,
            length: 100,
            commitment: Hash([1; 32]),
            content_root: Hash([2; 32]),
        };
        let document = PublicRef { manifest: manifest.clone(), key: [0; 32], hash: Hash([3; 32]) };
        Terms {
            title: "measurements".to_owned(),
            price: PRICE,
            bond: PRICE,
            licence: LICENCE,
            access_ms: Millis(3_600_000),
            window_ms: Millis(60_000),
            splits: Vec::new(),
            preview_cells: 0,
            leaves: document.clone(),
            masks_root: Hash([0; 32]),
            document,
            manifest,
            cells: 1,
            vault: vault_id(),
            own_custodians: false,
            capsule: self.capsule.clone(),
            pad: [0; 32],
            mandate: mandate(&ledger.chain(), &key(OWNER), OBJECT, &[50; 32]).unwrap(),
        }
    }

    /// A custodian's release.
    pub(crate) fn release(&self, ledger: &Ledger, place: usize) -> Transaction {
        let request = ReleaseRequest {
            vault: &self.vault.0,
            capsule: &self.capsule,
            label: &self.label,
            delivery: &self.delivery,
            context: &custody::release_context(&ledger.chain(), &order_id(), &self.listing),
        };
        let release = Release::make(&self.vault.1[place], &request, &[9; 32]).unwrap();
        let action = Action::PostRelease { order: order_id(), release };
        Transaction::build(
            ledger.chain(),
            &key(CUSTODIANS[place]),
            TransactionId([6; 16]),
            9_000,
            action,
        )
    }

    /// The buyer's acknowledgement.
    pub(crate) fn acknowledgement(ledger: &Ledger) -> Transaction {
        let action = Action::Acknowledge { order: order_id(), custodians: vec![1, 2] };
        Transaction::build(ledger.chain(), &key(BUYER), TransactionId([6; 16]), 9_000, action)
    }
}
