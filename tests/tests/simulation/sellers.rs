//! Sellers who lie about what they sell: the content, the key, the mask, the length, the preview, the
//! description. If the lie shows before payment, nothing is paid. If it shows in the received bytes, the client does
//! not give them out and does not acknowledge the order. A partial read acknowledges nothing. How a buyer gets the money
//! back is in `disputed.rs`.

use symbolon_client::{
    Client, ClientError, GetOptions, Progress, Readable, Replace, SellOptions, Sink, Source,
};
use symbolon_protocol::{
    Amount,
    content::{FileKey, MaskMode},
    custody::{self, Capsule},
    dispute::LeafListError,
    grant,
    id::{Hash, ListingId, Opening, OrderId, TransactionId},
    ledger::{
        Status,
        rows::{Listing, Listings, OrderState, Orders, Terms},
        transaction::{Action, Transaction},
    },
};
use symbolon_tests::sim::{Trace, World, called, derive};

use super::{put_options, resumed::stopped, sell_options};

const PRICE: Amount = Amount(3_000_000_001);

/// A short range is read cell by cell, and a long one group by group.
const LENGTH: u64 = 9_000_000;

/// What a listing says that is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// It names the content of another file.
    Content,
    /// It is shorter than it is.
    Length,
    /// It is stored under no mask.
    Mask,
    /// The key is another file's, and said to be.
    OtherKey,
    /// The pad hides something that is no key of it.
    Pad,
}

/// What the preview of a listing is that it should not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// Cells of another file.
    Other,
    /// The right cells of the file that is stored, under a content root that is another file's.
    Stored,
    /// Something else than was published with it.
    Hash,
}

pub(super) async fn sellers(seed: u64) -> Trace {
    let mut world = World::found(seed, 8).await;
    let (seller, buyer) = (world.client("seller"), world.client("buyer"));
    seller.faucet().await.unwrap();
    buyer.faucet().await.unwrap();
    let file = offer(&world, &seller, "file", 0).await;
    let other = offer(&world, &seller, "other", 0).await;
    let (small, shown) = (row(&world, file).await, row(&world, other).await);
    // No ledger lists what needs no key.
    let public = lying(&world, (&small, &shown), Some(Lie::Mask), 0).terms;
    let action = Action::List { opening: Opening([1; 32]), terms: Box::new(public) };
    assert_eq!(sent(&world, "public", 0, action).await, Status::BadField);
    let content = list(&world, lying(&world, (&small, &shown), Some(Lie::Content), 1), 1).await;
    unlisted(&mut world, &buyer, content).await;
    for (number, lie) in (2..).zip([Lie::Length, Lie::OtherKey, Lie::Pad]) {
        let terms = lying(&world, (&small, &shown), Some(lie), number);
        let listing = list(&world, terms, number).await;
        sold(&mut world, &buyer, listing, lie).await;
    }
    previews(&mut world, &seller, &buyer).await;
    in_part(&mut world, &buyer, file).await;
    seller.close().await;
    buyer.close().await;
    world.audit().await;
    world.finish().await
}

async fn offer(world: &World, seller: &Client, name: &str, preview_cells: u8) -> ListingId {
    let length = if preview_cells == 0 { LENGTH } else { 100_000 };
    let source = Source::Bytes(world.bytes(name, length).into());
    seller.put(source, &called(name), &put_options(200), &Progress::silent()).await.unwrap();
    let options = SellOptions { preview_cells, ..sell_options(name, PRICE) };
    seller.sell(&called(name), &options, &Progress::silent()).await.unwrap().listing
}

async fn row(world: &World, listing: ListingId) -> Listing {
    world.ledger().row(Listings, &listing).await.unwrap().unwrap()
}

/// What a liar lists, and the key of the file that keeps it.
struct Lying {
    terms: Terms,
    key: FileKey,
}

