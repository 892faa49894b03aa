//! Buyers do not pay for goods that are gone: listings that have ended, whose deals the ledger was not shown, whose
//! time is over or ends before the access that is sold, whose nodes are away, whose preview was never
//! shown or is another one's. No order is made, and no money moves.

use ed25519_dalek::SigningKey;
use symbolon_client::{
    Client, ClientError, Kept, ListingFilter, Pattern, Progress, SellOptions, Source, TransferError,
};
use symbolon_ledger::ROWS_MAX;
use symbolon_protocol::{
    Amount, LedgerTime, Millis, grant,
    id::{AccountId, DealId, Hash, ListingId, ObjectId, Opening, TransactionId},
    ledger::{
        Status,
        rows::{Access, Deals, DealsOf, Listing, ListingState, Listings, Orders, Table},
        transaction::{Acceptance, Action, DealTerms, Transaction},
    },
};
use symbolon_tests::sim::{Trace, World, called};
use tokio::task::JoinSet;

use super::{put_options, sell_options};

const PRICE: Amount = Amount(5_000_000_001);

/// Epochs of twenty seconds that the goods are paid for, and the access that is sold.
const EPOCHS: u64 = 12;
const ACCESS_MS: u64 = 60_000;

pub(super) async fn goods(seed: u64) -> Trace {
    let mut world = World::found(seed, 8).await;
    let (seller, buyer) = (world.client("seller"), world.client("buyer"));
    seller.faucet().await.unwrap();
    let money = buyer.faucet().await.unwrap();
    removed(&mut world, &seller, &buyer).await;
    unseen(&mut world, &seller, &buyer).await;
    out_of_reach(&mut world, &seller, &buyer).await;
    over(&mut world, &seller, &buyer).await;
    among_many(&world, &seller, &buyer).await;
    assert_eq!(buyer.account().await.unwrap().balance, money, "nothing was paid");
    assert!(world.ledger().scan(Orders, &[], None, 1).await.unwrap().is_empty());
    seller.close().await;
    buyer.close().await;
    world.finish().await
}

async fn offer(world: &World, seller: &Client, name: &str, preview_cells: u8) -> ListingId {
    let source = Source::Bytes(world.bytes(name, 2_000_000).into());
    seller.put(source, &called(name), &put_options(EPOCHS), &Progress::silent()).await.unwrap();
    let options = SellOptions {
        access_ms: Some(Millis(ACCESS_MS)),
        preview_cells,
        ..sell_options(name, PRICE)
    };
    let report = seller.sell(&called(name), &options, &Progress::silent()).await.unwrap();
    assert_eq!(report.preview_cells.len(), usize::from(preview_cells));
    report.listing
}

/// Tries to buy, and gives the reason why not.
async fn refused(world: &mut World, buyer: &Client, listing: ListingId) -> ClientError {
    let bought = buyer.buy(&listing, PRICE, &Progress::silent()).await;
    let error = bought.expect_err("what is not there is not sold");
    world.note(format!("not bought: {error}"));
    world.audit().await;
    assert_eq!(world.auditor.orders(), (0, 0, 0));
    error
}

async fn row(world: &World, listing: ListingId) -> Listing {
    world.ledger().row(Listings, &listing).await.unwrap().unwrap()
}

/// What a seller's own program would not do.
async fn sent(world: &World, what: u8, action: Action) -> Status {
    let (ledger, key) = (world.ledger(), world.identity("seller").account_key());
    let until = ledger.head().await.unwrap().header.height + 100;
    let id = TransactionId([what; 16]);
    let transaction = Transaction::build(ledger.chain(), &key, id, until, action);
    ledger.submit(transaction).await.unwrap().status
}

async fn act(world: &World, what: u8, action: Action) {
    assert_eq!(sent(world, what, action).await, Status::Applied);
}

