//! Validators as their operators run them, with real processes: four found a ledger, and another ledger grows from one machine
//! to two and shrinks again.

use crate::common::{Network, Running, Server, command, fails, until, words};

/// The state of a validator, by its key.
fn state(network: &Network, validator: &str) -> String {
    let shown = network.run_until_ok("validator status");
    let all = shown["validators"].as_array().unwrap().clone();
    let one = all.iter().find(|one| one["validator"] == validator);
    one.map_or_else(String::new, |one| one["state"].as_str().unwrap().to_owned())
}

#[test]
fn a_ledger_grows_from_one_machine_to_two_and_shrinks_again() {
    let network = Network::start(0, "1s");
    network.identity("owner");
    let home = network.home();
    let dir = network.folder.path().join("second").display().to_string();
    let join = format!("validator join --dir {dir} --stake 10");
    fails(network.run(&join), 3, "is not there");
    let line = format!("validator run --dir {dir} --ledger {}", network.ticket);
    let mut second = Server::start(&home, words(&line));
    assert_eq!(second.ready["votes"], "no");
    let key = second.ready["validator"].as_str().unwrap().to_owned();
    assert_eq!(state(&network, &key), "");
    // Its own account pays.
    fails(network.run(&join), 9, "refuses it");
    network.run(&format!("account send {key} 12 --yes --as owner")).ok();
    assert_eq!(network.run(&join).ok()["state"], "waiting");
    fails(network.run(&join), 4, "waiting");
    until("it is chosen", || state(&network, &key) == "member");

    // Now both must sign. What one has acknowledged is there after both were killed.
    network.run_until_ok(&format!("account send {key} 1 --yes --as owner"));
    second.kill_and_restart(&home);
    assert_eq!(second.ready["votes"], "yes");
    network.run_until_ok(&format!("account send {key} 1 --yes --as owner"));
    let balance = network.run_until_ok("account balance --as owner")["balance"].clone();
    assert_eq!(balance, "986");

    // One may leave, and the other one goes on alone.
    network.run_until_ok(&format!("validator leave --dir {dir}"));
    until("it has left", || state(&network, &key) == "out");
    drop(second);
    network.run(&format!("account send {key} 1 --yes --as owner")).ok();
    network.run(&format!("validator unstake --dir {dir}")).ok();
    let other = "0f".repeat(32);
    network.run(&format!("validator send --dir {dir} {other} 1")).ok();
}

#[test]
fn four_validators_found_a_ledger_that_any_one_may_leave_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let (home, dir) =
        (folder.path().join("home"), folder.path().join("four").display().to_string());
    let run = |line: &str| Running::start(command(&home, &words(line))).finish();
    let found = format!("ledger found --dir {dir} --validators 4 --epoch 1h");
    let founded = run(&found).ok();
    assert_eq!(founded["folders"].as_array().unwrap().len(), 4);
    let start =
        |number: u32| Server::start(&home, words(&format!("ledger run --dir {dir}/{number}")));
    let mut servers: Vec<Server> = (1..=4).map(start).collect();
    fails(run(&found), 4, "has a ledger already");
    let ticket = founded["ticket"].as_str().unwrap().to_owned();
    run(&format!("init --as owner --no-passphrase --ledger {ticket}")).ok();
    run("account faucet --as owner").ok();
    let to = "0f".repeat(32);
    let pay = format!("account send {to} 1 --yes --as owner");
    for server in &mut servers {
        server.kill();
        run(&pay).ok();
        server.kill_and_restart(&home);
    }
    servers.iter_mut().for_each(Server::kill);
    servers.iter_mut().for_each(|server| server.kill_and_restart(&home));
    assert_eq!(run("account balance --as owner").ok()["balance"], "996");
    run(&pay).ok();
}
