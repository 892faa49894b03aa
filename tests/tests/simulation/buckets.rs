//! Buckets whose machine loses its power: after each call that was acknowledged, and in the middle of storing small items.
//! What was acknowledged is there, whichever names the file system has written by then, and can be read.

use std::{collections::BTreeMap, fs, io::Cursor, time::Duration};

use symbolon_client::{
    BucketName, CopyOptions, Devices, Expected, ItemKey, ItemOptions, Library, PackOptions,
    PageEntry, PageOptions, Progress, VersionId, Versions, Wallet,
};
use symbolon_protocol::content::Scheme;
use symbolon_tests::{
    power::{Disk, Left},
    sim::{Trace, World},
};
use tokio::time::sleep;

const NODES: usize = 5;

/// How many times the power goes while small items are packed.
const CUTS: u64 = 3;

/// What has to be there: the bytes of every version.
type Model = BTreeMap<(Vec<u8>, VersionId), Vec<u8>>;

fn bucket() -> BucketName {
    BucketName::new("bucket").unwrap()
}

fn key(text: &str) -> ItemKey {
    ItemKey::new(text).unwrap()
}

fn options(may_wait: bool) -> ItemOptions {
    let scheme = Some(Scheme::new(2, 5).unwrap());
    let wait_max = if may_wait { 1 << 20 } else { 0 };
    ItemOptions { wait_max, epochs: Some(100), scheme, ..ItemOptions::default() }
}

fn packing() -> PackOptions {
    let scheme = Some(Scheme::new(2, 5).unwrap());
    PackOptions { epochs: Some(100), scheme, ..PackOptions::default() }
}

/// The library of a device that takes nothing over from others: what it has, it has on its disk.
fn library(world: &mut World, device: &str) -> Library {
    let wallet = Wallet::new(world.setup("owner", device)).unwrap();
    Library::new(wallet, Devices::ByHand)
}

/// What a power cut would leave after an acknowledged call, and what has to be in it.
struct Moment {
    what: String,
    left: [Left; 2],
    model: Model,
}

struct Owner {
    library: Library,
    disk: std::sync::Arc<Disk>,
    model: Model,
    moments: Vec<Moment>,
}

impl Owner {
    fn acknowledged(&mut self, what: impl Into<String>) {
        let left = [self.disk.left(), self.disk.left_with_names().unwrap()];
        self.moments.push(Moment { what: what.into(), left, model: self.model.clone() });
    }

    async fn put(&mut self, text: &str, bytes: Vec<u8>, may_wait: bool) {
        let version = put(&self.library, text, bytes.clone(), may_wait).await;
        self.model.insert((text.into(), version), bytes);
        self.acknowledged(format!("put {text}"));
    }
}

async fn put(library: &Library, text: &str, bytes: Vec<u8>, may_wait: bool) -> VersionId {
    let (name, key, from) = (bucket(), key(text), Cursor::new(bytes));
    let quiet = Progress::silent();
    let done = library.put_item(&name, &key, from, options(may_wait), &quiet).await;
    done.unwrap().item.version
}

pub(super) async fn buckets(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    let library = library(&mut world, "owner");
    library.faucet().await.unwrap();
    library.make_bucket(&bucket(), Versions::Kept, Vec::new()).await.unwrap();
    let disk = Disk::watch(&world.folder().join("owner")).unwrap();
    let mut owner = Owner { library, disk, model: Model::new(), moments: Vec::new() };
    calls(&world, &mut owner).await;
    owner.library.close().await;
    for (number, moment) in owner.moments.iter().enumerate() {
        for (names, left) in moment.left.iter().enumerate() {
            let device = format!("left {number} {names}");
            let folder = world.folder().join(&device);
            fs::create_dir(&folder).unwrap();
            left.restore_in(&folder).unwrap();
            let library = self::library(&mut world, &device);
            check(&library, &moment.model, &moment.what).await;
            library.close().await;
        }
    }
    for cut in 0..CUTS {
        cut_short(&mut world, &mut owner.model, cut).await;
    }
    world.audit().await;
    world.finish().await
}

