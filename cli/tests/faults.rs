//! Bad input and faults, with real processes: each ends with its documented exit code and words that say
//! what is wrong and what to do; nothing is lost, and nothing is paid for what did not happen.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, UdpSocket},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bytes::Bytes;
use common::{Done, Network, Running, Server, bytes, command, moves, plain, units, until, words};
use rustix::process::Signal;
use serde_json::Value;
use symbolon_ledger::LedgerTicket;
use symbolon_net::{Alpn, BindOptions, Endpoint, PeerAddress};

/// An epoch that does not end during a test: what a put costs is then what is missing.
const LONG: &str = "1h";

/// The exit codes and their names, as `spec/cli.md` has them.
const KINDS: [(i32, &str); 14] = [
    (2, "usage"),
    (3, "not_found"),
    (4, "exists"),
    (5, "not_allowed"),
    (6, "unreachable"),
    (7, "not_enough"),
    (8, "corrupt"),
    (9, "balance_too_low"),
    (10, "ledger_refused"),
    (11, "io"),
    (12, "disk_full"),
    (13, "in_use"),
    (14, "key"),
    (15, "partial"),
];

/// Checks that a command failed as documented: the code, one JSON document, a message that says `says`,
/// and what to do next. Gives the error.
#[track_caller]
fn fails(done: Done, code: i32, says: &str) -> Value {
    let text = String::from_utf8(done.out).unwrap();
    assert_eq!(done.code, Some(code), "{text}{}", done.error);
    assert_eq!(text.lines().count(), 1, "one document: {text}");
    let json: Value = serde_json::from_str(&text).expect(&text);
    let error = json["error"].clone();
    let kind = KINDS.iter().find(|(number, _)| *number == code).expect("a documented code").1;
    assert_eq!(error["kind"], kind, "{error}");
    assert_eq!(error["exit_code"], code, "{error}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains(says), "{message:?} does not say {says:?}");
    // What is wrong with a command line says how to mend it.
    let hint = error["hint"].as_str().is_some_and(|hint| !hint.is_empty());
    assert!(hint || code == 2, "no hint: {error}");
    assert!(!done.error.contains("panicked"), "{}", done.error);
    error
}

/// Runs a command in a home.
fn at(home: &Path, line: &str) -> Done {
    Running::start(command(home, &words(line))).finish()
}

/// Runs a command without `--json` that reads `input` from a pipe.
fn piped(network: &Network, line: &str, input: &[u8]) -> Done {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let input = input.to_vec();
    // A command that does not read to the end breaks the pipe, as it may.
    let feeding = std::thread::spawn(move || writer.write_all(&input).ok());
    let mut command = plain(&network.home(), &words(line));
    command.stdin(reader);
    let done = Running::start(command).finish();
    feeding.join().unwrap();
    done
}

/// What somebody has: money and files.
fn belongings(network: &Network, who: &str) -> (u128, Value) {
    (network.balance(who), network.run(&format!("ls --as {who}")).ok())
}

#[track_caller]
fn adds_up(network: &Network) {
    assert_eq!(network.run("ledger status").ok()["money"]["adds_up"], true);
}

/// Starts one more node.
fn add_node(network: &mut Network, capacity: &str) {
    let number = network.nodes.len();
    let dir = network.folder.path().join(format!("node{number}")).display().to_string();
    let ticket = &network.ticket;
    let line =
        format!("node run --ledger {ticket} --capacity {capacity} --price 1/epoch --dir {dir}");
    network.nodes.push(Server::start(&network.home(), words(&line)));
}

fn field<'a>(json: &'a Value, name: &str) -> &'a str {
    json[name].as_str().unwrap_or_else(|| panic!("no {name} in {json}"))
}

#[test]
fn a_key_that_does_not_open_says_so_and_words_bring_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    fails(at(&home, "id"), 3, "no identity default");
    fails(at(&home, "status"), 3, "");
    assert!(!home.exists(), "a look makes nothing");

    let made = at(&home, "init --as ann --no-passphrase").ok();
    let key = home.join("identities/ann/key");
    let good = fs::read(&key).unwrap();
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1 << (place % 8);
        fs::write(&key, bad).unwrap();
        let error = fails(at(&home, "id --as ann"), 14, "cannot open identity ann");
        assert!(field(&error, "hint").contains("restore"), "byte {place}: {error}");
    }
    for length in [0, 1, good.len() / 2, good.len() - 1] {
        fs::write(&key, &good[..length]).unwrap();
        fails(at(&home, "id --as ann"), 14, "cannot open identity ann");
    }
    fails(at(&home, "init --as ann --no-passphrase"), 4, "already exists");
    assert_eq!(
        fs::read(&key).unwrap().len(),
        good.len() - 1,
        "even a damaged key is not written over"
    );

    let phrase = folder.path().join("phrase");
    let restore = |text: &str, name: &str| {
        fs::write(&phrase, text).unwrap();
        let from = phrase.display();
        at(&home, &format!("restore --as {name} --from {from} --no-passphrase"))
    };
    let text = field(&made, "phrase");
    let back = restore(text, "back").ok();
    assert_eq!(back["account"], made["account"]);
    assert_eq!(back["recipient"], made["recipient"]);
    let (rest, last) = text.rsplit_once(' ').unwrap();
    let other = if last == "zoo" { "zone" } else { "zoo" };
    for wrong in ["", rest, &format!("{rest} {other}"), &format!("{text} {other}"), "\u{fffd}"] {
        fails(restore(wrong, "wrong"), 14, "not a recovery phrase");
    }
    assert!(!home.join("identities/wrong").exists(), "a wrong phrase leaves nothing behind");

    fs::write(home.join("network.json"), b"{\"version\":1,\"ledger\":\"ledger1").unwrap();
    fails(at(&home, "ls --as back"), 8, "network.json is damaged");
    fails(at(&key, "id"), 11, "");
}

