//! Custodians who lie. A seller is told by some that they keep a share when they have signed for something
//! else: the vault is shared among others. A buyer is given releases that are of another order, of another
//! vault, of another custodian, or of nothing: the key is made from those of the honest ones, who are paid.

use std::sync::{Arc, Mutex};

use ed25519_dalek::SigningKey;
use symbolon_client::{Client, Progress, Readable, SellReport, Sink, Source};
use symbolon_protocol::{
    Amount, LedgerTime,
    custody::{CustodyTerms, Release},
    id::{ChainId, NodeId, VaultId},
    ledger::rows::{Vault, Vaults},
    wire::storage::{Request, Response},
};
use symbolon_tests::{
    between::Twist,
    sim::{Trace, World, called},
};

use super::{put_options, sell_options};

const PRICE: Amount = Amount(2_000_000_001);

/// More than custodians, so that a seller finds others.
const NODES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    True,
    /// Releases of a buyer's earlier order.
    EarlierOrder,
    /// Of another buyer's order.
    OtherBuyer,
    /// Of an order of what another seller sells.
    OtherVault,
    /// What another custodian has released of this very order.
    OtherShare,
    Proof,
    /// No release at all.
    Nothing,
    /// Acceptances of a share: of another vault, another share, by another node, or not signed.
    KeepsVault,
    KeepsIndex,
    KeepsAccomplice,
    KeepsSignature,
}

/// What all custodians know together.
#[derive(Default)]
struct Plot {
    now: Option<Word>,
    /// Who lies.
    liars: Vec<NodeId>,
    /// What was released, by whom, since it was looked at last.
    fresh: Vec<(NodeId, Release)>,
    /// What was released before, of an order that is none of the present one.
    old: Vec<(NodeId, Release)>,
}

type Shared = Arc<Mutex<Plot>>;

pub(super) async fn custodians(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    let plot = Shared::default();
    for number in 0..NODES {
        world.kill_node(number).await;
        let twist = twist(&world, number, &plot);
        let people = ["seller", "another seller", "buyer", "another buyer"];
        world.start_node_behind(number, &people, twist).await;
    }
    let mut listings = Vec::new();
    for name in ["seller", "another seller"] {
        let seller = world.client(name);
        seller.faucet().await.unwrap();
        listings.push(sell(&mut world, &seller, (name, "goods"), &plot).await);
        seller.close().await;
    }
    let (buyer, another) = (world.client("buyer"), world.client("another buyer"));
    buyer.faucet().await.unwrap();
    another.faucet().await.unwrap();
    let seller = world.client("seller");
    // What liars will have to say: releases of other orders.
    let words = [
        (Word::EarlierOrder, &buyer, 0, &listings[0]),
        (Word::OtherBuyer, &another, 1, &listings[0]),
        (Word::OtherVault, &buyer, 2, &listings[1]),
    ];
    for (word, client, number, listing) in words {
        plot.lock().unwrap().now = Some(Word::True);
        plot.lock().unwrap().fresh.clear();
        client.buy(&listing.listing, PRICE, &Progress::silent()).await.unwrap();
        {
            let mut plot = plot.lock().unwrap();
            plot.old = std::mem::take(&mut plot.fresh);
        }
        let file = format!("sold {number}");
        let sold = sell(&mut world, &seller, ("seller", &file), &plot).await;
        bought(&mut world, &buyer, (&sold, word), &plot).await;
    }
    for (number, word) in (3..).zip([Word::OtherShare, Word::Proof, Word::Nothing]) {
        plot.lock().unwrap().now = Some(Word::True);
        let file = format!("sold {number}");
        let sold = sell(&mut world, &seller, ("seller", &file), &plot).await;
        bought(&mut world, &buyer, (&sold, word), &plot).await;
    }
    for client in [seller, buyer, another] {
        client.close().await;
    }
    world.audit().await;
    world.finish().await
}

/// Sells a file. Where there is no vault yet, two of those who are to keep a share lie.
async fn sell(
    world: &mut World,
    seller: &Client,
    (who, file): (&str, &str),
    plot: &Shared,
) -> SellReport {
    let source = Source::Bytes(world.bytes(&format!("{who} {file}"), 120_000).into());
    seller.put(source, &called(file), &put_options(200), &Progress::silent()).await.unwrap();
    let options = sell_options(file, PRICE);
    let first = file == "goods";
    if first {
        let words =
            [[Word::KeepsVault, Word::KeepsIndex], [Word::KeepsAccomplice, Word::KeepsSignature]];
        let words = words[usize::from(who != "seller")];
        // The custodian that is asked first lies, and then the first of the remaining ones.
        let mut plot = plot.lock().unwrap();
        plot.now = Some(words[usize::try_from(world.seed % 2).unwrap()]);
        plot.liars = Vec::new();
    }
    let sold = seller.sell(&called(file), &options, &Progress::silent()).await.unwrap();
    if first {
        let liars = std::mem::take(&mut plot.lock().unwrap().liars);
        world.note(format!("{who}: {} liars are not among the custodians", liars.len()));
        assert_eq!((liars.len(), sold.custodians.len(), sold.threshold), (2, 5, 3));
        assert!(liars.iter().all(|liar| !sold.custodians.contains(liar)));
        plot.lock().unwrap().now = Some(Word::True);
    }
    let vault: Vault = world.ledger().row(Vaults, &sold.vault).await.unwrap().unwrap();
    assert_eq!(vault.custodians, sold.custodians);
    sold
}

