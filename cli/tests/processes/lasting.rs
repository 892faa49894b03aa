//! Files that stay, with real processes: `renew` pays for longer, and `keep` replaces the shard of a node that died.

use crate::common::{Network, fails, units, until};
use serde_json::{Value, json};

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

#[test]
fn a_lost_shard_comes_back_while_its_owner_is_away() {
    let mut network = Network::start_with(6, "2s", " --caretaker");
    network.identity("owner");
    network.identity("watcher");
    let path = network.file("f", 300_000, 1);
    let put =
        format!("put {} f --scheme 2/3 --accept-risk --for 1h --as owner --yes", path.display());
    network.run(&put).ok();
    let victim = shards(&network)[1]["node"].clone();
    // From here on no program of the owner runs.
    let nodes = |network: &Network| {
        let status = network.run_until_ok("node status --as watcher");
        status["nodes"].as_array().unwrap().clone()
    };
    let holders = |network: &Network| {
        let holds = |node: &&Value| node["used"].as_u64() > Some(0) && node["node"] != victim;
        nodes(network).iter().filter(holds).count()
    };
    assert_eq!(holders(&network), 2);
    let server = network.nodes.iter_mut().find(|node| node.ready["node"] == victim).unwrap();
    server.kill();
    until("another node keeps its shard", || holders(&network) == 3);
    until("all of them prove", || {
        let all = nodes(&network);
        let mut live = all.iter().filter(|node| node["node"] != victim);
        live.all(|node| node["used"] == 0 || node["missed_in_row"] == 0 && node["proven"] != 0)
    });
    // The owner is back: the file is whole, and none of its shards is lost.
    let now = shards(&network);
    assert!(now.iter().all(|shard| shard["node"] != victim));
    let moved: Vec<&Value> = now.iter().filter(|shard| shard["moved"] == true).collect();
    assert!(moved.len() == 1 && moved[0]["index"] == 1, "{now:?}");
    owner_sees(&network, &victim);
    let out = network.folder.path().join("out");
    network.run(&format!("get f -o {} --as owner", out.display())).ok();
    assert_eq!(std::fs::read(out).unwrap(), std::fs::read(path).unwrap());
    network.run("verify f --deep --as owner").ok();
}

/// The owner sees what was repaired and by whom, takes the care back, and names caretakers again.
fn owner_sees(network: &Network, victim: &Value) {
    let status = network.run("status --as owner").ok();
    assert!(status["care"]["moved"].as_u64() >= Some(1), "{status}");
    let stat = network.run("stat f --history --as owner").ok();
    let events = stat["history"]["events"].as_array().unwrap();
    let what = |kind: &str| -> Vec<&Value> {
        let of_shard = events.iter().filter(|event| event["index"] == 1 && event["segment"] == 0);
        of_shard.filter(|event| event["what"] == kind).collect()
    };
    assert!(what("lost").iter().any(|event| event["node"] == *victim), "{events:?}");
    let (claimed, rebuilt) = (what("claimed"), what("rebuilt"));
    let caretakers = stat["segments"][0]["caretakers"].as_array().unwrap();
    assert!(!claimed.is_empty() && claimed.iter().all(|event| caretakers.contains(&event["node"])));
    let placed = rebuilt.last().unwrap();
    assert!(claimed.iter().any(|event| event["node"] == placed["by"]), "{events:?}");
    assert_eq!(placed["node"], stat["segments"][0]["shards"][1]["node"]);

    // The caretaker is paid when the new node has proven the shard, and sees that.
    let by = placed["by"].as_str().unwrap();
    until("the caretaker is paid", || {
        let earnings = network.run_until_ok(&format!("node earnings {by} --as owner"));
        let repairs = earnings["repairs"].as_array().unwrap().clone();
        let deal = &stat["segments"][0]["deal"];
        repairs.iter().any(|paid| paid["deal"] == *deal) && earnings["repaired"] != "0"
    });
    let number = network.nodes.iter().position(|node| node.ready["node"] == by).unwrap();
    let dir = network.folder.path().join(format!("node{number}"));
    let health = network.run(&format!("node status --dir {}", dir.display())).ok();
    assert!(health["care"]["claims"].is_array(), "{health}");

    let cared = |line: &str| network.run(&format!("care f {line}--as owner")).ok();
    let object = |document: &Value| document["objects"][0].clone();
    let off = cared("--off ");
    assert_eq!((&off["taken_back"], &object(&off)["cared"]), (&json!(1), &json!(0)));
    network.run("keep --once --for 1h --as owner --yes").ok();
    let still = cared("");
    assert_eq!((&object(&still)["wanted"], &object(&still)["cared"]), (&json!(false), &json!(0)));
    let on = cared("--on ");
    assert_eq!((&on["new"], &object(&on)["cared"]), (&json!(1), &json!(1)));
}

#[test]
fn what_is_marked_is_renewed_within_the_agreed_limit() {
    let network = Network::start(5, "2s");
    network.identity("owner");
    for (seed, name) in [(1, "f"), (2, "g")] {
        let path = network.file(name, 100_000, seed);
        network.run(&format!("put {} --for 10epochs --as owner --yes", path.display())).ok();
    }
    let other =
        || network.run("stat g --as owner").ok()["segments"][0]["end_epoch"].as_u64().unwrap();
    let paid_until = other();
    let mark = "renew f --for 10epochs --auto --as owner --yes";
    fails(network.run(mark), 2, "--auto needs a limit");
    network.run(&format!("{mark} --max-monthly 0.000000001")).ok();
    let agreed = || network.run("status --as owner").ok()["agreed"].clone();
    assert_eq!((&agreed()["names"], &agreed()["left"]), (&json!(["f"]), &json!("0.000000001")));
    let keep = || network.run("keep --once --as owner").ok();
    until("half of its term is over, and the limit does not suffice", || {
        keep()["unpaid"] == json!(1)
    });
    let ended = end(&network);
    let kept = keep();
    assert!(0 < units(kept["rest"].as_str().unwrap()), "{kept}");
    assert_eq!((end(&network), &agreed()["left"]), (ended, &json!("0.000000001")));
    // What is renewed now was agreed to now: it does not count.
    network.run(&format!("{mark} --max-monthly 5")).ok();
    let ended = end(&network);
    assert_eq!(agreed()["left"], json!("5"));
    let started = network.run("keep --detach --as owner").ok();
    assert!(started["pid"].is_u64(), "{started}");
    fails(network.run("keep --as owner"), 13, "keeps the files of this identity already");
    until("it was renewed in the background", || ended < end(&network));
    let spent = units("5") - units(agreed()["left"].as_str().unwrap());
    assert!(0 < spent && spent < units("5"), "{spent}");
    assert_eq!(network.run("keep --stop --as owner").ok()["forced"], false);
    fails(network.run("keep --stop --as owner"), 3, "no process keeps");
    assert_eq!(other(), paid_until, "it was not marked");
    network.run("mv f moved --as owner").ok();
    assert_eq!(agreed()["names"], json!(["moved"]));
    let unmarked = network.run("renew moved --no-auto --as owner").ok();
    assert_eq!((&unmarked["marks"], &unmarked["agreed"]["names"]), (&json!(1), &json!([])));
    network.run("renew moved --for 10epochs --auto --as owner --yes").ok();
    network.run("rm moved --yes --as owner").ok();
    assert_eq!(agreed()["names"], json!([]), "what has that name later is another file");
}