#[test]
fn a_passphrase_that_is_wrong_opens_nothing_and_spoils_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let file = folder.path().join("passphrase");
    let run = |line: &str, passphrase: &Path| {
        let mut command = command(&home, &words(line));
        command.env("SYMBOLON_PASSPHRASE_FILE", passphrase);
        Running::start(command).finish()
    };
    fs::write(&file, "correct horse battery\nnot this line\n").unwrap();
    let made = run("init", &file).ok();
    let key = home.join("identities/default/key");
    let good = fs::read(&key).unwrap();
    let wrong = folder.path().join("wrong");
    fs::write(&wrong, "correct horse batterY\n").unwrap();
    let error = fails(run("id", &wrong), 14, "passphrase is wrong");
    assert!(field(&error, "hint").contains("try again"), "{error}");
    fails(run("id", &folder.path().join("nowhere")), 3, "no such file");
    fails(run("id", folder.path()), 11, "it is a folder");
    fails(at(&home, "id"), 14, "a passphrase is needed");
    for place in [0, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        fs::write(&key, bad).unwrap();
        fails(run("id", &file), 14, "cannot open identity default");
    }
    fs::write(&key, &good).unwrap();
    assert_eq!(run("id", &file).ok()["account"], made["account"]);
}

#[test]
fn ports_and_folders_are_not_shared() {
    let mut network = Network::start(1, LONG);
    network.identity("owner");
    let (home, folder) = (network.home(), network.folder.path().to_owned());
    let dir = |name: &str| folder.join(name).display().to_string();
    let ticket = network.ticket.clone();
    let node =
        |name: &str| format!("node run --ledger {ticket} --capacity 1GiB --dir {}", dir(name));

    let port = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = port.local_addr().unwrap();
    let line = format!("ledger run --dir {} --listen {taken}", dir("other"));
    fails(network.run(&line), 13, &format!("port {} on 127.0.0.1 is in use", taken.port()));
    fails(network.run(&format!("{} --listen {taken}", node("node9"))), 13, "is in use");
    drop(port);
    drop(Server::start(&home, words(&line)));

    fails(network.run(&format!("ledger run --dir {}", dir("ledger"))), 13, "ledger");
    fails(network.run(&node("node0")), 13, "node0");
    assert_eq!(
        network.run("node status").ok()["nodes"][0]["answers"],
        true,
        "the first one serves"
    );
    fails(network.run(&format!("ledger run --dir {} --epoch 7s", dir("other"))), 2, "epoch is");
    let file = network.file("file", 10, 1).display().to_string();
    fails(network.run(&format!("ledger run --dir {file}/x")), 11, "not a folder");
    fails(network.run(&format!("ledger run --dir {file}")), 4, "");
    fails(network.run(&node("file")), 4, "");
    network.nodes[0].kill();
    fails(network.run(&node("ledger")), 13, "ledger");

    // Nobody answers under the ticket any more.
    network.ledger.kill();
    let before = fs::read_dir(dir("node0")).unwrap().count();
    fails(network.run("account --as owner"), 6, "ledger");
    fails(network.run(&node("node0")), 6, "ledger");
    assert_eq!(fs::read_dir(dir("node0")).unwrap().count(), before);
    fails(network.run(&node("ledger")), 4, "is the folder of a ledger");
    fails(network.run(&format!("ledger run --dir {}", dir("node0"))), 4, "is the folder of a node");
    network.ledger.kill_and_restart(&home);
    network.nodes[0].kill_and_restart(&home);
    assert!(network.balance("owner") > 0);
}

#[test]
fn files_come_back_whatever_their_size_and_are_paid_once() {
    let network = Network::start(5, LONG);
    network.identity("owner");
    let lengths = [0, 1, 65_519, 65_520, 65_521, (1 << 20) + 1];
    for (seed, length) in (0..).zip(lengths) {
        let wanted = bytes(length, seed);
        let put = piped(&network, &format!("put - stream{length} --as owner --yes"), &wanted);
        assert_eq!(put.code, Some(0), "{}", put.error);
        let got = piped(&network, &format!("get stream{length} -o - --as owner"), b"");
        assert_eq!(got.code, Some(0), "{}", got.error);
        assert!(got.out == wanted, "{length} bytes come back, {} did", got.out.len());
    }
    let part = piped(&network, "get stream65521 -o - --range 65519.. --as owner", b"");
    assert_eq!(part.out, &bytes(65_521, 4)[65_519..]);

    // The same thing twice.
    let path = network.file("data", 100_000, 9);
    let line = format!("put {} --as owner --yes", path.display());
    let quote = network.run(&format!("{line} --dry-run")).ok();
    let poor = network.balance("owner");
    let put = network.run(&line).ok();
    let (paid, list) = belongings(&network, "owner");
    assert_eq!(poor - paid, units(field(&put, "cost")));
    assert_eq!(put["cost"], quote["cost"]["total"], "what was said is what was paid");
    assert_eq!(network.run(&line).ok()["outcome"], "already");
    let again = piped(&network, "put - data --as owner --yes --json", b"something else");
    fails(again, 4, "\"data\" already exists");
    fs::write(&path, b"another").unwrap();
    fails(network.run(&line), 4, "already exists");
    assert_eq!(belongings(&network, "owner"), (paid, list.clone()));

    no_such_thing(&network);
    let late = network.run(&format!("{line} --max-cost 0.000000001 --replace"));
    fails(late, 2, "more than the 0.000000001 allowed");
    assert_eq!(belongings(&network, "owner"), (paid, list));

    // A put that is killed before it has read anything stores and pays nothing.
    let waiting = network.spawn(&format!("put {} killed --as owner --yes", path.display()));
    waiting.kill();
    assert_eq!(network.run("rm killed --as owner --yes").code, Some(3));

    let copy = network.folder.path().join("copy");
    let line = format!("get data -o {} --as owner", copy.display());
    for (run, outcome) in ["fetched", "already"].into_iter().enumerate() {
        let got = network.run(&line).ok();
        assert_eq!(got["outcome"], outcome, "run {run}: {got}");
    }
    // One byte is another: what is there is not what is stored, and stays.
    let mut other = bytes(100_000, 9);
    other[99_999] ^= 1;
    fs::write(&copy, &other).unwrap();
    fails(network.run(&line), 4, "already exists");
    assert!(fs::read(&copy).unwrap() == other);

    // What was not used comes back.
    fails(network.run("rm data --as owner"), 2, "nothing was done");
    let gone = network.run("rm data --as owner --yes").ok();
    let refunded = units(field(&gone, "refunded"));
    assert_eq!(network.balance("owner"), paid + refunded);
    let parts = ["storage", "reserve"].map(|part| units(field(&quote["cost"], part)));
    assert_eq!(refunded, parts[0] + parts[1], "all but the fee: no epoch has passed");
    fails(network.run("get data -o nowhere --as owner"), 3, "no file named \"data\"");
    fails(network.run("rm data --as owner --yes"), 3, "no file named");
    adds_up(&network);
}

