//! A file outlives what its nodes first agreed to: they agree anew, one that asks for more is paid more or replaced, and when
//! the network has grown it is spread over more nodes, and so are
//! small files that share an object. Their names and marks stay.

use symbolon_client::{
    Client, FolderOptions, GetOptions, KeepOptions, KeepReport, Progress, PutOptions, PutOutcome,
    Readable, Renewing, Sink, Source,
};
use symbolon_protocol::{
    Amount,
    content::Scheme,
    id::NodeId,
    ledger::rows::{Deal, Deals},
};
use symbolon_tests::sim::{Trace, World, called};

use super::put_options;

/// All that there are in the end; at first there are half as many.
const NODES: usize = 10;
const EPOCHS: u64 = 10;
/// For how many epochs a node agrees to its price: little more than the file's term.
const AGREED: u64 = 12;

const KEEP: KeepOptions = KeepOptions { renewing: Renewing::Agreed, cost_max: None };

async fn keep(world: &mut World, owner: &Client) -> KeepReport {
    let kept = owner.keep(&KEEP, &Progress::silent()).await.unwrap();
    world.note(format!("kept: {kept:?}"));
    assert_eq!((kept.over, kept.lost, kept.limited, kept.unpaid), (0, 0, 0, 0), "{kept:?}");
    kept
}

async fn put(owner: &Client, name: &str, data: &[u8], scheme: Option<Scheme>) -> PutOutcome {
    let options = PutOptions { scheme, keep: Some(1), ..put_options(EPOCHS) };
    let source = Source::Bytes(data.to_vec().into());
    owner.put(source, &called(name), &options, &Progress::silent()).await.unwrap().outcome
}

