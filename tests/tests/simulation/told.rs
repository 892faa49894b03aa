//! A server of the ledger that lies to those who ask it. No node believes an event that the header does not cover: it asks
//! another server. An older state is proven as well as the newest: no device lets go of what it has published
//! since.

use std::sync::{Arc, Mutex};

use symbolon_client::{Client, ClientError, GetOptions, Pattern, Progress, Readable, Sink, Source};
use symbolon_protocol::{
    Amount,
    id::{DealId, LinkId, OrderId},
    ledger::{
        Status,
        block::Event,
        rows::{Deal, DealState, Deals, Roots, Table},
        transaction::{Action, Transaction},
    },
    wire::ledger::{Request, Response},
};
use symbolon_tests::{
    between::{Instead, LedgerTwist},
    sim::{Trace, World, called},
};

use super::put_options;

pub(super) async fn told(seed: u64) -> Trace {
    let mut world = World::found(seed, 8).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    put(&world, &owner, "file").await;
    world.pass_epochs(1).await;
    of_ends(&mut world, &owner).await;
    owner.close().await;
    of_what_was_done(&mut world).await;
    of_money(&mut world).await;
    of_older_names(&mut world).await;
    world.finish().await
}

async fn put(world: &World, client: &Client, name: &str) {
    let source = Source::Bytes(world.bytes(name, 200_000).into());
    client.put(source, &called(name), &put_options(300), &Progress::silent()).await.unwrap();
}

async fn check(world: &World, client: &Client, name: &str) {
    let (what, whole) = (Readable::Name(called(name)), GetOptions::default());
    let read = client.get(&what, Sink::Memory, &whole, &Progress::silent()).await.unwrap();
    assert!(read.bytes.unwrap() == world.bytes(name, 200_000), "{name}");
}

/// A node is told, with every block, that it need not keep any shard, and that orders and grants are dead. Its ticket names the
/// true server too.
async fn of_ends(world: &mut World, owner: &Client) {
    let deals = world.ledger().scan(Deals, &[], None, 100).await.unwrap();
    let deals: Vec<DealId> = deals.iter().map(|(key, _)| Deals::parse(key).unwrap()).collect();
    let by = world.identity("owner").account();
    let victims = [0, 1, 2];
    let nodes = victims.map(|number: usize| world.stations[number].id);
    let twist: LedgerTwist = Arc::new(move |_, response| {
        let Response::Block { mut block } = response else { return response };
        for node in nodes {
            let left = deals.iter().map(|deal| Event::ShardLeft { node, deal: *deal });
            block.events.extend(left);
        }
        block.events.push(Event::OrderRefunded { order: OrderId([7; 16]) });
        block.events.push(Event::Revoked { link: LinkId([7; 16]), by });
        Response::Block { block }
    });
    let mut ticket = world.lying_ledger("a ledger that ends all", twist);
    ticket.peers.extend(world.ticket().peers.clone());
    for number in victims {
        world.kill_node(number).await;
        world.start_node_told(number, ticket.clone()).await;
    }
    world.pass_epochs(2).await;
    world.audit_disks();
    for number in victims {
        let row = world.row(number).await;
        assert_eq!(row.missed_in_row, 0, "node {number} goes on proving");
    }
    let stat = owner.stat(&called("file")).await.unwrap();
    assert_eq!(stat.segments[0].shards.len(), 8);
    check(world, owner, "file").await;
    for number in victims {
        world.kill_node(number).await;
        world.start_node(number).await;
    }
    world.pass_epochs(1).await;
}

/// The height that a liar's outcome has: no client doubts it for being old.
const LATER: u64 = 1_000_000;

/// A server says that something was done before, or need not be done, and does nothing. No command says that
/// it is done: a grant that is to be revoked, and deals that are to be paid back, would stay.
async fn of_what_was_done(world: &mut World) {
    let lie: Arc<Mutex<Option<Status>>> = Arc::default();
    let now = lie.clone();
    let ticket = world.silent_ledger(
        "a ledger that does nothing",
        Arc::new(move |request| {
            let Request::Submit { transaction } = request else { return None };
            let swallowed = matches!(
                transaction.action,
                Action::Revoke { .. } | Action::EndDeal { .. } | Action::EndListing { .. }
            );
            let status = (*now.lock().unwrap()).filter(|_| swallowed)?;
            Some(Response::Outcome { height: LATER, status })
        }),
    );
    let told = world.device_told("owner", "owner", ticket);
    let friend = world.identity("friend").recipient();
    let silent = Progress::silent();
    let token = told.share(&called("file"), &friend, Vec::new(), None, &silent).await.unwrap();
    for status in [Status::Exists, Status::IdReused] {
        *lie.lock().unwrap() = Some(status);
        let said = told.revoke(&token).await;
        world.note(format!("revoked: {said:?}"));
        assert!(said.is_err(), "{status:?}: {said:?}");
    }
    *lie.lock().unwrap() = None;
    told.revoke(&token).await.unwrap();

    put(world, &told, "to go").await;
    let deals = async |world: &World| {
        let deals = world.ledger().scan(Deals, &[], None, 100).await.unwrap();
        let runs = |deal: &Deal| deal.state == DealState::Open;
        deals.into_iter().filter(|(_, deal)| runs(deal)).count()
    };
    let before = deals(world).await;
    *lie.lock().unwrap() = Some(Status::DealClosed);
    let names = told.select(&Pattern::whole(b"to go"), false).await.unwrap().names;
    told.remove(&names, false, &silent).await.unwrap_err();
    for status in [Status::UnknownDeal, Status::NotYours, Status::IdReused] {
        *lie.lock().unwrap() = Some(status);
        let said = told.tidy().await;
        world.note(format!("ended: {said:?}"));
        assert!(said.is_err(), "{status:?}");
    }
    assert_eq!(deals(world).await, before, "it runs on");
    *lie.lock().unwrap() = None;
    told.tidy().await.unwrap();
    assert_eq!(deals(world).await, before - 1, "what was not done is done later");
    told.close().await;
}

