//! The names index with real processes: a second device, a machine that is lost, a command that is
//! killed between storing a run and setting the record that names it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::common::{Hits, Network, Running, Watched, bytes, command, moves, words};
use rustix::process::Signal;
use serde_json::Value;

/// Runs a command in another home than the network's own.
fn at(home: &Path, line: &str) -> Value {
    Running::start(command(home, &words(line))).finish().ok()
}

fn names(list: &Value) -> Vec<(String, String)> {
    let files = list["files"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    files.map(|file| (text(&file["name"]), text(&file["object"]))).collect()
}

/// What an identity has, as its commands say it.
fn belongings(home: &Path) -> Vec<Value> {
    let all = ["ls --all", "grant ls", "orders", "account balance", "market list --ended"];
    all.iter().map(|line| at(home, line)).collect()
}

/// Compares the files of an identity with those it had before. The end of paid time is estimated from the current
/// epoch, and each epoch may begin some milliseconds late.
#[track_caller]
fn are_the_same(mut now: Vec<Value>, mut before: Vec<Value>) {
    let ends = [now.as_mut_slice(), before.as_mut_slice()].map(|all| {
        let mut ends = Vec::new();
        all.iter_mut().for_each(|one| take_ends(one, &mut ends));
        ends
    });
    assert_eq!(now, before);
    assert_eq!(ends[0].len(), ends[1].len());
    for (now, before) in ends[0].iter().zip(&ends[1]) {
        assert!(now.abs_diff(*before) < 1_000, "{now} {before}");
    }
}

/// Takes out of a document when paid time ends.
fn take_ends(document: &mut Value, ends: &mut Vec<u64>) {
    match document {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match value.as_u64().filter(|_| name.ends_with("_until_ms")) {
                    Some(end) => {
                        ends.push(end);
                        *value = Value::Null;
                    }
                    None => take_ends(value, ends),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| take_ends(item, ends)),
        _ => {}
    }
}

#[test]
fn everything_comes_back_from_24_words() {
    let network = Network::start(5, "5s");
    let ticket = &network.ticket;
    let old = network.folder.path().join("machine");
    let made = at(&old, &format!("init --no-passphrase --ledger {ticket}"));
    at(&old, "account faucet");
    for (name, seed) in [("one", 1), ("two", 2), ("three", 3)] {
        let path = network.file(name, 20_000, seed);
        at(&old, &format!("put {} {name} --for 1h --yes", path.display()));
    }
    at(&old, "rm two --yes");
    network.identity("bob");
    let bob = network.run("id --as bob").ok()["recipient"].as_str().unwrap().to_owned();
    at(&old, &format!("share one --to {bob}"));
    let mine = at(&old, "sell three --price 2 --for 1h --yes");
    let path = network.file("data", 9_000, 9);
    network.run(&format!("put {} data --for 1h --as bob --yes", path.display())).ok();
    let sale = network.run("sell data --price 3 --for 1h --as bob --yes").ok();
    let bought = at(&old, &format!("buy {} --yes", sale["listing"].as_str().unwrap()));
    let before = belongings(&old);
    assert_eq!(before[0]["files"].as_array().unwrap().len(), 5, "{}", before[0]);
    assert_eq!(before[1]["grants"].as_array().unwrap().len(), 2, "{}", before[1]);
    assert_eq!(at(&old, "status")["index"]["unpublished"], 0);

    let phrase = network.folder.path().join("phrase");
    fs::write(&phrase, made["phrase"].as_str().unwrap()).unwrap();
    fs::remove_dir_all(&old).unwrap();
    let new = network.folder.path().join("other machine");
    let back = Running::start(command(&new, &{
        let mut line = words(&format!("restore --no-passphrase --ledger {ticket} --from"));
        line.push(phrase.display().to_string());
        line
    }));
    let back = back.finish().ok();
    assert_eq!(back["account"], made["account"]);
    assert_eq!(back["index"]["names"], 2, "{back}");
    assert_eq!(back["index"]["grants"], 2, "{back}");
    assert_eq!(back["index"]["purchases"], 1, "{back}");
    are_the_same(belongings(&new), before);
    let out = network.folder.path().join("out");
    for (name, seed) in [("one", 1), ("three", 3)] {
        at(&new, &format!("get {name} -o {} --replace", out.display()));
        assert!(fs::read(&out).unwrap() == bytes(20_000, seed), "{name}");
    }
    // What was bought is still bought, and what was for sale is still the same listing.
    let again = at(&new, &format!("buy {} --yes", sale["listing"].as_str().unwrap()));
    assert_eq!((&again["outcome"], &again["order"]), (&"already".into(), &bought["order"]));
    let same = at(&new, "sell three --price 2 --for 1h --yes");
    assert_eq!((&same["outcome"], &same["listing"]), (&"already".into(), &mine["listing"]));
    // The leaves of its cells lie on no disk any more: they are read.
    let fresh = at(&new, "sell one --price 1 --for 1h --yes");
    assert_eq!(fresh["outcome"], "listed");
    assert_eq!(at(&new, "verify one --deep")["readable"], true);
}

/// Two homes of one new identity with money, and the command that makes a third.
fn two_devices(network: &Network) -> ([PathBuf; 2], String) {
    let [desk, phone] = ["desk", "phone"].map(|name| network.folder.path().join(name));
    let made = at(&desk, &format!("init --no-passphrase --ledger {}", network.ticket));
    at(&desk, "account faucet");
    let phrase = network.folder.path().join("phrase");
    fs::write(&phrase, made["phrase"].as_str().unwrap()).unwrap();
    let from = phrase.display();
    let line = format!("restore --no-passphrase --ledger {} --from {from}", network.ticket);
    let empty = at(&phone, &line);
    assert_eq!(empty["index"]["names"], 0, "{empty}");
    ([desk, phone], line)
}

#[test]
fn two_devices_see_the_same_names() {
    let network = Network::start(3, "5s");
    let ([desk, phone], line) = two_devices(&network);
    // More than a record holds, from both sides in turn.
    for number in 0..24_u8 {
        let (home, name) = (if number % 3 == 0 { &phone } else { &desk }, format!("file{number}"));
        let path = network.file(&name, 100 + usize::from(number), number);
        at(home, &format!("put {} --for 1h --yes", path.display()));
        if number % 6 == 5 {
            at(&phone, &format!("rm file{} --yes", number - 1));
        }
    }
    let (one, other) = (names(&at(&desk, "ls")), names(&at(&phone, "ls")));
    assert_eq!(one.len(), 20);
    assert_eq!(one, other);
    let out = network.folder.path().join("out");
    at(&phone, &format!("get file23 -o {}", out.display()));
    assert!(fs::read(&out).unwrap() == bytes(123, 23));
    // A third one has only what is on the network.
    let third = network.folder.path().join("third");
    assert_eq!(at(&third, &line)["index"]["names"], 20);
    assert_eq!(names(&at(&third, "ls")), one);
}

/// A put that is stopped on one device, and both ways to end it from another one.
#[test]
fn what_one_device_began_another_ends() {
    let network = Network::start(6, "5s");
    let ([desk, phone], _) = two_devices(&network);
    let length = 24_000_000;
    let stop = |name: &str, seed: u8| {
        let path = network.file(name, length, seed);
        let line = format!("put {} {name} --for 1h --yes", path.display());
        let mut put = Watched::start(command(&desk, &words(&line)));
        put.wait_for(moves);
        put.signal(Signal::INT);
        let (done, _) = put.finish();
        assert_eq!(done.code, Some(130), "it was stopped on its way");
        assert_eq!(at(&desk, "status")["unfinished"], serde_json::json!([name]));
        line
    };

    // The same file, copied with its times, at another path.
    let line = stop("film", 7);
    assert_eq!(at(&phone, "status")["unfinished"], serde_json::json!(["film"]));
    let copy = network.folder.path().join("copy");
    let there = network.folder.path().join("film");
    fs::copy(&there, &copy).unwrap();
    let time = fs::metadata(&there).unwrap().modified().unwrap();
    fs::File::options().append(true).open(&copy).unwrap().set_modified(time).unwrap();
    let stored = at(&phone, &format!("put {} film --for 1h --yes", copy.display()));
    // What the other device sent of its own is known there alone: the copy gets a key of its own.
    assert_eq!(stored["outcome"], "stored", "{stored}");
    assert_eq!(at(&phone, "status")["unfinished"], serde_json::json!(["film"]));
    let again = at(&desk, &line);
    assert_eq!((&again["outcome"], &again["cost"]), (&"already".into(), &"0".into()), "{again}");
    assert_eq!(at(&desk, "status")["unfinished"], serde_json::json!([]));
    let out = network.folder.path().join("out");
    at(&desk, &format!("get film -o {}", out.display()));
    assert!(fs::read(&out).unwrap() == bytes(length, 7));

    // Another one is given up from the other device.
    let line = stop("rushes", 8);
    let before = at(&phone, "account balance")["balance"].clone();
    let gone = at(&phone, "rm rushes --yes");
    assert_eq!(gone["uploads"], 1, "{gone}");
    assert_eq!(at(&phone, "status")["unfinished"], serde_json::json!([]));
    let refunded = crate::common::units(gone["refunded"].as_str().unwrap());
    let after = at(&phone, "account balance")["balance"].clone();
    let units = |balance: &Value| crate::common::units(balance.as_str().unwrap());
    assert_eq!(units(&after), units(&before) + refunded, "{gone}");
    assert_eq!(at(&desk, &line)["name"], "rushes");
    at(&phone, &format!("get rushes -o {} --replace", out.display()));
    assert!(fs::read(&out).unwrap() == bytes(length, 8));
    assert_eq!(at(&desk, "ledger status")["money"]["adds_up"], true);
}

/// What is stored on one ledger is not there on another, and a home that knows both keeps them apart.
#[test]
fn a_home_of_two_ledgers_mixes_nothing_up() {
    let (network, other) = (Network::start(3, "5s"), Network::start(3, "5s"));
    network.identity("owner");
    let path = network.file("file", 50_000, 1);
    let put = format!("put {} --for 1h --as owner --yes", path.display());
    network.run(&put).ok();
    let there = |line: &str| network.run(&format!("{line} --as owner --ledger {}", other.ticket));
    there("account faucet").ok();
    assert_eq!(names(&there("ls").ok()), []);
    assert_eq!(there(&put.replace(" --as owner", "")).ok()["outcome"], "stored");
    there("rm file --yes").ok();
    assert_eq!(names(&there("ls").ok()), []);
    let again = network.run(&put).ok();
    assert_eq!(again["outcome"], "already", "{again}");
    let out = network.folder.path().join("out");
    network.run(&format!("get file -o {} --as owner", out.display())).ok();
    assert!(fs::read(&out).unwrap() == bytes(50_000, 1));
}

/// Now and then a run of the index is stored. What that costs was said, and it is kept no longer than the files.
#[test]
fn names_cost_what_was_said_and_end_with_the_files() {
    let network = Network::start(4, "5s");
    network.identity("owner");
    let units = |value: &Value| crate::common::units(value.as_str().unwrap());
    let mut paid_runs = 0;
    for number in 0..30_u8 {
        let name = format!("file{number}");
        let path = network.file(&name, 2_000, number);
        let line = format!("put {} --for 1h --as owner --yes", path.display());
        let said = network.run(&format!("{line} --dry-run")).ok()["cost"].clone();
        let before = network.balance("owner");
        let stored = network.run(&line).ok();
        let paid = before - network.balance("owner").min(before);
        assert!(units(&stored["index_cost"]) <= units(&said["index"]), "{stored}, {said}");
        assert!(paid <= units(&said["total"]), "{stored}, {said}");
        paid_runs += u32::from(units(&stored["index_cost"]) > 0);
        // A run is a small file, and is kept for as long as this one.
        assert!(units(&said["index"]) <= 2 * units(&stored["cost"]), "{stored}, {said}");
    }
    assert!(1 < paid_runs && paid_runs < 8, "{paid_runs} runs for 30 names");
    let status = network.run("status --as owner").ok();
    assert!(!status["index"]["deals"].as_array().unwrap().is_empty(), "{status}");
    // Most of what merged runs had cost has come back.
    for number in 0..30 {
        network.run(&format!("rm file{number} --as owner --yes")).ok();
    }
    assert_eq!(network.run("ledger status").ok()["money"]["adds_up"], true);
}

#[test]
fn a_command_killed_while_it_publishes_loses_nothing() {
    let network = Network::start(3, "5s");
    let home = network.folder.path().join("machine");
    let made = at(&home, &format!("init --no-passphrase --ledger {}", network.ticket));
    at(&home, "account faucet");
    // Large titles fill the record, so that every other command stores a run.
    let long = "x".repeat(120);
    let path = network.file("data", 1000, 1);
    let line = |number: usize| {
        format!("put {} {long}/{long}/{long}/{long}{number} --for 1h --yes", path.display())
    };
    at(&home, &line(0));
    let started = std::time::Instant::now();
    at(&home, &line(1));
    let time = started.elapsed();
    let mut hits = Hits::default();
    for number in 2..16 {
        let mut put = Running::start(command(&home, &words(&line(number))));
        // Most of the time goes into the put itself; its end is where the index is published.
        put.reaches(time * (16 + u32::try_from(number).unwrap() % 8) / 24, &mut hits);
        put.kill();
        at(&home, &line(number));
    }
    hits.are_some();
    let last = network.file("last", 10, 2);
    at(&home, &format!("put {} last --for 1h --yes", last.display()));
    assert_eq!(at(&home, "status")["index"]["unpublished"], 0);
    let mine = names(&at(&home, "ls -r"));
    assert_eq!(mine.len(), 17);
    let phrase = network.folder.path().join("phrase");
    fs::write(&phrase, made["phrase"].as_str().unwrap()).unwrap();
    let other = network.folder.path().join("other");
    let from = phrase.display();
    let line = format!("restore --no-passphrase --ledger {} --from {from}", network.ticket);
    assert_eq!(at(&other, &line)["index"]["names"], 17);
    assert_eq!(names(&at(&other, "ls -r")), mine);
    assert_eq!(at(&home, "ledger status")["money"]["adds_up"], true);
}