/// Small files, which share one object.
async fn put_folder(world: &World, owner: &Client) -> Vec<(String, Vec<u8>)> {
    let folder = world.folder().join("small");
    std::fs::create_dir(&folder).unwrap();
    let mut files = Vec::new();
    for (name, length) in [("one", 3_000), ("two", 0), ("three", 70_000)] {
        let bytes = world.bytes(name, length);
        std::fs::write(folder.join(name), &bytes).unwrap();
        files.push((format!("small/{name}"), bytes));
    }
    // Names keep these times: they have to be the same in every run.
    for path in ["one", "two", "three", ""] {
        let file = std::fs::File::open(folder.join(path)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let options = PutOptions { scheme: None, ..put_options(EPOCHS) };
    let (to, all) = (called("small"), FolderOptions::default());
    let plan = owner.plan_folder(&folder, Some(&to), &all).await.unwrap();
    let quote = owner.quote_folder(&plan, &options).await.unwrap();
    owner.store_folder(plan, &quote, &options, &Progress::silent()).await.unwrap();
    files
}

async fn is_read(owner: &Client, what: Readable, data: &[u8]) {
    let options = GetOptions::default();
    let read = owner.get(&what, Sink::Memory, &options, &Progress::silent()).await.unwrap();
    assert!(read.bytes.unwrap() == data, "the same bytes");
}

/// The running deals of a name's current version.
async fn deals(world: &World, owner: &Client, name: &str) -> Vec<Deal> {
    let ids: Vec<_> = owner.stat(&called(name)).await.unwrap().segments;
    let ids: Vec<_> = ids.iter().map(|segment| segment.deal).collect();
    let rows = world.ledger().rows(Deals, &ids).await.unwrap();
    rows.into_iter().map(Option::unwrap).collect()
}

async fn scheme(owner: &Client, name: &str) -> (u8, u8) {
    let scheme = owner.stat(&called(name)).await.unwrap().file.scheme;
    (scheme.required, scheme.total)
}

/// A node that keeps a shard of the file asks for twice its price from now on.
async fn asks_more(world: &mut World, owner: &Client) -> (NodeId, Amount) {
    let now = deals(world, owner, "file").await.remove(0);
    let node = now.kept().next().unwrap().1.node;
    let number = world.number_of(&node);
    let price = world.stations[number].price.checked_mul(2).unwrap();
    world.ask(number, price).await;
    world.note(format!("node {number} asks for twice its price"));
    (node, price)
}

/// Looks now and then until the file's deal has new terms.
async fn until(world: &mut World, owner: &Client, has: impl Fn(&Deal) -> bool) -> Deal {
    let mut moved = 0;
    for _ in 0..12 {
        moved += keep(world, owner).await.moved;
        let now = deals(world, owner, "file").await.remove(0);
        if has(&now) {
            assert!(0 < moved);
            return now;
        }
        world.pass_epochs(2).await;
    }
    panic!("the term never came to its half");
}

pub(super) async fn grown(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    for number in 0..NODES {
        world.agree_for(number, AGREED).await;
    }
    for number in NODES / 2..NODES {
        world.kill_node(number).await;
    }
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let (other, data) = (world.bytes("other", 300_000), world.bytes("file", 900_000));
    let shared = world.bytes("shared", 200_000);
    put(&owner, "file", &data, None).await;
    put(&owner, "shared", &shared, None).await;
    put(&owner, "chosen", &other, Some(Scheme::new(2, 4).unwrap())).await;
    assert_eq!((scheme(&owner, "file").await, scheme(&owner, "chosen").await), ((3, 5), (2, 4)));
    let quiet = Progress::silent();
    let friend = world.client("friend");
    let to = world.identity("friend").recipient();
    let token = owner.share(&called("shared"), &to, Vec::new(), None, &quiet).await.unwrap();
    let small = put_folder(&world, &owner).await;
    let names = ["file", "shared", "chosen", "small"].map(called);
    owner.agree(&names, EPOCHS, Some(Amount::credits(1_000))).await.unwrap();

    // Three times as long as the nodes first agreed to.
    let before = deals(&world, &owner, "file").await;
    for _ in 0..3 * AGREED / 4 {
        assert_eq!(keep(&mut world, &owner).await.moved, 0);
        world.pass_epochs(4).await;
    }
    let now = deals(&world, &owner, "file").await;
    assert_eq!(now[0].rate, before[0].rate, "nothing has changed but the end");
    assert!(before[0].shards[0].unwrap().until < now[0].end);

    // There is no other node for the shard: it stays, and is paid more.
    let (dear, price) = asks_more(&mut world, &owner).await;
    let paid_more = |deal: &Deal| deal.kept_by(&dear).is_some_and(|(_, kept)| kept.price == price);
    until(&mut world, &owner, paid_more).await;
    world.audit().await;

    // The network grows.
    for number in NODES / 2..NODES {
        world.start_node(number).await;
    }
    world.pass_epochs(1).await;
    let kept = keep(&mut world, &owner).await;
    assert_eq!((kept.widened, kept.narrow), (2, 0), "what others may read stays as it is");
    assert_eq!(scheme(&owner, "file").await, (4, 8));
    assert_eq!((scheme(&owner, "shared").await, scheme(&owner, "chosen").await), ((3, 5), (2, 4)));
    is_read(&owner, Readable::Name(called("file")), &data).await;
    for (name, bytes) in &small {
        assert_eq!(scheme(&owner, name).await, (4, 8));
        is_read(&owner, Readable::Name(called(name)), bytes).await;
    }
    is_read(&friend, Readable::Token(Box::new(token)), &shared).await;
    assert_eq!(put(&owner, "file", &data, None).await, PutOutcome::Already);
    let again = keep(&mut world, &owner).await;
    assert_eq!((again.widened, again.narrow, again.cost), (0, 0, Amount::ZERO));

    // Now others take the shard of one that asks for more than they do.
    let (dear, _) = asks_more(&mut world, &owner).await;
    let now = until(&mut world, &owner, |deal| deal.kept_by(&dear).is_none()).await;
    assert_eq!(now.kept().count(), 8);
    world.pass_epochs(2).await;
    is_read(&owner, Readable::Name(called("file")), &data).await;
    world.audit().await;
    world.audit_disks();
    owner.close().await;
    friend.close().await;
    world.finish().await
}