/// Names and paths that lead nowhere.
fn no_such_thing(network: &Network) {
    let folder = network.folder.path().display().to_string();
    for verb in ["get nothing -o x", "stat nothing", "verify nothing", "rm nothing --yes"] {
        fails(network.run(&format!("{verb} --as owner")), 3, "no file named \"nothing\"");
    }
    let to = "--to owner";
    fails(network.run(&format!("share nothing {to} --as owner")), 3, "no file named");
    fails(network.run("sell nothing --price 1 --as owner --yes"), 3, "no file named");
    fails(network.run("account --as nobody"), 3, "no identity nobody");
    fails(network.run(&format!("put {folder}/nothing --as owner")), 3, "no such file");
    fails(network.run(&format!("get data -o {folder}/no/where --as owner")), 3, "no/where");
    let there = network.file("there", 3, 1);
    let line = format!("get data -o {} --as owner", there.display());
    fails(network.run(&line), 4, "already exists");
    assert_eq!(fs::read(&there).unwrap(), bytes(3, 1), "nothing is written over unasked");
    fails(network.run("get data -o y --range 5..100001 --as owner"), 2, "outside the file");
    fails(network.run("get data -o - --as owner"), 2, "stdout");
    for left in ["x", "y"] {
        assert!(!Path::new(left).exists());
    }
}

/// A file shared with others: what each of them gets.
struct Shared {
    network: Network,
    content: Vec<u8>,
}

impl Shared {
    /// Somebody tries a grant; what they get lies at the path.
    fn try_grant(&self, who: &str, grant: &str, range: &str) -> (Done, PathBuf) {
        let out = self.network.folder.path().join("out");
        fs::remove_file(&out).ok();
        let grant = self.grant(grant);
        let line = format!("get {grant} {range}-o {} --as {who}", out.display());
        (self.network.run(&line), out)
    }

    #[track_caller]
    fn gets(&self, who: &str, grant: &str) {
        let (done, out) = self.try_grant(who, grant, "");
        done.ok();
        assert!(fs::read(out).unwrap() == self.content, "{who} gets the file");
    }

    #[track_caller]
    fn gets_range(&self, who: &str, grant: &str, (from, to): (usize, usize)) {
        let (done, out) = self.try_grant(who, grant, &format!("--range {from}..{to} "));
        done.ok();
        assert!(fs::read(out).unwrap() == self.content[from..to], "{who} gets the range");
    }

    #[track_caller]
    fn refused(&self, who: &str, grant: &str, says: &str) {
        let (done, out) = self.try_grant(who, grant, "");
        fails(done, 5, says);
        assert!(!out.exists());
    }

    fn grant(&self, name: &str) -> String {
        format!("@{}", self.network.folder.path().join(name).display())
    }

    fn share(&self, to: &str, name: &str, limits: &str) -> Value {
        let path = self.network.folder.path().join(name).display().to_string();
        let line = format!("share data --to {to}{limits} -o {path} --as owner");
        self.network.run(&line).ok()
    }

    fn attenuate(&self, who: &str, from: &str, to: &str, name: &str, limits: &str) -> Done {
        let path = self.network.folder.path().join(name).display().to_string();
        let grant = self.grant(from);
        let line = format!("grant attenuate {grant} --to {to}{limits} -o {path} --as {who}");
        self.network.run(&line)
    }
}

