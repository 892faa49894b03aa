//! Custodians store shares, and buyers who paid get releases.

use std::sync::atomic::Ordering;

use ed25519_dalek::SigningKey;
use symbolon_node::Node;
use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    content::{
        Manifest, Scheme,
        manifest::{Codec, MaskMode},
    },
    custody::{
        self, Capsule, CustodyAcceptance, CustodyTerms, DeliveryKey, DeliverySecret, Release,
        Share, VaultKey, VaultSecret,
    },
    grant::{Grant, bought, mandate},
    id::{Hash, ListingId, NodeId, ObjectId, Opening, OrderId, VaultId},
    identity::Identity,
    ledger::{
        Params,
        rows::{Access, Listings, Nodes, Order, OrderState, Orders, PublicRef, Terms},
        transaction::{Acceptance, Action, DealTerms},
    },
    limits::CUSTODIANS_MAX,
    wire::storage::{Refusal, RefusalCode, Request, Response},
};

use crate::{
    away::far_node,
    world::{PRICE, Peer, World, code, shard},
};

/// What the owner opens the vault and the listing with, and the buyer the order.
const VAULT: Opening = Opening([41; 32]);
pub(crate) const LISTING: Opening = Opening([42; 32]);
pub(crate) const ORDER: Opening = Opening([43; 32]);

/// A vault of two custodians that needs both, a listing in it, and a buyer with money.
pub(crate) struct Market {
    pub(crate) world: World,
    pub(crate) nodes: Vec<Node>,
    pub(crate) secret: VaultSecret,
    pub(crate) key: VaultKey,
    shares: Vec<Share>,
    pub(crate) buyer: Identity,
    delivery: DeliverySecret,
}