/// Terms as an honest seller's, but for one thing. What depends on that is made anew, so that the ledger
/// takes them.
fn lying(
    world: &World,
    (honest, other): (&Listing, &Listing),
    lie: Option<Lie>,
    number: u8,
) -> Lying {
    let (chain, seller) = (world.ledger().chain(), world.identity("seller"));
    let secret = seller.vault_secret(&chain, &honest.terms.vault);
    let key_of = |listing: &Listing| {
        let point = listing.terms.capsule.open(&secret).unwrap();
        *custody::unpad(&listing.terms.pad, &custody::listing_key(&point))
    };
    let mut terms = honest.terms.clone();
    let mut key = key_of(honest);
    let stored = FileKey::from_bytes(key);
    match lie {
        None => {}
        Some(Lie::Content) => terms.manifest.content_root = other.terms.manifest.content_root,
        Some(Lie::Length) => terms.manifest.length -= 1,
        Some(Lie::Mask) => terms.manifest.mask = MaskMode::None,
        Some(Lie::OtherKey) => {
            terms.manifest.commitment = other.terms.manifest.commitment;
            key = key_of(other);
        }
        Some(Lie::Pad) => key[0] ^= 1,
    }
    let root = &terms.manifest.content_root;
    let label = custody::label(&chain, &seller.account(), &terms.vault, root);
    let (capsule, point) = Capsule::seal(&secret, &label, &derive(world.seed, "a lying capsule"));
    terms.pad = custody::pad(&key, &custody::listing_key(&point));
    terms.capsule = capsule;
    // Every listing has a mandate of its own.
    let entropy = derive(world.seed, &format!("mandate {number}"));
    let object = terms.manifest.object;
    terms.mandate = grant::mandate(&chain, &seller.account_key(), object, &entropy).unwrap();
    Lying { terms, key: stored }
}

/// What a seller's own program would not do.
async fn sent(world: &World, what: &str, number: u8, action: Action) -> Status {
    let (ledger, key) = (world.ledger(), world.identity("seller").account_key());
    let until = ledger.head().await.unwrap().header.height + 100;
    let id = derive(world.seed, &format!("{what} {number}"));
    let id = TransactionId(*id.first_chunk().unwrap());
    let transaction = Transaction::build(ledger.chain(), &key, id, until, action);
    ledger.submit(transaction).await.unwrap().status
}

async fn act(world: &World, what: &str, number: u8, action: Action) {
    assert_eq!(sent(world, what, number, action).await, Status::Applied, "{what} {number}");
}

/// Lists a lie, and shows the ledger the deals of the file that is stored.
async fn list(world: &World, Lying { terms, key }: Lying, number: u8) -> ListingId {
    let (me, opening) = (world.identity("seller").account(), Opening([100 + number; 32]));
    let segments = terms.manifest.layout().unwrap().segments();
    act(world, "list", number, Action::List { opening, terms: Box::new(terms) }).await;
    let listing = ListingId::of(&me, &opening);
    let deals = (0..segments).map(|segment| key.deal(&me, segment)).collect();
    act(world, "cover", number, Action::CoverListing { listing, first: 0, deals }).await;
    listing
}

async fn state(world: &World, order: &OrderId) -> OrderState {
    world.ledger().row(Orders, order).await.unwrap().unwrap().state
}

/// A content root that the leaf list does not lead to: no order is made.
async fn unlisted(world: &mut World, buyer: &Client, listing: ListingId) {
    let made = world.ledger().scan(Orders, &[], None, 100).await.unwrap().len();
    let error = buyer.buy(&listing, PRICE, &Progress::silent()).await.unwrap_err();
    world.note(format!("content: {error}"));
    let why = LeafListError::Cells;
    assert!(matches!(error, ClientError::Leaves { why: said, .. } if said == why), "{error:?}");
    assert_eq!(world.ledger().scan(Orders, &[], None, 100).await.unwrap().len(), made);
    world.audit().await;
}

/// Buys what is not as listed. Whatever it is that the buyer sees, it has nothing in the end, and the seller
/// is not told that all is well.
async fn sold(world: &mut World, buyer: &Client, listing: ListingId, lie: Lie) {
    let bought = buyer.buy(&listing, PRICE, &Progress::silent()).await;
    let error = match bought {
        Err(error) => error,
        Ok(bought) => {
            let target = world.folder().join(format!("bought {lie:?}"));
            let token = Readable::Token(bought.token.clone());
            let (sink, whole) = (Sink::File(target.clone()), GetOptions::default());
            let got = buyer.get(&token, sink, &whole, &Progress::silent()).await;
            assert!(!target.exists(), "{lie:?}");
            got.expect_err("it is not what was listed")
        }
    };
    world.note(format!("{lie:?}: {error}"));
    let seen = match lie {
        Lie::Pad | Lie::OtherKey => matches!(error, ClientError::NotAsListed { .. }),
        Lie::Length => matches!(error, ClientError::Corrupt { .. }),
        Lie::Content | Lie::Mask => unreachable!("it cannot be bought"),
    };
    assert!(seen, "{lie:?}: {error:?}");
    let orders = buyer.orders().await.unwrap();
    let order = orders.iter().find(|order| order.listing == listing).unwrap();
    assert!(matches!(order.state, OrderState::Paid | OrderState::Delivered), "{lie:?}: {order:?}");
    world.audit().await;
}