#[test]
fn a_grant_gives_what_it_says_to_whom_it_says_and_no_more() {
    let network = Network::start(3, LONG);
    for who in ["owner", "bob", "carol", "eve"] {
        network.identity(who);
    }
    // Two segments' worth would be slow; several slices of every shard are enough to be narrowed.
    let content = bytes(5_000_000, 3);
    let path = network.file("data", content.len(), 3);
    network.run(&format!("put {} --as owner --yes", path.display())).ok();
    let shared = Shared { network, content };
    let before = belongings(&shared.network, "owner");

    shared.share("bob", "whole", "");
    shared.gets("bob", "whole");
    shared.refused("eve", "whole", "bound to another key");
    fails(shared.attenuate("eve", "whole", "eve", "mine", ""), 5, "the grant cannot be used");
    assert!(!shared.network.folder.path().join("mine").exists());
    tampered(&shared);

    // Cells 0 and 1 are the first two of 65520 bytes each.
    shared.share("bob", "cells", " --cells 0..2");
    shared.gets_range("bob", "cells", (10, 2 * 65_520));
    shared.refused("bob", "cells", "the nodes refuse: the grant does not allow this");

    // A shard of this file takes three reads, one per slice.
    shared.share("bob", "reads", " --reads 3");
    shared.gets("bob", "reads");
    shared.refused("bob", "reads", "reads are used up");

    passed_on(&shared);

    shared.share("bob", "soon", " --until 1500ms");
    let inspect = format!("grant inspect {}", shared.grant("soon"));
    until("the grant's time is over", || {
        let found = shared.network.run(&inspect).ok();
        assert_eq!(found["clock"], "ledger", "{found}");
        found["expired"] == true
    });
    // Where no ledger is known it says by whose clock instead, and where time plays no part, by none.
    let elsewhere = shared.network.folder.path().join("elsewhere");
    let clock = |line: &str| -> Value {
        let done = command(&elsewhere, &words(line)).output().unwrap();
        serde_json::from_slice::<Value>(&done.stdout).unwrap()["clock"].clone()
    };
    assert_eq!(clock(&inspect), "machine");
    assert_eq!(clock(&format!("grant inspect {}", shared.grant("cells"))), Value::Null);
    shared.refused("bob", "soon", "time is over");
    fails(shared.network.run("share data --to bob --until 2020-01-01 --as owner"), 2, "end before");

    revoked(&shared);
    shared.gets("bob", "cells2");
    // Sharing itself is free; so many grants no longer fit into the record that the ledger keeps for
    // nothing, and are stored like a small file.
    let after = belongings(&shared.network, "owner");
    assert_eq!(after.1, before.1);
    let room = before.0 - after.0;
    assert!(room < units("0.01"), "{room} units for the index");
}

/// One character is another one.
fn tampered(shared: &Shared) {
    let folder = shared.network.folder.path();
    let text = fs::read_to_string(folder.join("whole")).unwrap();
    let text = text.trim();
    let places = (0..text.len()).step_by(text.len() / 12).chain([text.len() - 1]);
    for place in places {
        let mut bad = text.as_bytes().to_vec();
        bad[place] = if bad[place] == b'q' { b'p' } else { b'q' };
        fs::write(folder.join("bad"), bad).unwrap();
        let (done, out) = shared.try_grant("bob", "bad", "");
        fails(done, 8, "this is not a grant");
        assert!(!out.exists());
    }
    fs::write(folder.join("bad"), &text[..text.len() - 7]).unwrap();
    fails(shared.try_grant("bob", "bad", "").0, 8, "this is not a grant");
}

/// A holder passes less on.
fn passed_on(shared: &Shared) {
    shared.attenuate("bob", "whole", "carol", "carols", " --cells 0..2").ok();
    shared.gets_range("carol", "carols", (0, 2 * 65_520));
    shared.refused("carol", "carols", "does not allow this");
    shared.refused("bob", "carols", "bound to another key");
    shared.refused("eve", "carols", "bound to another key");
    // More than one has is not to be had by asking for more.
    shared.attenuate("carol", "carols", "eve", "eves", " --cells 0..50").ok();
    shared.gets_range("eve", "eves", (0, 2 * 65_520));
    shared.refused("eve", "eves", "does not allow this");
    shared.share("bob", "once", " --pass-on 0");
    shared.gets("bob", "once");
    match shared.attenuate("bob", "once", "carol", "twice", "") {
        // Refused where it is made, or where it is used: never of any use.
        done if done.code == Some(0) => shared.refused("carol", "twice", ""),
        done => drop(fails(done, 5, "the grant cannot be used")),
    }
}

/// What was given is taken back, by who gave it.
fn revoked(shared: &Shared) {
    shared.share("bob", "cells2", "");
    let revoke = |who: &str, grant: &str| {
        shared.network.run(&format!("grant revoke {} --as {who}", shared.grant(grant)))
    };
    // A stranger's wish changes nothing, however it is put.
    fails(revoke("eve", "cells2"), 5, "only those who gave it or passed it on");
    let inspect = format!("grant inspect {}", shared.grant("cells2"));
    let link = shared.network.run(&inspect).ok()["links"][0]["link"].clone();
    shared.network.run(&format!("grant revoke {} --as eve", link.as_str().unwrap())).ok();
    fails(revoke("bob", "cells2"), 5, "only those who gave it or passed it on");
    shared.gets("bob", "cells2");
    fails(revoke("carol", "carols"), 5, "only those who gave it or passed it on");
    // Who passed it on takes it back with all that was made from it, and may say so twice.
    revoke("bob", "carols").ok();
    revoke("bob", "carols").ok();
    let carols = |grant: &str, who: &str| {
        until("the nodes know of it", || {
            let (done, out) = shared.try_grant(who, grant, "--range 0..100 ");
            if done.code == Some(0) {
                return false;
            }
            fails(done, 5, "was revoked");
            assert!(!out.exists());
            true
        });
    };
    carols("carols", "carol");
    carols("eves", "eve");
    shared.gets("bob", "whole");
    let inspect = format!("grant inspect {}", shared.grant("whole"));
    let link = shared.network.run(&inspect).ok()["links"][0]["link"].clone();
    shared.network.run(&format!("grant revoke {} --as owner", link.as_str().unwrap())).ok();
    carols("whole", "bob");
    adds_up(&shared.network);
}

