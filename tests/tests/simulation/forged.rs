//! The auditor is worth something only if it finds what is wrong. Blocks of a real run are forged, one
//! way after the other, and each time it must say so, at the right block.

use ed25519_dalek::SigningKey;
use symbolon_client::{Progress, Readable, SellOptions, Sink, Source};
use symbolon_protocol::{
    Amount, Millis,
    id::AccountId,
    ledger::block::{Block, Event, Header, Place, Reason, SignedHeader, events_root},
};
use symbolon_tests::{
    auditor::{Auditor, Finding},
    sim::{World, called, params, run},
};

use super::{put_options, sell_options};

/// The blocks of a put, proven epochs and a sale, and the secret that signs them.
async fn record() -> ([u8; 32], Vec<Block>) {
    let mut world = World::found(1, 8).await;
    let (owner, buyer) = (world.client("owner"), world.client("buyer"));
    owner.faucet().await.unwrap();
    buyer.faucet().await.unwrap();
    let (source, quiet) = (Source::Bytes(world.bytes("goods", 70_000).into()), Progress::silent());
    owner.put(source, &called("goods"), &put_options(5), &quiet).await.unwrap();
    let options = SellOptions {
        description: "x".into(),
        licence_text: "x".into(),
        access_ms: Some(Millis(45_000)),
        preview_cells: 1,
        epochs: Some(5),
        ..sell_options("Goods", Amount(1_000_000_007))
    };
    let sold = owner.sell(&called("goods"), &options, &quiet).await.unwrap();
    let bought = buyer.buy(&sold.listing, options.price, &quiet).await.unwrap();
    let token = Readable::Token(bought.token.clone());
    buyer.get(&token, Sink::Memory, &Default::default(), &quiet).await.unwrap();
    // To the end of the deal, where its reserve comes back.
    world.pass_epochs(7).await;
    (world.ledger_key(), std::mem::take(&mut world.blocks))
}

fn audit(key: &SigningKey, blocks: &[Block]) -> Result<(), Finding> {
    let mut auditor = Auditor::new(params(), AccountId(key.verifying_key().to_bytes()));
    blocks.iter().try_for_each(|block| auditor.take(block))
}

/// The first event that `is` what is looked for: block and place.
fn find(blocks: &[Block], is: impl Fn(&Event) -> bool) -> (usize, usize) {
    let found = blocks
        .iter()
        .enumerate()
        .find_map(|(height, block)| block.events.iter().position(&is).map(|place| (height, place)));
    found.expect("the run has one")
}

fn moved(event: &Event, why: impl Fn(&Reason) -> bool) -> bool {
    matches!(event, Event::Moved { reason, .. } if why(reason))
}

fn alter(event: &mut Event, change: impl FnOnce(&mut Place, &mut Place, &mut u128)) {
    let Event::Moved { from, to, amount, .. } = event else { panic!("no movement: {event:?}") };
    change(from, to, &mut amount.0);
}

/// Signs the forged events. So the auditor must find that they do not follow from the rules, and in the very block: the next
/// one has another parent.
fn sign_events(key: &SigningKey, blocks: &mut [Block]) {
    for block in blocks {
        let root = events_root(&block.events);
        if block.header.header.events_root != root {
            let header = Header { events_root: root, ..block.header.header.clone() };
            block.header = SignedHeader::build(header, key);
        }
    }
}

