//! kill -9 of any process at any moment of put, epoch, buy or get, then the same command again: it goes
//! on, pays once, and loses nothing. Real processes, real QUIC, real disks.

use std::time::{Duration, Instant};

use crate::common::{Hits, Network, bytes, units};
use rustix::process::Signal;
use serde_json::Value;

/// Bytes of each file: two slices of each shard and an odd tail, so that there is a middle to kill in.
const LENGTH: usize = 5_000_001;

struct Puts {
    network: Network,
    /// How long an undisturbed put takes.
    time: Duration,
    files: u8,
    hits: Hits,
}

impl Puts {
    fn new() -> Self {
        let network = Network::start(8, "5s");
        network.identity("owner");
        let path = network.file("warm", LENGTH, 255);
        let started = Instant::now();
        network.run(&format!("put {} warm --for 1h --as owner --yes", path.display())).ok();
        Self { network, time: started.elapsed(), files: 0, hits: Hits::default() }
    }

    /// Puts a file, disturbed at `part`/`parts` of its time; then puts it again and checks everything.
    fn disturbed(
        &mut self,
        (part, parts): (u32, u32),
        disturb: impl FnOnce(&mut Network) -> Disturbed,
    ) {
        self.files += 1;
        let name = format!("file{}", self.files);
        let path = self.network.file(&name, LENGTH, self.files);
        // Somebody new each time: the names of many files would be stored too, and paid for.
        let who = format!("owner{}", self.files);
        self.network.identity(&who);
        let before = self.network.balance(&who);
        let line = format!("put {} {name} --for 1h --as {who} --yes", path.display());
        let mut put = self.network.spawn(&line);
        put.reaches(self.time * part / parts, &mut self.hits);
        match disturb(&mut self.network) {
            Disturbed::Client => put.kill(),
            Disturbed::Other => drop(put.finish()),
        }
        let stored = self.network.run_until_ok(&line);
        let again = self.network.run_until_ok(&line);
        assert_eq!(again["outcome"], "already", "{again}");
        let spent = before - self.network.balance(&who);
        // A put that ended before it was killed has said what it cost; the second one then paid nothing.
        let cost = match stored["outcome"].as_str().unwrap() {
            "already" => self.listed_cost(&who, &name),
            _ => units(stored["cost"].as_str().unwrap()),
        };
        assert_eq!(spent, cost, "paid once: {stored}");
        self.reads_back(&who, &name, self.files);
    }

    fn listed_cost(&self, who: &str, name: &str) -> u128 {
        let list = self.network.run(&format!("ls --as {who}")).ok();
        let files = list["files"].as_array().unwrap();
        let file = files.iter().find(|file| file["name"] == name).expect("the file is listed");
        units(file["cost"].as_str().unwrap())
    }

    fn reads_back(&self, who: &str, name: &str, seed: u8) {
        let out = self.network.folder.path().join("out");
        let line = format!("get {name} -o {} --replace --as {who}", out.display());
        self.network.run_until_ok(&line);
        assert!(std::fs::read(&out).unwrap() == bytes(LENGTH, seed), "{name} reads back");
    }
}

enum Disturbed {
    Client,
    Other,
}

#[test]
fn put_survives_every_kill() {
    let mut puts = Puts::new();
    for part in 0..8 {
        puts.disturbed((part, 8), |_| Disturbed::Client);
    }
    for part in 0..4 {
        puts.disturbed((part, 4), |network| {
            let home = network.home();
            network.nodes[part as usize].kill_and_restart(&home);
            Disturbed::Other
        });
    }
    for part in 0..4 {
        puts.disturbed((part, 4), |network| {
            let home = network.home();
            network.ledger.kill_and_restart(&home);
            Disturbed::Other
        });
    }
    puts.hits.are_some();
}

/// Several segments, each with a deal of its own: what is paid for is not sent again, and what is written is
/// not read again.
#[test]
fn a_file_of_six_segments_goes_on_behind_its_first() {
    // One required shard holds 1,024 cells of 65,520 bytes.
    const SEGMENT: usize = 1024 * 65_520;
    let length = 5 * SEGMENT + 1;
    let network = Network::start(3, "5s");
    network.identity("owner");
    let path = network.file("file", length, 1);
    let line =
        format!("put {} file --scheme 1/2 --accept-risk --for 1h --as owner --yes", path.display());
    let before = network.balance("owner");
    let beyond_the_first = |event: &Value| {
        event["event"] == "progress" && event["done"].as_u64() > Some(SEGMENT as u64 + 20_000_000)
    };
    let mut put = network.watched(&line);
    put.wait_for(beyond_the_first);
    put.signal(Signal::KILL);
    assert_eq!(put.finish().0.code, None, "it was killed on its way");
    let (done, events) = network.watched(&line).finish();
    let stored = done.ok();
    assert_eq!(
        (&stored["outcome"], &stored["segments"]),
        (&"resumed".into(), &6.into()),
        "{stored}"
    );
    let kept = events.iter().filter_map(|event| event["kept"].as_u64()).max();
    assert!(kept >= Some(SEGMENT as u64), "the first segment is kept: {kept:?}");
    let spent = before - network.balance("owner");
    assert_eq!(spent, units(stored["cost"].as_str().unwrap()), "paid once: {stored}");

    let out = network.folder.path().join("out");
    let get = format!("get file -o {} --as owner", out.display());
    let mut getting = network.watched(&get);
    getting.wait_for(beyond_the_first);
    getting.signal(Signal::KILL);
    assert_eq!(getting.finish().0.code, None, "it was killed on its way");
    let (done, events) = network.watched(&get).finish();
    done.ok();
    let kept = events.iter().filter_map(|event| event["kept"].as_u64()).max();
    assert!(kept > Some(0), "what was written is kept: {kept:?}");
    let data = bytes(length, 1);
    assert!(std::fs::read(&out).unwrap() == data);
    // Over two borders.
    let (first, end) = (4 * SEGMENT - 10, length);
    let range = format!("get file --range {first}- -o {} --replace --as owner", out.display());
    network.run(&range).ok();
    assert!(std::fs::read(&out).unwrap() == data[first..end]);
    assert_eq!(network.run("ledger status").ok()["money"]["adds_up"], true);
}

