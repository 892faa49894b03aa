//! Vaults and custodians, with real processes: custodians are killed and replaced while an order runs, silent ones pay, and a
//! seller's own nodes are custodians in plain sight or not at all. Sellers are commands that have ended: no machine of theirs is
//! there when it is bought.

use serde_json::Value;

use crate::common::{Network, Server, bytes, fails, until, words};

/// An epoch that does not end during a test.
const LONG: &str = "1h";

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// Lists a file of the seller, which all nodes keep.
fn sell(network: &Network, (name, scheme): (&str, &str)) -> (String, Value) {
    let path = network.file(name, 200_000, 1);
    let put = format!("put {} --scheme {scheme} --for 20h --as seller --yes", path.display());
    network.run(&put).ok();
    let sold = network.run(&format!("sell {name} --price 7 --preview 0 --as seller --yes")).ok();
    (sold["listing"].as_str().unwrap().to_owned(), sold)
}

fn number_of(network: &Network, node: &str) -> usize {
    network.nodes.iter().position(|one| one.ready["node"] == node).unwrap()
}

fn buy(network: &Network, listing: &str, who: &str) -> String {
    let to = network.folder.path().join(format!("bought by {who}").replace(' ', "-"));
    format!("buy {listing} -o {} --as {who} --yes", to.display())
}

/// Whether a buyer has the file.
fn has(network: &Network, who: &str) -> bool {
    let to = network.folder.path().join(format!("bought by {who}").replace(' ', "-"));
    std::fs::read(to).is_ok_and(|read| read == bytes(200_000, 1))
}

fn vault(network: &Network) -> Value {
    network.run("vault status --as seller").ok()["vault"].clone()
}

#[test]
fn killed_custodians_are_replaced_while_an_order_runs() {
    let mut network = Network::start(8, LONG);
    network.identity("seller");
    network.identity("buyer");
    assert_eq!(vault(&network), Value::Null);
    fails(network.run("vault rotate --as seller --yes"), 3, "has no vault");
    let left_out = network.nodes[0].ready["node"].as_str().unwrap().to_owned();
    let create = format!("vault create --without {left_out} --as seller --yes");
    let created = network.run(&create).ok();
    assert_eq!(
        (&created["outcome"], &created["vault"]["threshold"]),
        (&"created".into(), &3.into())
    );
    assert_eq!(network.run(&create).ok()["outcome"], "already");
    let (listing, sold) = sell(&network, ("goods", "2/8"));
    let first = ids(&sold["custodians"]);
    assert!(first.len() == 5 && !first.contains(&left_out));
    assert_eq!(network.run("vault rotate --as seller --yes").ok()["outcome"], "kept");

    // One more than may be lost: the order is paid, and its key is not delivered.
    for node in &first[..3] {
        let number = number_of(&network, node);
        network.nodes[number].kill();
    }
    let before = network.balance("buyer");
    let buying = network.spawn(&buy(&network, &listing, "buyer"));
    until("it is paid", || network.balance("buyer") < before);
    let status = vault(&network);
    assert_eq!((&status["answering"], &status["dealing"]), (&2.into(), &1.into()), "{status}");
    // A rotation that is killed on its way is run again.
    for _ in 0..3 {
        network.spawn("vault rotate --as seller --yes").kill();
    }
    let rotated = network.run("vault rotate --as seller --yes").ok();
    let after = vault(&network);
    assert_eq!(after["answering"], 5, "{rotated}");
    let now: Vec<String> = ids(&after["custodians"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["node"].clone())
        .collect());
    assert!(first[..3].iter().all(|node| !now.contains(node)), "the lost ones are replaced");
    assert!(first[3..].iter().all(|node| now.contains(node)), "those that are there stay");
    assert!(2 <= after["dealing"].as_u64().unwrap());
    let bought = buying.finish().ok();
    assert!(has(&network, "buyer"), "{bought}");
    until("the seller is paid", || {
        network.run("orders --as seller").ok()["orders"][0]["state"] == "settled"
    });
    assert_eq!(network.run("ledger status").ok()["money"]["adds_up"], true);
    let shown = network.run(&format!("market show {listing} --as buyer")).ok();
    assert_eq!(shown["custody"], serde_json::json!({"custodians": 5, "threshold": 3, "own": 0}));
}

