//! Both IP families and names, over real sockets of this machine.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test, which says what it leaves out"
)]

use std::net::{SocketAddr, UdpSocket};

use symbolon_net::{Alpn, Announced, BindOptions, Endpoint, NetError, PeerAddress};

/// Whether this machine can talk to itself over IPv6. Prints a note when it cannot.
fn has_ipv6() -> bool {
    let bound = UdpSocket::bind("[::1]:0");
    if let Err(error) = &bound {
        eprintln!("skipped: [::1] cannot be bound here: {error}");
    }
    bound.is_ok()
}

async fn listening(number: u8, listen: &str) -> Endpoint {
    let mut options = BindOptions::new([number; 32]);
    options.listen = vec![listen.parse().unwrap()];
    Endpoint::iroh(options).await.unwrap()
}

/// An endpoint with the default options of a node or a client: IPv6 is not named.
async fn caller() -> Endpoint {
    Endpoint::iroh(BindOptions::new([2; 32])).await.unwrap()
}

/// Calls an endpoint at some of its addresses and gets an answer.
async fn reaches(client: &Endpoint, server: &Endpoint, addresses: Vec<String>) {
    let address = PeerAddress { id: server.id(), addresses };
    let called = client.connect(&address, Alpn::Storage);
    let (connection, accepted) = tokio::join!(called, server.accept());
    let (connection, accepted) = (connection.unwrap(), accepted.unwrap());
    assert!(accepted.remote().unwrap().is_loopback());
    let (mut sender, mut receiver) = connection.open().await.unwrap();
    sender.send(&7_u32).await.unwrap();
    let (mut back, mut asked) = accepted.accept().await.unwrap();
    let question: u32 = asked.receive().await.unwrap();
    back.send(&(question + 1)).await.unwrap();
    assert_eq!(receiver.receive::<u32>().await.unwrap(), 8);
}

fn port(server: &Endpoint) -> u16 {
    let address: SocketAddr = server.address().sockets().next().unwrap();
    address.port()
}

#[tokio::test]
async fn an_endpoint_at_ipv6_loopback_is_reached_from_one_at_ipv4() {
    if !has_ipv6() {
        return;
    }
    let server = listening(1, "[::1]:0").await;
    let address = server.address();
    assert!(address.sockets().all(|socket| socket.is_ipv6()), "{:?}", address.addresses);
    reaches(&caller().await, &server, address.addresses).await;
}

#[tokio::test]
async fn an_endpoint_at_ipv4_loopback_is_reached_from_one_at_ipv6() {
    if !has_ipv6() {
        return;
    }
    let server = listening(1, "127.0.0.1:0").await;
    let address = server.address();
    assert!(address.sockets().all(|socket| socket.is_ipv4()), "{:?}", address.addresses);
    reaches(&listening(2, "[::1]:0").await, &server, address.addresses).await;
}

#[tokio::test]
async fn all_addresses_are_of_both_families() {
    if !has_ipv6() {
        return;
    }
    // A port that is free in both families: the socket that dials over IPv4 takes it where it can.
    let free = UdpSocket::bind("[::]:0").unwrap().local_addr().unwrap().port();
    let server = listening(1, &format!("[::]:{free}")).await;
    let client = caller().await;
    reaches(&client, &server, vec![format!("[::1]:{free}")]).await;
    reaches(&listening(3, "127.0.0.1:0").await, &server, vec![format!("127.0.0.1:{free}")]).await;
    drop(client);
}

#[tokio::test]
async fn the_dialling_side_looks_a_name_up() {
    let mut options = BindOptions::new([1; 32]);
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    options.listen = vec![SocketAddr::from(([127, 0, 0, 1], free))];
    options.announce = vec![Announced::Name(format!("localhost:{free}"))];
    let server = Endpoint::iroh(options).await.unwrap();
    assert_eq!(port(&server), free);
    let announced = server.address().addresses;
    assert!(announced.contains(&format!("localhost:{free}")), "{announced:?}");
    reaches(&caller().await, &server, vec![format!("localhost:{free}")]).await;

    // An unknown name does no harm when the peer also has an address.
    let lost = || String::from("unknown.invalid:4150");
    let second = listening(4, "127.0.0.1:0").await;
    reaches(&second, &server, vec![lost(), format!("127.0.0.1:{free}")]).await;
    let alone = PeerAddress { id: server.id(), addresses: vec![lost()] };
    let error = second.connect(&alone, Alpn::Storage).await.unwrap_err();
    assert!(matches!(error, NetError::Unreachable { .. }), "{error}");
}