#[test]
fn a_purchase_that_cannot_be_costs_nothing() {
    let mut network = Network::start(5, LONG);
    for who in ["seller", "buyer", "late"] {
        network.identity(who);
    }
    let ticket = network.ticket.clone();
    network.run(&format!("init --as poor --no-passphrase --ledger {ticket}")).ok();
    let path = network.file("data", 200_000, 1);
    fails(network.run(&format!("put {} --as poor --yes", path.display())), 9, "the account has 0");
    fails(network.run(&format!("put {} --as poor --yes --for 80000epochs", path.display())), 9, "");
    assert_eq!(network.run("ls --as poor").ok()["files"].as_array().unwrap().len(), 0);
    network.run(&format!("put {} --as seller --yes", path.display())).ok();
    let sale = network.run("sell data --price 7 --as seller --yes").ok();
    let listing = field(&sale, "listing");
    let out = network.folder.path().join("out");
    let before = belongings(&network, "buyer");
    let buy = |who: &str, limits: &str| {
        network.run(&format!("buy {listing} -o {} --as {who}{limits} --yes", out.display()))
    };
    let error = fails(buy("poor", ""), 9, "this costs 7 credits, the account has 0");
    assert!(field(&error, "hint").contains("faucet"), "{error}");
    fails(buy("buyer", " --max-price 6.999999999"), 2, "more than the 6.999999999 allowed");
    fs::write(&out, b"precious").unwrap();
    fails(buy("buyer", ""), 4, "already exists");
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    fs::remove_file(&out).unwrap();
    fails(network.run("buy 00000000 --as buyer --yes"), 3, "no listing begins with 00000000");
    fails(network.run(&format!("buy {} --as buyer --yes", "0".repeat(32))), 3, "no listing");
    fails(network.run("buy me --as buyer --yes"), 2, "not a listing");
    let stranger = network.run(&format!("market end {listing} --as late"));
    fails(stranger, 10, "the ledger refused");

    buy("buyer", "").ok();
    assert!(fs::read(&out).unwrap() == bytes(200_000, 1));
    fs::remove_file(&out).unwrap();
    network.run(&format!("market end {listing} --as seller")).ok();
    network.run(&format!("market end {listing} --as seller")).ok();
    fails(buy("late", ""), 10, "has ended");
    let error = fails(buy("poor", ""), 10, "has ended");
    assert!(field(&error, "hint").contains("market list"), "{error}");
    // What was bought before stays bought.
    assert_eq!(buy("buyer", "").ok()["outcome"], "already");
    assert_eq!(before.0 - network.balance("buyer"), units("7"));
    for who in ["late", "poor"] {
        let orders = network.run(&format!("orders --as {who}")).ok();
        assert_eq!(orders["orders"].as_array().unwrap().len(), 0, "{orders}");
    }
    assert_eq!(network.balance("poor"), 0);
    assert_eq!(network.balance("late"), network.balance("buyer") + units("7"));

    // A listing nobody can deliver: the money stays where it is until it comes back.
    fails(network.run("account send late 5 --as poor --yes"), 9, "");
    fails(network.run("account send nobody 5 --as late --yes"), 3, "nobody known here");
    for node in &mut network.nodes {
        node.kill();
    }
    fails(network.run(&format!("market preview {listing} --as late")), 7, "offline");
    adds_up(&network);
}

/// The files of shards that a node keeps.
fn shard_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(shard_files(&path));
        } else if path.components().any(|part| part.as_os_str() == "shards") {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_damaged_shard_is_found_named_and_not_needed() {
    let mut network = Network::start(8, LONG);
    network.identity("owner");
    let length = 7_000_000;
    let path = network.file("data", length, 4);
    network.run(&format!("put {} --as owner --yes", path.display())).ok();
    network.run("verify data --deep --as owner").ok();
    let folder = network.folder.path().to_owned();
    let stat = network.run("stat data --as owner").ok();
    let shards = stat["segments"][0]["shards"].as_array().unwrap().clone();
    assert!(shards.len() >= 6, "{stat}");
    let holder = |shard: usize| {
        let mut nodes = network.nodes.iter();
        nodes.position(|node| node.ready["node"] == shards[shard]["node"]).unwrap()
    };
    let files: Vec<_> = (0..shards.len())
        .map(|shard| shard_files(&folder.join(format!("node{}", holder(shard)))).remove(0))
        .collect();
    let name = |shard: usize| field(&shards[shard], "node");

    // One bit in each slice of one, and later the end of another.
    for slice in [5_000, 1_200_000] {
        let file = fs::OpenOptions::new().read(true).write(true).open(&files[0]).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, slice).unwrap();
        file.write_all_at(&[byte[0] ^ 4], slice).unwrap();
    }
    unwell(&network, 15, &[name(0)], shards.len());
    fs::OpenOptions::new().write(true).open(&files[1]).unwrap().set_len(1_000).unwrap();
    unwell(&network, 15, &[name(0), name(1)], shards.len());

    let out = folder.join("out");
    let get = format!("get data -o {} --replace --as owner", out.display());
    until("both damaged shards were asked for, and their nodes are named", || {
        let got = network.run(&get).ok();
        assert!(fs::read(&out).unwrap() == bytes(length, 4), "the others are enough");
        let faults = got["faults"].as_array().expect("get says who was at fault");
        let blamed = |shard| faults.iter().any(|fault| fault["node"] == name(shard));
        assert!((2..shards.len()).all(|shard| !blamed(shard)), "nobody else is: {got}");
        blamed(0) && blamed(1)
    });
    let words =
        piped(&network, &format!("get data -o {} --replace --as owner", out.display()), b"");
    assert_eq!(words.code, Some(0), "{}", words.error);

    // A restart is no cure and no fall; what cannot be proven right is never written.
    let (home, first) = (network.home(), holder(0));
    let nothing: Vec<_> = (2..shards.len() - 3).collect();
    for shard in &nothing {
        fs::write(&files[*shard], b"").unwrap();
    }
    let bad: Vec<_> = [0, 1].iter().chain(&nothing).map(|shard| name(*shard)).collect();
    network.nodes[first].kill_and_restart(&home);
    unwell(&network, 7, &bad, shards.len());
    fs::remove_file(&out).unwrap();
    let error = fails(network.run(&get), 7, "3 of the 4 shards needed");
    for node in bad {
        assert!(field(&error, "message").contains(&node[..8]), "{error}");
    }
    assert!(!out.exists());
    adds_up(&network);
}