/// Removing a file ends its listing. The deals of an open one cannot be ended.
async fn removed(world: &mut World, seller: &Client, buyer: &Client) {
    let listing = offer(world, seller, "removed", 0).await;
    let names = seller.select(&Pattern::whole(b"removed"), false).await.unwrap().names;
    let sales = seller.sales_in(&names, false).await.unwrap();
    assert_eq!(
        sales.iter().map(|sale| (sale.listing, sale.open)).collect::<Vec<_>>(),
        [(listing, true)]
    );
    let gone = seller.remove(&names, false, &Progress::silent()).await.unwrap();
    assert_eq!(gone.listings, [listing]);
    assert_eq!(row(world, listing).await.state, ListingState::Ended);
    let error = refused(world, buyer, listing).await;
    assert!(matches!(error, ClientError::ListingEnded(_)), "{error:?}");

    // A sale binds the deals of what it sells, also against a seller without a program.
    let listing = offer(world, seller, "hollow", 0).await;
    let object = row(world, listing).await.terms.manifest.object;
    let ledger = world.ledger();
    let deals =
        ledger.scan(DealsOf, &world.identity("seller").account().0, None, 100).await.unwrap();
    let mut bound = 0;
    for (key, _) in deals {
        let (_, deal) = DealsOf::parse(&key).unwrap();
        if ledger.row(Deals, &deal).await.unwrap().unwrap().object == object {
            assert_eq!(sent(world, 1, Action::EndDeal { deal }).await, Status::SaleBinds);
            bound += 1;
        }
    }
    assert!(0 < bound);
    assert_eq!(row(world, listing).await.state, ListingState::Open);
}

/// A listing whose deals the ledger was not shown, a preview that is promised and not shown, and a second listing that
/// hopes for other preview cells than the first.
async fn unseen(world: &mut World, seller: &Client, buyer: &Client) {
    let id = offer(world, seller, "shown", 1).await;
    let honest = row(world, id).await;
    let mut terms = honest.terms.clone();
    let again = Action::List { opening: Opening([8; 32]), terms: Box::new(terms.clone()) };
    assert_eq!(sent(world, 2, again).await, Status::Exists, "a mandate is for one listing");
    let (ledger, who, opening) = (world.ledger(), world.identity("seller"), Opening([9; 32]));
    let (chain, object) = (ledger.chain(), terms.manifest.object);
    terms.mandate = grant::mandate(&chain, &who.account_key(), object, &[9; 32]).unwrap();
    let listing = ListingId::of(&honest.seller, &opening);
    act(world, 3, Action::List { opening, terms: Box::new(terms) }).await;
    let error = refused(world, buyer, listing).await;
    assert!(matches!(error, ClientError::NotCovered { covered_until_ms: None, .. }), "{error:?}");
    let mut deals = Vec::new();
    for (key, _) in ledger.scan(DealsOf, &honest.seller.0, None, 100).await.unwrap() {
        let (_, deal) = DealsOf::parse(&key).unwrap();
        let row = ledger.row(Deals, &deal).await.unwrap().unwrap();
        deals.extend((row.object == object).then_some(deal));
    }
    act(world, 4, Action::CoverListing { listing, first: 0, deals }).await;
    // A client does not ask at once again for what it has just read.
    world.pass_epochs(1).await;
    let error = refused(world, buyer, listing).await;
    assert!(matches!(error, ClientError::NoPreview(_)), "{error:?}");
    assert_eq!(row(world, listing).await.preview_seed, honest.preview_seed, "drawn once");
    let preview = honest.preview.unwrap();
    act(world, 5, Action::Preview { listing, preview }).await;
    world.pass_epochs(1).await;
    let quiet = Progress::silent();
    for listing in [id, listing] {
        let checked = buyer.check_listing(&listing, &quiet).await.unwrap();
        assert_eq!(checked.checks.preview_cells, 1);
    }
}

/// All nodes but three are away: no money moves for what cannot be fetched.
async fn out_of_reach(world: &mut World, seller: &Client, buyer: &Client) {
    let listing = offer(world, seller, "far", 0).await;
    for number in 0..5 {
        world.kill_node(number).await;
    }
    let error = refused(world, buyer, listing).await;
    let short = |error: &ClientError| {
        matches!(error, ClientError::Transfer(TransferError::NotEnoughShards { usable: 3, .. }))
    };
    assert!(short(&error), "{error:?}");
    for number in 0..5 {
        world.start_node(number).await;
    }
    world.pass_epochs(1).await;
}