#[test]
fn get_and_epochs_survive_every_kill() {
    let mut network = Network::start(8, "1s");
    network.identity("owner");
    let path = network.file("file", LENGTH, 1);
    network.run(&format!("put {} file --for 1h --as owner --yes", path.display())).ok();
    let out = network.folder.path().join("out");
    let line = format!("get file -o {} --as owner", out.display());
    let started = Instant::now();
    network.run(&line).ok();
    let time = started.elapsed();
    let home = network.home();
    let check = |network: &Network| {
        if !out.exists() {
            network.run_until_ok(&line);
        }
        assert!(std::fs::read(&out).unwrap() == bytes(LENGTH, 1));
        std::fs::remove_file(&out).unwrap();
    };
    check(&network);
    let mut hits = Hits::default();
    for part in 0..4 {
        let mut get = network.spawn(&line);
        get.reaches(time * part / 4, &mut hits);
        get.kill();
        check(&network);
    }
    for part in 0..2 {
        let mut get = network.spawn(&line);
        get.reaches(time * part / 2, &mut hits);
        network.nodes[part as usize].kill_and_restart(&home);
        get.finish();
        check(&network);
    }
    let mut get = network.spawn(&line);
    get.reaches(time / 2, &mut hits);
    network.ledger.kill_and_restart(&home);
    get.finish();
    check(&network);

    hits.are_some();

    // Epochs go on: a node that was killed proves again once it is back, and is paid for it.
    let proven = |network: &Network, node: &str| -> u64 {
        let status = network.run_until_ok("node status --as owner");
        let nodes = status["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|row| row["node"] == node).expect("the node is listed");
        node["proven"].as_u64().unwrap()
    };
    for number in 0..3 {
        let node = network.nodes[number].ready["node"].as_str().unwrap().to_owned();
        let before = proven(&network, &node);
        if number == 2 {
            network.ledger.kill_and_restart(&home);
        } else {
            network.nodes[number].kill_and_restart(&home);
        }
        crate::common::until("the node proves an epoch after the kill", || {
            proven(&network, &node) > before
        });
    }
}

#[test]
fn buy_survives_every_kill() {
    let mut network = Network::start(8, "1s");
    network.identity("seller");
    let path = network.file("file", 1_500_000, 1);
    network.run(&format!("put {} file --for 1h --as seller --yes", path.display())).ok();
    let sale = network.run("sell file --price 2.5 --for 1h --as seller --yes").ok();
    let listing = sale["listing"].as_str().unwrap().to_owned();
    let out = network.folder.path().join("out");
    let home = network.home();
    let line = |buyer: &str| format!("buy {listing} -o {} --as {buyer} --yes", out.display());
    network.identity("warm");
    let started = Instant::now();
    network.run(&line("warm")).ok();
    let time = started.elapsed();
    std::fs::remove_file(&out).unwrap();
    let mut hits = Hits::default();
    for part in 0..7 {
        let buyer = format!("buyer{part}");
        network.identity(&buyer);
        let before = network.balance(&buyer);
        let mut buy = network.spawn(&line(&buyer));
        match part {
            0..4 => {
                buy.reaches(time * part / 4, &mut hits);
                buy.kill();
            }
            4 | 5 => {
                buy.reaches(time * (part - 4) / 2, &mut hits);
                network.ledger.kill_and_restart(&home);
                buy.finish();
            }
            _ => {
                buy.reaches(time / 3, &mut hits);
                network.nodes[0].kill_and_restart(&home);
                buy.finish();
            }
        }
        // Also where the file is complete: killed between the last byte and the acknowledgement, only
        // the same command again makes the seller's money come now.
        network.run_until_ok(&line(&buyer));
        assert!(std::fs::read(&out).unwrap() == bytes(1_500_000, 1));
        std::fs::remove_file(&out).unwrap();
        assert_eq!(before - network.balance(&buyer), units("2.5"), "{buyer} paid once");
        let orders = network.run_until_ok(&format!("orders --as {buyer}"));
        assert_eq!(orders["orders"].as_array().map(Vec::len), Some(1), "{orders}");
    }
    hits.are_some();
    let income = network.balance("seller");
    let seller: Value = network.run("account history --as seller --limit 100").ok();
    let sales = seller["lines"].as_array().unwrap().iter();
    let sales = sales.filter(|line| line["what"].as_str().unwrap().starts_with("sale"));
    assert_eq!(sales.count(), 8, "eight sales, each paid out once; balance {income}");
}
