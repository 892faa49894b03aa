//! An audit by a stranger: of a ledger that runs, and of exported blocks. What was changed in one byte is found.

use std::fs;

use serde_json::Value;

use crate::common::{Network, fails, until};

#[test]
fn a_stranger_audits_a_ledger_and_two_machines_say_the_same() {
    let network = Network::start(4, "2s");
    network.identity("owner");
    let path = network.file("f", 300_000, 1);
    network.run(&format!("put {} --for 100epochs --as owner --yes", path.display())).ok();
    let audit = |words: &str| network.run(format!("audit {words}").trim_end());
    until("two nodes have proven what they keep", || {
        let audited = audit("").ok();
        audited["proven"].as_u64() >= Some(2) && audited["leaves"].as_u64() >= Some(20)
    });
    let folder = network.folder.path().join("blocks");
    let exported = audit(&format!("--export {}", folder.display())).ok();
    let blocks = exported["blocks"].as_u64().unwrap();
    let again = audit(&format!("--blocks {}", folder.display())).ok();
    assert_eq!(again, exported, "without the ledger");
    let live = audit(&format!("--until {}", blocks - 1)).ok();
    assert_eq!(live, exported, "the same blocks, from the ledger");
    assert_eq!(exported["deals"], 1);
    let money = exported["money"].as_object().unwrap();
    let units = |value: &Value| crate::common::units(value.as_str().unwrap());
    assert_eq!(money.values().map(units).sum::<u128>(), units(&exported["issued"]));
    // More blocks are appended, also after a crash left a part of one.
    let file = folder.join("blocks-000000000000");
    let mut bytes = fs::read(&file).unwrap();
    bytes.extend([200, 0, 0, 0, 1, 2]);
    fs::write(&file, &bytes).unwrap();
    until("there are more blocks", || {
        let line = format!("--export {}", folder.display());
        blocks < audit(&line).ok()["blocks"].as_u64().unwrap()
    });
    let whole = audit(&format!("--blocks {}", folder.display())).ok();
    assert!(blocks < whole["blocks"].as_u64().unwrap());
    // One byte of a block's transactions.
    let mut forged = fs::read(&file).unwrap();
    let middle = forged.len() / 2;
    forged[middle] ^= 1;
    fs::write(&file, &forged).unwrap();
    let line = format!("--blocks {}", folder.display());
    let done = audit(&line);
    assert_eq!(done.code, Some(8), "{}", String::from_utf8_lossy(&done.out));
    fails(audit("--blocks nowhere"), 3, "no exported blocks");
}