/// A deep look finds exactly these nodes' shards damaged.
#[track_caller]
fn unwell(network: &Network, code: i32, nodes: &[&str], shards: usize) {
    let error = fails(network.run("verify data --deep --as owner"), code, "did not pass");
    let found = error["details"]["shards"].as_array().unwrap();
    assert_eq!(found.len(), shards);
    for shard in found {
        let bad = nodes.contains(&field(shard, "node"));
        assert_eq!(shard["well"], !bad, "{shard}");
    }
    assert_eq!(error["details"]["readable"], code == 15);
}

#[test]
fn too_few_nodes_or_too_little_room_stores_nothing_and_costs_nothing() {
    let mut network = Network::start(0, LONG);
    network.identity("owner");
    let path = network.file("data", 3_000_000, 1);
    let put = format!("put {} data --as owner --yes", path.display());
    let before = belongings(&network, "owner");
    let error = fails(network.run(&put), 6, "no storage node can be reached; the ledger knows 0");
    assert!(field(&error, "hint").contains("node status"), "{error}");
    fails(network.run(&format!("{put} --dry-run")), 6, "the ledger knows 0");

    // Three nodes with less room than a shard takes.
    for _ in 0..3 {
        add_node(&mut network, "1MiB");
    }
    let error = fails(network.run(&put), 7, "room");
    assert!(field(&error, "hint").contains("node status"), "{error}");
    assert_eq!(belongings(&network, "owner"), before);
    let kept = |number: usize| shard_files(&network.folder.path().join(format!("node{number}")));
    assert!((0..3).all(|number| kept(number).is_empty()));
    let small = network.file("small", 300_000, 2);
    network.run(&format!("put {} --as owner --yes", small.display())).ok();
    // One full node among others is no obstacle.
    for _ in 0..2 {
        add_node(&mut network, "2GiB");
    }
    add_node(&mut network, "2GiB");
    add_node(&mut network, "2GiB");
    network.run(&put).ok();
    let out = network.folder.path().join("out");
    let get =
        |name: &str| network.run(&format!("get {name} -o {} --replace --as owner", out.display()));
    get("data").ok();
    assert!(fs::read(&out).unwrap() == bytes(3_000_000, 1));

    // Everybody goes away.
    fs::remove_file(&out).unwrap();
    let paid = belongings(&network, "owner");
    for node in &mut network.nodes {
        node.kill();
    }
    let get =
        |name: &str| network.run(&format!("get {name} -o {} --replace --as owner", out.display()));
    fails(get("data"), 7, "offline");
    assert!(!out.exists());
    let other = network.file("other", 100, 3);
    let put = format!("put {} --as owner --yes", other.display());
    fails(network.run(&put), 6, "no storage node can be reached; the ledger knows 7");
    fails(network.run("verify data --as owner"), 7, "did not pass");
    assert_eq!(belongings(&network, "owner"), paid);
    let home = network.home();
    for node in &mut network.nodes {
        node.kill_and_restart(&home);
    }
    network.run_until_ok(&format!("get data -o {} --replace --as owner", out.display()));
    assert!(fs::read(&out).unwrap() == bytes(3_000_000, 1));
    adds_up(&network);
}

/// Shards that a node is receiving.
fn receiving(network: &Network, number: usize) -> bool {
    let folder = network.folder.path().join(format!("node{number}"));
    let temporary = [folder.join("temporary"), folder.join("store/temporary")];
    // Files that wait for their bytes are empty.
    let begun = |entry: fs::DirEntry| entry.metadata().is_ok_and(|file| 0 < file.len());
    temporary.iter().flat_map(fs::read_dir).flatten().flatten().any(begun)
}

#[test]
fn nodes_that_go_away_in_the_middle_of_an_upload_cost_nothing() {
    let mut network = Network::start(5, LONG);
    network.identity("owner");
    let (home, length) = (network.home(), 24_000_000);
    let out = network.folder.path().join("out");
    // With five nodes every one of them is needed; whoever comes back goes on, whoever stays away is done
    // without.
    for (file, lost, outcome) in [("one", 1, "resumed"), ("most", 3, "stored")] {
        let path = network.file(file, length, 7);
        let line = format!("put {} --as owner --yes", path.display());
        let before = belongings(&network, "owner");
        let mut put = network.spawn(&line);
        let mut over = false;
        until("a node is receiving", || {
            over = put.ends_within(Duration::ZERO);
            over || receiving(&network, 0)
        });
        assert!(!over, "the upload was over before it could be disturbed");
        for node in &mut network.nodes[..lost] {
            node.kill();
        }
        let error = fails(put.finish(), 7, "of the 5 nodes needed took a shard");
        assert!(field(&error, "hint").contains("goes on, and pays once"), "{error}");
        assert!(field(&error, "message").contains("offline"), "{error}");
        assert_eq!(belongings(&network, "owner"), before, "not stored, not paid");
        if outcome == "resumed" {
            network.nodes[0].kill_and_restart(&home);
        }
        let stored = network.run_until_ok(&line);
        assert_eq!(stored["outcome"], outcome, "{stored}");
        assert_eq!(network.run(&line).ok()["outcome"], "already");
        let spent = before.0 - network.balance("owner");
        assert_eq!(spent, units(field(&stored, "cost")), "paid once");
        network.run(&format!("get {file} -o {} --replace --as owner", out.display())).ok();
        assert!(fs::read(&out).unwrap() == bytes(length, 7));
    }
    adds_up(&network);
}

