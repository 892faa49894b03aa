//! Every document that a command prints, from real commands, held against its schema in `spec/json`.

use std::{
    collections::BTreeSet,
    fs,
    net::UdpSocket,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::common::{
    Done, Network, Running, Server, command,
    schema::{alternatives, names, of_command, read, which},
    until, words,
};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::Value;

/// What was printed, and which documents that were.
struct Seen {
    documents: Vec<(String, Value)>,
}

impl Seen {
    fn note(&mut self, name: &str, document: &Value) {
        self.documents.push((name.to_owned(), document.clone()));
    }

    /// Runs a command that goes well.
    fn run(&mut self, home: &Path, line: &str) -> Value {
        let document = Running::start(command(home, &words(line))).finish().ok();
        self.note(&of_command(&words(line)), &document);
        document
    }

    /// Runs a command that does not.
    fn fail(&mut self, home: &Path, line: &str, code: i32) -> Value {
        let done: Done = Running::start(command(home, &words(line))).finish();
        let document: Value = serde_json::from_slice(&done.out).unwrap();
        assert_eq!(done.code, Some(code), "{document}");
        self.note("error", &document);
        document
    }
}

fn text<'a>(document: &'a Value, field: &str) -> &'a str {
    document[field].as_str().unwrap()
}

/// Files and folders.
fn store(seen: &mut Seen, network: &Network) {
    let (home, folder) = (&network.home(), network.folder.path().display());
    let root = network.folder.path().join("tree");
    fs::create_dir_all(root.join("inner/empty")).unwrap();
    symlink("one", root.join("link")).unwrap();
    for name in ["tree/one", "tree/inner/two", "file"] {
        network.file(name, 2_000_000, 1);
    }
    let file = format!("put {folder}/file --for 20h --keep 3 --yes");
    seen.run(home, &format!("{file} --dry-run"));
    seen.run(home, &file);
    network.file("file", 1_000, 2);
    let (done, events) = network.watched(&format!("{file} --replace")).finish();
    seen.note("put", &done.ok());
    events.iter().for_each(|event| seen.note("progress", event));
    let tree = format!("put {folder}/tree --for 20h --yes");
    seen.run(home, &format!("{tree} --dry-run"));
    seen.run(home, &tree);
    let up = format!("sync {folder}/tree :tree --yes");
    let down = format!("sync :tree {folder}/down");
    for line in [&up, &down] {
        seen.run(home, &format!("{line} --dry-run"));
        seen.run(home, line);
    }
    seen.run(home, &format!("get file -o {folder}/copy"));
    seen.run(home, &format!("get tree -o {folder}/copies"));
    seen.fail(home, &format!("get tree/one -o {folder}/copy"), 4);
    for line in ["ls", "ls -r", "ls -l tree", "stat file", "du"] {
        seen.run(home, line);
    }
    let versions = seen.run(home, "versions file")["versions"].clone();
    let first = versions.as_array().unwrap().last().unwrap()["number"].clone();
    seen.run(home, "verify file");
    seen.run(home, "verify tree --deep");
    seen.run(home, "mv tree/one tree/three");
    seen.run(home, "renew file --for 40h --dry-run");
    seen.run(home, "renew file --for 40h --yes");
    seen.run(home, "renew file --no-auto");
    seen.run(home, "audit");
    seen.run(home, "keep --once --yes");
    seen.run(home, "keep --detach --yes");
    seen.run(home, "keep --stop");
    seen.run(home, "care");
    seen.run(home, "care file --off --yes");
    seen.run(home, "care --all --on --yes");
    seen.run(home, "stat file --history");
    seen.run(home, "rm file --yes");
    seen.run(home, "ls --deleted");
    seen.run(home, &format!("undelete file --number {first}"));
    mkfifoat(CWD, root.join("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    let partly = seen.fail(home, &up, 15);
    assert!(partly["error"]["details"]["special"].is_array(), "{partly}");
}

/// Grants and sales.
fn share(seen: &mut Seen, network: &Network) {
    let (home, folder) = (&network.home(), network.folder.path().display());
    network.identity("bob");
    let given = seen.run(home, "share file --to bob --until 30m --cells 0..1 --reads 9");
    let grant = text(&given, "grant").to_owned();
    seen.run(home, &format!("grant inspect {grant}"));
    seen.run(home, "share file --voucher --until 30m --yes");
    seen.run(home, &format!("share file --voucher --until 30m --yes -o {folder}/voucher"));
    seen.run(home, "grant ls");
    seen.run(home, &format!("redeem @{folder}/voucher --as bob"));
    seen.run(home, "grant ls");
    seen.run(home, &format!("grant attenuate {grant} --to default --as bob -o {folder}/grant"));
    seen.run(home, "grant log file");
    seen.run(home, &format!("grant revoke {grant}"));
    seen.run(home, "vault status");
    seen.run(home, "vault create --yes");
    seen.run(home, "vault rotate --anew --yes");
    let sold = seen.run(home, "sell file --price 2.5 --split bob:12.5 --yes");
    let listing = text(&sold, "listing").to_owned();
    for verb in ["show", "preview"] {
        seen.run(home, &format!("market {verb} {listing}"));
    }
    let table: String = (0..40_000).map(|row| format!("{row},x\n")).collect();
    fs::write(network.folder.path().join("rows.csv"), format!("id,what\n{table}")).unwrap();
    seen.run(home, &format!("put {folder}/rows.csv --for 20h --yes"));
    let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let shows = format!("--show-first 2 --sample 300KB.. --answer-at {address}");
    let sold = seen.run(home, &format!("sell rows.csv --price 1 {shows} --yes"));
    seen.run(home, &format!("market preview {}", text(&sold, "listing")));
    let serve = format!("market serve --listen {address}");
    let serving = Server::start(home, words(&serve));
    seen.note("market-serve", &serving.ready);
    let fresh = format!("market preview {} --fresh --cells 1 --as bob", text(&sold, "listing"));
    seen.run(home, &fresh);
    drop(serving);
    seen.run(home, "vault status");
    seen.run(home, "market list");
    seen.run(home, "ls --all -r");
    seen.run(home, &format!("buy {listing} --as bob --yes"));
    seen.run(home, &format!("order dispute {listing} --as bob --yes"));
    seen.run(home, &format!("buy {listing} -o {folder}/bought --as bob --yes"));
    seen.run(home, "grant ls --as bob");
    let orders = seen.run(home, "orders --as bob");
    let order = text(&orders["orders"][0], "order").to_owned();
    seen.run(home, &format!("order show {order} --as bob"));
    seen.run(home, &format!("order ack {order} --as bob"));
    seen.run(home, "orders");
    seen.run(home, &format!("market end {listing}"));
}

/// Money, identities, and who else there is.
fn live(seen: &mut Seen, network: &Network) {
    let home = &network.home();
    for line in ["balance", "history", "send bob 1.5 --id a", "send bob 1.5 --id a"] {
        seen.run(home, &format!("account {line}"));
    }
    for line in ["node status", "ledger status", "status", "completions bash", "id --all"] {
        seen.run(home, line);
    }
    seen.run(home, "id --as bob");
    let words = seen.run(home, "id --phrase --as bob");
    let phrase = network.folder.path().join("phrase");
    fs::write(&phrase, text(&words, "phrase")).unwrap();
    let restore = format!("restore --no-passphrase --from {}", phrase.display());
    let [far, near] = ["far", "near"].map(|name| network.folder.path().join(name));
    assert_eq!(seen.run(&far, &restore)["index"], Value::Null);
    let back = seen.run(&near, &format!("{restore} --ledger {}", network.ticket));
    assert_eq!(back["index"]["purchases"], 1, "{back}");
}

/// What the operator of a node sees.
fn operate(seen: &mut Seen, network: &Network) {
    let (home, folder) = (&network.home(), network.folder.path());
    let dir = folder.join("node0").display().to_string();
    until("the node has noted its state", || folder.join("node0/run/health").exists());
    for line in ["status", "earnings", "doctor", "scrub", "limit"] {
        seen.run(home, &format!("node {line} --dir {dir}"));
    }
    seen.run(home, &format!("node limit --dir {dir} --send 1MiB --scrub 1MiB --pause 01:00-02:00"));
    let node = text(&network.nodes[0].ready, "node");
    seen.run(home, &format!("account send {node} 5 --id stake"));
    seen.run(home, &format!("node stake --dir {dir} 2"));
    seen.run(home, &format!("node exit --dir {dir} --cancel"));
    seen.run(home, "account statement");
    // A node without room tells its operator.
    let (told, program) = (folder.join("told"), folder.join("tell"));
    fs::write(&program, format!("#!/bin/sh\ncat > {}\n", told.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let (ticket, full) = (&network.ticket, folder.join("full").display().to_string());
    let line =
        format!("node run --ledger {ticket} --capacity 1GiB --dir {full} --reserve 1000000TiB");
    let line = format!("{line} --alert-command {}", program.display());
    let _full = Server::start(home, words(&line));
    let alert = || serde_json::from_slice::<Value>(&fs::read(&told).unwrap_or_default()).ok();
    until("the alert is told", || alert().is_some());
    seen.note("alert", &alert().unwrap());
}

/// A home whose network is stopped at the end, even if the test fails.
struct Detached(PathBuf);

impl Drop for Detached {
    fn drop(&mut self) {
        drop(Running::start(command(&self.0, &words("down"))).finish());
    }
}

/// Whole networks.
fn serve(seen: &mut Seen, network: &Network) {
    let own = network.folder.path().join("own");
    let _down = Detached(own.clone());
    let up = seen.run(&own, "up --detach --nodes 2");
    assert_eq!(text(&up, "identity"), "default");
    seen.fail(&own, "up --detach --nodes 2", 13);
    seen.run(&own, "down");
    seen.fail(&own, "down", 3);
    // Whether every step holds is not asked here: what it prints is checked either way.
    let demo = Running::start(command(&own, &words("demo"))).finish();
    if demo.code == Some(0) {
        seen.note("demo", &demo.ok());
    }
}

/// What was changed in one place is refused.
fn changes_are_seen(schema: &Value, document: &Value) {
    let fields = document.as_object().unwrap();
    for field in fields.keys() {
        let mut changed = document.clone();
        changed[field] = serde_json::json!({ "nothing": "like it" });
        // A description is what its seller wrote.
        assert!(which(schema, &changed).is_err() || field == "document", "{field} of {document}");
    }
    let mut more = document.clone();
    more["more"] = Value::Bool(true);
    assert!(which(schema, &more).is_err(), "{document}");
    let may_lack = ["balance", "index_cost"];
    for field in fields.keys().filter(|field| !may_lack.contains(&field.as_str())) {
        let mut less = document.clone();
        less.as_object_mut().unwrap().remove(field);
        assert!(which(schema, &less).is_err(), "without {field}: {document}");
    }
}

/// A validator that waits for its place, and founders of another ledger.
fn validate(seen: &mut Seen, network: &Network) {
    let (home, ticket) = (network.home(), &network.ticket);
    let at = |name: &str| network.folder.path().join(name).display().to_string();
    seen.run(&home, &format!("ledger found --dir {} --validators 4", at("four")));
    seen.run(&home, &format!("ledger doctor --dir {}", at("ledger")));
    let dir = at("validator");
    let run = format!("validator run --dir {dir} --ledger {ticket}");
    let server = Server::start(&home, words(&run));
    seen.note("validator-run", &server.ready);
    let key = server.ready["validator"].as_str().unwrap().to_owned();
    seen.run(&home, &format!("account send {key} 20 --yes"));
    seen.run(&home, &format!("validator join --dir {dir} --stake 10"));
    seen.run(&home, "validator status");
    let ledger = at("ledger");
    seen.run(&home, "gov propose params jail_ms=5m --why peace --yes");
    seen.run(&home, &format!("gov vote 1 yes --dir {ledger} --yes"));
    seen.run(&home, &format!("gov show 1 --dir {ledger}"));
    seen.run(&home, "gov list");
    seen.run(&home, "validator list");
    seen.run(&home, &format!("validator delegate {key} 5 --yes"));
    seen.run(&home, &format!("validator undelegate {} 2 --yes", &key[..20]));
    seen.run(&home, "validator list --mine");
    seen.run(&home, &format!("validator unstake --dir {dir} 1"));
    seen.run(&home, &format!("validator leave --dir {dir}"));
    let other = "0f".repeat(32);
    seen.run(&home, &format!("validator send --dir {dir} {other} 1"));
}

#[test]
fn every_document_is_what_its_schema_says() {
    let mut seen = Seen { documents: Vec::new() };
    let network = Network::start(5, "1h");
    seen.note("ledger-run", &network.ledger.ready);
    seen.note("node-run", &network.nodes[0].ready);
    let dir = network.folder.path().join("mirror").display().to_string();
    let mirror = format!("ledger mirror --dir {dir} --ledger {}", network.ticket);
    seen.note("ledger-mirror", &Server::start(&network.home(), words(&mirror)).ready);
    let made = format!("init --no-passphrase --ledger {}", network.ticket);
    seen.run(&network.home(), &made);
    seen.run(&network.home(), "account faucet");
    store(&mut seen, &network);
    share(&mut seen, &network);
    live(&mut seen, &network);
    operate(&mut seen, &network);
    serve(&mut seen, &network);
    validate(&mut seen, &network);

    let mut told = BTreeSet::new();
    for (name, document) in &seen.documents {
        let schema = read(name);
        match which(&schema, document) {
            Ok(which) => _ = told.insert((name.clone(), which)),
            Err(why) => panic!("{document} is not what {name}.json says:\n{why}"),
        }
        changes_are_seen(&schema, document);
    }
    told.retain(|(name, _)| name != "demo");
    let all = names().into_iter().filter(|name| name != "demo").flat_map(|name| {
        let known = alternatives(&read(&name));
        known.into_iter().map(move |one| (name.clone(), one))
    });
    assert_eq!(told, all.collect(), "documents that no command printed");
}
