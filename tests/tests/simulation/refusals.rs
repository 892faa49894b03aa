//! What cannot be done is refused for its own reason, before anything is paid or changed: names that are taken or
//! lie in a file, ranges outside a file, prices above what was allowed or there is, terms the ledger would not take.

use std::{fs, path::Path};

use symbolon_client::{
    Client, ClientError, Depth, FolderOptions, GetOptions, GetOutcome, GetPlan, Pattern, Progress,
    PutOptions, Readable, Replace, SellOptions, Sink, Source,
};
use symbolon_protocol::{Amount, Millis, grant::GrantToken, id::ChainId, ledger::rows::Deals};
use symbolon_tests::sim::{Trace, World, called};

use super::{put_options, sell_options};

const PRICE: Amount = Amount(5_000_000_001);
const LENGTH: u64 = 50_000;
const EPOCHS: u64 = 12;

/// Keeps what was refused and why, for the trace.
struct Refusals(Vec<String>);

impl Refusals {
    fn add<T: std::fmt::Debug>(&mut self, done: Result<T, ClientError>, why: &str) {
        let error = done.expect_err(why).to_string();
        assert!(error.contains(why), "{error:?} does not say {why:?}");
        self.0.push(error);
    }
}

async fn put(
    client: &Client,
    name: &str,
    data: Vec<u8>,
    options: &PutOptions,
) -> Result<(), ClientError> {
    let source = Source::Bytes(data.into());
    client.put(source, &called(name), options, &Progress::silent()).await.map(drop)
}

pub(super) async fn refusals(seed: u64) -> Trace {
    let mut world = World::found(seed, 8).await;
    let (owner, poor, other) = (world.client("owner"), world.client("poor"), world.client("other"));
    owner.faucet().await.unwrap();
    let mut refusals = Refusals(Vec::new());
    let options = put_options(EPOCHS);
    let kept = PutOptions { keep: Some(2), ..put_options(EPOCHS) };
    for (name, options) in [("file", &options), ("folder/one", &options), ("folder/two", &kept)] {
        put(&owner, name, world.bytes(name, LENGTH), options).await.unwrap();
    }
    owner.publish_names(None, &Progress::silent()).await.unwrap();
    let money = owner.account().await.unwrap().balance;
    let deals = world.ledger().scan(Deals, &[], None, 1000).await.unwrap().len();

    names(&owner, &mut refusals).await;
    prices(&world, &owner, &poor, &mut refusals).await;
    ranges(&world, &owner, &mut refusals).await;
    grants(&world, &owner, &other, &mut refusals).await;
    sales(&owner, &mut refusals).await;
    folders(&world, &owner, &poor, &mut refusals).await;

    assert_eq!(owner.account().await.unwrap().balance, money, "something was paid");
    let after = world.ledger().scan(Deals, &[], None, 1000).await.unwrap().len();
    assert_eq!(after, deals, "something was stored");
    let folder = world.folder().to_str().unwrap().to_owned();
    for why in refusals.0 {
        world.note(why.replace(&folder, ""));
    }
    over(&mut world, &owner).await;
    for client in [owner, poor, other] {
        client.close().await;
    }
    world.finish().await
}

/// Names that are taken, lie in a file, or are not there.
async fn names(owner: &Client, refusals: &mut Refusals) {
    for (from, to, why) in [
        ("file", "folder/one", "already exists"),
        ("folder", "folder/one/deep", "cannot move into itself"),
        ("folder/one", "file/one", "\"file\" is a file; nothing can lie in it"),
        ("missing", "new", "no file named"),
    ] {
        refusals.add(owner.rename(&called(from), &called(to)).await, why);
    }
    // A folder that is gone has no name to give away, though its versions are still there.
    let gone = owner.select(&Pattern::whole(b"folder/two"), false).await.unwrap().names;
    owner.remove(&gone, false, &Progress::silent()).await.unwrap();
    refusals.add(owner.rename(&called("folder/two"), &called("new")).await, "no file named");
    refusals.add(owner.select(&Pattern::whole(b"*.none"), false).await.map(|_| ()), "no file");
    owner.undelete(&called("folder/two"), None, &Progress::silent()).await.unwrap();
    let options = PutOptions { replace: Replace::Overwrite, ..put_options(EPOCHS) };
    refusals.add(put(owner, "file/below", vec![1; 10], &options).await, "nothing can lie in it");
    refusals.add(put(owner, "folder", vec![1; 10], &options).await, "already exists");
}

