//! Promises about time, with real processes: what is asked for is kept or refused, and what is over looks over.

use std::fs;

use crate::common::{Network, bytes, fails, units, until};

/// An epoch that does not end during a test.
const LONG: &str = "1h";

fn end(network: &Network, name: &str) -> u64 {
    let stat = network.run(&format!("stat {name} --as owner")).ok();
    let ends = stat["segments"].as_array().unwrap().iter();
    ends.map(|segment| segment["end_epoch"].as_u64().unwrap()).min().unwrap()
}

#[test]
fn a_longer_term_is_kept_or_refused() {
    let network = Network::start(5, LONG);
    network.identity("owner");
    network.identity("bob");
    let path = network.file("f", 200_000, 1);
    let put = |more: &str| {
        network.run(format!("put {} --as owner --yes {more}", path.display()).trim_end())
    };
    let first = put("--for 10epochs --keep 2").ok();
    assert_eq!((&first["outcome"], end(&network, "f")), (&"stored".into(), 11));
    assert_eq!(put("--for 10epochs").ok()["outcome"], "already");
    let before = network.balance("owner");
    fails(put("--for 1000epochs --max-cost 0.0000001"), 2, "more than the 0.0000001 allowed");
    assert_eq!((network.balance("owner"), end(&network, "f")), (before, 11), "nothing was changed");

    let deal =
        |network: &Network| network.run("stat f --as owner").ok()["segments"][0]["deal"].clone();
    let same = deal(&network);
    let longer = put("--for 1000epochs").ok();
    assert_eq!((&longer["outcome"], end(&network, "f")), (&"renewed".into(), 1001));
    assert_eq!(deal(&network), same, "no byte is sent again");
    assert!(before - network.balance("owner") <= units(longer["cost"].as_str().unwrap()));
    let versions = network.run("versions f --as owner").ok();
    assert_eq!(versions["versions"].as_array().unwrap().len(), 1, "it is no other version");
    // The term is within a tenth of the one asked for. A file whose term was not asked for is not stored again
    // every day.
    for more in ["--for 1000epochs", "--for 1100epochs", "--for 10epochs", ""] {
        assert_eq!(put(more).ok()["outcome"], "already", "{more}");
    }

    // A grant promises no longer than the file is stored. A longer term does not end it.

    let share = |until: &str| network.run(&format!("share f --to bob --until {until} --as owner"));
    fails(share("1002h"), 2, "is not stored for that long");
    let grant = share("500h").ok()["grant"].as_str().unwrap().to_owned();
    assert_eq!(put("--for 2000epochs").ok()["outcome"], "renewed");
    // Nodes agree to their prices for a year. Beyond that a file is stored anew, which ends grants.
    fails(put("--for 9900epochs"), 4, "ends sooner than asked");
    assert_eq!((end(&network, "f"), deal(&network)), (2001, same));
    let out = network.folder.path().join("out").display().to_string();
    network.run(&format!("get {grant} -o {out} --as bob")).ok();
    assert_eq!(put("--for 9900epochs --replace").ok()["outcome"], "stored");
    assert_eq!(end(&network, "f"), 9901);
}

