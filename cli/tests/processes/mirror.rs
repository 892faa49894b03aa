//! A mirror as its operator runs it, with real processes: others ask it, it is killed, and its ledger is away.

use crate::common::{Network, Server, fails, words};

#[test]
fn a_mirror_answers_for_its_ledger_and_both_are_killed() {
    let mut network = Network::start(0, "1h");
    network.identity("owner");
    let home = network.home();
    let dir = network.folder.path().join("mirror").display().to_string();
    let line = format!("ledger mirror --dir {dir} --ledger {} --keep-blocks all", network.ticket);
    let mut mirror = Server::start(&home, words(&line));
    let ticket = mirror.ready["ticket"].as_str().unwrap().to_owned();
    assert_eq!(mirror.ready["chain"], network.ledger.ready["chain"]);
    assert_ne!(ticket, network.ticket);

    // What is asked of the mirror is passed on, and its answers have it.
    network.run("init --as far --no-passphrase").ok();
    network.run(&format!("account faucet --as far --ledger {ticket}")).ok();
    let far = |network: &Network| {
        network.run(&format!("account balance --as far --ledger {ticket}")).ok()["balance"].clone()
    };
    assert_eq!(far(&network), "1000");
    assert_eq!(far(&network), network.run("account balance --as far").ok()["balance"]);
    mirror.kill_and_restart(&home);
    assert_eq!(mirror.ready["ticket"], ticket.as_str());
    assert_eq!(far(&network), "1000");

    // It answers without its ledger, but cannot pay, and starts without it too.
    network.ledger.kill();
    mirror.kill_and_restart(&home);
    assert_eq!(far(&network), "1000");
    let pay = format!("account send far 1 --as owner --yes --ledger {ticket}");
    assert_ne!(network.run(&pay).code, Some(0));
    let home_of_ledger = network.home();
    network.ledger.kill_and_restart(&home_of_ledger);
    network.run_until_ok(&pay);
    crate::common::until("the payment is there", || far(&network) != "1000");

    // The folder is one of this ledger, which another machine orders.
    drop(mirror);
    fails(network.run(&format!("ledger run --dir {dir}")), 6, "does not order the ledger");
}