/// One call of each kind.
async fn calls(world: &World, owner: &mut Owner) {
    let (name, quiet) = (bucket(), Progress::silent());
    let dice = |what: &str| world.dice(what, 2_000);
    for number in 0..4_u64 {
        let text = format!("small {}", number / 2);
        let bytes = world.bytes(&format!("small {number}"), 1 + dice(&format!("length {number}")));
        owner.put(&text, bytes, true).await;
    }
    owner.put("large", world.bytes("large", 400_000), false).await;
    let (from, to) = (key("large"), key("a/copy"));
    let copying =
        owner.library.copy_item((&name, &from, None), (&name, &to), CopyOptions::default());
    let copy = copying.await.unwrap();
    let large = world.bytes("large", 400_000);
    owner.model.insert((b"a/copy".to_vec(), copy.version), large.clone());
    owner.acknowledged("copy");
    let parted = key("a");
    let id = owner.library.begin_parts(&name, &parted, Vec::new()).await.unwrap();
    let upload = (&name, &parted, id);
    let part = Cursor::new(world.bytes("part", 300_000));
    let put = owner.library.put_part(upload, 2, part, options(false), &quiet).await.unwrap().0;
    owner.acknowledged("put a part");
    let range = (1_000, 50_000);
    let copied =
        owner.library.copy_part(upload, 1, (&name, &from, None), range, Expected::Anything);
    let marks = vec![(1, copied.await.unwrap().etag), (2, put.etag)];
    let done = owner.library.complete_parts(upload, marks, Expected::Absent, Vec::new());
    let done = done.await.unwrap();
    let whole = [&large[1_000..51_000], &world.bytes("part", 300_000)].concat();
    owner.model.insert((b"a".to_vec(), done.version), whole);
    owner.acknowledged("complete parts");
    let packed = owner.library.pack_items(&packing(), &quiet).await.unwrap();
    assert_eq!(packed.items, 4);
    owner.acknowledged("pack");
    owner.library.publish_names(None, &quiet).await.unwrap();
    owner.acknowledged("publish");
}

/// Every version of the model is there, and its bytes are its own.
async fn check(library: &Library, model: &Model, what: &str) {
    let options = PageOptions { versions: true, limit: 1_000, ..PageOptions::default() };
    let page = library.page(&bucket(), options).await.unwrap();
    let mut found = Model::new();
    for entry in page.entries {
        let PageEntry::Item(item) = entry else { continue };
        let reader = library.open_item(&bucket(), &item.key, Some(item.version)).await.unwrap();
        let bytes = reader.bytes(0, u64::MAX, &Progress::silent()).all().await.unwrap();
        found.insert((item.key.as_bytes().to_vec(), item.version), bytes);
    }
    assert!(found == *model, "after {what}: {:?} of {:?}", found.keys(), model.keys());
}

/// The power goes in the middle of packing small items. They are there, and are packed and paid for once.
async fn cut_short(world: &mut World, model: &mut Model, cut: u64) {
    let library = library(world, "owner");
    let disk = Disk::watch(&world.folder().join("owner")).unwrap();
    world.audit().await;
    let before = world.auditor.deals_opened();
    for number in 0..5 {
        let text = format!("cut {cut}/{number}");
        let bytes = world.bytes(&text, 1 + world.dice(&text, 30_000));
        let version = put(&library, &text, bytes.clone(), true).await;
        model.insert((text.into_bytes(), version), bytes);
    }
    let cut_off =
        tokio::spawn(async move { library.pack_items(&packing(), &Progress::silent()).await });
    sleep(Duration::from_millis(world.dice(&format!("cut {cut}"), 400))).await;
    let left = if cut == 1 { disk.left_with_names().unwrap() } else { disk.left() };
    cut_off.abort();
    cut_off.await.ok();
    world.kill_client("owner").await;
    left.restore().unwrap();
    let library = self::library(world, "owner");
    check(&library, model, "a power cut").await;
    let again = library.pack_items(&packing(), &Progress::silent()).await.unwrap();
    world.note(format!("packed again: {again:?}"));
    check(&library, model, "packing again").await;
    let tidied = library.tidy_buckets(&Progress::silent()).await.unwrap();
    world.note(format!("tidied: {tidied:?}"));
    assert!(library.unfinished().await.unwrap().is_empty());
    library.close().await;
    world.audit().await;
    assert_eq!(world.auditor.deals_opened(), before + 1, "the pack is paid for once");
}