#[test]
fn silent_custodians_pay_when_the_buyer_is_refunded() {
    let rules = " --delivery 20s --silence-penalty 1000";
    let mut network = Network::start_ruled(8, LONG, ("", rules));
    for who in ["seller", "buyer", "another"] {
        network.identity(who);
    }
    let (listing, sold) = sell(&network, ("goods", "2/6"));
    let custodians = ids(&sold["custodians"]);
    for node in &custodians {
        let number = number_of(&network, node);
        let dir = network.folder.path().join(format!("node{number}")).display().to_string();
        network.run(&format!("account send {node} 10 --as another --yes")).ok();
        network.run(&format!("node stake --dir {dir} 10")).ok();
    }
    let collateral = |network: &Network| -> Vec<Value> {
        let nodes = network.run("node status").ok()["nodes"].clone();
        let of = |node: &String| {
            let row = nodes.as_array().unwrap().iter().find(|row| row["node"] == node.as_str());
            row.unwrap()["collateral"].clone()
        };
        custodians.iter().map(of).collect()
    };
    // As many as may be lost: it is bought all the same.
    for node in &custodians[..2] {
        let number = number_of(&network, node);
        network.nodes[number].kill();
    }
    network.run(&buy(&network, &listing, "buyer")).ok();
    assert!(has(&network, "buyer"));
    // One more: the money comes back by itself, and those who kept silent pay.
    let number = number_of(&network, &custodians[2]);
    network.nodes[number].kill();
    let before = network.balance("another");
    fails(network.run(&buy(&network, &listing, "another")), 5, "refunded");
    assert_eq!(network.balance("another"), before);
    assert_eq!(collateral(&network), ["9", "9", "9", "10", "10"]);
    let money = network.run("ledger status").ok()["money"].clone();
    assert_eq!((&money["repair"], &money["adds_up"]), (&"3".into(), &true.into()), "{money}");
    // The first order was delivered without them, and costs them nothing.
    let orders = network.run("orders --as buyer").ok()["orders"].clone();
    assert_eq!(orders[0]["state"], "settled", "{orders}");
}

#[test]
fn a_sellers_own_nodes_are_custodians_in_plain_sight_or_not_at_all() {
    let mut network = Network::start(2, LONG);
    for who in ["seller", "buyer", "plain"] {
        network.identity(who);
    }
    for number in 2..4 {
        let dir = network.folder.path().join(format!("node{number}")).display().to_string();
        let line = format!(
            "node run --ledger {} --capacity 2GiB --price 0.0001/epoch --dir {dir} --payout seller",
            network.ticket
        );
        network.nodes.push(Server::start(&network.home(), words(&line)));
    }
    let own = network.nodes[2].ready["node"].as_str().unwrap().to_owned();
    let named = format!("vault create --custodian {own} --as seller --yes");
    fails(network.run(&named), 2, "seller's own");
    // Another seller's vault takes all four, and has none of its own.
    let theirs = network.run("vault create --as plain --yes").ok()["vault"].clone();
    assert_eq!((&theirs["own"], theirs["custodians"].as_array().unwrap().len()), (&0.into(), 4));
    let created = network.run("vault create --own --as seller --yes").ok()["vault"].clone();
    assert_eq!((&created["own"], &created["threshold"]), (&2.into(), &2.into()), "{created}");

    let (listing, _) = sell(&network, ("goods", "2/4"));
    let shown = network.run(&format!("market show {listing} --as buyer")).ok();
    assert_eq!(shown["own_custodians"], true);
    assert_eq!(shown["custody"], serde_json::json!({"custodians": 4, "threshold": 2, "own": 2}));
    let said = network.run_plain(&format!("market show {listing} --as buyer"));
    assert!(said.contains("2 of 4 custodians are run by the seller"), "{said}");
    let bought = network.run_for_people(&buy(&network, &listing, "buyer"));
    assert!(bought.error.contains("2 of 4 custodians are run by the seller"), "{}", bought.error);
    assert!(has(&network, "buyer"));
    // Without them it stays without.
    let without = "vault rotate --without {own} --as seller --yes".replace("{own}", &own);
    let other = network.nodes[3].ready["node"].as_str().unwrap().to_owned();
    let rotated = network.run(&format!("{without} --without {other}")).ok();
    assert_eq!(rotated["vault"]["own"], 0, "{rotated}");
    fails(network.run("vault rotate --own --anew --as seller --yes"), 2, "seller's own");
}
