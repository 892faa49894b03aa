//! Motions, with real processes: the operator of a ledger changes a fee and lets the treasury pay, and both really happen.

use serde_json::Value;

use crate::common::{Network, fails, units, until};

fn state(network: &Network, motion: u64) -> String {
    let shown = network.run_until_ok(&format!("gov show {motion} --as owner"));
    shown["state"].as_str().unwrap().to_owned()
}

fn fee(network: &Network) -> Value {
    network.run_until_ok("ledger status")["transaction_fees"]["base"].clone()
}

#[test]
fn a_fee_changes_and_the_treasury_pays() {
    let rules = " --fee 0.5 --voting 2 --lock 1 --motion-deposit 3";
    let network = Network::start_ruled(0, "1s", ("", rules));
    for name in ["owner", "payee"] {
        network.identity(name);
    }
    let dir = network.folder.path().join("ledger").display().to_string();
    let operator = network.run_until_ok("validator status")["validators"][0]["validator"].clone();
    let operator = operator.as_str().unwrap();
    network.run(&format!("account send {operator} 5 --yes --as owner")).ok();
    assert_eq!(network.run("gov list").ok()["motions"], Value::Array(Vec::new()));

    // What no motion may do is said before anything is paid.
    let before = network.balance("owner");
    fails(network.run("gov propose params epoch_ms=5m --why x --as owner"), 2, "never changes");
    fails(network.run("gov propose params faucet=2000 --why x --as owner"), 2, "only become less");
    fails(network.run("gov propose params quorum_bp=1% --why x --as owner"), 2, "its range is");
    fails(network.run("gov vote 1 yes --as owner"), 3, "there is no motion 1");
    assert_eq!(network.balance("owner"), before);

    let made = network.run("gov propose params fee_base=0.25 --why cheaper --as owner --yes").ok();
    assert_eq!(made["motion"], 1);
    let what = made["what"][0].as_str().unwrap();
    assert!(what.starts_with("fee_base: 0.5 credits -> 0.25 credits: the fee"), "{what}");
    assert_eq!(before - network.balance("owner"), units("3.5"), "the deposit and a fee");
    let payee = network.run_until_ok("id --as payee")["account"].as_str().unwrap().to_owned();
    let pay = format!("gov propose treasury {payee} 1.5 --why thanks --dir {dir} --yes");
    // Its deposit and fee are those of the validator's own account.
    assert_eq!(network.run(&pay).ok()["motion"], 2);
    fails(network.run("gov vote 1 yes --as owner"), 3, "no stake to vote with");
    for motion in [1, 2] {
        let cast = network.run(&format!("gov vote {motion} yes --dir {dir} --yes")).ok();
        assert_eq!(cast["ballots"][0]["choice"], "yes");
    }
    let shown = network.run(&format!("gov show 1 --dir {dir}")).ok();
    assert_eq!(shown["ballots"][0]["choice"], "yes");
    assert_eq!((&shown["votes"]["yes"], &shown["votes"]["all"]), (&"1".into(), &"1".into()));
    assert_eq!(fee(&network), "0.5", "nothing changes before its time");

    until("both motions have taken effect", || {
        [1, 2].iter().all(|motion| state(&network, *motion) == "done")
    });
    assert_eq!(fee(&network), "0.25");
    assert_eq!(network.balance("payee"), units("1001.5"));
    let before = network.balance("owner");
    network.run(&format!("account send {payee} 1 --yes --as owner")).ok();
    assert_eq!(before - network.balance("owner"), units("1.25"), "the new fee is in force");
    fails(network.run(&format!("gov vote 1 no --dir {dir} --yes")), 10, "taken effect");
    // The same motion again finds other numbers, and one on which no one votes costs its deposit.
    let again = network.run("gov propose params fee_base=0.5 --why dearer --as owner --yes").ok();
    assert_eq!(again["motion"], 3);
    until("the vote has ended", || state(&network, 3) == "no_quorum");
    assert_eq!(fee(&network), "0.25");
    let audited = network.run("audit").ok();
    assert!(audited["blocks"].as_u64().unwrap() > 3, "{audited}");
}
