//! Nodes that lie about what they keep and what they have deleted. Each signs something else than what is
//! true, one way after the other: no deal is opened with any of them, somebody honest takes the shard, and
//! nothing is said to be deleted that is not signed for.

use std::sync::{Arc, Mutex};

use ed25519_dalek::SigningKey;
use symbolon_client::{Client, Deletion, GetOptions, Pattern, Progress, Readable, Sink, Source};
use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    deletion::DeletionReceipt,
    id::{ChainId, DealId, Hash, NodeId, Opening},
    ledger::{
        rows::{Deal, Deals, Table},
        transaction::{Acceptance, DealTerms},
    },
    wire::storage::{Request, Response},
};
use symbolon_tests::{
    between::Twist,
    sim::{Trace, World, called},
};

use super::put_options;

/// Eight that take a shard, of which two lie, and two for these two.
const NODES: usize = 10;

/// What a liar signs instead of what is true. Where nothing else is said, it is signed well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// Nothing is changed.
    True,
    Root,
    /// Before a byte was sent.
    Unsent,
    Deal,
    Index,
    Length,
    Price,
    Expired,
    /// Signed by another node, in its own name.
    Accomplice,
    Chain,
    Signature,
    /// Another answer altogether, which claims the same.
    Nothing,
}

const KEEPS: [Word; 11] = [
    Word::Root,
    Word::Unsent,
    Word::Deal,
    Word::Index,
    Word::Length,
    Word::Price,
    Word::Expired,
    Word::Accomplice,
    Word::Chain,
    Word::Signature,
    Word::Nothing,
];

const DELETED: [Word; 7] = [
    Word::Root,
    Word::Deal,
    Word::Index,
    Word::Accomplice,
    Word::Chain,
    Word::Signature,
    Word::Nothing,
];

/// What all liars say just now.
type Now = Arc<Mutex<Word>>;

pub(super) async fn promises(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let now = Now::new(Mutex::new(Word::True));
    // The cheapest are asked first.
    let mut by_price: Vec<usize> = (0..NODES).collect();
    by_price.sort_by_key(|number| world.stations[*number].price);
    let liars = [by_price[0], by_price[1]];
    for (number, other) in [(liars[0], liars[1]), (liars[1], liars[0])] {
        world.kill_node(number).await;
        let liar = Liar {
            chain: world.ledger().chain(),
            key: SigningKey::from_bytes(&world.stations[number].secret),
            other: SigningKey::from_bytes(&world.stations[other].secret),
            now_ms: {
                let clock = world.clock();
                Box::new(move || LedgerTime(clock.now_ms().0))
            },
        };
        world.start_node_behind(number, &["owner"], liar.twist(&now)).await;
    }
    for word in KEEPS {
        *now.lock().unwrap() = word;
        keeps(&mut world, &owner, word, liars).await;
    }
    for word in DELETED {
        *now.lock().unwrap() = Word::True;
        deleted(&mut world, &owner, (word, &now), liars).await;
    }
    owner.close().await;
    // What was sent and not paid for is swept when a block is later than its acceptance and the grace.
    tokio::time::sleep(std::time::Duration::from_secs(140)).await;
    world.finish().await
}

async fn put(world: &World, owner: &Client, name: &str) -> (DealId, Deal) {
    let source = Source::Bytes(world.bytes(name, 150_000).into());
    let stored =
        owner.put(source, &called(name), &put_options(100), &Progress::silent()).await.unwrap();
    let deals = world.ledger().scan(Deals, &[], None, 1000).await.unwrap();
    let mut of_it = deals.into_iter().filter(|(_, deal)| deal.object == stored.object);
    let (key, deal) = of_it.next().unwrap();
    (Deals::parse(&key).unwrap(), deal)
}

fn keepers(deal: &Deal) -> Vec<NodeId> {
    deal.shards.iter().flatten().map(|shard| shard.node).collect()
}

async fn keeps(world: &mut World, owner: &Client, word: Word, liars: [usize; 2]) {
    let name = format!("kept {word:?}");
    let (_, deal) = put(world, owner, &name).await;
    let keepers = keepers(&deal);
    world.note(format!("{name}: {} shards", keepers.len()));
    assert_eq!(keepers.len(), 8, "{word:?}: others take what liars do not");
    for number in liars {
        assert!(!keepers.contains(&world.stations[number].id), "{word:?}: a liar is paid");
    }
    world.audit().await;
    world.audit_disks();
    let (what, whole) = (Readable::Name(called(name)), GetOptions::default());
    let read = owner.get(&what, Sink::Memory, &whole, &Progress::silent()).await.unwrap();
    assert!(read.faults.is_empty(), "{:?}", read.faults);
}

