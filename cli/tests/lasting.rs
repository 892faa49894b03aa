//! Files that stay, with real processes: `renew` pays for longer, and `keep` replaces the shard of a node that died.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Network, fails, units, until};
use serde_json::Value;

/// The shards of a file, as `stat` shows them.
fn shards(network: &Network) -> Vec<Value> {
    let stat = network.run_until_ok("stat f --as owner");
    stat["segments"][0]["shards"].as_array().unwrap().clone()
}

fn end(network: &Network) -> u64 {
    let stat = network.run("stat f --as owner").ok();
    stat["segments"][0]["end_epoch"].as_u64().unwrap()
}

#[test]
fn a_file_is_renewed_by_name_and_paid_for_once() {
    let network = Network::start(5, "1h");
    network.identity("owner");
    let path = network.file("f", 200_000, 1);
    network.run(&format!("put {} --for 10epochs --as owner --yes", path.display())).ok();
    let before = network.balance("owner");
    let dry = network.run("renew f --for 100epochs --dry-run --as owner").ok();
    assert_eq!((&dry["files"], &dry["kept"], &dry["paid"]), (&1.into(), &0.into(), &Value::Null));
    assert_eq!((network.balance("owner"), end(&network)), (before, 11));
    let line = "renew f --for 100epochs --as owner --yes";
    fails(network.run(&format!("{line} --max-cost 0.000000001")), 2, "allowed");
    assert_eq!((network.balance("owner"), end(&network)), (before, 11));
    let renewed = network.run(line).ok();
    assert_eq!((&renewed["price"], end(&network)), (&dry["price"], 101));
    let paid = units(renewed["paid"].as_str().unwrap());
    let index = units(renewed["index_paid"].as_str().unwrap());
    assert_eq!(before - network.balance("owner"), paid + index);
    let again = network.run(line).ok();
    assert_eq!((&again["kept"], units(again["paid"].as_str().unwrap())), (&1.into(), 0));
    // Nodes agree for a year.
    let limited = network.run("renew f --for 3y --as owner --yes").ok();
    assert_eq!(limited["limited"], true, "{limited}");
    assert!((8_000..9_000).contains(&end(&network)), "{}", end(&network));
    let listed = network.run("ls --as owner").ok()["files"][0].clone();
    let until_ms = listed["paid_until_ms"].as_u64().unwrap();
    assert!(limited["until_ms"].as_u64().unwrap().abs_diff(until_ms) < 3_600_000, "{listed}");
    fails(network.run("renew nothing --as owner"), 3, "nothing");
}

#[test]
fn the_shard_of_a_node_that_died_gets_another_node() {
    let mut network = Network::start(6, "2s");
    network.identity("owner");
    let path = network.file("f", 300_000, 1);
    let put =
        format!("put {} f --scheme 2/4 --accept-risk --for 1h --as owner --yes", path.display());
    network.run(&put).ok();
    let well = network.run("keep --once --as owner").ok();
    assert_eq!(
        (&well["objects"], &well["repaired"], &well["lost"]),
        (&1.into(), &0.into(), &0.into())
    );
    let victim = shards(&network)[1]["node"].clone();
    let server = network.nodes.iter_mut().find(|node| node.ready["node"] == victim).unwrap();
    server.kill();
    until("the ledger has taken its shard from it", || shards(&network)[1]["health"] == "lost");
    let nodes = network.run_until_ok("node status --as owner");
    let row = nodes["nodes"].as_array().unwrap().iter().find(|node| node["node"] == victim);
    assert_eq!((&row.unwrap()["dead"], &row.unwrap()["used"]), (&true.into(), &0.into()));
    let before = network.balance("owner");
    let kept = network.run("keep --once --as owner --yes").ok();
    assert_eq!((&kept["repaired"], &kept["lost"]), (&1.into(), &0.into()), "{kept}");
    let found = shards(&network);
    assert!(found.iter().all(|shard| shard["node"] != victim), "{found:?}");
    until("the new node has proven it", || shards(&network)[1]["health"] == "proven");
    // The node that died pays for the one after it; publishing names may cost.
    assert!(before - network.balance("owner") <= units(kept["paid"].as_str().unwrap()));
    let out = network.folder.path().join("out");
    network.run(&format!("get f -o {} --as owner", out.display())).ok();
    assert_eq!(std::fs::read(out).unwrap(), std::fs::read(path).unwrap());
    network.run("verify f --deep --as owner").ok();
}