type Forgery = (&'static str, fn(&mut Vec<Block>) -> usize);

fn proven(blocks: &[Block]) -> (usize, usize) {
    find(blocks, |event| moved(event, |reason| matches!(reason, Reason::Proven { .. })))
}

fn sale(blocks: &[Block]) -> (usize, usize) {
    find(blocks, |event| matches!(event, Event::OrderSettled { .. }))
}

const FORGERIES: &[Forgery] = &[
    ("an epoch is paid twice", |blocks| {
        let (height, place) = proven(blocks);
        let again = blocks[height].events[place].clone();
        blocks[height].events.push(again);
        height
    }),
    ("a proof is not paid", |blocks| {
        let (height, place) = proven(blocks);
        blocks[height].events.remove(place);
        height
    }),
    ("a proof is paid a unit too much", |blocks| {
        let (height, place) = proven(blocks);
        alter(&mut blocks[height].events[place], |_, _, amount| *amount += 1);
        height
    }),
    ("a node's pay goes to somebody else", |blocks| {
        let (height, place) = proven(blocks);
        let thief = Place::Account { account: AccountId([9; 32]) };
        alter(&mut blocks[height].events[place], |_, to, _| *to = thief);
        height
    }),
    ("a proof is paid in another epoch's name", |blocks| {
        let (height, place) = proven(blocks);
        if let Event::Moved { reason: Reason::Proven { epoch, .. }, .. } =
            &mut blocks[height].events[place]
        {
            *epoch += 1;
        }
        height
    }),
    ("storage is sold without the fee", |blocks| {
        let (height, place) = find(blocks, |event| moved(event, |why| *why == Reason::Fee));
        blocks[height].events.remove(place);
        height
    }),
    ("a deal is paid from the treasury", |blocks| {
        let deal = |why: &Reason| matches!(why, Reason::Deal { .. });
        let (height, place) = find(blocks, |event| moved(event, deal));
        alter(&mut blocks[height].events[place], |from, _, _| *from = Place::Treasury);
        height
    }),
    ("a reserve does not come back", |blocks| {
        let height = find(blocks, |event| matches!(event, Event::DealEnded { .. })).0;
        let deal = |event: &Event| moved(event, |why| matches!(why, Reason::Deal { .. }));
        blocks[height].events.retain(|event| !deal(event));
        height
    }),
    ("a sale is settled and refunded", |blocks| {
        let (height, place) = sale(blocks);
        let Event::OrderSettled { order } = blocks[height].events[place] else { unreachable!() };
        blocks[height].events.push(Event::OrderRefunded { order });
        height
    }),
    ("a unit of the fee goes to the seller", |blocks| {
        let height = sale(blocks).0;
        let mut moves = blocks[height].events.iter_mut().filter(|event| moved(event, |_| true));
        alter(moves.next().unwrap(), |_, _, amount| *amount -= 1);
        alter(moves.next_back().unwrap(), |_, _, amount| *amount += 1);
        height
    }),
    ("money from nowhere", |blocks| {
        let faucet = |why: &Reason| *why == Reason::Faucet;
        let (height, place) = find(blocks, |event| moved(event, faucet));
        let again = blocks[height].events[place].clone();
        blocks[height + 1].events.push(again);
        height + 1
    }),
    ("an epoch begins twice", |blocks| {
        let (height, place) = find(blocks, |event| matches!(event, Event::EpochBegan { .. }));
        let again = blocks[height].events[place].clone();
        blocks[height].events.push(again);
        height
    }),
    ("a transaction is left out", |blocks| {
        let height = blocks.iter().position(|block| !block.transactions.is_empty()).unwrap();
        blocks[height].transactions.pop();
        height
    }),
    ("a block is left out", |blocks| {
        blocks.remove(5);
        5
    }),
    ("a header is changed", |blocks| {
        blocks[4].header.header.facts.time_ms.0 += 1;
        4
    }),
];

pub(super) fn forged() {
    let (key, blocks) = run(record);
    let key = SigningKey::from_bytes(&key);
    assert_eq!(audit(&key, &blocks), Ok(()));
    for (what, forge) in FORGERIES {
        let mut blocks = blocks.clone();
        let height = forge(&mut blocks) as u64;
        sign_events(&key, &mut blocks);
        match audit(&key, &blocks) {
            Err(finding) => assert_eq!(finding.height, height, "{what}: {finding}"),
            Ok(()) => panic!("{what}, and the auditor finds nothing"),
        }
    }
}