async fn deleted(world: &mut World, owner: &Client, (word, now): (Word, &Now), liars: [usize; 2]) {
    let liars = liars.map(|number| world.stations[number].id);
    // Nodes are drawn, and those that have failed before less often.
    let mut tries = 0;
    let (name, id, deal) = loop {
        let name = format!("deleted {word:?} {tries}");
        let (id, deal) = put(world, owner, &name).await;
        if liars.iter().all(|liar| keepers(&deal).contains(liar)) {
            break (name, id, deal);
        }
        tries += 1;
        assert!(tries < 100, "both tell the truth");
    };
    *now.lock().unwrap() = word;
    let names = owner.select(&Pattern::whole(name.as_bytes()), false).await.unwrap().names;
    let removed = owner.remove(&names, false, &Progress::silent()).await.unwrap();
    let said: Deletion = removed.deletion;
    world.note(format!("{name}: {} of {} receipts", said.receipts.len(), said.shards));
    assert_eq!((said.shards, said.receipts.len()), (8, 6), "{word:?}");
    assert_eq!(said.unconfirmed, liars.into(), "{word:?}: a liar is not believed");
    assert!(said.confirmed().is_disjoint(&said.unconfirmed));
    for receipt in &said.receipts {
        let shard = deal.shards[usize::from(receipt.index)].unwrap();
        receipt.verify(&world.ledger().chain()).unwrap();
        assert_eq!((receipt.deal, receipt.node, receipt.root), (id, shard.node, shard.root));
    }
    world.audit().await;
}

/// A node that can also sign in another one's name.
struct Liar {
    chain: ChainId,
    key: SigningKey,
    other: SigningKey,
    now_ms: Box<dyn Fn() -> LedgerTime + Send + Sync>,
}

impl Liar {
    fn twist(self, now: &Now) -> Twist {
        let now = now.clone();
        Arc::new(move |request, response| {
            let word = *now.lock().unwrap();
            match (request, response) {
                (_, response) if word == Word::True => response,
                (Request::Store { terms, index, price, .. }, Response::Ready)
                    if word == Word::Unsent =>
                {
                    let (root, until_ms) =
                        (Hash([7; 32]), (self.now_ms)().saturating_add(Millis(60_000)));
                    let acceptance = Acceptance::build(
                        &self.chain,
                        terms,
                        &self.key,
                        (*index, root),
                        (*price, u64::MAX),
                        until_ms,
                    );
                    Response::Accepted { acceptance }
                }
                (Request::Store { terms, .. }, Response::Accepted { acceptance }) => {
                    self.keeps(word, terms, acceptance)
                }
                (Request::Delete { .. }, Response::Deleted { receipt }) => {
                    self.deleted(word, receipt)
                }
                (_, response) => response,
            }
        })
    }

    fn keeps(&self, word: Word, terms: &DealTerms, truth: Acceptance) -> Response {
        let Acceptance { mut index, mut root, mut price, until, mut expires_ms, .. } = truth;
        let (mut chain, mut terms, mut key) = (self.chain, terms.clone(), &self.key);
        match word {
            Word::Root => root = Hash([7; 32]),
            Word::Deal => terms.opening = Opening([9; 32]),
            Word::Index => index = (index + 1) % terms.total,
            Word::Length => terms.length *= 2,
            Word::Price => price = Amount(price.0 + 1),
            Word::Expired => expires_ms = (self.now_ms)(),
            Word::Accomplice => key = &self.other,
            Word::Chain => chain = ChainId([9; 32]),
            Word::Nothing => {
                return Response::Held { length: Some(terms.length), root: Some(root) };
            }
            Word::True | Word::Unsent | Word::Signature => {}
        }
        let signed = (index, root);
        let mut acceptance =
            Acceptance::build(&chain, &terms, key, signed, (price, until), expires_ms);
        if word == Word::Signature {
            acceptance.signature[40] ^= 1;
        }
        Response::Accepted { acceptance }
    }

    fn deleted(&self, word: Word, truth: DeletionReceipt) -> Response {
        let DeletionReceipt { mut deal, mut index, mut root, time_ms, .. } = truth;
        let (mut chain, mut key) = (self.chain, &self.key);
        match word {
            Word::Root => root = Hash([7; 32]),
            Word::Deal => deal = DealId([9; 16]),
            Word::Index => index += 1,
            Word::Accomplice => key = &self.other,
            Word::Chain => chain = ChainId([9; 32]),
            Word::Nothing => return Response::Held { length: None, root: None },
            _ => {}
        }
        let mut receipt = DeletionReceipt::build(&chain, key, (deal, index), root, time_ms);
        if word == Word::Signature {
            receipt.signature[40] ^= 1;
        }
        Response::Deleted { receipt }
    }
}
