//! What the names index costs when it is large, and rows that no device could take back out of it.

use std::path::Path;

use symbolon_ledger::{Embedded, Ledger, Options};
use symbolon_net::{Host, MemoryNetwork};
use symbolon_node::{Limits, Node, NodeOptions};
use symbolon_protocol::{
    Amount,
    identity::Identity,
    ledger::{Params, rows::Deals},
    limits::{INDEX_PART_BYTES_MAX, INDEX_VALUE_BYTES_MAX},
    names::{Change, cut},
};
use tempfile::TempDir;

use super::runs::RunContent;
use crate::{
    catalog::{Content, NameEntry, Names, Uploads, Version},
    error::ClientError,
    library::Library,
    progress::Progress,
    wallet::{Setup, Wallet},
};

const NODES: u8 = 3;
const CAPACITY: u64 = 1 << 30;

/// A ledger, nodes, and somebody with money.
pub(in crate::library) struct World {
    pub(in crate::library) library: Library,
    pub(in crate::library) ledger: Ledger,
    nodes: Vec<Node>,
    network: MemoryNetwork,
    folder: TempDir,
}

impl World {
    pub(in crate::library) async fn found() -> Self {
        Self::with_nodes(NODES).await
    }

    pub(in crate::library) async fn with_nodes(count: u8) -> Self {
        let (folder, host, network) =
            (tempfile::tempdir().unwrap(), Host::system(), MemoryNetwork::new());
        let options = Options { key: [1; 32], params: Params::development(), host: host.clone() };
        let ledger: Ledger =
            Embedded::open(&folder.path().join("ledger"), options).await.unwrap().into();
        let mut nodes = Vec::new();
        for number in 0..count {
            let secret = [100 + number; 32];
            let endpoint = network.endpoint(secret);
            let limits = Limits { disk_reserve_bytes: 0, ..Limits::for_capacity(CAPACITY) };
            let options = NodeOptions {
                dir: folder.path().join(format!("node {number}")),
                capacity: CAPACITY,
                price: Amount::credits(1),
                payout: endpoint.id().into(),
                operator: None,
                custody: true,
                caretaker: false,
                limits,
                accept_loss: false,
            };
            let node = Node::start(options, secret, endpoint, ledger.clone(), host.clone());
            nodes.push(node.await.unwrap());
        }
        for node in &nodes {
            node.registered().await;
        }
        let library = device(&network, &ledger, &folder.path().join("client"));
        library.faucet().await.unwrap();
        Self { library, ledger, nodes, network, folder }
    }

    /// A library of the same identity on another machine.
    pub(in crate::library) fn device(&self, name: &str) -> Library {
        device(&self.network, &self.ledger, &self.folder.path().join(name))
    }

    pub(in crate::library) async fn end(self) {
        self.library.close().await;
        for node in self.nodes {
            node.stop().await;
        }
    }
}

fn device(network: &MemoryNetwork, ledger: &Ledger, dir: &Path) -> Library {
    let identity = Identity::from_seed(&[9; 64]);
    let endpoint = network.endpoint(identity.access_key().to_bytes());
    let (ledger, host, dir) = (ledger.clone(), Host::system(), dir.to_owned());
    let setup = Setup { identity, ledger, endpoint, host, dir };
    Library::new(Wallet::new(setup).unwrap(), Default::default())
}

/// More rows than one part holds.
fn many_rows() -> Vec<Change> {
    let rows = INDEX_PART_BYTES_MAX / INDEX_VALUE_BYTES_MAX as u64 + 1;
    let row = |number: u64| Change {
        table: 1,
        key: number.to_be_bytes().to_vec(),
        value: Some(vec![7; INDEX_VALUE_BYTES_MAX]),
    };
    (0..rows).map(row).collect()
}

#[tokio::test]
async fn a_run_of_many_parts_is_stored_whole_or_not_at_all() {
    let world = World::found().await;
    let library = &world.library;
    let before = library.account().await.unwrap().balance;
    let length = |part: &Vec<Change>| part.iter().map(|one| one.size() as u64).sum();
    let lengths: Vec<u64> = cut(many_rows()).iter().map(length).collect();
    assert!(lengths.len() > 1);
    let epochs = 10;
    let all = library.parts_cost(&lengths, epochs).await.unwrap();
    let first = library.parts_cost(&lengths[..1], epochs).await.unwrap();
    let limit = all.checked_sub(Amount(1)).unwrap();
    assert!(first < limit, "the first part alone would do");
    let stored = library
        .store_run(RunContent::Changes(many_rows()), (epochs, epochs + 1), Some(limit))
        .await;
    let error = stored.map(|stored| stored.cost).unwrap_err();
    let refused =
        matches!(error, ClientError::CostTooHigh { cost, limit: of } if (cost, of) == (all, limit));
    assert!(refused, "{error:?}");
    assert_eq!(library.account().await.unwrap().balance, before, "nothing is paid");
    assert!(world.ledger.scan(Deals, &[], None, 1).await.unwrap().is_empty());
    let begun = library.local(|local| local.catalog().rows(Uploads)).await.unwrap();
    assert!(begun.is_empty(), "nothing is begun");
    world.end().await;
}

/// What a reader refuses to take is not published: it would keep all others from everything.
#[tokio::test]
async fn a_row_that_no_reader_takes_is_not_published() {
    let world = World::found().await;
    let library = &world.library;
    let version = |length| Version {
        number: 1,
        stored_ms: 1,
        mode: 0o777,
        modified_ns: [0; 16],
        content: Content::Link { target: vec![b'x'; length] },
    };
    let write = |length| {
        let path = b"link".to_vec();
        let versions = vec![version(length)];
        let row = NameEntry { path: path.clone(), keep: 0, deleted_ms: None, versions };
        library.local(move |local| local.catalog().put(Names, &path, &row))
    };
    write(INDEX_VALUE_BYTES_MAX).await.unwrap();
    let error = library.publish_names(None, &Progress::silent()).await.unwrap_err();
    let said = matches!(&error, ClientError::Index(why) if why.contains("too large"));
    assert!(said, "{error:?}");
    assert!(world.ledger.scan(Deals, &[], None, 1).await.unwrap().is_empty());
    write(1_000).await.unwrap();
    library.publish_names(None, &Progress::silent()).await.unwrap().unwrap();
    world.end().await;
}
