//! Ledgers and nodes: ports and folders that are taken, garbage from strangers, kill -9.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    process::Command,
};

use bytes::Bytes;
use symbolon_ledger::LedgerTicket;
use symbolon_net::{Alpn, BindOptions, Endpoint, PeerAddress};

use super::{
    LONG, adds_up, at,
    common::{Network, Server, bytes, until, words},
    fails, field,
};

#[test]
fn ports_and_folders_are_not_shared() {
    let mut network = Network::start(1, LONG);
    network.identity("owner");
    let (home, folder) = (network.home(), network.folder.path().to_owned());
    let dir = |name: &str| folder.join(name).display().to_string();
    let ticket = network.ticket.clone();
    let node =
        |name: &str| format!("node run --ledger {ticket} --capacity 1GiB --dir {}", dir(name));

    let port = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = port.local_addr().unwrap();
    let line = format!("ledger run --dir {} --listen {taken}", dir("other"));
    fails(network.run(&line), 13, &format!("port {} on 127.0.0.1 is in use", taken.port()));
    fails(network.run(&format!("{} --listen {taken}", node("node9"))), 13, "is in use");
    drop(port);
    drop(Server::start(&home, words(&line)));

    fails(network.run(&format!("ledger run --dir {}", dir("ledger"))), 13, "ledger");
    fails(network.run(&node("node0")), 13, "node0");
    assert_eq!(
        network.run("node status").ok()["nodes"][0]["answers"],
        true,
        "the first one serves"
    );
    fails(network.run(&format!("ledger run --dir {} --epoch 7s", dir("other"))), 2, "epoch is");
    let file = network.file("file", 10, 1).display().to_string();
    fails(network.run(&format!("ledger run --dir {file}/x")), 11, "not a folder");
    fails(network.run(&format!("ledger run --dir {file}")), 4, "");
    fails(network.run(&node("file")), 4, "");
    network.nodes[0].kill();
    fails(network.run(&node("ledger")), 13, "ledger");

    // No ledger answers under the ticket any more.
    network.ledger.kill();
    let before = fs::read_dir(dir("node0")).unwrap().count();
    fails(network.run("account --as owner"), 6, "ledger");
    fails(network.run(&node("node0")), 6, "ledger");
    assert_eq!(fs::read_dir(dir("node0")).unwrap().count(), before);
    fails(network.run(&node("ledger")), 4, "is the folder of a ledger");
    fails(network.run(&format!("ledger run --dir {}", dir("node0"))), 4, "is the folder of a node");
    network.ledger.kill_and_restart(&home);
    network.nodes[0].kill_and_restart(&home);
    assert!(network.balance("owner") > 0);
}