/// What costs more than was allowed or there is, and terms that no deal may have.
async fn prices(world: &World, owner: &Client, poor: &Client, refusals: &mut Refusals) {
    let data = || world.bytes("data", LENGTH);
    let limited = PutOptions { cost_max: Some(Amount(1)), ..put_options(EPOCHS) };
    refusals.add(put(owner, "new", data(), &limited).await, "more than the 0.000000001 allowed");
    refusals.add(put(poor, "new", data(), &put_options(EPOCHS)).await, "the account has 0");
    let me = owner.identity().account();
    for (to, amount, why) in [
        (me, 1, "the ledger refused Transfer: to is the sender's own account, it must be another"),
        (poor.identity().account(), 0, "the ledger refused Transfer: amount is 0, it must be more"),
    ] {
        refusals.add(owner.transfer(to, Amount(amount), None).await.map(drop), why);
    }
    for epochs in [0, u64::MAX] {
        refusals.add(put(owner, "new", data(), &put_options(epochs)).await, "epochs is");
        refusals.add(owner.quote(LENGTH, &put_options(epochs)).await.map(|_| ()), "epochs is");
    }
    for path in [world.folder().join("nothing"), world.folder().to_owned()] {
        let (source, options) = (Source::File(path), put_options(EPOCHS));
        let stored = owner.put(source, &called("new"), &options, &Progress::silent()).await;
        refusals.add(stored.map(|_| ()), world.folder().to_str().unwrap());
    }
}

/// Bytes that a file does not have.
async fn ranges(world: &World, owner: &Client, refusals: &mut Refusals) {
    let get = async |range: (u64, u64)| {
        let options = GetOptions { range: Some(range), ..GetOptions::default() };
        let what = Readable::Name(called("file"));
        owner.get(&what, Sink::Memory, &options, &Progress::silent()).await
    };
    for range in [(0, LENGTH + 1), (LENGTH + 1, u64::MAX), (20, 10)] {
        refusals.add(get(range).await.map(|_| ()), "bytes");
    }
    let all = world.bytes("file", LENGTH);
    for (from, to) in [(0, 0), (LENGTH, LENGTH), (10, 20), (0, LENGTH), (LENGTH - 1, u64::MAX)] {
        let report = get((from, to)).await.unwrap();
        let at = |offset: u64| usize::try_from(offset.min(LENGTH)).unwrap();
        let part = &all[at(from)..at(to)];
        assert_eq!((report.outcome, report.bytes.as_deref()), (GetOutcome::Fetched, Some(part)));
    }
}

/// Grants of another network, and of another holder.
async fn grants(world: &World, owner: &Client, other: &Client, refusals: &mut Refusals) {
    let to = world.identity("other").recipient();
    let shared = owner.share(&called("file"), &to, Vec::new(), None, &Progress::silent()).await;
    let token = shared.unwrap();
    let get = async |client: &Client, token: GrantToken| {
        let what = Readable::from(token);
        client.get(&what, Sink::Memory, &GetOptions::default(), &Progress::silent()).await
    };
    refusals.add(get(owner, token.clone()).await.map(|_| ()), "it is bound to another key");
    let mut elsewhere = token.clone();
    elsewhere.chain = ChainId([9; 32]);
    refusals.add(get(other, elsewhere).await.map(|_| ()), "it is for another network");
    assert_eq!(get(other, token).await.unwrap().bytes, Some(world.bytes("file", LENGTH)));
}

