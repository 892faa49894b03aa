//! A bucket of a million items: how long its pages take, and what they need. Nothing is asserted about time.

use std::time::{Duration, Instant};

use super::*;
use crate::{
    Devices,
    catalog::{Batch, ItemEntry, Items, item_row_key},
    library::index::tests::World,
};

/// Kibibytes of memory that this process has now.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

fn text(number: u32) -> String {
    format!("folder {:04}/item {number:09}", number % 1_000)
}

fn item(number: u32) -> ItemEntry {
    let etag = Some(Etag { md5: [7; 16], parts: 0 });
    let ranges = vec![ItemRange {
        object: symbolon_protocol::id::ObjectId([7; 16]),
        first: u64::from(number) * 1_000,
        length: 1_000,
    }];
    let (checksums, parts) = (Vec::new(), Vec::new());
    let content = ItemContent::Bytes { etag, checksums, parts, length: 1_000, ranges };
    let attributes = vec![tag("text/plain; charset=utf-8")];
    ItemEntry { stamp: 1_700_000_000_000, revision: 0, stored_ms: 1, content, attributes }
}

/// Reads `pages` pages, and gives the times of the first, the middle and the slowest one.
async fn pages(
    library: &Library,
    name: &BucketName,
    mut options: PageOptions,
    pages: usize,
) -> [Duration; 3] {
    let mut times = Vec::new();
    for _ in 0..pages {
        let began = Instant::now();
        let page = library.page(name, options.clone()).await.unwrap();
        times.push(began.elapsed());
        assert!(!page.entries.is_empty());
        let Some(next) = page.next else { break };
        options.start = Start::Token(next);
    }
    let first = times[0];
    times.sort_unstable();
    [first, times[times.len() / 2], times[times.len() - 1]]
}

#[tokio::test]
#[ignore = "takes minutes; prints figures"]
async fn pages_of_a_million_items() {
    let count: u32 =
        std::env::var("SYMBOLON_ITEMS").map_or(1_000_000, |text| text.parse().unwrap());
    let world = World::with_nodes(0).await;
    let library = Library::new(world.library.wallet().clone(), Devices::ByHand);
    let name = bucket("large");
    library.make_bucket(&name, Versions::Never, Vec::new()).await.unwrap();
    let began = Instant::now();
    for first in (0..count).step_by(20_000) {
        let write = move |local: &crate::library::Local| {
            let mut batch = Batch::default();
            for number in first..count.min(first + 20_000) {
                let row_key = item_row_key(b"large", text(number).as_bytes(), &[0; 16]);
                batch.put(Items, &row_key, &item(number));
            }
            local.catalog().write(&batch)
        };
        library.local(write).await.unwrap();
    }
    println!("{count} rows written in {:?}, {} KiB of memory", began.elapsed(), memory());
    let plain = PageOptions { limit: 1_000, ..PageOptions::default() };
    let folders = PageOptions { delimiter: b"/".to_vec(), ..plain.clone() };
    let middle = PageOptions { start: Start::After(text(count / 2).into_bytes()), ..plain.clone() };
    let versions = PageOptions { versions: true, ..plain.clone() };
    for (what, options) in [
        ("plain", plain),
        ("from the middle", middle),
        ("folders", folders),
        ("versions", versions),
    ] {
        let [first, usual, slowest] = pages(&library, &name, options, 200).await;
        let memory = memory();
        println!(
            "{what}: first {first:?}, median {usual:?}, slowest {slowest:?}, {memory} KiB of memory"
        );
    }
    let began = Instant::now();
    let mut puts = 0;
    while began.elapsed() < Duration::from_secs(5) {
        put(&library, (&name, &key(text(puts))), b"bytes", waits()).await.unwrap();
        puts += 1;
    }
    println!("{puts} puts of small items one by one in {:?}", began.elapsed());
    let (began, mut tasks) = (Instant::now(), tokio::task::JoinSet::new());
    for worker in 0..8_u32 {
        let (library, name) = (library.clone(), name.clone());
        tasks.spawn(async move {
            for number in 0..500 {
                let key = key(format!("at once {worker}/{number}"));
                put(&library, (&name, &key), b"bytes", waits()).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    println!("4000 puts of small items by eight callers in {:?}", began.elapsed());
    world.end().await;
}