#[test]
fn an_empty_folder_is_no_node_unless_a_new_one_begins() {
    let network = Network::start(0, LONG);
    let (home, dir) = (network.home(), network.folder.path().join("disk"));
    fs::create_dir(&dir).unwrap();
    let line =
        format!("node run --ledger {} --capacity 1GiB --dir {}", network.ticket, dir.display());
    for _ in 0..2 {
        let error = fails(network.run(&line), 16, "no node is in it");
        assert!(field(&error, "hint").contains("--new"), "{error}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "a refused start leaves nothing");
    }
    let node = Server::start(&home, words(&format!("{line} --new")));
    let id = node.ready["node"].clone();
    drop(node);
    fails(network.run(&format!("{line} --new")), 4, "has a node already");
    let node = Server::start(&home, words(&line));
    assert_eq!(node.ready["node"], id);
    drop(node);

    // Another node's folder.
    let other = network.folder.path().join("other");
    drop(Server::start(&home, words(&line.replace("/disk", "/other"))));
    fs::copy(other.join("key"), dir.join("key")).unwrap();
    fails(network.run(&line), 16, "belongs to another node");
}

/// Sends what no peer would send, to a server that has to stand it.
async fn throw_garbage(peer: &PeerAddress, alpn: Alpn) {
    let address: SocketAddr = peer.sockets().next().expect("it listens somewhere");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in [0, 1, 20, 1_200, 1_472, 9_000] {
        for seed in 0..20 {
            let mut datagram = bytes(length, seed);
            if let Some(first) = datagram.first_mut().filter(|_| seed % 2 == 0) {
                // As a QUIC long header would begin.
                *first |= 0xc0;
            }
            socket.send_to(&datagram, address).unwrap();
        }
    }
    let mut options = BindOptions::new([7; 32]);
    options.accept = Vec::new();
    let endpoint = Endpoint::iroh(options).await.unwrap();
    let wrong = [Alpn::Storage, Alpn::Ledger].into_iter().find(|other| *other != alpn).unwrap();
    assert!(endpoint.connect(peer, wrong).await.is_err(), "it does not speak this");
    let frame = |length: u32, rest: &[u8]| Bytes::from([&length.to_le_bytes(), rest].concat());
    let garbage = [
        Bytes::new(),
        Bytes::from(bytes(3, 1)),
        frame(u32::MAX, &bytes(1_000, 2)),
        frame(0, b""),
        frame(1_000, &bytes(10, 3)),
        frame(300, &bytes(300, 4)),
        frame(8, &[0; 8]),
        frame(2, &[0xff; 400]),
        Bytes::from(bytes(500_000, 5)),
    ];
    // After garbage a server may close the sender's connection, but no other.
    for bytes in garbage {
        let connection = endpoint.connect(peer, alpn).await.expect("it still answers");
        let (mut sender, mut receiver) = connection.open().await.unwrap();
        sender.write(bytes).await.ok();
        sender.finish();
        while matches!(receiver.read(1 << 16).await, Ok(Some(_))) {}
        // One that is left open, and one that is broken off.
        if let Ok((mut sender, _)) = connection.open().await {
            sender.write(frame(50, b"x")).await.ok();
            sender.reset(9);
        }
        connection.close("enough");
    }
    endpoint.close().await;
}

#[test]
fn garbage_from_strangers_stops_no_server() {
    let network = Network::start(2, LONG);
    network.identity("owner");
    let path = network.file("data", 500_000, 1);
    network.run(&format!("put {} --as owner --yes", path.display())).ok();
    let ticket: LedgerTicket = network.ticket.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        throw_garbage(&ticket.peers[0], Alpn::Ledger).await;
        for node in &network.nodes {
            let addresses = node.ready["addresses"].as_array().unwrap().iter();
            let addresses = addresses.map(|address| address.as_str().unwrap().to_owned()).collect();
            let id = field(&node.ready, "node").parse().unwrap();
            throw_garbage(&PeerAddress { id, addresses }, Alpn::Storage).await;
        }
    });
    let out = network.folder.path().join("out");
    network.run(&format!("get data -o {} --as owner", out.display())).ok();
    assert!(fs::read(&out).unwrap() == bytes(500_000, 1));
    network.run("verify data --deep --as owner").ok();
    let nodes = network.run("node status").ok();
    assert!(nodes["nodes"].as_array().unwrap().iter().all(|node| node["answers"] == true));
    adds_up(&network);
}

/// A detached network, which is stopped at the end even if the test fails.
struct Detached(PathBuf);

impl Drop for Detached {
    fn drop(&mut self) {
        at(&self.0, "down");
    }
}

#[test]
fn a_network_comes_back_after_kill_9_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let file = folder.path().join("data");
    fs::write(&file, bytes(300_000, 1)).unwrap();
    let up = "up --detach --nodes 3 --epoch 1h";
    fails(at(&home, "down"), 3, "no network is running");
    let guard = Detached(home.clone());
    let first = at(&home, up).ok();
    fails(at(&home, "up"), 13, "a network is already running");
    fails(at(&home, up), 13, "a network is already running");
    at(&home, &format!("put {}", file.display())).ok();
    let (balance, list) = (at(&home, "account").ok(), at(&home, "ls").ok());

    let killed = Command::new("kill").args(["-9", &first["pid"].to_string()]).status().unwrap();
    assert!(killed.success());
    until("the process is gone", || at(&home, "down").code == Some(3));
    let error = fails(at(&home, "account"), 6, "is not running");
    assert!(field(&error, "hint").contains("symbolon up"), "{error}");
    let out = folder.path().join("out");
    fails(at(&home, &format!("get data -o {}", out.display())), 6, "is not running");

    let second = at(&home, "up --detach").ok();
    for same in ["ticket", "chain", "nodes", "epoch_ms"] {
        assert_eq!(second[same], first[same], "{same}");
    }
    assert_eq!(at(&home, "account").ok(), balance);
    assert_eq!(at(&home, "ls").ok(), list);
    at(&home, &format!("get data -o {}", out.display())).ok();
    assert!(fs::read(&out).unwrap() == bytes(300_000, 1));
    assert_eq!(at(&home, &format!("put {}", file.display())).ok()["outcome"], "already");
    assert_eq!(at(&home, "down").ok()["pid"], second["pid"]);
    fails(at(&home, "down"), 3, "no network is running");
    drop(guard);
}