impl Market {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        let node = world.node().await;
        Self::of(world, node).await
    }

    /// The same with a given first node.
    pub(crate) async fn of(world: World, node: Node) -> Self {
        let second = world.node_with(world.options("second"), [12; 32]).await;
        let third = world.node_with(world.options("another"), [99; 32]).await;
        let nodes = vec![node, second, third];
        let secret = VaultSecret::from_seed(&[44; 32]);
        let (key, shares) = custody::share(&secret, 2, 3, &[45; 32]).unwrap();
        let buyer = Identity::from_seed(&[46; 64]);
        world.apply(&buyer.account_key(), Action::Faucet).await;
        let delivery = DeliverySecret::from_seed(&[47; 32]);
        Self { world, nodes, secret, key, shares, buyer, delivery }
    }

    pub(crate) fn vault(&self) -> VaultId {
        VaultId::of(&self.world.owner.account(), &VAULT)
    }

    pub(crate) fn listing(&self, opening: &Opening) -> ListingId {
        ListingId::of(&self.world.owner.account(), opening)
    }

    pub(crate) fn order_id(&self, opening: &Opening) -> OrderId {
        OrderId::of(&self.buyer.account(), opening)
    }

    /// The request that gives a node its share.
    async fn keep_share(&self, place: usize) -> Request {
        let node = self.nodes[place].id();
        let row = self.world.ledger.row(Nodes, &node).await.unwrap().unwrap();
        let owner = self.world.owner.account();
        let terms = CustodyTerms {
            chain: &self.world.ledger.chain(),
            vault: &self.vault(),
            owner: &owner,
            key: &self.key,
            index: self.shares[place].index(),
            node: &node,
        };
        let sealed = terms.seal(&self.shares[place], &row.custody_key.unwrap(), &[48; 32]).unwrap();
        Request::KeepShare {
            owner,
            opening: VAULT,
            key: self.key.clone(),
            index: terms.index,
            share: sealed,
            signature: terms.sign_request(&self.world.owner.account_key()),
        }
    }

    pub(crate) async fn seller(&self, place: usize) -> Peer {
        self.world.peer(&self.world.owner, &self.nodes[place]).await
    }

    pub(crate) async fn open_vault(&self) {
        let mut custodians = Vec::new();
        for place in 0..self.nodes.len() {
            let request = self.keep_share(place).await;
            custodians.push(accepted(self.seller(place).await.ask(&request).await).unwrap());
        }
        let action = Action::OpenVault { opening: VAULT, key: self.key.clone(), custodians };
        self.world.apply(&self.world.owner.account_key(), action).await;
    }

    pub(crate) async fn list(&self) {
        self.list_as(LISTING, ObjectId([5; 16])).await;
    }

    pub(crate) async fn list_as(&self, opening: Opening, object: ObjectId) {
        let world = &self.world;
        let seller = world.owner.account();
        let manifest = Manifest {
            version: 1,
            codec: Codec::ReedSolomon8,
            mask: MaskMode::ChaCha20,
            scheme: Scheme { required: 1, total: 3 },
            object,
            length: 100,
            commitment: Hash([1; 32]),
            content_root: Hash([2; 32]),
        };
        let (chain, vault) = (world.ledger.chain(), self.vault());
        let label = custody::label(&chain, &seller, &vault, &manifest.content_root);
        let document = PublicRef { manifest: manifest.clone(), key: [0; 32], hash: Hash([3; 32]) };
        let signer = world.owner.account_key();
        let terms = Terms {
            title: "measurements".to_owned(),
            price: Amount::credits(10),
            bond: Amount::credits(10),
            licence: Hash([4; 32]),
            access_ms: Millis(3_600_000),
            window_ms: Millis(60_000),
            splits: Vec::new(),
            preview_cells: 0,
            leaves: document.clone(),
            masks_root: Hash([0; 32]),
            document,
            manifest,
            cells: 1,
            vault,
            own_custodians: false,
            capsule: Capsule::seal(&self.secret, &label, &[49; 32]).0,
            pad: [0; 32],
            mandate: mandate(&chain, &signer, object, &[50; 32]).unwrap(),
        };
        world.apply(&signer, Action::List { opening, terms: Box::new(terms) }).await;
        self.cover(self.listing(&opening), object).await;
    }

    /// Shows the ledger a deal that keeps what a listing sells. Its node is no program: nothing is asked of it here.
    async fn cover(&self, listing: ListingId, object: ObjectId) {
        let (world, signer) = (&self.world, self.world.owner.account_key());
        let keeper = SigningKey::from_bytes(&[77; 32]);
        let register = Action::RegisterNode {
            payout: self.buyer.account(),
            operator: None,
            addresses: Vec::new(),
            custody_key: None,
            caretaker: false,
            price: Amount::ZERO,
            agrees_until: 0,
            capacity: 1 << 20,
            leaving: false,
        };
        world.apply(&keeper, register).await;
        let terms = DealTerms {
            owner: world.owner.account(),
            opening: Opening([object.0[0]; 32]),
            object,
            segment: 0,
            required: 1,
            total: 3,
            length: 1024,
            access: Access::Granted,
            // For as long as the ledger allows: some tests let days pass.
            epochs: 100_000,
        };
        let (chain, root) = (world.ledger.chain(), Hash([7; 32]));
        let (price, expires_ms) = ((Amount::ZERO, u64::MAX), LedgerTime::NEVER);
        let accepted = Acceptance::build(&chain, &terms, &keeper, (0, root), price, expires_ms);
        let deal = terms.deal();
        let open = Action::OpenDeal { terms, acceptances: vec![accepted], cost_max: Amount::ZERO };
        world.apply(&signer, open).await;
        let deals = vec![deal];
        world.apply(&signer, Action::CoverListing { listing, first: 0, deals }).await;
    }

    fn context(&self) -> Hash {
        let (order, listing) = (self.order_id(&ORDER), self.listing(&LISTING));
        custody::release_context(&self.world.ledger.chain(), &order, &listing)
    }

    fn delivery_key(&self) -> DeliveryKey {
        DeliveryKey::make(&self.delivery, &self.context(), &[51; 32])
    }

    pub(crate) async fn buy(&self) {
        self.buy_as(ORDER, LISTING).await;
    }

    pub(crate) async fn buy_as(&self, opening: Opening, listing: Opening) {
        let (order, listing) = (self.order_id(&opening), self.listing(&listing));
        let context = custody::release_context(&self.world.ledger.chain(), &order, &listing);
        let listing_row = self.world.ledger.row(Listings, &listing).await.unwrap().unwrap();
        let action = Action::Order {
            opening,
            listing,
            listed_ms: listing_row.listed_ms,
            holder: self.buyer.peer(),
            delivery: DeliveryKey::make(&self.delivery, &context, &[51; 32]),
            price: Amount::credits(10),
            licence: Hash([4; 32]),
        };
        self.world.apply(&self.buyer.account_key(), action).await;
    }

    /// The buyer's grant by an order, as the buyer's program makes it.
    pub(crate) async fn grant(&self, opening: Opening) -> Grant {
        let (ledger, id) = (&self.world.ledger, self.order_id(&opening));
        let order = ledger.row(Orders, &id).await.unwrap().unwrap();
        let listing = ledger.row(Listings, &order.listing).await.unwrap().unwrap();
        bought(id, &order, &listing)
    }

    async fn order(&self) -> Order {
        self.world.ledger.row(Orders, &self.order_id(&ORDER)).await.unwrap().unwrap()
    }

    /// Asks a custodian for its release with this identity.
    async fn release(&self, place: usize, who: &Identity) -> Result<Release, Refusal> {
        let peer = self.world.peer(who, &self.nodes[place]).await;
        match peer.ask(&Request::Release { order: self.order_id(&ORDER) }).await? {
            Response::Released { release } => Ok(release),
            other => panic!("not a release: {other:?}"),
        }
    }

    async fn capsule(&self) -> Capsule {
        let row = self.world.ledger.row(Listings, &self.listing(&LISTING)).await.unwrap().unwrap();
        row.terms.capsule
    }
}