/// What a buyer sees before paying: no order is made.
async fn previews(world: &mut World, seller: &Client, buyer: &Client) {
    // As many cells as there are, so that every beacon picks the same.
    let mut honest = Vec::new();
    for name in ["shown", "another"] {
        let listing = offer(world, seller, name, u8::MAX / 4).await;
        honest.push(row(world, listing).await);
    }
    let [file, other] = &honest[..] else { unreachable!("there are two") };
    assert_eq!(u64::from(file.terms.preview_cells), file.terms.cells);
    let made = world.ledger().scan(Orders, &[], None, 100).await.unwrap().len();
    let money = buyer.account().await.unwrap().balance;
    for (number, shown) in (50..).zip([Shown::Other, Shown::Stored, Shown::Hash]) {
        let lie = (shown == Shown::Stored).then_some(Lie::Content);
        let listing = list(world, lying(world, (file, other), lie, number), number).await;
        // The content root has been given its cells before, so there is nothing to wait for.
        let drawn = if lie.is_some() { other } else { file };
        assert_eq!(row(world, listing).await.preview_seed, drawn.preview_seed);
        let of = if shown == Shown::Other { other } else { file };
        let mut preview = of.preview.clone().unwrap();
        if shown == Shown::Hash {
            preview.hash = Hash([7; 32]);
        }
        act(world, "preview", number, Action::Preview { listing, preview }).await;
        let error = buyer.buy(&listing, PRICE, &Progress::silent()).await.unwrap_err();
        world.note(format!("{shown:?}: {error}"));
        assert!(matches!(error, ClientError::Corrupt { .. }), "{shown:?}: {error:?}");
    }
    // A description that is another one, and one that would take a reader's memory.
    for (number, why) in [(60, "does not have the hash"), (61, "is larger than")] {
        let mut lying = lying(world, (file, other), None, number);
        match number {
            60 => lying.terms.document.hash = Hash([7; 32]),
            _ => lying.terms.document.manifest.length = 8 * 1024 * 1024 + 1,
        }
        let described = list(world, lying, number).await;
        let error = buyer.listing(&described).await.unwrap_err();
        assert!(matches!(error, ClientError::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
    let orders = world.ledger().scan(Orders, &[], None, 100).await.unwrap().len();
    assert_eq!((orders, buyer.account().await.unwrap().balance), (made, money));
}

/// An honest listing: reading some of it, or not to its end, is no word about the whole.
async fn in_part(world: &mut World, buyer: &Client, listing: ListingId) {
    let bought = buyer.buy(&listing, PRICE, &Progress::silent()).await.unwrap();
    let (token, data) = (Readable::Token(bought.token.clone()), world.bytes("file", LENGTH));
    for (from, to) in [(0, 10), (70_000, 200_000), (0, 5_000_000), (1, LENGTH), (0, LENGTH - 1)] {
        let options = GetOptions { range: Some((from, to)), replace: Replace::Refuse };
        let got = buyer.get(&token, Sink::Memory, &options, &Progress::silent()).await.unwrap();
        let place = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
        assert!(got.bytes.unwrap() == data[place], "{from}-{to}");
        assert_eq!((got.acknowledged, got.checked_root), (None, false), "{from}-{to}");
    }
    let target = world.folder().join("in part");
    stopped(buyer, &token, &target, 1).await;
    let reader = buyer.open(&token, &Progress::silent()).await.unwrap();
    assert!(reader.read_at(0, LENGTH).await.unwrap() == data);
    assert_ne!(state(world, &bought.order).await, OrderState::Settled);
    let whole = GetOptions::default();
    let got = buyer.get(&token, Sink::File(target), &whole, &Progress::silent()).await.unwrap();
    assert_eq!((got.acknowledged, got.checked_root), (Some(bought.order), true));
    assert_eq!(state(world, &bought.order).await, OrderState::Settled);
}
