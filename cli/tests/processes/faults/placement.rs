//! Too few nodes, nodes without room, nodes that go away during an upload.

use std::{fs, time::Duration};

use super::{
    LONG, add_node, adds_up, belongings,
    common::{Network, bytes, units, until},
    damage::shard_files,
    fails, field,
};

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
    // With five nodes each of them is needed; a node that comes back goes on, a node that stays away is done
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
        assert!(field(&error, "hint").contains("nothing is paid twice"), "{error}");
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
