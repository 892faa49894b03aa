//! A node as its operator sees it, with real processes: state, limits, scrub, alerts, figures, money.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::common::{Network, Server, fails, units, until, words};
use serde_json::Value;

/// The files of a node's shards.
fn shard_files(dir: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(dir.join("shards")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

/// A network of one ledger and one node with more options, and a file on the node.
fn one_node(options: &str) -> (Network, Server, String) {
    let network = Network::start(0, "1h");
    network.identity("owner");
    let dir = network.folder.path().join("disk").display().to_string();
    let line = format!(
        "node run --ledger {} --capacity 1GiB --price 0.0001/epoch --dir {dir}{options}",
        network.ticket
    );
    let node = Server::start(&network.home(), words(&line));
    let path = network.file("file", 300_000, 1);
    let put =
        format!("put {} file --scheme 1/1 --accept-risk --for 2h --as owner --yes", path.display());
    network.run(&put).ok();
    (network, node, dir)
}

#[test]
fn limits_are_taken_over_by_a_running_node() {
    let (network, node, dir) = one_node("");
    let status = |network: &Network| network.run(&format!("node status --dir {dir}")).ok();
    until("the node has noted its shards", || {
        Path::new(&dir).join("run/health").exists()
            && status(&network)["used"].as_u64() > Some(300_000)
    });
    let health = status(&network);
    assert_eq!((&health["node"], &health["running"]), (&node.ready["node"], &Value::Bool(true)));
    assert_eq!(health["settings"]["send"], Value::Null);
    let limit =
        network.run(&format!("node limit --dir {dir} --send 1MiB --pause 00:00-23:59")).ok();
    assert_eq!(
        (&limit["changed"], limit["settings"]["send"].as_u64()),
        (&Value::Bool(true), Some(1 << 20))
    );
    until("the node has taken it over", || status(&network)["settings"] == limit["settings"]);
    // Only what is named changes.
    let limit = network.run(&format!("node limit --dir {dir} --send none --receive 2MiB")).ok();
    assert_eq!(limit["settings"]["pause"], "00:00-23:59");
    assert_eq!(network.run(&format!("node limit --dir {dir}")).ok()["changed"], false);
    let limit = network.run(&format!("node limit --dir {dir} --reset")).ok();
    assert_eq!(limit["settings"]["receive"], Value::Null);
    drop(node);
    let health = status(&network);
    assert_eq!(health["running"], false, "it is the last note of a node that was killed");
    let error =
        fails(network.run(&format!("node doctor --dir {dir}")), 15, "the node does not run");
    let checks = error["details"]["checks"].as_array().unwrap();
    let of =
        |name: &str| checks.iter().find(|check| check["check"] == name).unwrap()["outcome"].clone();
    assert_eq!(
        (of("store"), of("clock"), of("reachable")),
        ("good".into(), "good".into(), "bad".into())
    );
}

#[test]
fn damage_is_found_told_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (told, program) = (folder.path().join("told"), folder.path().join("tell"));
    fs::write(&program, format!("#!/bin/sh\ncat >> {}\n", told.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let (network, node, dir) =
        one_node(&format!(" --declare-after 1s --alert-command {}", program.display()));
    let scrub = format!("node scrub --dir {dir}");
    until("the node has noted its state", || Path::new(&dir).join("run/health").exists());
    assert_eq!(network.run(&scrub).ok()["damaged"], 0);
    fails(network.run(&format!("{scrub} --rate 1MiB")), 13, "the node runs");
    let files = shard_files(Path::new(&dir));
    let largest = files.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(largest).unwrap();
    file.write_all_at(&[0x55; 64], 100_000).unwrap();
    // The operator asks for a pass now.
    network.run(&format!("node limit --dir {dir} --scrub 100MiB")).ok();
    until("the operator is told", || told.exists() && fs::read(&told).unwrap().ends_with(b"\n"));
    let alert: Value = serde_json::from_slice(&fs::read(&told).unwrap()).unwrap();
    assert_eq!((&alert["alert"], &alert["node"]), (&Value::from("damaged"), &node.ready["node"]));
    // It declares the shard lost, and a reader does not get wrong bytes.
    let stat = || network.run("stat file --as owner").ok()["segments"][0].clone();
    until("the shard is declared lost", || stat()["shards"][0]["health"] == "lost");
    let (lost, index) = (stat(), stat()["shards"][0]["index"].clone());
    assert_eq!((&alert["deal"], &alert["shard"]), (&lost["deal"], &index));
    let out = folder.path().join("out").display().to_string();
    assert_eq!(network.run(&format!("get file -o {out} --as owner")).code, Some(7));
    until("the lost shard is deleted", || network.run(&scrub).code == Some(0));
    // Another one, whose node does not run: the command reads everything itself.
    let path = network.file("other", 300_000, 5);
    network
        .run(&format!("put {} --scheme 1/1 --accept-risk --as owner --yes", path.display()))
        .ok();
    drop(node);
    let files = shard_files(Path::new(&dir));
    let largest = files.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(largest).unwrap();
    file.write_all_at(&[0x55; 64], 100_000).unwrap();
    let error = fails(network.run(&format!("{scrub} --rate 100MiB")), 8, "1 shard damaged");
    assert_eq!(error["details"]["running"], false);
    let read = &error["details"]["scrub"];
    assert_eq!(read["shards"], error["details"]["shards"]);
}

#[test]
fn figures_are_served_on_this_machine() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let (network, _node, _dir) = one_node(&format!(" --metrics {address}"));
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let page = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, page) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", page.len())), "{head}");
    let value = |name: &str| {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let mut found =
            lines.filter_map(|line| line.strip_prefix(&format!("symbolon_node_{name} ")));
        found.next().unwrap_or_else(|| panic!("no {name} in {page}")).parse::<f64>().unwrap()
    };
    assert!(value("used_bytes") > 300_000.0 && value("registered") == 1.0);
    assert!(value("received_bytes_total") >= value("used_bytes"));
    // Every figure is documented, and every documented one is there.
    let spec = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/node.md");
    let spec = fs::read_to_string(spec).unwrap();
    let known: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    for name in known.iter().filter_map(|line| line.split(' ').next()) {
        assert!(spec.contains(&format!("`{name}`")), "spec/node.md lacks {name}");
    }
    assert_eq!(spec.matches("| `symbolon_node_").count(), known.len());
    assert!(ask("GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(ask("POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(ask(&"x".repeat(20_000)).starts_with("HTTP/1.1 431 "));
    // One that says nothing does not keep the next one waiting for ever.
    let _silent = TcpStream::connect(address).unwrap();
    assert!(ask("GET /metrics HTTP/1.1\r\n\r\n").contains("symbolon_node_shards"));
    drop(network);
}

#[test]
fn income_adds_up_to_the_balance() {
    let network = Network::start(0, "2s");
    network.identity("owner");
    network.identity("operator");
    let dir = network.folder.path().join("disk").display().to_string();
    let line = format!(
        "node run --ledger {} --capacity 1GiB --price 1/epoch --dir {dir} --payout operator",
        network.ticket
    );
    let _node = Server::start(&network.home(), words(&line));
    let path = network.file("file", 300_000, 1);
    let put = format!(
        "put {} file --scheme 1/1 --accept-risk --for 60s --as owner --yes",
        path.display()
    );
    network.run(&put).ok();
    let earnings = || network.run("node earnings --as operator").ok();
    until("three epochs were paid", || earnings()["epochs"].as_array().unwrap().len() >= 3);
    let earned = earnings();
    let total = |list: &Value| -> u128 {
        list.as_array().unwrap().iter().map(|one| units(one["amount"].as_str().unwrap())).sum()
    };
    assert_eq!(units(earned["total"].as_str().unwrap()), total(&earned["epochs"]));
    assert_eq!(total(&earned["days"]), total(&earned["epochs"]));
    assert!(earned["proven"].as_u64() >= Some(3));
    // A part of the money goes on, so that the statement has both signs.
    network.run("account send owner 1.5 --as operator --yes").ok();

    let statement = network.run("account statement --as operator").ok();
    let money = |field: &str| units(statement[field].as_str().unwrap());
    let mut balance = money("opening");
    for line in statement["lines"].as_array().unwrap() {
        let amount = line["amount"].as_str().unwrap();
        match amount.strip_prefix('+') {
            Some(came) => balance += units(came),
            None => balance -= units(amount.strip_prefix('-').unwrap()),
        }
    }
    assert_eq!(balance, money("closing"));
    assert_eq!(money("opening") + money("came") - money("went"), money("closing"));
    assert!(money("went") >= units("1.5"));
    let csv = network.run_plain("account statement --csv --as operator");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "time,block,amount,what,balance");
    assert!(lines.len() > statement["lines"].as_array().unwrap().len(), "{csv}");
}
