//! Where ledgers and nodes answer and what they announce, with real processes.

use std::net::UdpSocket;

use crate::common::{Network, Server, words};

#[test]
fn a_ledger_and_a_node_at_ipv6_are_reached_from_ipv4() {
    if let Err(error) = UdpSocket::bind("[::1]:0") {
        eprintln!("skipped: [::1] cannot be bound here: {error}");
        return;
    }
    for (ledger_at, node_at) in [("[::1]:0", "127.0.0.1:0"), ("127.0.0.1:0", "[::1]:0")] {
        let folder = tempfile::tempdir().unwrap();
        let (home, at) = (folder.path().join("home"), folder.path().display().to_string());
        let line =
            format!("ledger run --dir {at}/ledger --listen {ledger_at} --announce localhost:9");
        let ledger = Server::start(&home, words(&line));
        let ticket = ledger.ready["ticket"].as_str().unwrap().to_owned();
        let line = format!(
            "node run --ledger {ticket} --capacity 1GiB --dir {at}/node --listen {node_at}"
        );
        let nodes = vec![Server::start(&home, words(&line))];
        let network = Network { folder, ledger, nodes, ticket };
        network.identity("owner");
        let status = network.run("node status --as owner").ok();
        assert_eq!(status["nodes"][0]["answers"], true, "{ledger_at} {node_at}: {status}");
    }
}

#[test]
fn what_is_neither_an_address_nor_a_name_is_not_announced() {
    let folder = tempfile::tempdir().unwrap();
    for bad in ["203.0.113.7", "ledger.example.org", "a_b:1", "203.0.113:4150", "a:0"] {
        let at = folder.path().display();
        let line = format!("ledger run --dir {at}/ledger --announce {bad}");
        let output =
            crate::common::command(&folder.path().join("home"), &words(&line)).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{bad}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("neither an IP address with a port"), "{bad}: {said}");
    }
}