/// A server says that a transfer was refused: it has passed it on, or keeps it until its sender has tried
/// again elsewhere. The money goes once.
async fn of_money(world: &mut World) {
    let to = world.validator();
    let refused = Response::Outcome { height: LATER, status: Status::BalanceTooLow };
    let passed_on: LedgerTwist = {
        let refused = refused.clone();
        Arc::new(move |request, response| match request {
            Request::Submit { .. } => refused.clone(),
            _ => response,
        })
    };
    let kept: Arc<Mutex<Vec<Transaction>>> = Arc::default();
    let keeps: Instead = {
        let kept = kept.clone();
        Arc::new(move |request| {
            let Request::Submit { transaction } = request else { return None };
            kept.lock().unwrap().push((**transaction).clone());
            Some(refused.clone())
        })
    };
    let liars = [
        world.lying_ledger("a ledger that denies", passed_on),
        world.silent_ledger("a ledger that waits", keeps),
    ];
    for (number, liar) in liars.into_iter().enumerate() {
        for id in [None, Some("rent")] {
            let amount = Amount(1_000 + number as u128);
            let id = id.map(|id| format!("{id} {number}"));
            world.audit().await;
            let before = world.auditor.balance(&to);
            let told = world.device_told("owner", "owner", liar.clone());
            let said = told.transfer(to, amount, id.as_deref()).await.unwrap_err();
            assert!(matches!(said, ClientError::LedgerRefused(Status::BalanceTooLow)), "{said:?}");
            told.close().await;
            let owner = world.client("owner");
            if id.is_some() {
                let said = owner.transfer(to, Amount(7), id.as_deref()).await.unwrap_err();
                assert!(matches!(&said, ClientError::Usage(why) if why.contains("until block")));
            }
            let sent = owner.transfer(to, amount, id.as_deref()).await.unwrap();
            world.note(format!("refused, it was said: then {sent:?}"));
            let late = std::mem::take(&mut *kept.lock().unwrap());
            for transaction in late {
                world.ledger().submit(transaction).await.unwrap();
            }
            owner.close().await;
            world.audit().await;
            let got = world.auditor.balance(&to) - before;
            assert_eq!(got, amount.0, "sent once by liar {number}, id {id:?}");
        }
    }
}

/// A device is shown the names of an earlier time, and that there are none yet: both were true once.
async fn of_older_names(world: &mut World) {
    let me = world.identity("owner").account();
    let key = Roots::key(&me);
    let asks = move |request: &Request| matches!(request, Request::Rows { keys } if *keys == [key.clone()]);
    let kept: Arc<Mutex<Vec<Response>>> = Arc::default();
    let shown: Arc<Mutex<Option<Response>>> = Arc::default();
    let twist: LedgerTwist = {
        let (kept, shown) = (kept.clone(), shown.clone());
        Arc::new(move |request, response| {
            if !asks(request) {
                return response;
            }
            kept.lock().unwrap().push(response.clone());
            shown.lock().unwrap().clone().unwrap_or(response)
        })
    };
    let ticket = world.lying_ledger("a ledger of old names", twist);
    let desk = |world: &mut World| world.device_told("owner", "desk", ticket.clone());
    let client = desk(world);
    client.pull_names(&Progress::silent()).await.unwrap();
    let mut old = vec![kept.lock().unwrap().last().cloned().unwrap()];
    put(world, &client, "one").await;
    client.publish_names(None, &Progress::silent()).await.unwrap();
    client.pull_names(&Progress::silent()).await.unwrap();
    old.push(kept.lock().unwrap().last().cloned().unwrap());
    put(world, &client, "two").await;
    client.publish_names(None, &Progress::silent()).await.unwrap();
    client.close().await;
    for (age, answer) in old.into_iter().enumerate() {
        *shown.lock().unwrap() = Some(answer);
        let client = desk(world);
        let pulled = client.pull_names(&Progress::silent()).await.unwrap();
        world.note(format!("names of time {age}: {pulled:?}"));
        assert!(pulled.is_some_and(|pulled| pulled.set_back), "it says that they are older");
        for name in ["one", "two"] {
            check(world, &client, name).await;
        }
        client.close().await;
        *shown.lock().unwrap() = None;
        let client = desk(world);
        client.publish_names(None, &Progress::silent()).await.unwrap();
        client.pull_names(&Progress::silent()).await.unwrap();
        assert_eq!(client.index().await.unwrap().unpublished, 0);
        let elsewhere = world.device("owner", &format!("restored {age}"));
        elsewhere.pull_names(&Progress::silent()).await.unwrap();
        for name in ["one", "two"] {
            check(world, &elsewhere, name).await;
        }
        elsewhere.close().await;
        client.close().await;
    }
}