/// Terms of a sale that the ledger or a buyer would refuse.
async fn sales(owner: &Client, refusals: &mut Refusals) {
    let usual = sell_options("Readings", PRICE);
    let usual = SellOptions { access_ms: Some(Millis(60_000)), ..usual };
    for (options, why) in [
        (SellOptions { window_ms: Some(Millis(0)), ..usual.clone() }, "window_ms is 0"),
        (
            SellOptions { access_ms: Some(Millis(u64::MAX)), ..usual.clone() },
            "is not stored for that long",
        ),
        (SellOptions { epochs: Some(0), ..usual.clone() }, "epochs is 0"),
        (SellOptions { epochs: Some(u64::MAX), ..usual.clone() }, "epochs is"),
        (SellOptions { title: String::new(), ..usual.clone() }, "title"),
        (SellOptions { description: "x".repeat(8 << 20), ..usual.clone() }, "no buyer reads more"),
    ] {
        refusals.add(owner.plan_sale(&called("file"), &options).await, why);
        let sold = owner.sell(&called("file"), &options, &Progress::silent()).await;
        refusals.add(sold.map(|_| ()), why);
    }
    owner.plan_sale(&called("file"), &usual).await.unwrap();
}

fn tree(folder: &Path) {
    fs::create_dir_all(folder.join("in")).unwrap();
    fs::write(folder.join("in/one"), vec![1; 3_000]).unwrap();
    fs::write(folder.join("two"), vec![2; 3_000]).unwrap();
}

/// Folders that are none, or have no place; what they cost; and what would delete everything.
async fn folders(world: &World, owner: &Client, poor: &Client, refusals: &mut Refusals) {
    let folder = world.folder().join("tree");
    tree(&folder);
    let options = FolderOptions::default();
    let plan =
        async |path: &Path, to: &str| owner.plan_folder(path, Some(&called(to)), &options).await;
    refusals.add(plan(&folder, "file/below").await.map(|_| ()), "nothing can lie in it");
    refusals.add(plan(&folder, "file").await.map(|_| ()), "already exists");
    refusals.add(plan(&folder.join("two"), "new").await.map(|_| ()), "two");
    refusals.add(plan(&folder.join("missing"), "new").await.map(|_| ()), "missing");

    let good = plan(&folder, "new").await.unwrap();
    let never = owner.quote_folder(&good, &put_options(0)).await;
    refusals.add(never.map(|_| ()), "epochs is 0");
    let quote = owner.quote_folder(&good, &put_options(EPOCHS)).await.unwrap();
    let limited = PutOptions { cost_max: Some(Amount(1)), ..put_options(EPOCHS) };
    let stored = owner.store_folder(good, &quote, &limited, &Progress::silent()).await;
    refusals.add(stored.map(|_| ()), "allowed");
    let theirs = poor.plan_folder(&folder, Some(&called("new")), &options).await.unwrap();
    let stored = poor.store_folder(theirs, &quote, &put_options(EPOCHS), &Progress::silent()).await;
    refusals.add(stored.map(|_| ()), "the account has 0");

    let get = async |what: &str, to: &Path, delete: bool| {
        let options = FolderOptions { delete, ..FolderOptions::default() };
        owner.plan_get(&Pattern::whole(what.as_bytes()), Some(to), &options).await
    };
    let nothing = |plan: Result<Option<GetPlan>, ClientError>| plan.map(|_| ());
    refusals.add(
        nothing(get("folder", &folder.join("two"), false).await),
        "is a file; a folder is needed",
    );
    refusals.add(nothing(get("folder", Path::new(""), false).await), "a folder is needed");
    // Nothing has a name in this home: that is rather an index that has not come than a wish to lose everything.
    let all = FolderOptions { delete: true, ..FolderOptions::default() };
    let plan = poor.plan_get(&Pattern::whole(b""), Some(&folder), &all).await;
    refusals.add(nothing(plan), "that would delete all that is here");
    assert!(get("folder", &folder, true).await.unwrap().is_some());
}

/// A file whose time is over is not verified as if it were there.
async fn over(world: &mut World, owner: &Client) {
    world.pass_epochs(EPOCHS + 2).await;
    let verified = owner.verify(&called("file"), Depth::Sample, &Progress::silent()).await;
    let error = verified.map(|_| ()).expect_err("its time is over").to_string();
    assert!(error.contains("is over"), "{error}");
    let what = Readable::Name(called("file"));
    let got = owner.get(&what, Sink::Memory, &GetOptions::default(), &Progress::silent()).await;
    let error = got.map(|_| ()).expect_err("its time is over").to_string();
    world.note(error.clone());
    assert!(error.contains("is over"), "{error}");
}
