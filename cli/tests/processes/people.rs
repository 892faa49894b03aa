//! What people rely on, with real processes: progress that can be read, Ctrl-C that leaves something to
//! go on from, previews, a stat and a deep check that tell the truth, and ranges.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant, UNIX_EPOCH},
};

use crate::common::{Done, HANG, Network, Running, bytes, moves, plain, until, words};
use rustix::process::Signal;
use serde_json::Value;

/// An epoch that does not end during a test.
const LONG: &str = "1h";

const CELL: usize = 65_536;

/// Runs without `--json`: what is printed when neither stream is a terminal.
fn spoken(network: &Network, line: &str) -> Done {
    Running::start(plain(&network.home(), &words(line))).finish()
}

fn interrupted(done: &Done, says: &str) {
    assert_eq!(done.code, Some(130), "{}", String::from_utf8_lossy(&done.out));
    let error = serde_json::from_slice::<Value>(&done.out).unwrap()["error"].clone();
    assert_eq!(error["kind"], "interrupted", "{error}");
    assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("again"), "{error}");
}

#[test]
fn ctrl_c_leaves_something_to_go_on_from() {
    let length = 60_000_000;
    let network = Network::start(8, LONG);
    network.identity("owner");
    let path = network.file("big", length, 1);
    let before = network.balance("owner");
    let line = format!("put {} big --for 2h --as owner --yes", path.display());
    for signal in [Signal::INT, Signal::TERM] {
        let mut put = network.watched(&line);
        put.wait_for(moves);
        put.signal(signal);
        interrupted(&put.finish().0, "put stopped at");
        assert_eq!(network.run("ls --as owner").ok()["files"], serde_json::json!([]));
    }
    let end = Instant::now() + HANG;
    let (stored, events) = loop {
        let (done, events) = network.watched(&line).finish();
        // 7: on a machine that is very busy nodes may be too slow to take a shard.
        if done.code != Some(7) || end < Instant::now() {
            break (done.ok(), events);
        }
    };
    assert_eq!(stored["outcome"], "resumed", "{stored}");
    let last = events.iter().rev().find(|event| event["event"] == "progress").unwrap();
    assert_eq!((&last["done"], &last["total"]), (&stored["length"], &stored["length"]), "{last}");
    let cost = crate::common::units(stored["cost"].as_str().unwrap());
    assert_eq!(before - network.balance("owner"), cost, "paid once");

    let out = network.folder.path().join("out");
    let line = format!("get big -o {} --as owner", out.display());
    let mut get = network.watched(&line);
    get.wait_for(moves);
    get.signal(Signal::INT);
    interrupted(&get.finish().0, "get stopped at");
    assert!(!out.exists(), "nothing half is at the name");
    let got = network.run(&line).ok();
    assert!(got["kept"].as_u64() > Some(0), "{got}");
    assert!(fs::read(&out).unwrap() == bytes(length, 1));
}

/// The folder of the node with this id.
fn folder_of(network: &Network, node: &Value) -> PathBuf {
    let number = network.nodes.iter().position(|server| server.ready["node"] == *node).unwrap();
    network.folder.path().join(format!("node{number}"))
}