/// The term of the goods runs out under an open listing, first for the access, then altogether.
async fn over(world: &mut World, seller: &Client, buyer: &Client) {
    let listing = offer(world, seller, "late", 1).await;
    world.pass_epochs(EPOCHS - 1).await;
    let error = refused(world, buyer, listing).await;
    assert!(matches!(error, ClientError::GoodsEndEarly { .. }), "{error:?}");
    // Until all of its reserves are back.
    world.pass_epochs(4).await;
    let error = refused(world, buyer, listing).await;
    assert!(matches!(error, ClientError::GoodsOver { .. }), "{error:?}");
    assert_eq!(row(world, listing).await.state, ListingState::Open, "and the ledger does not know");
    // What is over cannot be listed either, and costs nothing.
    let before = seller.account().await.unwrap().balance;
    let options = SellOptions { access_ms: None, ..sell_options("again", PRICE) };
    let again = seller.sell(&called("late"), &options, &Progress::silent()).await.unwrap_err();
    assert!(matches!(again, ClientError::Over { .. }), "{again:?}");
    assert_eq!(seller.account().await.unwrap().balance, before);
}

/// A list says of a seller with more deals than one answer holds what it says of others.
async fn among_many(world: &World, seller: &Client, buyer: &Client) {
    let listing = offer(world, seller, "behind", 0).await;
    let object = row(world, listing).await.terms.manifest.object;
    let (ledger, account) = (world.ledger(), world.identity("seller").account());
    let mut ours = None;
    for (key, _) in ledger.scan(DealsOf, &account.0, None, ROWS_MAX).await.unwrap() {
        let (_, deal) = DealsOf::parse(&key).unwrap();
        let row = ledger.row(Deals, &deal).await.unwrap().unwrap();
        ours = ours.or((row.object == object).then_some(deal));
    }
    open_before(world, ours.unwrap(), ROWS_MAX + 1).await;
    let shown = buyer.listings(&ListingFilter { ended: true, ..ListingFilter::default() }).await;
    let shown = shown.unwrap();
    let kept = |id: ListingId| shown.iter().find(|view| view.id == id).unwrap().kept;
    assert!(matches!(kept(listing), Some(Kept::Until { .. })), "{:?}", kept(listing));
    assert!(shown.iter().all(|view| view.kept.is_some()), "{shown:?}");
}

/// Opens small deals of the seller, all of which come before another one.
async fn open_before(world: &World, end: DealId, count: usize) {
    let (ledger, keeper) = (world.ledger(), SigningKey::from_bytes(&[33; 32]));
    let until = ledger.head().await.unwrap().header.height + 100;
    let sign = |key: &SigningKey, number: u64, action: Action| {
        let mut id = [77; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        Transaction::build(ledger.chain(), key, TransactionId(id), until, action)
    };
    let register = Action::RegisterNode {
        payout: AccountId([78; 32]),
        addresses: Vec::new(),
        custody_key: None,
        caretaker: false,
        price: Amount(1),
        capacity: 1 << 30,
        operator: None,
        agrees_until: 0,
        leaving: false,
    };
    let registered = ledger.submit(sign(&keeper, 0, register)).await.unwrap();
    assert_eq!(registered.status, Status::Applied);
    let seller = world.identity("seller");
    let hashes = (0_u64..).map(|number| Opening(*blake3::hash(&number.to_le_bytes()).as_bytes()));
    let me = seller.account();
    let openings = hashes.filter(|opening| DealId::of(&me, opening) < end).take(count);
    let mut submitted = JoinSet::new();
    for (number, opening) in (0..).zip(openings) {
        let terms = DealTerms {
            owner: seller.account(),
            opening,
            object: ObjectId([7; 16]),
            segment: number,
            required: 1,
            total: 1,
            length: 1024,
            access: Access::Granted,
            epochs: 1,
        };
        let (chain, shard) = (ledger.chain(), (0, Hash([7; 32])));
        let accepted = Acceptance::build(
            &chain,
            &terms,
            &keeper,
            shard,
            (Amount(1), u64::MAX),
            LedgerTime::NEVER,
        );
        let (acceptances, cost_max) = (vec![accepted], Amount::credits(1));
        let open = Action::OpenDeal { terms, acceptances, cost_max };
        let open = sign(&seller.account_key(), u64::from(number), open);
        let ledger = ledger.clone();
        submitted.spawn(async move { ledger.submit(open).await.unwrap().status });
    }
    let outcomes = submitted.join_all().await;
    assert!(outcomes.iter().all(|status| *status == Status::Applied), "{outcomes:?}");
}
