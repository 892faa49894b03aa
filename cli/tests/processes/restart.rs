//! A ledger that is killed and back at once costs its nodes an epoch at most, with real processes.

use crate::common::Network;
use serde_json::Value;

/// The epoch, and how many epochs each node has proven and missed.
fn counts(network: &Network) -> (u64, Vec<(u64, u64)>) {
    let status = network.run_until_ok("node status --as owner");
    let count = |node: &Value, name: &str| node[name].as_u64().unwrap();
    let nodes = status["nodes"].as_array().unwrap().iter();
    let nodes = nodes.map(|node| (count(node, "proven"), count(node, "missed"))).collect();
    (status["epoch"].as_u64().unwrap(), nodes)
}

#[test]
fn a_ledger_that_is_killed_and_back_costs_one_epoch_at_most() {
    let mut network = Network::start(4, "3s");
    network.identity("owner");
    let path = network.file("file", 4096, 1);
    let put =
        format!("put {} file --scheme 2/4 --accept-risk --for 1h --as owner --yes", path.display());
    network.run(&put).ok();
    crate::common::until("every node has proven an epoch", || {
        counts(&network).1.iter().all(|(proven, _)| 0 < *proven)
    });
    let (epoch, before) = counts(&network);
    let home = network.home();
    network.ledger.kill_and_restart(&home);
    // What was missed meanwhile is on the ledger by then.
    crate::common::until("six epochs have passed", || epoch + 6 <= counts(&network).0);
    let (_, after) = counts(&network);
    let missed: Vec<_> = before.iter().zip(&after).map(|(old, new)| new.1 - old.1).collect();
    assert!(missed.iter().all(|missed| *missed <= 1), "epochs missed by each node: {missed:?}");
}
