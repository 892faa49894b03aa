//! A process that puts small items is killed, again and again: what it has acknowledged is there.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use symbolon_ledger::{Embedded, Ledger, Options};
use symbolon_net::{Host, MemoryNetwork};
use symbolon_protocol::{identity::Identity, ledger::Params};

use super::*;
use crate::{
    Devices,
    wallet::{Setup, Wallet},
};

const FOLDER: &str = "SYMBOLON_KILLED_FOLDER";
const FIRST: &str = "SYMBOLON_KILLED_FIRST";

/// Number of processes that are killed.
const KILLS: u64 = 6;

/// A library in a folder that outlives its process.
async fn library(folder: &Path) -> Library {
    let host = Host::system();
    let options = Options { key: [1; 32], params: Params::development(), host: host.clone() };
    let ledger: Ledger = Embedded::open(&folder.join("ledger"), options).await.unwrap().into();
    let identity = Identity::from_seed(&[9; 64]);
    let endpoint = MemoryNetwork::new().endpoint(identity.access_key().to_bytes());
    let dir = folder.join("client");
    let setup = Setup { identity, ledger, endpoint, host, dir };
    Library::new(Wallet::new(setup).unwrap(), Devices::ByHand)
}

/// Each number is put as an item of its own, as the null version of one item, and as a version of another.
async fn put_number(library: &Library, number: u64) {
    let bytes = number.to_le_bytes();
    for (name, text) in [
        ("plain", format!("item {number:06}")),
        ("plain", String::from("last")),
        ("kept", String::from("last")),
    ] {
        put(library, (&bucket(name), &key(text)), &bytes, waits()).await.unwrap();
    }
}

/// The process that is killed. It says of each number when all of it is acknowledged.
#[tokio::test]
#[ignore = "started by the test below"]
async fn child() {
    let folder = std::env::var(FOLDER).unwrap();
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let library = library(Path::new(&folder)).await;
    for number in first.. {
        put_number(&library, number).await;
        let mut out = std::io::stdout().lock();
        writeln!(out, "done {number}").unwrap();
        out.flush().unwrap();
    }
}

/// Runs the process until it has acknowledged so many numbers, kills it, and gives the last number it acknowledged.
fn run(folder: &Path, first: u64, count: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "library::buckets::tests::killed::child", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = None;
    let number = |line: String| line.split("done ").nth(1)?.parse::<u64>().ok();
    while acknowledged.is_none_or(|last| last + 1 < first + count) {
        let line = out.next().expect("it runs until it is killed").unwrap();
        acknowledged = number(line).or(acknowledged);
    }
    child.kill().unwrap();
    // What it said before it died counts too.
    for line in out.map_while(Result::ok) {
        acknowledged = number(line).or(acknowledged);
    }
    child.wait().unwrap();
    acknowledged.unwrap()
}

#[test]
fn nothing_acknowledged_is_lost_to_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let library = library(folder.path()).await;
        for (name, versions) in [("plain", Versions::Never), ("kept", Versions::Kept)] {
            library.make_bucket(&bucket(name), versions, Vec::new()).await.unwrap();
        }
        library.close().await;
    });
    let mut first = 0;
    for round in 0..KILLS {
        let last = run(folder.path(), first, 2 + 3 * round);
        runtime.block_on(check(folder.path(), last));
        first = last + 1;
    }
}

/// Everything up to `last` is there, and at most the number after it besides.
async fn check(folder: &Path, last: u64) {
    let library = library(folder).await;
    let options = PageOptions { limit: 1000, versions: true, ..PageOptions::default() };
    let plain = listed(&library, &bucket("plain"), &options).await;
    let items = u64::try_from(plain.len()).unwrap() - 1;
    assert!((last + 1..=last + 2).contains(&items), "{items} items, {last} was acknowledged");
    for number in 0..=last {
        let key = key(format!("item {number:06}"));
        let bytes = get(&library, (&bucket("plain"), &key), None).await.unwrap();
        assert_eq!(bytes, number.to_le_bytes());
    }
    let now = get(&library, (&bucket("plain"), &key("last")), None).await.unwrap();
    let now = u64::from_le_bytes(now.try_into().unwrap());
    assert!((last..=last + 1).contains(&now), "{now} is the last, {last} was acknowledged");
    let versions = listed(&library, &bucket("kept"), &options).await;
    let count = u64::try_from(versions.len()).unwrap();
    assert!((last + 1..=last + 2).contains(&count), "{count} versions");
    for (number, entry) in versions.iter().rev().enumerate() {
        let PageEntry::Item(item) = entry else { panic!("{entry:?}") };
        let of = (&bucket("kept"), &item.key);
        let bytes = get(&library, of, Some(item.version)).await.unwrap();
        assert_eq!(bytes, u64::try_from(number).unwrap().to_le_bytes());
    }
    library.close().await;
}