/// Sends what no peer would send, to a server that has to stand it.
async fn throw_garbage(peer: &PeerAddress, alpn: Alpn) {
    let address: SocketAddr = peer.sockets().next().expect("it listens somewhere");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in [0, 1, 20, 1_200, 1_472, 9_000] {
        for seed in 0..20 {
            let mut datagram = bytes(length, seed);
            if let Some(first) = datagram.first_mut().filter(|_| seed % 2 == 0) {
                // As a QUIC long header would begin.
                *first |= 0xc0;
            }
            socket.send_to(&datagram, address).unwrap();
        }
    }
    let mut options = BindOptions::new([7; 32]);
    options.accept = Vec::new();
    let endpoint = Endpoint::iroh(options).await.unwrap();
    let wrong = [Alpn::Storage, Alpn::Ledger].into_iter().find(|other| *other != alpn).unwrap();
    assert!(endpoint.connect(peer, wrong).await.is_err(), "it does not speak this");
    let frame = |length: u32, rest: &[u8]| Bytes::from([&length.to_le_bytes(), rest].concat());
    let garbage = [
        Bytes::new(),
        Bytes::from(bytes(3, 1)),
        frame(u32::MAX, &bytes(1_000, 2)),
        frame(0, b""),
        frame(1_000, &bytes(10, 3)),
        frame(300, &bytes(300, 4)),
        frame(8, &[0; 8]),
        frame(2, &[0xff; 400]),
        Bytes::from(bytes(500_000, 5)),
    ];
    // After garbage a server may hang up on who sent it, but on nobody else.
    for bytes in garbage {
        let connection = endpoint.connect(peer, alpn).await.expect("it still answers");
        let (mut sender, mut receiver) = connection.open().await.unwrap();
        sender.write(bytes).await.ok();
        sender.finish();
        while matches!(receiver.read(1 << 16).await, Ok(Some(_))) {}
        // One that is left open, and one that is broken off.
        if let Ok((mut sender, _)) = connection.open().await {
            sender.write(frame(50, b"x")).await.ok();
            sender.reset(9);
        }
        connection.close("enough");
    }
    endpoint.close().await;
}

#[test]
fn garbage_from_strangers_stops_no_server() {
    let network = Network::start(2, LONG);
    network.identity("owner");
    let path = network.file("data", 500_000, 1);
    network.run(&format!("put {} --as owner --yes", path.display())).ok();
    let ticket: LedgerTicket = network.ticket.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        throw_garbage(&ticket.address, Alpn::Ledger).await;
        for node in &network.nodes {
            let addresses = node.ready["addresses"].as_array().unwrap().iter();
            let addresses = addresses.map(|address| address.as_str().unwrap().to_owned()).collect();
            let id = field(&node.ready, "node").parse().unwrap();
            throw_garbage(&PeerAddress { id, addresses }, Alpn::Storage).await;
        }
    });
    let out = network.folder.path().join("out");
    network.run(&format!("get data -o {} --as owner", out.display())).ok();
    assert!(fs::read(&out).unwrap() == bytes(500_000, 1));
    network.run("verify data --deep --as owner").ok();
    let nodes = network.run("node status").ok();
    assert!(nodes["nodes"].as_array().unwrap().iter().all(|node| node["answers"] == true));
    adds_up(&network);
}

/// A detached network, stopped at the end whatever happens.
struct Detached(PathBuf);

impl Drop for Detached {
    fn drop(&mut self) {
        at(&self.0, "down");
    }
}

#[test]
fn a_network_comes_back_after_kill_9_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let file = folder.path().join("data");
    fs::write(&file, bytes(300_000, 1)).unwrap();
    let up = "up --detach --nodes 3 --epoch 1h";
    fails(at(&home, "down"), 3, "no network is running");
    let guard = Detached(home.clone());
    let first = at(&home, up).ok();
    fails(at(&home, "up"), 13, "a network is already running");
    fails(at(&home, up), 13, "a network is already running");
    at(&home, &format!("put {}", file.display())).ok();
    let (balance, list) = (at(&home, "account").ok(), at(&home, "ls").ok());

    let killed = Command::new("kill").args(["-9", &first["pid"].to_string()]).status().unwrap();
    assert!(killed.success());
    until("the process is gone", || at(&home, "down").code == Some(3));
    let error = fails(at(&home, "account"), 6, "is not running");
    assert!(field(&error, "hint").contains("symbolon up"), "{error}");
    let out = folder.path().join("out");
    fails(at(&home, &format!("get data -o {}", out.display())), 6, "is not running");

    let second = at(&home, "up --detach").ok();
    for same in ["ticket", "chain", "nodes", "epoch_ms"] {
        assert_eq!(second[same], first[same], "{same}");
    }
    assert_eq!(at(&home, "account").ok(), balance);
    assert_eq!(at(&home, "ls").ok(), list);
    at(&home, &format!("get data -o {}", out.display())).ok();
    assert!(fs::read(&out).unwrap() == bytes(300_000, 1));
    assert_eq!(at(&home, &format!("put {}", file.display())).ok()["outcome"], "already");
    assert_eq!(at(&home, "down").ok()["pid"], second["pid"]);
    fails(at(&home, "down"), 3, "no network is running");
    drop(guard);
}