/// The only shard file of a node.
fn shard_file(node: &Path) -> PathBuf {
    let folders = fs::read_dir(node.join("shards")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn stat_verify_and_ranges_tell_the_truth() {
    let length = 70_000_000;
    let network = Network::start(8, LONG);
    network.identity("owner");
    let path = network.file("file", length, 2);
    network.run_until_ok(&format!("put {} file --for 2h --as owner --yes", path.display()));

    let stat = network.run("stat file --as owner").ok();
    let segment = &stat["segments"][0];
    let shards = segment["shards"].as_array().unwrap();
    // One slow node may have been left out.
    let absent = segment["absent"].as_array().unwrap();
    assert!(shards.len() >= 7 && shards.len() + absent.len() == 8, "{segment}");
    assert!(shards.iter().all(|shard| shard["health"] == "new"), "{segment}");
    assert!(segment["paid_until_ms"].as_u64() > stat["stored_ms"].as_u64());
    assert_eq!(stat["content_root"].as_str().unwrap().len(), 64);

    let well = network.run("verify file --deep --as owner").ok();
    let cells = well["checked_cells"].as_u64().unwrap();
    assert!(
        cells > 1_800 && well["shards"].as_array().unwrap().iter().all(|one| one["well"] == true)
    );

    // One cell among thousands, turned on the disk of a node that runs.
    let victim = &shards[5];
    let offset = 100 * CELL as u64 + 17;
    let file = shard_file(&folder_of(&network, &victim["node"]));
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
    let done = network.run("verify file --deep --as owner");
    assert_eq!(done.code, Some(15));
    let found = serde_json::from_slice::<Value>(&done.out).unwrap()["error"]["details"].clone();
    assert!(found["checked_cells"].as_u64().unwrap() < cells, "the node serves no more of it");
    let shards = found["shards"].as_array().unwrap();
    let sick: Vec<_> = shards.iter().filter(|shard| shard["well"] == false).collect();
    assert_eq!(sick.len(), 1, "{found}");
    assert_eq!((&sick[0]["index"], &sick[0]["node"]), (&victim["index"], &victim["node"]));
    assert!(sick[0]["fault"].as_str().unwrap().contains("Damaged"), "{found}");

    let data = bytes(length, 2);
    let out = network.folder.path().join("part");
    let last = length - (1 << 20);
    for (range, from, to) in [
        ("1MiB-2MiB", 1 << 20, 2 << 20),
        ("0..1", 0, 1),
        ("65519-65521", 65_519, 65_521),
        ("-1MiB", last, length),
        ("69999000-", 69_999_000, length),
        ("5000000..9000000", 5_000_000, 9_000_000),
    ] {
        let line = format!("get file --range {range} -o {} --replace --as owner", out.display());
        network.run(&line).ok();
        assert!(fs::read(&out).unwrap() == data[from..to], "{range}");
    }
    let line = format!("get file --range 1-80MB -o {} --replace --as owner", out.display());
    assert_eq!(network.run(&line).code, Some(2), "the file ends before that");

    // Quiet is quiet, also where there is something to say.
    let line = format!("get file -o {} --replace --quiet --as owner", out.display());
    let done = spoken(&network, &line);
    assert_eq!((done.code, done.error.as_str()), (Some(0), ""));
    assert!(done.out.is_empty());
}

/// Asks how the file does until it is as it should be.
#[track_caller]
fn stat_until(network: &Network, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
    let mut stat = Value::Null;
    until(what, || {
        stat = network.run("stat file --as owner").ok();
        reached(&stat)
    });
    stat
}

#[test]
fn stat_says_who_proves_and_who_does_not() {
    let mut network = Network::start(3, "3s");
    network.identity("owner");
    let path = network.file("file", 200_000, 4);
    network.run(&format!("put {} file --for 1h --as owner --yes", path.display())).ok();
    let health = |stat: &Value, node: &Value| {
        let shards = stat["segments"][0]["shards"].as_array().unwrap().iter();
        let shard = shards.clone().find(|shard| shard["node"] == *node).unwrap();
        shard["health"].as_str().unwrap().to_owned()
    };
    let ids: Vec<Value> = network.nodes.iter().map(|node| node.ready["node"].clone()).collect();
    let stat = stat_until(&network, "all are proven", |stat| {
        ids.iter().all(|id| health(stat, id) == "proven")
    });
    for shard in stat["segments"][0]["shards"].as_array().unwrap() {
        let (epoch, ms) = (shard["last_proof_epoch"].as_u64(), shard["last_proof_ms"].as_u64());
        assert!(
            epoch.is_some() && stat["stored_ms"].as_u64() < ms.map(|ms| ms + 60_000),
            "{shard}"
        );
    }
    network.nodes[1].kill();
    let stat = stat_until(&network, "one misses", |stat| health(stat, &ids[1]) == "missed");
    assert_eq!(stat["segments"][0]["healthy"], 2, "{stat}");
    let spoken = String::from_utf8(spoken(&network, "stat file --as owner").out).unwrap();
    assert!(spoken.contains("missed ") && spoken.contains("2 of 3 shards"), "{spoken}");
}

#[test]
fn a_preview_says_what_and_how_sure() {
    let network = Network::start(3, LONG);
    network.identity("owner");
    let path = network.file("file", 1_000_000, 3);
    let put = format!("put {} file --as owner", path.display());
    let quote = network.run(&format!("{put} --for 60d --dry-run")).ok();
    assert_eq!(quote["scheme"], serde_json::json!({ "required": 2, "total": 3 }));
    let money = |name: &str| crate::common::units(quote["cost"][name].as_str().unwrap());
    assert!(money("total").abs_diff(2 * money("month")) <= money("total") / 1000, "{quote}");
    let durability = &quote["durability"];
    let number = |name: &str| durability[name].as_f64().unwrap();
    assert_eq!((&durability["safe"], &durability["history_epochs"]), (&true.into(), &0.into()));
    assert!(number("unavailable") <= number("unavailable_at_repair"), "{quote}");
    assert!(number("loss") > 0.0 && number("loss") < 0.05, "{quote}");
    let spoken = String::from_utf8(spoken(&network, &format!("{put} --dry-run")).out).unwrap();
    assert!(spoken.contains("not enough history (0 epochs)"), "{spoken}");

    // Nothing to spare is refused, unless it is wanted so; more shards than nodes cannot be.
    let refused = network.run(&format!("{put} --scheme 3/3 --yes"));
    assert_eq!(refused.code, Some(7));
    let error = serde_json::from_slice::<Value>(&refused.out).unwrap()["error"].clone();
    assert!(error["hint"].as_str().unwrap().contains("--accept-risk"), "{error}");
    assert_eq!(error["details"]["durability"]["safe"], false);
    assert_eq!(network.run(&format!("{put} --scheme 4/8 --yes")).code, Some(7));
    assert_eq!(network.run(&format!("{put} --scheme 4 --yes")).code, Some(2));
    let stored = network.run(&format!("{put} --scheme 3/3 --accept-risk --yes")).ok();
    assert_eq!(stored["scheme"], serde_json::json!({ "required": 3, "total": 3 }));
}

/// Permissions and time of a single file come back too, and it goes into a folder, under any name, but never
/// through a link or over what is there.
#[test]
fn a_single_file_comes_back_as_it_was() {
    let network = Network::start(3, "5s");
    network.identity("owner");
    let folder = network.folder.path();
    let (time, there) =
        (UNIX_EPOCH + Duration::new(1_600_000_000, 987_654_321), folder.join("there"));
    fs::create_dir(&there).unwrap();
    let long = "n".repeat(250);
    let own = folder.join("own");
    fs::create_dir(&own).unwrap();
    for (name, length) in [("large", 3_000_000), (long.as_str(), 100_000), ("empty", 0)] {
        let path = own.join(name);
        fs::write(&path, bytes(length, 5)).unwrap();
        let file = fs::File::options().append(true).open(&path).unwrap();
        file.set_permissions(Permissions::from_mode(0o640)).unwrap();
        file.set_modified(time).unwrap();
        // One alone, and one that shares a pack.
        network.run(&format!("put {} {name} --for 1h --as owner --yes", path.display())).ok();
    }
    network.run(&format!("put {} packed --for 1h --as owner --yes", own.display())).ok();
    for name in ["large", &long, "empty"] {
        for stored in [name.to_owned(), format!("packed/{name}")] {
            let line = format!("get {stored} -o {} --replace --as owner", there.display());
            network.run(&line).ok();
            let path = there.join(name);
            let about = fs::metadata(&path).unwrap();
            assert_eq!(about.permissions().mode() & 0o777, 0o640, "{stored}");
            assert_eq!(about.modified().unwrap(), time, "{stored}");
            assert!(fs::read(&path).unwrap() == fs::read(own.join(name)).unwrap(), "{stored}");
        }
    }
    assert_eq!(fs::read_dir(&there).unwrap().count(), 3, "nothing is left beside them");
    // What is there is not written to, a link is not written through.
    let (out, theirs) = (folder.join("out"), folder.join("theirs"));
    fs::write(&theirs, b"theirs").unwrap();
    let get = |more: &str| network.run(&format!("get large -o {} --as owner{more}", out.display()));
    symlink(&theirs, &out).unwrap();
    assert_eq!(get("").code, Some(4));
    fs::remove_file(&out).unwrap();
    symlink(folder.join("nowhere"), &out).unwrap();
    assert_eq!(get("").code, Some(4), "a link to nothing is something too");
    fs::remove_file(&out).unwrap();
    symlink(&theirs, folder.join("out.symbolon-part")).unwrap();
    assert_eq!(get("").code, Some(11));
    fs::remove_file(folder.join("out.symbolon-part")).unwrap();
    symlink(&theirs, &out).unwrap();
    get(" --replace").ok();
    assert!(fs::read(&out).unwrap() == bytes(3_000_000, 5));
    assert!(!fs::symlink_metadata(&out).unwrap().is_symlink());
    assert_eq!(fs::read(&theirs).unwrap(), b"theirs");
}