/// A new dealing of the market's secret among some of its nodes, by their places.
struct Anew {
    key: VaultKey,
    custodians: Vec<CustodyAcceptance>,
}

impl Market {
    /// Gives each of these nodes its share of a new dealing.
    async fn deal_anew(&self, required: u8, places: &[usize], seed: u8) -> Anew {
        let (chain, owner, vault) =
            (self.world.ledger.chain(), self.world.owner.account(), self.vault());
        let total = u8::try_from(places.len()).unwrap();
        let (key, shares) = custody::share(&self.secret, required, total, &[seed; 32]).unwrap();
        let mut custodians = Vec::new();
        for (place, share) in places.iter().zip(&shares) {
            let node = self.nodes[*place].id();
            let row = self.world.ledger.row(Nodes, &node).await.unwrap().unwrap();
            let index = share.index();
            let (vault, owner, key, node) = (&vault, &owner, &key, &node);
            let terms = CustodyTerms { chain: &chain, vault, owner, key, index, node };
            let request = Request::KeepShare {
                owner: *owner,
                opening: VAULT,
                key: key.clone(),
                index,
                share: terms.seal(share, &row.custody_key.unwrap(), &[seed; 32]).unwrap(),
                signature: terms.sign_request(&self.world.owner.account_key()),
            };
            custodians.push(accepted(self.seller(*place).await.ask(&request).await).unwrap());
        }
        Anew { key, custodians }
    }

    async fn rotate(&self, Anew { key, custodians }: &Anew) {
        let (key, custodians) = (key.clone(), custodians.clone());
        let action = Action::RotateVault { vault: self.vault(), key, custodians };
        self.world.apply(&self.world.owner.account_key(), action).await;
    }

