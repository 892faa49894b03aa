//! One suite for both transports: what holds over QUIC must hold in memory.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{future::Future, net::UdpSocket, time::Duration};

use bytes::Bytes;
use symbolon_net::{
    Alpn, BindOptions, Connection, Endpoint, Latency, MemoryNetwork, NetError, PeerAddress, peer_id,
};
use symbolon_protocol::{codec::DecodeError, limits::MESSAGE_BYTES_MAX};
use tokio::time::timeout;

/// The transport under test.
#[derive(Clone)]
enum Transport {
    Iroh,
    Memory(MemoryNetwork),
}

impl Transport {
    async fn endpoint(&self, number: u8, accept: &[Alpn]) -> Endpoint {
        match self {
            Self::Memory(network) => network.endpoint_accepting([number; 32], accept),
            Self::Iroh => {
                let mut options = BindOptions::new([number; 32]);
                options.accept = accept.to_vec();
                Endpoint::iroh(options).await.unwrap()
            }
        }
    }

    /// Ends an endpoint as abruptly as the transport allows.
    async fn kill(&self, endpoint: &Endpoint) {
        match self {
            Self::Memory(network) => network.kill(&endpoint.id()),
            // QUIC inside one process has no power cut. `silence.rs` tests a peer that dies
            // silently.
            Self::Iroh => endpoint.close().await,
        }
    }
}

async fn on_both<F: Future<Output = ()>>(check: impl Fn(Transport) -> F) {
    let latency = Latency { seed: 1, min: Duration::from_millis(1), max: Duration::from_millis(5) };
    let network = MemoryNetwork::with_latency(latency);
    for transport in [Transport::Memory(MemoryNetwork::new()), Transport::Memory(network)] {
        timeout(LONGEST, check(transport)).await.expect("memory: in time");
    }
    timeout(LONGEST, check(Transport::Iroh)).await.expect("iroh: in time");
}

const LONGEST: Duration = Duration::from_secs(40);

/// Makes a call and accepts it.
async fn meet(
    client: &Endpoint,
    server: &Endpoint,
    alpn: Alpn,
) -> (Result<Connection, NetError>, Option<Connection>) {
    let address = server.address();
    tokio::join!(client.connect(&address, alpn), server.accept())
}

/// A server, a client and a connection between them, seen from both ends.
async fn pair(transport: &Transport) -> (Endpoint, Endpoint, Connection, Connection) {
    let server = transport.endpoint(1, &[Alpn::Storage]).await;
    let client = transport.endpoint(2, &[]).await;
    let (ours, theirs) = meet(&client, &server, Alpn::Storage).await;
    (server, client, theirs.unwrap(), ours.unwrap())
}

#[tokio::test]
async fn both_ends_know_each_other() {
    on_both(|transport| async move {
        let (server, client, theirs, ours) = pair(&transport).await;
        assert_eq!(server.id(), peer_id(&[1; 32]));
        assert_eq!(server.address().id, server.id());
        assert!(!server.address().addresses.is_empty());
        assert_eq!((ours.peer(), theirs.peer()), (server.id(), client.id()));
        assert_eq!((ours.alpn(), theirs.alpn()), (Alpn::Storage, Alpn::Storage));
        assert_eq!(ours.close_reason(), None);
    })
    .await;
}

#[tokio::test]
async fn frames_go_there_and_back() {
    on_both(|transport| async move {
        let (_server, _client, theirs, ours) = pair(&transport).await;
        let echo = tokio::spawn(async move {
            let (mut sender, mut receiver) = theirs.accept().await.unwrap();
            let mut count = 0;
            while let Some(message) = receiver.receive_or_end::<Vec<u64>>().await.unwrap() {
                sender.send(&message).await.unwrap();
                count += 1;
            }
            sender.delivered().await.unwrap();
            count
        });
        let (mut sender, mut receiver) = ours.open().await.unwrap();
        for length in [0, 1, 3, 10_000, 100_000] {
            let message: Vec<u64> = (0..length).collect();
            sender.send(&message).await.unwrap();
            assert_eq!(receiver.receive::<Vec<u64>>().await, Ok(message));
        }
        sender.finish();
        assert_eq!(receiver.receive_or_end::<Vec<u64>>().await, Ok(None));
        assert_eq!(echo.await.unwrap(), 5);
    })
    .await;
}