/// A file system of some MiB, where this user may mount one; gone when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Says why there is none where this user may not mount one.
    fn mount(at: PathBuf, mebibytes: u32) -> Result<Self, String> {
        fs::create_dir_all(&at).unwrap();
        let size = format!("size={mebibytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at);
        match mount.output() {
            Ok(done) if done.status.success() => Ok(Self(at)),
            Ok(done) => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a command that was killed may be in it still.
        Command::new("umount").arg("-l").arg(&self.0).output().ok();
    }
}

#[test]
fn a_full_disk_here_loses_nothing_and_the_same_command_goes_on() {
    let network = Network::start(3, LONG);
    network.identity("owner");
    let disk = match SmallDisk::mount(network.folder.path().join("small"), 4) {
        Ok(disk) => disk,
        Err(why) => return eprintln!("skipped, no small file system can be mounted: {why}"),
    };
    let path = network.file("file", 3_000_000, 7);
    network.run(&format!("put {} file --for 2h --as owner --yes", path.display())).ok();
    let (ballast, out) = (disk.0.join("ballast"), disk.0.join("out"));
    fs::write(&ballast, vec![1; 3 << 20]).unwrap();
    let get = format!("get file -o {} --as owner", out.display());
    fails(network.run(&get), 12, "the disk is full");
    assert!(!out.exists(), "half a file has no name");
    let elsewhere = network.folder.path().join("elsewhere");
    network.run(&format!("get file -o {} --as owner", elsewhere.display())).ok();
    assert!(fs::read(&elsewhere).unwrap() == bytes(3_000_000, 7), "there is room elsewhere");
    // A folder's small files: those that fitted are whole, the rest has no name.
    let root = network.folder.path().join("root");
    fs::create_dir(&root).unwrap();
    for number in 0..30_u8 {
        fs::write(root.join(format!("{number:02}")), bytes(90_000, number)).unwrap();
    }
    network.run(&format!("put {} box --for 2h --as owner --yes", root.display())).ok();
    let folder = disk.0.join("box");
    let get_folder = format!("get box -o {} --as owner", folder.display());
    fails(network.run(&get_folder), 12, "the disk is full");
    let whole = |number: u8| {
        let there = fs::read(folder.join(format!("{number:02}")));
        there.is_ok_and(|there| there == bytes(90_000, number))
    };
    let names = fs::read_dir(&folder).unwrap().count();
    assert_eq!((0..30).filter(|number| whole(*number)).count(), names, "no file is half there");
    assert!(names < 30);
    fs::remove_file(&ballast).unwrap();
    let got = network.run(&get_folder).ok();
    assert_eq!(got["unchanged"], names, "{got}");
    assert!((0..30).all(whole));
    fs::remove_dir_all(&folder).unwrap();
    network.run(&get).ok();
    assert!(fs::read(&out).unwrap() == bytes(3_000_000, 7));

    // A whole home on it: what cannot be written down is neither stored nor paid.
    let home = disk.0.join("home");
    at(&home, &format!("init --no-passphrase --ledger {}", network.ticket)).ok();
    at(&home, "account faucet").ok();
    let before = at(&home, "account balance").ok()["balance"].clone();
    fs::remove_file(&out).unwrap();
    let mut fill = fs::File::create(&ballast).unwrap();
    while fill.write_all(&[1; 4096]).is_ok() {}
    drop(fill);
    let put = format!("put {} file --for 2h --yes", path.display());
    // Where it comes to a stop depends on what is written first.
    fails(at(&home, &put), 12, "");
    fs::remove_file(&ballast).unwrap();
    assert_eq!(at(&home, "account balance").ok()["balance"], before);
    at(&home, &put).ok();
    assert_eq!(at(&home, &put).ok()["outcome"], "already");
    adds_up(&network);
}

#[test]
fn a_sparse_file_comes_back_with_its_holes_as_zeros() {
    let network = Network::start(3, LONG);
    network.identity("owner");
    let path = network.folder.path().join("sparse");
    let file = fs::File::create(&path).unwrap();
    file.set_len(9_000_001).unwrap();
    file.write_all_at(b"in the middle", 4_321_000).unwrap();
    network.run(&format!("put {} sparse --for 2h --as owner --yes", path.display())).ok();
    let out = network.folder.path().join("out");
    network.run(&format!("get sparse -o {} --as owner", out.display())).ok();
    assert!(fs::read(&out).unwrap() == fs::read(&path).unwrap());
}

#[test]
fn a_file_that_changes_while_it_is_stored_is_refused() {
    let length = 60_000_000;
    let network = Network::start(3, LONG);
    network.identity("owner");
    let path = network.file("file", length, 3);
    let line = format!("put {} file --for 2h --as owner --yes", path.display());
    let rich = network.balance("owner");
    let changes: [fn(&fs::File) -> std::io::Result<()>; 3] = [
        |file| file.set_len(1_000_000),
        |file| file.write_all_at(b"other bytes", 40_000_000),
        |file| file.write_all_at(b"and more", 60_000_000),
    ];
    for change in changes {
        fs::write(&path, bytes(length, 3)).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        let mut put = network.watched(&line);
        put.wait_for(|event| {
            let half = event["total"].as_u64().map(|total| total / 2);
            assert!(event["done"].as_u64() <= half, "too late to change it: {event}");
            moves(event)
        });
        put.signal(Signal::STOP);
        change(&file).unwrap();
        put.signal(Signal::CONT);
        let (done, _) = put.finish();
        let error = fails(done, 8, "changed while it was being stored");
        assert!(field(&error, "hint").contains("when nobody writes"), "{error}");
        assert_eq!(network.run("ls --as owner").ok()["files"], serde_json::json!([]));
    }
    let quote = network.run(&format!("{line} --dry-run")).ok();
    let stored = network.run(&line).ok();
    let out = network.folder.path().join("out");
    network.run(&format!("get file -o {} --as owner", out.display())).ok();
    assert!(fs::read(&out).unwrap() == fs::read(&path).unwrap());
    // Where all was sent before the change was seen a deal was paid: it is let go, and costs the fee.
    let lost = rich - network.balance("owner") - units(field(&stored, "cost"));
    assert!(lost <= 2 * units(field(&quote["cost"], "fee")), "{lost} lost: {quote}");
    adds_up(&network);
}
