//! Purchases that cannot be made cost nothing.

use std::fs;

use super::{
    LONG, adds_up, belongings,
    common::{Network, bytes, units},
    fails, field,
};

#[test]
fn a_purchase_that_cannot_be_costs_nothing() {
    let mut network = Network::start(5, LONG);
    for who in ["seller", "buyer", "late"] {
        network.identity(who);
    }
    let ticket = network.ticket.clone();
    network.run(&format!("init --as poor --no-passphrase --ledger {ticket}")).ok();
    let path = network.file("data", 200_000, 1);
    fails(network.run(&format!("put {} --as poor --yes", path.display())), 9, "the account has 0");
    fails(network.run(&format!("put {} --as poor --yes --for 80000epochs", path.display())), 9, "");
    assert_eq!(network.run("ls --as poor").ok()["files"].as_array().unwrap().len(), 0);
    network.run(&format!("put {} --as seller --yes", path.display())).ok();
    let sale = network.run("sell data --price 7 --as seller --yes").ok();
    let listing = field(&sale, "listing");
    let out = network.folder.path().join("out");
    let before = belongings(&network, "buyer");
    let buy = |who: &str, limits: &str| {
        network.run(&format!("buy {listing} -o {} --as {who}{limits} --yes", out.display()))
    };
    let error = fails(buy("poor", ""), 9, "this costs 7 credits, the account has 0");
    assert!(field(&error, "hint").contains("faucet"), "{error}");
    fails(buy("buyer", " --max-price 6.999999999"), 2, "more than the 6.999999999 allowed");
    fs::write(&out, b"precious").unwrap();
    fails(buy("buyer", ""), 4, "already exists");
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    fs::remove_file(&out).unwrap();
    fails(network.run("buy 00000000 --as buyer --yes"), 3, "no listing begins with 00000000");
    fails(network.run(&format!("buy {} --as buyer --yes", "0".repeat(32))), 3, "no listing");
    fails(network.run("buy me --as buyer --yes"), 2, "not a listing");
    let stranger = network.run(&format!("market end {listing} --as late"));
    fails(stranger, 10, "the ledger refused");

    buy("buyer", "").ok();
    assert!(fs::read(&out).unwrap() == bytes(200_000, 1));
    fs::remove_file(&out).unwrap();
    network.run(&format!("market end {listing} --as seller")).ok();
    network.run(&format!("market end {listing} --as seller")).ok();
    fails(buy("late", ""), 10, "has ended");
    let error = fails(buy("poor", ""), 10, "has ended");
    assert!(field(&error, "hint").contains("market list"), "{error}");
    // What was bought before stays bought.
    assert_eq!(buy("buyer", "").ok()["outcome"], "already");
    assert_eq!(before.0 - network.balance("buyer"), units("7"));
    for who in ["late", "poor"] {
        let orders = network.run(&format!("orders --as {who}")).ok();
        assert_eq!(orders["orders"].as_array().unwrap().len(), 0, "{orders}");
    }
    assert_eq!(network.balance("poor"), 0);
    assert_eq!(network.balance("late"), network.balance("buyer") + units("7"));

    // A listing that cannot be delivered: the money stays in escrow until it comes back.
    fails(network.run("account send late 5 --as poor --yes"), 9, "");
    fails(
        network.run("account send stranger 5 --as late --yes"),
        3,
        "neither a recipient nor an identity",
    );
    let refused =
        "the ledger refused Transfer: to is the sender's own account, it must be another one";
    fails(network.run("account send late 5 --as late --yes"), 10, refused);
    for node in &mut network.nodes {
        node.kill();
    }
    fails(network.run(&format!("market preview {listing} --as late")), 7, "offline");
    adds_up(&network);
}