    /// Whether a node's release verifies under a key.
    async fn releases_under(&self, place: usize, key: &VaultKey) -> bool {
        let release = self.release(place, &self.buyer).await.unwrap();
        let (delivery, context) = (self.delivery_key(), self.context());
        release.verify(key, &self.capsule().await, &delivery, &context).is_ok()
    }
}

#[tokio::test(start_paused = true)]
async fn a_vault_is_dealt_anew_while_an_order_runs() {
    let mut market = Market::new().await;
    market.open_vault().await;
    market.list().await;
    market.buy().await;
    let anew = market.deal_anew(2, &[1, 2, 0], 80).await;
    assert!(market.releases_under(0, &market.key).await, "the ledger has the first dealing still");
    // A node that stops between acceptance and rotation goes on after it.
    let options = market.world.options("node");
    market.nodes.remove(0).stop().await;
    let back = market.world.node_with(options, [11; 32]).await;
    market.nodes.insert(0, back);
    market.rotate(&anew).await;
    for place in 0..3 {
        assert!(market.releases_under(place, &anew.key).await, "{place}");
    }
    // At half time the releases of the new dealing are posted.
    market.world.pass(6 * 60_000).await;
    let order = market.order().await;
    assert_eq!((order.state, order.dealing), (OrderState::Delivered, 2));
    let capsule = market.capsule().await;
    let point = custody::combine_posted(&capsule, &order.releases, &market.delivery, 2).unwrap();
    assert_eq!(*point, *capsule.open(&market.secret).unwrap());
    // A day later no acceptance of the first dealing is valid, and its shares are gone.
    market.world.pass(25 * 60 * 60 * 1000).await;
    let (vault, dir) = (market.vault(), market.world.dir.path().join("node"));
    for node in market.nodes {
        node.stop().await;
    }
    let kept = symbolon_store::Shards::open(&dir).unwrap().custody(&vault).unwrap();
    assert_eq!(kept.iter().map(|kept| kept.until_ms).collect::<Vec<_>>(), [None]);
}

/// The order was paid before the node had any share of its vault.
#[tokio::test(start_paused = true)]
async fn a_custodian_by_rotation_posts_for_orders_of_before() {
    let mut market = Market::new().await;
    let late = market.world.node_with(market.world.options("late"), [14; 32]).await;
    market.nodes.push(late);
    let last = market.nodes.pop().unwrap();
    market.open_vault().await;
    market.list().await;
    market.buy().await;
    market.nodes.push(last);
    let anew = market.deal_anew(1, &[3], 81).await;
    market.rotate(&anew).await;
    market.world.pass(4 * 60_000).await;
    assert!(market.order().await.releases.is_empty(), "half of the time is not over");
    market.world.pass(2 * 60_000).await;
    let order = market.order().await;
    assert_eq!(order.state, OrderState::Delivered);
    assert_eq!(order.releases[0].node, market.nodes[3].id());
    // The former custodians have forgotten their shares some time later.
    market.world.pass(25 * 60 * 60 * 1000).await;
    let (vault, dir) = (market.vault(), market.world.dir.path().join("node"));
    for node in market.nodes {
        node.stop().await;
    }
    assert!(symbolon_store::Shards::open(&dir).unwrap().custody(&vault).unwrap().is_empty());
}

/// The owner may deal once more what nodes have accepted before.
#[tokio::test(start_paused = true)]
async fn an_earlier_dealing_may_come_back_while_its_acceptances_are_valid() {
    let market = Market::new().await;
    market.open_vault().await;
    market.list().await;
    let anew = market.deal_anew(2, &[1, 2, 0], 82).await;
    let first = market.deal_anew(2, &[0, 1, 2], 45).await;
    assert_eq!(first.key, market.key, "the dealing that is on the ledger");
    market.rotate(&anew).await;
    market.world.pass(12 * 60 * 60 * 1000).await;
    market.rotate(&first).await;
    market.buy().await;
    assert!(market.releases_under(0, &market.key).await);
    market.world.pass(6 * 60_000).await;
    assert_eq!(market.order().await.state, OrderState::Delivered);
}

