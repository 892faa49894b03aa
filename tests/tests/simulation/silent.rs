//! No party answers: first the nodes, then the ledger. A command about a whole folder ends with the reason, and does
//! not call every file of it damaged, missing or the same. And a seller without custodians is told so before anything
//! of the sale is paid.

use std::{fs, path::PathBuf, time::Duration};

use symbolon_client::{
    Client, ClientError, Depth, ErrorKind, FolderOptions, FolderPlan, GetPlan, Pattern, Progress,
    Replace, Source, VerifiedObject,
};
use symbolon_protocol::{
    Amount,
    ledger::rows::{Deals, Listings, Vaults},
    session::NodeFault,
};
use symbolon_tests::sim::{Trace, World, called};
use tokio::time::sleep;

use super::{put_options, sell_options};

const NODES: usize = 8;
const PRICE: Amount = Amount(1_000_000_001);

/// Files that share a pack, and one that has an object of its own.
const SMALL: [&str; 2] = ["small/one", "small/two"];
const LARGE: &str = "large/file";
const SMALL_BYTES: u64 = 30_000;
const LARGE_BYTES: u64 = 1_500_000;

pub(super) async fn silent(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    for name in SMALL {
        super::changing::write(&source(&world).join(name), &world.bytes(name, SMALL_BYTES));
    }
    super::changing::write(&source(&world).join(LARGE), &world.bytes(LARGE, LARGE_BYTES));
    let options = put_options(500);
    let plan = plan(&owner, &world, false).await.unwrap();
    let quote = owner.quote_folder(&plan, &options).await.unwrap();
    let stored = owner.store_folder(plan, &quote, &options, &Progress::silent()).await.unwrap();
    assert_eq!((stored.files, stored.packs), (3, 1));
    world.audit().await;

    nodes(&mut world, &owner).await;
    ledger(&mut world, &owner).await;
    let well = verify(&owner).await.unwrap().unwrap();
    assert!(well.iter().all(|object| object.found.as_ref().is_ok_and(|found| !found.damaged)));
    two_nodes(&mut world, &owner).await;
    owner.close().await;
    world.audit().await;
    // What nodes missed while the ledger was away is not what this is about.
    world.end()
}

fn source(world: &World) -> PathBuf {
    world.folder().join("source")
}

/// Compares the folder with what is stored of it.
async fn plan(owner: &Client, world: &World, checksum: bool) -> Result<FolderPlan, ClientError> {
    let options = FolderOptions { checksum, ..FolderOptions::default() };
    owner.plan_folder(&source(world), Some(&called("box")), &options).await
}

async fn plan_get(owner: &Client, world: &World, (what, to): (&str, &str)) -> GetPlan {
    let options = FolderOptions { checksum: true, ..FolderOptions::default() };
    let to = world.folder().join(to);
    let plan = owner.plan_get(&Pattern::whole(what.as_bytes()), Some(&to), &options).await;
    plan.unwrap().unwrap()
}

async fn verify(owner: &Client) -> Result<Option<Vec<VerifiedObject>>, ClientError> {
    owner.verify_all(&Pattern::whole(b"box"), Depth::Sample, &Progress::silent()).await
}

/// All nodes are away: what would have to be read to be compared is not taken to be the same.
async fn nodes(world: &mut World, owner: &Client) {
    for number in 0..NODES {
        world.kill_node(number).await;
    }
    let not_enough = |what: &str, error: ClientError| {
        assert_eq!(error.kind(), ErrorKind::NotEnough, "{what}: {error:?}");
        format!("{what}, without nodes: {error}")
    };
    let compared = plan(owner, world, true).await.map(|plan| plan.unchanged);
    let line = not_enough("a folder", compared.unwrap_err());
    world.note(line);
    // The files are there as they should be, as far as length and time tell.
    let to = ("box", "source");
    let fetch = plan_get(owner, world, to).await;
    let got = owner.fetch_folder(fetch, Replace::Refuse, &Progress::silent()).await;
    let line = not_enough("a folder that comes back", got.map(|got| got.unchanged).unwrap_err());
    world.note(line);

    let before = owner.account().await.unwrap().balance;
    let deals = world.ledger().scan(Deals, &[], None, 100).await.unwrap().len();
    let name = called(format!("box/{LARGE}"));
    let options = sell_options("File", PRICE);
    let error = owner.sell(&name, &options, &Progress::silent()).await.unwrap_err();
    world.note(format!("sold without custodians: {error}"));
    let ClientError::NotEnoughCustodians { released: 0, needed: 1, faults } = error else {
        panic!("{error:?}");
    };
    assert_eq!(faults.len(), NODES);
    assert!(faults.iter().all(|(_, fault)| *fault == NodeFault::Offline), "{faults:?}");
    let ledger = world.ledger();
    assert!(ledger.scan(Vaults, &[], None, 1).await.unwrap().is_empty());
    assert!(ledger.scan(Listings, &[], None, 1).await.unwrap().is_empty());
    assert_eq!(ledger.scan(Deals, &[], None, 100).await.unwrap().len(), deals);
    assert_eq!(owner.account().await.unwrap().balance, before);
    for number in 0..NODES {
        world.start_node(number).await;
    }
    world.pass_epochs(2).await;
}

/// Two nodes die just after they answered. What the program stores for itself, here the description of a listing, goes
/// to the nodes that are left: there are enough of them for a narrower scheme.
async fn two_nodes(world: &mut World, owner: &Client) {
    let (name, data) = (called("goods"), world.bytes("goods", SMALL_BYTES));
    let source = Source::Bytes(data.into());
    owner.put(source, &name, &put_options(500), &Progress::silent()).await.unwrap();
    for number in [1, 5] {
        world.kill_node(number).await;
    }
    let options = sell_options("Goods", PRICE);
    let sold = owner.sell(&name, &options, &Progress::silent()).await.unwrap();
    world.note(format!("sold with two nodes fewer: {} custodians", sold.custodians.len()));
}

/// The ledger is away: no file is missing or damaged for that.
async fn ledger(world: &mut World, owner: &Client) {
    let fetches = [("box/small", "small"), ("box/large", "large")];
    let mut plans = Vec::new();
    for (what, to) in fetches {
        plans.push((what, plan_get(owner, world, (what, to)).await));
    }
    // What it said a moment ago would still do.
    sleep(Duration::from_secs(10)).await;
    world.kill_ledger().await;
    let unreachable = |what: &str, error: ClientError| {
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{what}: {error:?}");
        format!("{what}, without the ledger: {error}")
    };
    let verified = verify(owner).await.map(|objects| objects.map(|all| all.len()));
    let line = unreachable("verified", verified.unwrap_err());
    world.note(line);
    for (what, plan) in plans {
        assert!(plan.files() > 0, "{what}");
        let got = owner.fetch_folder(plan, Replace::Refuse, &Progress::silent()).await;
        let line = unreachable(what, got.map(|got| got.faults).unwrap_err());
        world.note(line);
    }
    world.start_ledger().await;
    for (what, to) in fetches {
        let plan = plan_get(owner, world, (what, to)).await;
        let got = owner.fetch_folder(plan, Replace::Refuse, &Progress::silent()).await.unwrap();
        assert!(got.files > 0 && got.faults.is_empty(), "{what}: {got:?}");
    }
    for name in [&SMALL[..], &[LARGE]].concat() {
        let read = fs::read(world.folder().join(name)).unwrap();
        assert_eq!(read, fs::read(source(world).join(name)).unwrap(), "{name}");
    }
}