#[test]
fn a_folder_that_ends_too_soon_is_paid_for_longer_or_named() {
    let mut network = Network::start(5, LONG);
    network.identity("owner");
    network.identity("bob");
    let folder = network.folder.path().join("dir");
    fs::create_dir(&folder).unwrap();
    for (name, length) in [("a", 1_000), ("b", 2_000), ("large", 3_000_000)] {
        fs::write(folder.join(name), bytes(length, 3)).unwrap();
    }
    let line = format!("put {} dir --as owner --yes", folder.display());
    let put = |network: &Network, more: &str| network.run(&format!("{line} {more}"));
    put(&network, "--for 10epochs").ok();
    assert_eq!(put(&network, "--for 10epochs").ok()["outcome"], "already");
    // A dry run changes nothing, and publishes nothing that was pending.
    network.ledger.kill();
    network.run("mv dir/a dir/c --as owner").ok();
    let home = network.home();
    network.ledger.kill_and_restart(&home);
    let pending = |network: &Network| {
        network.run_until_ok("status --as owner")["index"]["unpublished"].as_u64().unwrap()
    };
    let waiting = pending(&network);
    assert!(waiting > 0);
    for line in [
        format!("{line} --for 100epochs --dry-run"),
        format!("sync {} :dir --for 100epochs --dry-run --as owner", folder.display()),
    ] {
        let dry = network.run_until_ok(&line);
        assert_eq!((dry["longer"].as_u64(), dry["files"].as_u64()), (Some(2), Some(1)), "{dry}");
        assert_eq!((pending(&network), end(&network, "dir/large")), (waiting, 11));
    }
    network.run("mv dir/c dir/a --as owner").ok();

    let before = network.balance("owner");
    fails(put(&network, "--for 100epochs --max-cost 0.0000001"), 2, "allowed");
    assert_eq!(network.balance("owner"), before);
    let anew = put(&network, "--for 100epochs").ok();
    assert_eq!((&anew["longer"], &anew["unchanged"]), (&3.into(), &0.into()), "{anew}");
    assert_eq!((&anew["files"], &anew["renewed"]), (&0.into(), &0.into()), "{anew}");
    assert!(["dir/a", "dir/b", "dir/large"].iter().all(|name| end(&network, name) == 101));
    assert_eq!(put(&network, "--for 100epochs").ok()["outcome"], "already");

    // Nodes agree for a year. Beyond that, files that another person may read are named, and the rest is stored anew.
    network.run("share dir/large --to bob --until 50h --as owner").ok();
    let named = fails(put(&network, "--for 9900epochs"), 15, "ends sooner than asked");
    let faults = named["details"]["faults"].as_array().unwrap();
    assert_eq!((faults.len(), &faults[0]["path"]), (1, &"large".into()), "{named}");
    assert_eq!((end(&network, "dir/large"), end(&network, "dir/a")), (101, 9901));
    put(&network, "--for 9900epochs --replace").ok();
    assert_eq!(end(&network, "dir/large"), 9901);
}

#[test]
fn what_is_over_looks_over() {
    let network = Network::start(5, "2s --delivery 1s --window-min 1s");
    for who in ["owner", "buyer", "bob"] {
        network.identity(who);
    }
    let path = network.file("f", 200_000, 1);
    network.run(&format!("put {} --for 12epochs --as owner --yes", path.display())).ok();
    let file = |network: &Network| network.run("ls --as owner").ok()["files"][0].clone();
    assert_eq!(file(&network)["over"], false);
    let sale = network.run("sell f --price 1 --access 3s --window 1s --as owner --yes").ok();
    let listing = sale["listing"].as_str().unwrap();
    until("its deal is completed", || {
        let stat = network.run("stat f --as owner").ok();
        stat["segments"][0]["state"] == "completed"
    });
    let out = network.folder.path().join("out").display().to_string();
    let get = || network.run(&format!("get f -o {out} --replace --as owner"));
    let range = || network.run(&format!("get f --range 0..10 -o {out} --replace --as owner"));
    // They delete it one after another, each when its last window ends.
    until("its nodes have deleted it", || range().code != Some(0) && get().code != Some(0));
    let error = fails(get(), 3, "is over");
    assert!(error["message"].as_str().unwrap().contains("since 20"), "{error}");
    assert!(!error["hint"].as_str().unwrap().contains("away"), "{error}");
    fails(range(), 3, "is over");
    fails(network.run("verify f --as owner"), 3, "is over");
    let all = fails(network.run("verify * --as owner"), 7, "1 file cannot be read: f");
    assert!(all["hint"].as_str().unwrap().contains("time is over"), "{all}");
    assert_eq!(all["details"]["over"], serde_json::json!(["f"]));
    fails(network.run("share f --to bob --as owner"), 3, "is over");
    assert_eq!(file(&network)["over"], true);
    let status = network.run("status --as owner").ok();
    assert_eq!((&status["files"]["count"], &status["files"]["over"]), (&1.into(), &1.into()));

    let shown = network.run("market list --as buyer").ok();
    assert_eq!(shown["listings"], serde_json::json!([]), "what cannot be bought is not offered");
    let shown = network.run("market list --ended --as buyer").ok()["listings"][0].clone();
    assert_eq!((&shown["state"], &shown["over"]), (&"open".into(), &true.into()), "{shown}");
    let before = network.balance("buyer");
    fails(network.run(&format!("buy {listing} --as buyer --yes")), 3, "not stored any more");
    assert_eq!(network.balance("buyer"), before);
}
