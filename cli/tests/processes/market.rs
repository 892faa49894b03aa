//! What sellers and buyers rely on, with real processes: what cannot be is refused before it costs anything,
//! by name, and what was said is what is paid.

use std::fs;

use crate::common::{Network, bytes, fails, units};
use serde_json::Value;

/// An epoch that does not end during a test.
const LONG: &str = "1h";

fn all(network: &Network, who: &str) -> Value {
    network.run(&format!("ls --all --as {who}")).ok()["files"].clone()
}

#[test]
fn what_cannot_be_listed_costs_nothing_and_the_field_is_named() {
    let network = Network::start(5, LONG);
    network.identity("seller");
    let path = network.file("data", 200_000, 1);
    network.run(&format!("put {} --for 20h --as seller --yes", path.display())).ok();
    let before = (network.balance("seller"), all(&network, "seller"));
    let sell = |more: &str| network.run(&format!("sell data --price 7 --as seller --yes{more}"));
    let long = "t".repeat(121);
    for (more, says) in [
        (" --window 6s", "window is 6s, its range is 1m to"),
        (" --window 366d", "window is 366d"),
        (" --access 0s", "access is 0 ms"),
        (" --access 21h", "is not stored for that long"),
        (&format!(" --title {long}"), "title_bytes is 121, its range is 1 to 120"),
        (" --for 999999epochs", "epochs is 999999, its range is 1 to 87600"),
        (" --max-cost 0", "more than the 0 allowed"),
    ] {
        fails(sell(more), 2, says);
        assert_eq!((network.balance("seller"), all(&network, "seller")), before, "{more}");
    }
    let refused = network.run("sell data --price 7 --split seller:0 --as seller --yes");
    fails(refused, 2, "split_bp is 0, its range is 1 to 10000");
    let put = format!("put {} new --for 999999epochs --as seller --yes", path.display());
    fails(network.run(&put), 2, "epochs is 999999");
    assert_eq!((network.balance("seller"), all(&network, "seller")), before);

    // Half of what the file is paid for is sold, and the other half is there to sell it in.
    let listed = sell("").ok();
    assert_eq!(listed["access_ms"], 10 * 3_600_000, "{listed}");
    let paid = before.0 - network.balance("seller");
    let of = |field: &str| units(listed[field].as_str().unwrap());
    assert_eq!((paid, of("bond")), (of("cost") + of("bond"), units("7")));
    assert_eq!(sell("").ok()["outcome"], "already");
    for more in [" --access 5h", " --window 1h", " --description new", " --preview 0"] {
        fails(sell(more), 4, "other terms");
    }
}

#[test]
fn a_longer_term_is_shown_to_the_ledger_so_that_the_sale_goes_on() {
    let network = Network::start(5, LONG);
    network.identity("seller");
    network.identity("buyer");
    let path = network.file("data", 200_000, 1);
    network.run(&format!("put {} --for 20h --as seller --yes", path.display())).ok();
    let sold = network.run("sell data --price 7 --access 15h --as seller --yes").ok();
    let listing = sold["listing"].as_str().unwrap();
    let covered = || {
        let shown = network.run(&format!("market show {listing} --as buyer")).ok();
        shown["covered_until_ms"].as_u64().unwrap()
    };
    let before = covered();
    assert_eq!(sold["covered_until_ms"], before, "{sold}");
    network.run("renew data --for 60h --as seller --yes").ok();
    assert!(before + 39 * 3_600_000 <= covered(), "{before} {}", covered());
    let bought = network.run(&format!("buy {listing} --as buyer --yes")).ok();
    assert_eq!(bought["checks"]["covered_until_ms"], covered(), "{bought}");
}

#[test]
fn a_target_that_cannot_be_written_is_known_before_it_is_paid_for() {
    let network = Network::start(5, LONG);
    network.identity("seller");
    network.identity("buyer");
    let path = network.file("data", 200_000, 1);
    network.run(&format!("put {} --for 20h --as seller --yes", path.display())).ok();
    let sale = network.run("sell data --price 7 --as seller --yes").ok();
    let listing = sale["listing"].as_str().unwrap();
    let before = network.balance("buyer");
    let folder = network.folder.path().display().to_string();
    let buy = |to: &str| network.run(&format!("buy {listing} -o {to} --as buyer --yes"));
    fails(buy(&format!("{folder}/none/out")), 3, "no such file or folder");
    fails(buy(&folder), 4, "");
    assert_eq!(network.balance("buyer"), before);
    let orders = network.run("orders --as buyer").ok();
    assert_eq!(orders["orders"].as_array().unwrap().len(), 0, "{orders}");

    let out = format!("{folder}/out");
    buy(&out).ok();
    assert!(fs::read(&out).unwrap() == bytes(200_000, 1));
    // Removing says what it breaks, and ends the listing.
    let gone = network.run("rm data --as seller --yes").ok();
    assert_eq!((&gone["listings"], &gone["buyers"]), (&serde_json::json!([listing]), &1.into()));
    network.identity("late");
    let late = network.run(&format!("buy {listing} --as late --yes"));
    fails(late, 10, "has ended");
}
