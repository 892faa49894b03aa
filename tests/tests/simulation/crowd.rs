//! Eighty names for one machine, beside forty nodes on machines of their own. They get one shard of a segment at most,
//! whether it is their address that shows it or their operator. Eighty nodes that are apart get their part.

use std::collections::BTreeSet;

use symbolon_client::{Progress, Source};
use symbolon_protocol::{
    Amount,
    id::{AccountId, NodeId},
    ledger::{Status, rows::Deals, transaction::Action},
};
use symbolon_tests::{
    party::Party,
    sim::{Trace, World, called, derive},
    witness::Given,
};
use tokio::task::JoinSet;

use super::put_options;

const APART: u8 = 40;
const NAMES: u8 = 80;
const PUTS: u64 = 5;
const PRICE: Amount = Amount(5_000_000_007);

/// What the eighty have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Common {
    Address,
    Operator,
    Nothing,
}

pub(super) async fn crowd(seed: u64) -> Trace {
    let (address, _) = shards_of_names(seed, Common::Address).await;
    let (operator, _) = shards_of_names(seed, Common::Operator).await;
    let (nothing, mut world) = shards_of_names(seed, Common::Nothing).await;
    for counts in [&address, &operator] {
        assert!(counts.iter().all(|count| *count <= 1), "{counts:?} shards of eight");
    }
    assert!(nothing.iter().all(|count| 1 < *count), "{nothing:?} of eight, by two of three nodes");
    for (what, counts) in [("address", address), ("operator", operator), ("nothing", nothing)] {
        for count in counts {
            world.note(format!("{what} in common: {count} of eight shards"));
        }
    }
    world.audit().await;
    world.end()
}

/// How many of the eight shards of each file the names get.
async fn shards_of_names(seed: u64, common: Common) -> (Vec<usize>, World) {
    let mut world = World::found(seed, 0).await;
    let given = Given::default();
    let mut registering = JoinSet::new();
    let mut names = BTreeSet::new();
    for number in 0..APART + NAMES {
        let is_name = APART <= number;
        let party = Party::new(&world, derive(seed, &format!("node {number}")));
        given.answer_as(&world, derive(seed, &format!("node {number}")), PRICE);
        if is_name {
            names.insert(party.id());
        }
        let registration = registration(number, if is_name { common } else { Common::Nothing });
        registering.spawn(async move { party.send(registration).await });
    }
    assert!(registering.join_all().await.iter().all(|status| *status == Status::Applied));
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    for number in 0..PUTS {
        let name = called(format!("file {number}"));
        let source = Source::Bytes(world.bytes("file", 20_000 + number).into());
        owner.put(source, &name, &put_options(100), &Progress::silent()).await.unwrap();
    }
    owner.close().await;
    let rows = world.ledger().scan(Deals, &[], None, 100).await.unwrap();
    let is_name = |node: &NodeId| names.contains(node);
    let counts: Vec<usize> = rows
        .iter()
        .map(|(_, deal)| deal.kept().filter(|(_, shard)| is_name(&shard.node)).count())
        .collect();
    assert_eq!(counts.len() as u64, PUTS);
    assert!(given.findings().is_empty());
    world.audit().await;
    (counts, world)
}

fn registration(number: u8, common: Common) -> Action {
    let address = match common {
        Common::Address => String::from("192.0.2.7:4000"),
        Common::Operator | Common::Nothing => format!("10.{number}.0.1:4000"),
    };
    let operator = match common {
        Common::Operator => AccountId([7; 32]),
        Common::Address | Common::Nothing => AccountId([100 + number; 32]),
    };
    Action::RegisterNode {
        payout: AccountId([100 + number; 32]),
        operator: Some(operator),
        addresses: vec![address],
        custody_key: None,
        caretaker: false,
        price: PRICE,
        capacity: 1 << 30,
        agrees_until: 0,
        leaving: false,
    }
}
