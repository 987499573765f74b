//! Flows that the node opens itself: RFC 3261 §18.1.1 and §26.3.2.1 on loopback, RFC 5922 for the certificate.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use transport::{Config, Protocol, Roots, Unreachable, resolve::Target};

use crate::{Node, PATIENCE, config, number, options, pki::Pki};

fn target(protocol: Protocol, address: SocketAddr, domain: &str) -> Target {
    Target { protocol, address, domain: domain.into() }
}

async fn accept(server: &TcpListener) -> TcpStream {
    timeout(PATIENCE, server.accept()).await.expect("a connection").unwrap().0
}

#[tokio::test]
async fn a_datagram_leaves_from_the_listener_by_the_address_of_its_route() {
    let node = Node::start(config(&["udp:0.0.0.0:0"])).await;
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let there = target(Protocol::Udp, server.local_addr().unwrap(), "gw.example.net");
    let flow = node.transport.reach(&there).await.unwrap();
    assert_eq!(flow.local, SocketAddr::from(([127, 0, 0, 1], node.port())));
    node.transport.send(&flow, Bytes::from_static(b"hello")).unwrap();
    node.transport.flush();
    let mut buffer = [0; 64];
    let (length, from) = timeout(PATIENCE, server.recv_from(&mut buffer)).await.expect("a datagram").unwrap();
    assert_eq!((&buffer[..length], from), (&b"hello"[..], flow.local));
}

#[tokio::test]
async fn without_a_socket_of_the_family_there_is_no_way() {
    let node = Node::start(config(&["udp:127.0.0.1:0"])).await;
    let there = target(Protocol::Udp, "[::1]:5060".parse().unwrap(), "gw.example.net");
    assert!(matches!(node.transport.reach(&there).await, Err(Unreachable::NoSocket)));
}

#[tokio::test]
async fn a_connection_is_shared_and_opened_again_when_it_has_ended() {
    let mut node = Node::start(config(&["tcp:127.0.0.1:0"])).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = target(Protocol::Tcp, server.local_addr().unwrap(), "gw.example.net");
    // Two at once.
    let (first, second) = tokio::join!(node.transport.reach(&there), node.transport.reach(&there));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first, second);
    let mut socket = accept(&server).await;
    assert_eq!(node.up().await, first);
    node.transport.send(&first, Bytes::from_static(b"hello")).unwrap();
    let mut buffer = [0; 5];
    timeout(PATIENCE, socket.read_exact(&mut buffer)).await.expect("bytes").unwrap();
    // The other side may send requests on it.
    socket.write_all(&options(Protocol::Tcp, 7)).await.unwrap();
    let (flow, message) = node.message().await;
    assert_eq!((flow, number(&message)), (first, 7));
    drop(socket);
    assert_eq!(node.down().await, first);
    let third = node.transport.reach(&there).await.unwrap();
    assert_ne!(third, first);
    accept(&server).await;
}

/// A server owes no message: only a stranger's connection is closed for saying nothing.
#[tokio::test]
async fn an_opened_connection_may_be_silent() {
    let settings =
        Config { first_message_timeout: Duration::from_millis(200), ..config(&["tcp:127.0.0.1:0"]) };
    let mut node = Node::start(settings).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = target(Protocol::Tcp, server.local_addr().unwrap(), "gw.example.net");
    let flow = node.transport.reach(&there).await.unwrap();
    let _socket = accept(&server).await;
    assert_eq!(node.up().await, flow);
    let _stranger = TcpStream::connect(("127.0.0.1", node.port())).await.unwrap();
    let stranger = node.up().await;
    assert_eq!(node.down().await, stranger, "it came later and is closed first");
    assert!(node.transport.is_open(&flow));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once() {
    let node = Node::start(config(&["tcp:127.0.0.1:0"])).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let there = target(Protocol::Tcp, gone, "gw.example.net");
    assert!(matches!(node.transport.reach(&there).await, Err(Unreachable::Io(_))));
    for protocol in [Protocol::Ws, Protocol::Wss] {
        assert!(node.transport.reach(&target(protocol, gone, "gw.example.net")).await.is_err());
    }
}

#[tokio::test]
async fn opened_connections_count_among_those_of_their_address() {
    let settings = Config { max_connections_per_source: 1, ..config(&["tcp:127.0.0.1:0"]) };
    let node = Node::start(settings).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = |server: &TcpListener| server.local_addr().unwrap();
    node.transport.reach(&target(Protocol::Tcp, address(&server), "a")).await.unwrap();
    let second = node.transport.reach(&target(Protocol::Tcp, address(&other), "b")).await;
    assert!(matches!(second, Err(Unreachable::Limit)));
}

/// RFC 3261 §26.3.2.1, RFC 5922 §7.3: the certificate must be for the domain of the URI, by an authority that is believed; a
/// connection that has proven one domain serves no other.
#[tokio::test]
async fn a_server_must_prove_its_domain() {
    let pki = Pki::new();
    let certificate = pki.issue("gateway", "gw.example.net").0;
    let mut server =
        Node::start(Config { certificates: vec![certificate], ..config(&["tls:127.0.0.1:0"]) }).await;
    let address = server.transport.listeners()[0].addr;
    let believing = Config { roots: Roots::File(pki.authority_file()), ..config(&["tcp:127.0.0.1:0"]) };
    let mut node = Node::start(believing).await;
    let right = target(Protocol::Tls, address, "gw.example.net");
    let flow = node.transport.reach(&right).await.unwrap();
    assert_eq!(node.up().await, flow);
    node.transport.send(&flow, Bytes::from(options(Protocol::Tls, 3))).unwrap();
    let their_flow = server.up().await;
    let (from, message) = server.message().await;
    assert_eq!((from, number(&message)), (their_flow, 3));
    assert_eq!(node.transport.reach(&right).await.unwrap(), flow, "shared");
    let wrong = target(Protocol::Tls, address, "other.example.net");
    assert!(matches!(node.transport.reach(&wrong).await, Err(Unreachable::Io(_))));
    let another_pki = Pki::new();
    let doubting =
        Config { roots: Roots::File(another_pki.authority_file()), ..config(&["tcp:127.0.0.1:0"]) };
    let stranger = Node::start(doubting).await;
    assert!(matches!(stranger.transport.reach(&right).await, Err(Unreachable::Io(_))));
}

#[test]
fn roots_are_checked_before_they_are_needed() {
    let pki = Pki::new();
    assert!(Roots::System.check().is_ok());
    assert!(Roots::File(pki.authority_file()).check().is_ok());
    let missing = Roots::File(pki.path("missing.pem")).check().unwrap_err();
    assert!(missing.to_string().contains("missing.pem"));
    let empty = pki.path("empty.pem");
    std::fs::write(&empty, "").unwrap();
    assert!(Roots::File(empty).check().unwrap_err().to_string().contains("no certificate"));
}