fn accepted(answer: Result<Response, Refusal>) -> Result<CustodyAcceptance, Refusal> {
    match answer? {
        Response::InCustody { acceptance } => Ok(acceptance),
        other => panic!("not an acceptance: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn releases_of_a_paid_order_open_the_capsule() {
    let market = Market::new().await;
    market.open_vault().await;
    market.list().await;
    assert_eq!(code(market.release(0, &market.buyer).await), RefusalCode::NotFound);
    market.buy().await;
    let capsule = market.capsule().await;
    let mut releases = Vec::new();
    for place in 0..2 {
        let release = market.release(place, &market.buyer).await.unwrap();
        let verified =
            release.verify(&market.key, &capsule, &market.delivery_key(), &market.context());
        verified.unwrap();
        // A second request gets the same release.
        assert_eq!(market.release(place, &market.buyer).await.unwrap(), release);
        releases.push(release);
    }
    let point = custody::combine(&capsule, &releases, &market.delivery, &market.key).unwrap();
    assert_eq!(*point, *capsule.open(&market.secret).unwrap());

    // The seller and a stranger get nothing.
    for who in [&market.world.owner, &Identity::from_seed(&[60; 64])] {
        assert_eq!(code(market.release(0, who).await), RefusalCode::NotAllowed);
    }
    // The buyer acknowledges, so the order is settled and no release is posted later.
    let acknowledge =
        Action::Acknowledge { order: market.order_id(&ORDER), custodians: vec![1, 2] };
    market.world.apply(&market.buyer.account_key(), acknowledge).await;
    let again = market.release(0, &market.buyer).await.unwrap();
    assert_eq!(again, releases[0], "a buyer that lost the key gets the release again");
    market.world.pass(10 * 60_000).await;
    assert_eq!(market.order().await.state, OrderState::Settled);
    assert!(market.order().await.releases.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_silent_buyer_is_delivered_on_the_ledger_at_half_time() {
    let market = Market::new().await;
    market.open_vault().await;
    market.list().await;
    market.buy().await;
    market.world.pass(4 * 60_000 + 50_000).await;
    assert!(market.order().await.releases.is_empty(), "half of the time is not over");
    market.world.pass(20_000).await;
    let order = market.order().await;
    assert_eq!((order.state, order.releases.len()), (OrderState::Delivered, 2));
    let capsule = market.capsule().await;
    let point = custody::combine_posted(&capsule, &order.releases, &market.delivery, 2).unwrap();
    assert_eq!(*point, *capsule.open(&market.secret).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_custodian_that_was_down_posts_when_it_is_back() {
    let mut market = Market::new().await;
    market.open_vault().await;
    market.list().await;
    let options = market.world.options("node");
    for down in [2, 0] {
        market.nodes.remove(down).stop().await;
    }
    market.buy().await;
    market.world.pass(6 * 60_000).await;
    assert_eq!(market.order().await.releases.len(), 1);
    let back = market.world.node_with(options, [11; 32]).await;
    market.world.pass(1000).await;
    assert_eq!(market.order().await.state, OrderState::Delivered);
    back.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_custodian_that_saw_no_blocks_posts_all_the_same() {
    // Blocks are gone an epoch after the one that they are in.
    let world = World::keeping(Params::development(), 0).await;
    let (node, how) = far_node(&world, world.options("node")).await;
    let market = Market::of(world, node).await;
    market.open_vault().await;
    market.list().await;
    how.cuts.store(true, Ordering::Relaxed);
    market.buy().await;
    market.world.pass(4 * 60_000).await;
    how.cuts.store(false, Ordering::Relaxed);
    market.world.pass(50_000).await;
    assert!(market.order().await.releases.is_empty(), "half of the time is not over");
    market.world.pass(30_000).await;
    assert_eq!(market.order().await.state, OrderState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_share_is_kept_for_its_owner_only() {
    let market = Market::new().await;
    let seller = market.seller(0).await;
    let good = market.keep_share(0).await;
    let first = accepted(seller.ask(&good).await).unwrap();
    assert_eq!(accepted(seller.ask(&good).await).unwrap(), first, "the same acceptance again");
    let (chain, owner) = (market.world.ledger.chain(), market.world.owner.account());
    let vault = market.vault();
    let terms = |node: &NodeId| {
        let node = *node;
        let key = market.key.clone();
        move |acceptance: &CustodyAcceptance| {
            CustodyTerms {
                chain: &chain,
                vault: &vault,
                owner: &owner,
                key: &key,
                index: 1,
                node: &node,
            }
            .verify_acceptance(acceptance)
        }
    };
    terms(&market.nodes[0].id())(&first).unwrap();

    let Request::KeepShare { owner, opening, key, index, share, signature } = good.clone() else {
        panic!("not a share");
    };
    let offer = |index, share: &[u8], signature| Request::KeepShare {
        owner,
        opening,
        key: key.clone(),
        index,
        share: share.to_vec(),
        signature,
    };
    let mut torn = share.clone();
    torn[40] ^= 1;
    for bad in [
        offer(index, &share, [0; 64]),
        offer(2, &share, signature),
        offer(index, &torn, signature),
        offer(index, &[], signature),
    ] {
        assert_eq!(code(seller.ask(&bad).await), RefusalCode::NotAllowed);
    }
    // A share that is sealed to the other node does not open here.
    let other = market.keep_share(1).await;
    assert_eq!(code(seller.ask(&other).await), RefusalCode::NotAllowed);
}

/// Another owner with money sends what it saw: the same opening makes another vault.
#[tokio::test(start_paused = true)]
async fn no_other_owners_share_takes_the_place_of_one() {
    let market = Market::new().await;
    let seller = market.seller(0).await;
    let good = market.keep_share(0).await;
    let first = accepted(seller.ask(&good).await).unwrap();
    let (chain, vault) = (market.world.ledger.chain(), market.vault());
    let rival = Market { secret: VaultSecret::from_seed(&[61; 32]), ..market };
    let (key, shares) = custody::share(&rival.secret, 1, 1, &[62; 32]).unwrap();
    let node = rival.nodes[0].id();
    let theirs = rival.buyer.account();
    let row = rival.world.ledger.row(Nodes, &node).await.unwrap().unwrap();
    let offer = |vault: &VaultId| {
        let terms =
            CustodyTerms { chain: &chain, vault, owner: &theirs, key: &key, index: 1, node: &node };
        Request::KeepShare {
            owner: theirs,
            opening: VAULT,
            key: key.clone(),
            index: 1,
            share: terms.seal(&shares[0], &row.custody_key.unwrap(), &[63; 32]).unwrap(),
            signature: terms.sign_request(&rival.buyer.account_key()),
        }
    };
    assert_eq!(code(seller.ask(&offer(&vault)).await), RefusalCode::NotAllowed);
    accepted(seller.ask(&offer(&VaultId::of(&theirs, &VAULT))).await).unwrap();
    assert_eq!(accepted(seller.ask(&good).await).unwrap(), first);
    let dir = rival.world.dir.path().join("node");
    let Market { nodes, .. } = rival;
    for node in nodes {
        node.stop().await;
    }
    let store = symbolon_store::Shards::open(&dir).unwrap();
    for kept in [vault, VaultId::of(&theirs, &VAULT)] {
        assert!(!store.custody(&kept).unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_without_custody_keeps_no_share() {
    let market = Market::new().await;
    // The request is good: a node with custody would accept it.
    let good = market.keep_share(0).await;
    let Market { world, mut nodes, .. } = market;
    nodes.remove(0).stop().await;
    let mut options = world.options("node");
    options.custody = false;
    let node = world.node_with(options, [11; 32]).await;
    assert_eq!(world.ledger.row(Nodes, &node.id()).await.unwrap().unwrap().custody_key, None);
    let owner = world.peer(&world.owner, &node).await;
    assert_eq!(code(owner.ask(&good).await), RefusalCode::NotAllowed);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_share_of_an_impossible_or_foreign_vault_is_refused() {
    let mut market = Market::new().await;
    let chain = market.world.ledger.chain();
    let offer = |who: &Identity, key: &VaultKey, share: &Share, node: (NodeId, [u8; 32])| {
        let owner = who.account();
        let (vault, index) = (&VaultId::of(&owner, &VAULT), share.index());
        let terms = CustodyTerms { chain: &chain, vault, owner: &owner, key, index, node: &node.0 };
        Request::KeepShare {
            owner,
            opening: VAULT,
            key: key.clone(),
            index,
            share: terms.seal(share, &node.1, &[63; 32]).unwrap(),
            signature: terms.sign_request(&who.account_key()),
        }
    };
    let third = market.world.node_with(market.world.options("third"), [13; 32]).await;
    let row = market.world.ledger.row(Nodes, &third.id()).await.unwrap().unwrap();
    let third_keys = (third.id(), row.custody_key.unwrap());
    let asker = market.world.peer(&market.world.owner, &third).await;
    for commitments in [0, CUSTODIANS_MAX + 1] {
        let commitments = market.key.commitments.iter().copied().cycle().take(commitments);
        let key = VaultKey { commitments: commitments.collect() };
        let bad = offer(&market.world.owner, &key, &market.shares[0], third_keys);
        assert_eq!(code(asker.ask(&bad).await), RefusalCode::Malformed);
    }
    // The ledger knows the vault's key, although this node has no share of it.
    market.open_vault().await;
    let asker = market.world.peer(&market.world.owner, &third).await;
    let (key, shares) =
        custody::share(&VaultSecret::from_seed(&[61; 32]), 1, 1, &[62; 32]).unwrap();
    let changed = offer(&market.world.owner, &key, &shares[0], third_keys);
    assert_eq!(code(asker.ask(&changed).await), RefusalCode::Conflict);
    third.stop().await;
    market.nodes.clear();
}

#[tokio::test(start_paused = true)]
async fn a_refunded_order_ends_the_buyers_access() {
    let mut market = Market::new().await;
    market.open_vault().await;
    market.list().await;
    let world = &market.world;
    let seller = market.seller(0).await;
    let terms = world.terms(1, 4096);
    seller.store(&terms, 0, PRICE, &world.own_grant(), &shard(4096)).await.unwrap();
    // One of three custodians is not enough, so the buyer gets a refund.
    for down in [2, 1] {
        market.nodes.remove(down).stop().await;
    }
    market.buy().await;
    let grant = Some(market.grant(ORDER).await);
    let buyer = market.world.peer(&market.buyer, &market.nodes[0]).await;
    let request = Request::Read { deal: terms.deal(), index: 0, first: 0, count: 1, grant };
    buyer.read(&request).await.unwrap();
    market.world.pass(11 * 60_000).await;
    assert_eq!(market.order().await.state, OrderState::Refunded);
    assert_eq!(code(buyer.read(&request).await), RefusalCode::Revoked);
    assert_eq!(code(market.release(0, &market.buyer).await), RefusalCode::NotPaid);
}

#[tokio::test(start_paused = true)]
async fn shares_of_unopened_vaults_are_limited_and_expire() {
    let market = Market::new().await;
    let (chain, owner) = (market.world.ledger.chain(), market.world.owner.account());
    let node = market.nodes[0].id();
    let row = market.world.ledger.row(Nodes, &node).await.unwrap().unwrap();
    let offer = |number: u8| {
        let opening = Opening([number; 32]);
        let terms = CustodyTerms {
            chain: &chain,
            vault: &VaultId::of(&owner, &opening),
            owner: &owner,
            key: &market.key,
            index: market.shares[0].index(),
            node: &node,
        };
        let sealed = terms.seal(&market.shares[0], &row.custody_key.unwrap(), &[48; 32]).unwrap();
        Request::KeepShare {
            owner,
            opening,
            key: market.key.clone(),
            index: terms.index,
            share: sealed,
            signature: terms.sign_request(&market.world.owner.account_key()),
        }
    };
    // A share of an open vault does not count against the limit.
    market.open_vault().await;
    market.world.pass(1000).await;
    let seller = market.seller(0).await;
    for number in 100..116 {
        accepted(seller.ask(&offer(number)).await).unwrap();
    }
    assert_eq!(code(seller.ask(&offer(116)).await), RefusalCode::Busy);
    accepted(seller.ask(&offer(115)).await).unwrap();
    // A day later the shares are gone, except the one of the open vault.
    market.world.pass(25 * 60 * 60 * 1000).await;
    let seller = market.seller(0).await;
    accepted(seller.ask(&offer(116)).await).unwrap();
    market.list().await;
    market.buy().await;
    market.release(0, &market.buyer).await.unwrap();
    let dir = market.world.dir.path().join("node");
    let Market { nodes, .. } = market;
    for node in nodes {
        node.stop().await;
    }
    let store = symbolon_store::Shards::open(&dir).unwrap();
    let kept =
        |number| !store.custody(&VaultId::of(&owner, &Opening([number; 32]))).unwrap().is_empty();
    assert_eq!((kept(100), kept(115), kept(116), kept(41)), (false, false, true, true));
}

/// A waiting share is kept after its day only if its vault was opened with the share's own key. The
/// node sees no event of a vault that names other custodians.
#[tokio::test(start_paused = true)]
async fn a_waiting_share_goes_unless_its_own_vault_was_opened() {
    let market = Market::new().await;
    let (chain, owner) = (market.world.ledger.chain(), market.world.owner.account());
    let signer = market.world.owner.account_key();
    let shared = |seed: u8| custody::share(&VaultSecret::from_seed(&[seed; 32]), 1, 1, &[seed; 32]);
    let ((first, first_shares), (second, second_shares)) =
        (shared(70).unwrap(), shared(71).unwrap());
    let offer = async |opening: Opening, place: usize, key: &VaultKey, share: &Share| {
        let node = market.nodes[place].id();
        let row = market.world.ledger.row(Nodes, &node).await.unwrap().unwrap();
        let (vault, index) = (&VaultId::of(&owner, &opening), share.index());
        let terms = CustodyTerms { chain: &chain, vault, owner: &owner, key, index, node: &node };
        let request = Request::KeepShare {
            owner,
            opening,
            key: key.clone(),
            index,
            share: terms.seal(share, &row.custody_key.unwrap(), &[72; 32]).unwrap(),
            signature: terms.sign_request(&signer),
        };
        accepted(market.seller(place).await.ask(&request).await).unwrap()
    };
    let (same, other) = (Opening([120; 32]), Opening([121; 32]));
    for opening in [same, other] {
        offer(opening, 0, &first, &first_shares[0]).await;
    }
    // Both vaults are opened with the second node, one of them with another key.
    for (opening, key, share) in
        [(same, &first, &first_shares[0]), (other, &second, &second_shares[0])]
    {
        let custodians = vec![offer(opening, 1, key, share).await];
        let action = Action::OpenVault { opening, key: key.clone(), custodians };
        market.world.apply(&signer, action).await;
    }
    market.world.pass(25 * 60 * 60 * 1000).await;
    let dir = market.world.dir.path().join("node");
    let Market { nodes, .. } = market;
    for node in nodes {
        node.stop().await;
    }
    let store = symbolon_store::Shards::open(&dir).unwrap();
    let kept = |opening| !store.custody(&VaultId::of(&owner, &opening)).unwrap().is_empty();
    assert_eq!((kept(same), kept(other)), (true, false));
}