/// Buys from a vault of which the two custodians that answer first lie.
async fn bought(
    world: &mut World,
    buyer: &Client,
    (sold, word): (&SellReport, Word),
    plot: &Shared,
) {
    {
        let mut plot = plot.lock().unwrap();
        plot.now = Some(word);
        plot.liars = sold.custodians[..2].to_vec();
        plot.fresh.clear();
    }
    let bought = buyer.buy(&sold.listing, PRICE, &Progress::silent()).await.unwrap();
    world.note(format!("{word:?}: {:?}", bought.custodians));
    assert_eq!(bought.custodians, [3, 4, 5], "{word:?}: only honest ones made the key");
    plot.lock().unwrap().now = Some(Word::True);
    let token = Readable::Token(bought.token.clone());
    let got = buyer.get(&token, Sink::Memory, &Default::default(), &Progress::silent()).await;
    assert_eq!(got.unwrap().acknowledged, Some(bought.order), "{word:?}");
    // The auditor knows who has to be paid for it.
    world.audit().await;
}

fn twist(world: &World, number: usize, plot: &Shared) -> Twist {
    let (plot, chain) = (plot.clone(), world.ledger().chain());
    let key = SigningKey::from_bytes(&world.stations[number].secret);
    let other = SigningKey::from_bytes(&world.stations[(number + 1) % NODES].secret);
    let me = world.stations[number].id;
    Arc::new(move |request, response| {
        let mut plot = plot.lock().unwrap();
        let word = plot.now.unwrap_or(Word::True);
        match (request, response) {
            (Request::Release { .. }, Response::Released { release }) => {
                plot.fresh.push((me, release.clone()));
                if !plot.liars.contains(&me) {
                    return Response::Released { release };
                }
                released(&plot, word, release, me)
            }
            (Request::KeepShare { .. }, answer @ Response::InCustody { .. })
                if plot.liars.len() < 2 || plot.liars.contains(&me) =>
            {
                let lie = keeps(word, request, (&chain, &me), (&key, &other));
                if lie.is_some() && !plot.liars.contains(&me) {
                    plot.liars.push(me);
                }
                lie.unwrap_or(answer)
            }
            (_, response) => response,
        }
    })
}

fn released(plot: &Plot, word: Word, truth: Release, me: NodeId) -> Response {
    let of = |all: &[(NodeId, Release)], wanted: &dyn Fn(&NodeId) -> bool| {
        all.iter().find(|(node, _)| wanted(node)).map(|(_, release)| release.clone())
    };
    let release = match word {
        Word::EarlierOrder | Word::OtherBuyer => {
            of(&plot.old, &|node| *node == me).unwrap_or_else(|| plot.old[0].1.clone())
        }
        Word::OtherVault => plot.old[0].1.clone(),
        // Only custodians that were asked by now can be reported.
        Word::OtherShare => match of(&plot.fresh, &|node| *node != me) {
            Some(release) => release,
            None => return Response::Ready,
        },
        Word::Proof => {
            let mut release = truth;
            release.z_share[0] ^= 1;
            release
        }
        Word::Nothing => return Response::Ready,
        _ => truth,
    };
    Response::Released { release }
}

/// An acceptance of something else, or nothing where this is no word about shares.
fn keeps(
    word: Word,
    request: &Request,
    (chain, me): (&ChainId, &NodeId),
    (key, other): (&SigningKey, &SigningKey),
) -> Option<Response> {
    let Request::KeepShare { owner, opening, key: vault_key, index, .. } = request else {
        return None;
    };
    let vault = &VaultId::of(owner, opening);
    let terms = CustodyTerms { chain, vault, owner, key: vault_key, index: *index, node: me };
    let another = NodeId::from(symbolon_protocol::id::AccountId(other.verifying_key().to_bytes()));
    const END: LedgerTime = LedgerTime::NEVER;
    let acceptance = match word {
        Word::KeepsVault => CustodyTerms { vault: &VaultId([9; 16]), ..terms }.accept(key, END),
        Word::KeepsIndex => CustodyTerms { index: index + 1, ..terms }.accept(key, END),
        Word::KeepsAccomplice => CustodyTerms { node: &another, ..terms }.accept(other, END),
        Word::KeepsSignature => {
            let mut acceptance = terms.accept(key, END);
            acceptance.signature[40] ^= 1;
            acceptance
        }
        _ => return None,
    };
    Some(Response::InCustody { acceptance })
}
