//! Damaged shards are found, named and not needed.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::{
    LONG, adds_up,
    common::{Network, bytes, until},
    fails, field, piped,
};

/// The files of shards that a node keeps.
pub(crate) fn shard_files(folder: &Path) -> Vec<PathBuf> {
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
        assert!((2..shards.len()).all(|shard| !blamed(shard)), "no other node is: {got}");
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
