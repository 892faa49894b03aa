//! What telling other devices may cost: what is left of what a call may cost, and no more than is usual where nothing
//! was said. What is not told stays to be told, and is by the next call that may.

use std::sync::{Arc, Mutex};

use symbolon_client::{
    Client, Devices, Growth, Market, Progress, PutOptions, PutReport, Source, Step, Wallet,
};
use symbolon_protocol::Amount;
use symbolon_tests::sim::{Trace, World, called};

use super::put_options;

/// Files whose rows together have no room in a root record.
const FILES: usize = 24;

/// Bytes of each file.
const FILE_BYTES: u64 = 2_000;

/// Epochs for which the list of so few files costs more than is usual.
const LONG_EPOCHS: u64 = 20_000;

pub(super) async fn bounded(seed: u64) -> Trace {
    let mut world = World::found(seed, 9).await;
    what_is_left_of_a_put(&mut world).await;
    what_is_usual(&mut world).await;
    world.finish().await
}

/// A device with so many unpublished changes that a list of them has to be stored.
async fn filled(world: &mut World, name: &str) {
    let client = world.client(name);
    client.faucet().await.unwrap();
    for number in 0..FILES {
        let bytes = world.bytes(&format!("{name} {number}"), FILE_BYTES);
        let file = called(format!("file {number}"));
        let (options, quiet) = (put_options(500), Progress::silent());
        client.put(Source::Bytes(bytes.into()), &file, &options, &quiet).await.unwrap();
    }
    assert!(client.quote_index(&Growth::default(), 0).await.unwrap() > Amount::ZERO);
    client.close().await;
}

fn in_step(world: &mut World, name: &str) -> Market {
    let wallet = Wallet::new(world.setup(name, name)).unwrap();
    Market::new(wallet, Devices::InStep { cost_max: None })
}

/// Puts one more file. With the report comes what was said meanwhile.
async fn put(
    world: &World,
    market: &Market,
    name: &str,
    options: &PutOptions,
) -> (PutReport, Vec<String>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = said.clone();
    let progress = Progress::new(move |step| {
        if let Step::Note(text) = step {
            heard.lock().unwrap().push(text);
        }
    });
    let source = Source::Bytes(world.bytes(name, FILE_BYTES).into());
    let report = market.put(source, &called(name), options, &progress).await.unwrap();
    let said = std::mem::take(&mut *said.lock().unwrap());
    (report, said)
}

fn untold(limit: Amount) -> impl Fn(&String) -> bool {
    let end = format!("credits, more than the {limit} allowed");
    move |text| {
        text.starts_with("other devices cannot see the change yet: ") && text.ends_with(&end)
    }
}

async fn sees(world: &mut World, who: &str, name: &str) -> bool {
    let phone: Client = world.device(who, &format!("phone of {who}"));
    phone.pull_names(&Progress::silent()).await.unwrap();
    let there = phone.is_there(&called(name)).await.unwrap();
    phone.close().await;
    there
}

async fn what_is_left_of_a_put(world: &mut World) {
    filled(world, "owner").await;
    let owner = in_step(world, "owner");
    let options = put_options(500);
    let price = owner.quote(FILE_BYTES, &options).await.unwrap().price.total;
    let cost_max = price.checked_add(Amount(7)).unwrap();
    let limited = PutOptions { cost_max: Some(cost_max), ..options.clone() };
    let (report, said) = put(world, &owner, "first", &limited).await;
    let left = cost_max.checked_sub(report.cost).unwrap();
    assert!(said.iter().any(untold(left)), "{left} of {cost_max} is left: {said:?}");
    assert!(owner.unpublished().await.unwrap() > 0);
    owner.close().await;
    assert!(!sees(world, "owner", "first").await);

    let owner = in_step(world, "owner");
    let index = owner.quote_index(&Growth::file(6, 0), 500).await.unwrap();
    assert!(Amount::ZERO < index, "a list has to be stored");
    let cost_max = price.checked_add(index).unwrap();
    let before = owner.account().await.unwrap().balance;
    let enough = PutOptions { cost_max: Some(cost_max), ..options };
    let (report, said) = put(world, &owner, "second", &enough).await;
    let paid = before.checked_sub(owner.account().await.unwrap().balance).unwrap();
    assert!(report.cost < paid && paid <= cost_max, "{paid} of {cost_max}: {said:?}");
    assert_eq!(owner.unpublished().await.unwrap(), 0, "{said:?}");
    owner.close().await;
    assert!(sees(world, "owner", "first").await && sees(world, "owner", "second").await);
    world.note(format!("{paid} of {cost_max} paid"));
}

async fn what_is_usual(world: &mut World) {
    filled(world, "other").await;
    let other = in_step(world, "other");
    let options = put_options(LONG_EPOCHS);
    let index = other.quote_index(&Growth::file(5, 0), LONG_EPOCHS).await.unwrap();
    assert!(Devices::COST_MAX < index, "{index}");
    let (_, said) = put(world, &other, "third", &options).await;
    assert!(said.iter().any(untold(Devices::COST_MAX)), "{said:?}");
    other.close().await;
    assert!(!sees(world, "other", "third").await);
    let wallet = Wallet::new(world.setup("other", "other")).unwrap();
    let other = Market::new(wallet, Devices::InStep { cost_max: Some(index) });
    let (_, said) = put(world, &other, "fourth", &options).await;
    assert_eq!(other.unpublished().await.unwrap(), 0, "{said:?}");
    other.close().await;
    assert!(sees(world, "other", "third").await && sees(world, "other", "fourth").await);
}
