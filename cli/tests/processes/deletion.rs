//! Removed files leave the nodes' disks at once, and what was never paid for leaves them by itself. Real
//! processes, real disks.

use std::{collections::BTreeSet, path::Path, process::Command};

use crate::common::{Network, Server, until, words};
use serde_json::Value;

/// Files below a folder of a node.
/// Files with bytes: a node makes empty ones before it needs them.
fn files(network: &Network, number: usize, below: &str) -> usize {
    fn count(path: &Path) -> usize {
        let Ok(entries) = std::fs::read_dir(path) else { return 0 };
        let paths = entries.map(|entry| entry.unwrap().path());
        let has_bytes = |path: &Path| path.metadata().is_ok_and(|file| 0 < file.len());
        paths.map(|path| if path.is_dir() { count(&path) } else { has_bytes(&path).into() }).sum()
    }
    count(&network.folder.path().join(format!("node{number}")).join(below))
}

fn used(network: &Network) -> Vec<u64> {
    let status = network.run_until_ok("node status --as owner");
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["used"].as_u64().unwrap()).collect()
}

#[test]
fn removing_a_file_frees_the_disks_of_all_nodes_that_answer_at_once() {
    let mut network = Network::start(8, "3s");
    network.identity("owner");
    let path = network.file("file", 3_000_000, 1);
    network.run(&format!("put {} file --for 1h --as owner --yes", path.display())).ok();
    until("the deal begins", || {
        let stat = network.run_until_ok("stat file --as owner");
        stat["segments"][0]["state"] == "active"
    });
    assert!(used(&network).iter().all(|used| 0 < *used));
    assert!((0..8).all(|number| files(&network, number, "shards") == 1));

    network.nodes[3].kill();
    let away = network.nodes[3].ready["node"].clone();
    let removed = network.run("rm file --as owner --yes").ok();
    let deletion = &removed["deletion"];
    assert_eq!((&deletion["shards"], &deletion["nodes"]), (&8.into(), &8.into()), "{removed}");
    assert_eq!(deletion["nodes_confirmed"], 7, "{removed}");
    assert_eq!(deletion["unconfirmed"], Value::from(vec![away]));
    let receipts = deletion["receipts"].as_array().unwrap();
    let signers: BTreeSet<_> = receipts.iter().map(|receipt| receipt["node"].to_string()).collect();
    assert_eq!((receipts.len(), signers.len()), (7, 7));
    for number in (0..8).filter(|number| *number != 3) {
        assert_eq!(files(&network, number, "shards"), 0, "node {number}");
    }
    assert_eq!(files(&network, 3, "shards"), 1, "it was away");
    assert_eq!(used(&network), [0; 8], "the ledger counts the room as free");

    let home = network.home();
    network.nodes[3].kill_and_restart(&home);
    until("the node that was away deletes", || files(&network, 3, "shards") == 0);
}

/// Tells a process to stand still, or to go on.
fn signal(server: &Server, name: &str) {
    let mut kill = Command::new("kill");
    assert!(kill.args([name, &server.pid().to_string()]).status().unwrap().success());
}

#[test]
fn what_a_killed_put_left_unpaid_goes_after_the_grace_and_its_room_is_free() {
    let mut network = Network::start(0, "5s");
    let home = network.home();
    for number in 0..8 {
        let dir = network.folder.path().join(format!("node{number}")).display().to_string();
        let line = format!(
            "node run --ledger {} --capacity 24MiB --price 0.0001/epoch --dir {dir} \
             --pay-within 20s --grace 1s",
            network.ticket
        );
        network.nodes.push(Server::start(&home, words(&line)));
    }
    network.identity("owner");
    let path = network.file("file", 40_000_000, 1);
    let line = format!("put {} lost --for 1h --as owner --yes", path.display());
    let put = network.spawn(&line);
    until("shards come in", || 0 < files(&network, 0, "temporary"));
    // With two of eight nodes standing still there are not enough receipts to open the deal.
    signal(&network.nodes[0], "-STOP");
    signal(&network.nodes[1], "-STOP");
    until("the others have their shards", || {
        (2..8).all(|number| files(&network, number, "shards") == 1)
    });
    put.kill();
    signal(&network.nodes[0], "-CONT");
    signal(&network.nodes[1], "-CONT");
    assert_eq!(used(&network), [0; 8], "nothing was paid for");

    // Unpaid shards take at most half of the room; then it is free again.
    let other = network.file("other", 40_000_000, 2);
    let line = format!("put {} other --for 1h --as owner --yes", other.display());
    assert_eq!(network.run(&line).code, Some(7), "there is no room for a second file of that size");
    until("the orphans go", || {
        (0..8).all(|number| {
            files(&network, number, "shards") == 0 && files(&network, number, "temporary") == 0
        })
    });
    network.run(&line).ok();
}
