//! A node leaves a network of real processes: what it keeps is read all the time, it is killed on its way, and all that
//! is its own comes back.

use serde_json::Value;

use crate::common::{Network, fails, units, until};

/// The node's row, as the network has it.
fn row(network: &Network, node: &str) -> Option<Value> {
    let nodes = network.run("node status").ok();
    nodes["nodes"].as_array().unwrap().iter().find(|row| row["node"] == node).cloned()
}

#[test]
fn a_node_leaves_while_its_files_are_read() {
    let mut network = Network::start(6, "2s");
    network.identity("owner");
    let path = network.file("f", 300_000, 1);
    let home = network.home();
    let put = format!("put {} --scheme 3/5 --for 2h --as owner --yes", path.display());
    network.run(&put).ok();
    let keepers = |network: &Network| -> Vec<String> {
        let stat = network.run("stat f --as owner").ok();
        let shards = stat["segments"][0]["shards"].as_array().unwrap().clone();
        shards.iter().map(|shard| shard["node"].as_str().unwrap().to_owned()).collect()
    };
    let leaver = keepers(&network).remove(0);
    let number =
        network.nodes.iter().position(|node| node.ready["node"] == leaver.as_str()).unwrap();
    let dir = network.folder.path().join(format!("node{number}")).display().to_string();

    // What stands for it comes from its own account, and more than it has does not.
    network.run(&format!("account send {leaver} 5 --as owner --yes")).ok();
    fails(network.run(&format!("node stake --dir {dir} 50")), 9, "balance is too low");
    fails(network.run(&format!("node stake --dir {dir} 1 --back")), 10, "does not cover");
    let staked = network.run(&format!("node stake --dir {dir} 3")).ok();
    assert_eq!((&staked["collateral"], &staked["needs"]), (&"3".into(), &"0".into()));
    let back = network.run(&format!("node stake --dir {dir} 1 --back")).ok();
    assert_eq!(back["collateral"], "2");
    assert_eq!(row(&network, &leaver).unwrap()["collateral"], "2");

    let exit = |network: &Network, more: &str| {
        network.run(format!("node exit --dir {dir} {more}").trim_end()).ok()
    };
    assert_eq!(exit(&network, "--cancel")["leaving"], false);
    assert_eq!(exit(&network, "")["leaving"], true);
    let out = network.folder.path().join("out");
    let read = |network: &Network| {
        network.run(&format!("get f -o {} --replace --as owner", out.display())).ok();
        assert!(std::fs::read(&out).unwrap() == std::fs::read(&path).unwrap());
    };
    until("it takes nothing new", || {
        read(&network);
        row(&network, &leaver).is_none_or(|row| row["leaving"] == true)
    });
    network.nodes[number].kill();
    if row(&network, &leaver).is_some() {
        fails(network.run(&format!("node exit --dir {dir} --wait")), 6, "the node does not run");
        network.nodes[number].kill_and_restart(&home);
        until("the node has left", || {
            read(&network);
            row(&network, &leaver).is_none()
        });
        until("it has noted that", || exit(&network, "")["exit"]["stage"] == "retired");
    }
    assert!(!keepers(&network).contains(&leaver));
    read(&network);
    let books = network.run("ledger status").ok()["money"].clone();
    assert_eq!((&books["adds_up"], &books["collateral"]), (&true.into(), &"0".into()));
    assert!(units(books["storage"].as_str().unwrap()) > 0, "the others go on");
    network.run("verify f --as owner").ok();
}

#[test]
fn a_custodian_that_owners_count_on_does_not_retire_silently() {
    let network = Network::start_with(5, "2s", " --caretaker");
    network.identity("owner");
    let path = network.file("f", 300_000, 1);
    // It has caretakers, so its owner has a vault: all five nodes are its custodians.
    let put = format!("put {} --scheme 2/3 --for 2h --as owner --yes", path.display());
    network.run(&put).ok();
    let shards = network.run("stat f --as owner").ok()["segments"][0]["shards"].clone();
    let keeps =
        |node: &Value| shards.as_array().unwrap().iter().any(|shard| shard["node"] == node["node"]);
    let number = network.nodes.iter().position(|node| !keeps(&node.ready)).unwrap();
    let leaver = network.nodes[number].ready["node"].as_str().unwrap().to_owned();
    let dir = network.folder.path().join(format!("node{number}")).display().to_string();
    let exit = |more: &str| network.run(format!("node exit --dir {dir} {more}").trim_end()).ok();
    until("it waits for the owner of the vault", || exit("")["exit"]["stage"] == "custody");
    let vaults = exit("")["exit"]["vaults"].clone();
    assert_eq!((&vaults[0]["deals"], &vaults[0]["orders"]), (&1.into(), &0.into()), "{vaults}");
    assert!(vaults[0]["until_ms"].is_u64() && vaults.as_array().unwrap().len() == 1);
    assert!(row(&network, &leaver).is_some(), "it is a node still");
    exit("--abandon-vaults");
    until("it has retired all the same", || row(&network, &leaver).is_none());
    // What the owner has lost is said, with what helps.
    let status = network.run("vault status --as owner").ok()["vault"].clone();
    assert_eq!((&status["lost"], &status["answering"]), (&1.into(), &4.into()), "{status}");
    assert_eq!(network.run("status --as owner").ok()["vault"]["lost"], 1);
    for line in ["vault status --as owner", "status --as owner"] {
        let said = network.run_plain(line);
        assert!(said.contains("symbolon vault rotate"), "{said}");
    }
    let kept = network.run_for_people("keep --once --as owner --yes");
    assert!(kept.error.contains("symbolon vault rotate"), "{}", kept.error);
}

#[test]
fn a_custodian_retires_when_the_key_is_dealt_anew() {
    let network = Network::start_with(6, "2s", " --caretaker");
    network.identity("owner");
    let path = network.file("f", 300_000, 1);
    let put = format!("put {} --scheme 2/3 --for 2h --as owner --yes", path.display());
    network.run(&put).ok();
    let vault = network.run("vault status --as owner").ok()["vault"].clone();
    let shards = network.run("stat f --as owner").ok()["segments"][0]["shards"].clone();
    let is_in = |list: &Value, node: &Value| {
        list.as_array().unwrap().iter().any(|one| one["node"] == node["node"])
    };
    let number = network
        .nodes
        .iter()
        .position(|node| is_in(&vault["custodians"], &node.ready) && !is_in(&shards, &node.ready));
    let number = number.expect("five of six are custodians, and three keep shards");
    let leaver = network.nodes[number].ready["node"].as_str().unwrap().to_owned();
    let dir = network.folder.path().join(format!("node{number}")).display().to_string();
    let exit = || network.run(&format!("node exit --dir {dir}")).ok();
    until("it waits for the owner of the vault", || exit()["exit"]["stage"] == "custody");
    let rotated = network.run("vault rotate --as owner --yes").ok();
    assert_eq!(rotated["outcome"], "rotated");
    assert_eq!(rotated["removed"], serde_json::json!([leaver]), "{rotated}");
    until("it has retired", || row(&network, &leaver).is_none());
    let status = network.run("vault status --as owner").ok()["vault"].clone();
    assert_eq!((&status["lost"], &status["answering"]), (&0.into(), &5.into()), "{status}");
    assert_eq!(network.run("vault rotate --as owner --yes").ok()["outcome"], "kept");
}
