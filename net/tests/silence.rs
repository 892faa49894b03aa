//! A peer that dies without closing its connections, over real sockets of this machine.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::mpsc;

use symbolon_net::{Alpn, BindOptions, Connection, Endpoint};

/// An endpoint in a runtime of its own, which ends as a killed process does: it stops answering at
/// once and tells no peer.
struct Victim {
    runtime: tokio::runtime::Runtime,
    endpoint: Endpoint,
    accepted: mpsc::Receiver<Connection>,
}

impl Victim {
    fn start() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let endpoint = runtime.block_on(Endpoint::iroh(BindOptions::new([1; 32]))).unwrap();
        let (sender, accepted) = mpsc::channel();
        let accepting = endpoint.clone();
        runtime.spawn(async move {
            while let Some(connection) = accepting.accept().await {
                sender.send(connection).unwrap();
            }
        });
        Self { runtime, endpoint, accepted }
    }

    /// Kills the endpoint once it has accepted `connections` connections.
    fn kill(self, connections: usize) {
        // Connections and endpoints say goodbye when they are dropped, so these are leaked instead.
        let Self { runtime, endpoint, accepted } = self;
        let accepted: Vec<_> = accepted.iter().take(connections).collect();
        std::mem::forget((endpoint, accepted));
        runtime.shutdown_background();
    }
}

#[test]
fn a_ledger_that_is_gone_is_noticed_before_a_node_is() {
    let victim = Victim::start();
    let address = victim.endpoint.address();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(Endpoint::iroh(BindOptions::new([2; 32]))).unwrap();
    let node = runtime.block_on(client.connect(&address, Alpn::Storage)).unwrap();
    let ledger = runtime.block_on(client.connect(&address, Alpn::Ledger)).unwrap();
    victim.kill(2);
    runtime.block_on(async {
        let first = tokio::select! {
            biased;
            _ = node.closed() => Alpn::Storage,
            _ = ledger.closed() => Alpn::Ledger,
        };
        assert_eq!(first, Alpn::Ledger);
    });
}