#[tokio::test]
async fn ten_mebibytes_arrive_whole_and_in_order() {
    on_both(|transport| async move {
        let (_server, _client, theirs, ours) = pair(&transport).await;
        let bytes: Vec<u8> = (0..10 << 20).map(|at: u32| at.to_le_bytes()[1] ^ 7).collect();
        let bytes = Bytes::from(bytes);
        let sent = bytes.clone();
        let sending = tokio::spawn(async move {
            let (mut sender, mut receiver) = ours.open().await.unwrap();
            sender.send(&7_u8).await.unwrap();
            sender.write(sent).await.unwrap();
            sender.finish();
            assert_eq!(receiver.receive::<u8>().await, Ok(9));
        });
        let (mut sender, mut receiver) = theirs.accept().await.unwrap();
        assert_eq!(receiver.receive::<u8>().await, Ok(7));
        let mut start = vec![0; 1_000_001];
        receiver.read_exact(&mut start).await.unwrap();
        let mut got = start;
        while let Some(piece) = receiver.read(50_000).await.unwrap() {
            assert!(!piece.is_empty() && piece.len() <= 50_000);
            got.extend_from_slice(&piece);
        }
        assert!(got == bytes);
        sender.send(&9_u8).await.unwrap();
        // The client drops its connection as soon as it has the answer; this side may see that
        // first.
        drop(sender.delivered().await);
        sending.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_holds_up_its_writer() {
    on_both(|transport| async move {
        let (_server, _client, theirs, ours) = pair(&transport).await;
        let (mut sender, mut receiver) = ours.open().await.unwrap();
        let writing = async {
            for _ in 0..64 {
                sender.write(Bytes::from(vec![0; 1 << 20])).await.unwrap();
            }
        };
        // 64 MiB are more than all windows and buffers hold.
        assert!(timeout(Duration::from_millis(1_000), writing).await.is_err());
        drop(sender);
        // No byte that was taken is lost, and the connection still works.
        let (mut back, mut there) = theirs.accept().await.unwrap();
        let mut count = 0;
        while let Some(piece) = there.read(1 << 20).await.unwrap() {
            count += piece.len();
        }
        assert!(1_000_000 < count && count < 64 << 20, "{count}");
        back.send(&1_u8).await.unwrap();
        assert_eq!(receiver.receive::<u8>().await, Ok(1));
    })
    .await;
}

#[tokio::test]
async fn a_reset_is_not_an_end_and_a_stop_is_noticed() {
    on_both(|transport| async move {
        let (_server, _client, theirs, ours) = pair(&transport).await;
        let (mut sender, mut receiver) = ours.open().await.unwrap();
        sender.write(Bytes::from_static(b"abc")).await.unwrap();
        let (mut back, mut there) = theirs.accept().await.unwrap();
        let mut three = [0; 3];
        there.read_exact(&mut three).await.unwrap();
        sender.reset(5);
        assert_eq!(there.read(9).await, Err(NetError::Reset { code: 5 }));

        receiver.stop(6);
        let error = loop {
            match back.write(Bytes::from_static(b"x")).await {
                Ok(()) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(error) => break error,
            }
        };
        assert_eq!(error, NetError::Reset { code: 6 });
    })
    .await;
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    on_both(|transport| async move {
        let (_server, _client, theirs, ours) = pair(&transport).await;
        let too_large = u32::try_from(MESSAGE_BYTES_MAX + 1).unwrap();
        let tag = DecodeError::Tag { what: "bool", tag: 2 };
        let cases: [(Vec<u8>, NetError); 6] = [
            (vec![1, 0, 0, 0, 2], NetError::Malformed(tag)),
            (vec![2, 0, 0, 0, 1, 1], NetError::Malformed(DecodeError::Trailing { extra: 1 })),
            (vec![0, 0, 0, 0], NetError::Malformed(DecodeError::Short { offset: 0, needed: 1 })),
            (
                too_large.to_le_bytes().to_vec(),
                NetError::TooLarge { bytes: MESSAGE_BYTES_MAX + 1, max: MESSAGE_BYTES_MAX },
            ),
            (vec![1, 0], NetError::Ended { missing: 2 }),
            (vec![3, 0, 0, 0, 1], NetError::Ended { missing: 2 }),
        ];
        for (bytes, expected) in cases {
            let (mut sender, _receiver) = ours.open().await.unwrap();
            sender.write(Bytes::from(bytes)).await.unwrap();
            sender.finish();
            let (_back, mut there) = theirs.accept().await.unwrap();
            assert!(expected.peers_fault());
            assert_eq!(there.receive::<bool>().await, Err(expected));
        }
        let (mut sender, _receiver) = ours.open().await.unwrap();
        let large = vec![[0_u8; 32]; 1 << 16];
        let bytes = 4 + (32 << 16);
        let refused = NetError::TooLarge { bytes, max: MESSAGE_BYTES_MAX };
        assert_eq!(sender.send(&large).await, Err(refused));
    })
    .await;
}

#[tokio::test]
async fn a_killed_peer_breaks_its_connections() {
    on_both(|transport| async move {
        let (server, client, theirs, ours) = pair(&transport).await;
        let (mut sender, mut receiver) = ours.open().await.unwrap();
        sender.send(&1_u8).await.unwrap();
        let (_back, _there) = theirs.accept().await.unwrap();
        transport.kill(&server).await;
        let broken =
            |error: &NetError| matches!(error, NetError::Closed { .. } | NetError::Lost { .. });
        assert!(broken(&receiver.read(1).await.unwrap_err()));
        assert!(broken(&ours.closed().await));
        assert!(broken(&ours.close_reason().unwrap()));
        assert!(broken(&ours.open().await.unwrap_err()));
        assert!(broken(&theirs.accept().await.unwrap_err()));
        assert!(server.accept().await.is_none());
        assert!(client.connect(&server.address(), Alpn::Storage).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_close_carries_its_reason() {
    on_both(|transport| async move {
        let (_server, _client, theirs, ours) = pair(&transport).await;
        theirs.close("enough for today");
        assert_eq!(ours.closed().await, NetError::Closed { why: "enough for today".into() });
        assert_eq!(theirs.closed().await, NetError::Closed { why: "closed here".into() });
    })
    .await;
}

#[tokio::test]
async fn another_protocol_is_refused() {
    on_both(|transport| async move {
        let server = transport.endpoint(1, &[Alpn::Storage]).await;
        let client = transport.endpoint(2, &[]).await;
        let refused = client.connect(&server.address(), Alpn::Ledger).await;
        assert!(matches!(refused, Err(NetError::Refused { .. })), "{refused:?}");
        let back = server.connect(&client.address(), Alpn::Storage).await;
        assert!(back.is_err());
        // The server that refused still answers.
        let (ours, theirs) = meet(&client, &server, Alpn::Storage).await;
        assert_eq!(ours.unwrap().peer(), server.id());
        assert_eq!(theirs.unwrap().alpn(), Alpn::Storage);
    })
    .await;
}

#[tokio::test]
async fn a_dead_address_and_a_wrong_key_fail_in_bounded_time() {
    on_both(|transport| async move {
        let client = transport.endpoint(2, &[]).await;
        // A bound socket that never answers is the worst kind of dead.
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let dead = PeerAddress {
            id: peer_id(&[9; 32]),
            addresses: vec![silent.local_addr().unwrap().to_string()],
        };
        let failed = timeout(LONGEST, client.connect(&dead, Alpn::Storage)).await;
        let failed = failed.expect("a dial ends").unwrap_err();
        assert!(
            matches!(failed, NetError::TimedOut { .. } | NetError::Unreachable { .. }),
            "{failed:?}"
        );

        let nowhere = PeerAddress { id: dead.id, addresses: vec!["no address".into()] };
        let failed = client.connect(&nowhere, Alpn::Storage).await;
        assert!(matches!(failed, Err(NetError::Unreachable { .. })));

        let server = transport.endpoint(1, &[Alpn::Storage]).await;
        let wrong = PeerAddress { id: dead.id, addresses: server.address().addresses };
        assert!(client.connect(&wrong, Alpn::Storage).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_silent_caller_does_not_delay_others() {
    on_both(|transport| async move {
        let server = transport.endpoint(1, &[Alpn::Storage]).await;
        if let Transport::Iroh = transport {
            // Garbage and the beginning of something that looks like QUIC, from a stranger.
            let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
            for address in server.address().sockets() {
                stranger.send_to(&[0xff; 1_200], address).unwrap();
                stranger.send_to(b"GET / HTTP/1.1", address).unwrap();
            }
        }
        for number in 10..20 {
            let client = transport.endpoint(number, &[]).await;
            let (ours, theirs) = meet(&client, &server, Alpn::Storage).await;
            assert_eq!(theirs.unwrap().peer(), client.id());
            ours.unwrap().close("done");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn latency_passes_in_virtual_time() {
    let latency =
        Latency { seed: 3, min: Duration::from_millis(200), max: Duration::from_millis(300) };
    let transport = Transport::Memory(MemoryNetwork::with_latency(latency));
    let began = tokio::time::Instant::now();
    let (_server, _client, theirs, ours) = pair(&transport).await;
    let (mut sender, mut receiver) = ours.open().await.unwrap();
    sender.send(&1_u8).await.unwrap();
    let (mut back, mut there) = theirs.accept().await.unwrap();
    assert_eq!(there.receive::<u8>().await, Ok(1));
    back.send(&2_u8).await.unwrap();
    assert_eq!(receiver.receive::<u8>().await, Ok(2));
    // One round trip for the handshake, one for the question.
    let took = began.elapsed();
    assert!(Duration::from_millis(800) <= took && took <= Duration::from_millis(1_210), "{took:?}");

    // A power cut loses what has not arrived.
    back.send(&3_u8).await.unwrap();
    let Transport::Memory(network) = &transport else { unreachable!() };
    network.kill(&peer_id(&[1; 32]));
    assert!(matches!(receiver.receive::<u8>().await, Err(NetError::Lost { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_peer_answers_in_its_place_and_a_cut_heals() {
    let network = MemoryNetwork::new();
    let transport = Transport::Memory(network.clone());
    let (server, client, theirs, ours) = pair(&transport).await;
    network.cut(&client.id(), &server.id());
    assert!(matches!(ours.closed().await, NetError::Lost { .. }));
    assert!(theirs.accept().await.is_err());
    let (again, _theirs) = meet(&client, &server, Alpn::Storage).await;
    let again = again.unwrap();

    let restarted = network.endpoint([1; 32]);
    assert!(matches!(again.closed().await, NetError::Lost { .. }));
    // The old endpoint closes late. That must not take away its successor.
    server.close().await;
    let (once_more, accepted) = meet(&client, &restarted, Alpn::Ledger).await;
    assert_eq!(once_more.unwrap().peer(), restarted.id());
    assert_eq!(accepted.unwrap().peer(), client.id());
    drop(restarted);
    assert!(client.connect(&server.address(), Alpn::Ledger).await.is_err());
}

#[tokio::test]
async fn a_dead_connection_is_not_an_end_of_the_stream() {
    let network = MemoryNetwork::new();
    let (_server, client, theirs, ours) = pair(&Transport::Memory(network.clone())).await;
    let (mut sender, _receiver) = ours.open().await.unwrap();
    sender.send(&1_u8).await.unwrap();
    let (_back, mut there) = theirs.accept().await.unwrap();
    network.kill(&client.id());
    drop(sender);
    // Bytes that had arrived are still there. Then the reader sees the loss, not an end.
    assert_eq!(there.receive::<u8>().await, Ok(1));
    assert!(matches!(there.read(1).await, Err(NetError::Lost { .. })));
}

#[tokio::test]
async fn many_who_call_at_once_are_all_answered() {
    const CALLERS: usize = 150;
    on_both(|transport| async move {
        let server = transport.endpoint(1, &[Alpn::Storage]).await;
        let address = server.address();
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..3 {
            let client = transport.endpoint(2 + number, &[]).await;
            for _ in 0..CALLERS / 3 {
                let (client, address) = (client.clone(), address.clone());
                calls.spawn(async move { client.connect(&address, Alpn::Storage).await });
            }
        }
        let mut answered = Vec::new();
        while answered.len() < CALLERS {
            answered.push(server.accept().await.unwrap());
        }
        assert!(calls.join_all().await.iter().all(Result::is_ok));
    })
    .await;
}
