//! TCP on loopback: RFC 3261 §18.3, RFC 5626 §4.4.1, limits.

use std::{net::SocketAddr, time::Duration};

use crate::{Node, PATIENCE, config, number, options, request};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use transport::{Config, Event, Protocol, SendError};

async fn start() -> Node {
    Node::start(config(&["tcp:127.0.0.1:0"])).await
}

async fn connect(node: &Node) -> TcpStream {
    let phone = TcpStream::connect(node.transport.listeners()[0].addr).await.unwrap();
    phone.set_nodelay(true).unwrap();
    phone
}

/// Exactly so many bytes.
async fn receive(phone: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    timeout(PATIENCE, phone.read_exact(&mut bytes)).await.expect("bytes").unwrap();
    bytes
}

/// Everything until the other side has closed politely.
async fn receive_all(phone: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, phone.read_to_end(&mut bytes)).await.expect("the end").unwrap();
    bytes
}

async fn round_trip(listen: &str) {
    let mut node = Node::start(config(&[listen])).await;
    let mut phone = connect(&node).await;
    let flow = node.up().await;
    assert_eq!(flow.protocol, Protocol::Tcp);
    assert_eq!((flow.local, flow.remote), (phone.peer_addr().unwrap(), phone.local_addr().unwrap()));
    assert_eq!(flow.connection >> 32, 0xE70C);
    phone.write_all(&options(Protocol::Tcp, 1)).await.unwrap();
    let (from, message) = node.message().await;
    assert_eq!((from, number(&message)), (flow, 1));
    node.transport.send(&flow, Bytes::from_static(b"answer")).unwrap();
    assert_eq!(receive(&mut phone, 6).await, b"answer");
    drop(phone);
    assert_eq!(node.down().await, flow);
    assert!(!node.transport.is_open(&flow));
    assert_eq!(node.transport.send(&flow, Bytes::from_static(b"late")), Err(SendError::Gone));
}

#[tokio::test]
async fn round_trip_over_ipv4() {
    round_trip("tcp:127.0.0.1:0").await;
}

#[tokio::test]
async fn round_trip_over_ipv6() {
    round_trip("tcp:[::1]:0").await;
}

#[tokio::test]
async fn a_wildcard_listener_names_the_address_asked() {
    let mut node = Node::start(config(&["tcp:0.0.0.0:0"])).await;
    let server = SocketAddr::from(([127, 0, 0, 2], node.port()));
    let _phone = TcpStream::connect(server).await.unwrap();
    assert_eq!(node.up().await.local, server);
}

#[tokio::test]
async fn a_message_may_come_in_dribbles() {
    let mut node = start().await;
    let mut phone = connect(&node).await;
    node.up().await;
    let message = options(Protocol::Tcp, 1);
    for part in message.chunks(7) {
        phone.write_all(part).await.unwrap();
        // The other side runs: each part is a read of its own, or nearly.
        tokio::task::yield_now().await;
    }
    assert_eq!(node.message().await.1.encode(), message);
}

#[tokio::test]
async fn a_segment_may_hold_several_messages_and_a_part() {
    let mut node = start().await;
    let mut phone = connect(&node).await;
    node.up().await;
    let mut segment = Vec::new();
    for n in 1..=4 {
        segment.extend(options(Protocol::Tcp, n));
    }
    let (whole, rest) = segment.split_at(segment.len() - 10);
    phone.write_all(whole).await.unwrap();
    for n in 1..=3 {
        assert_eq!(number(&node.message().await.1), n);
    }
    phone.write_all(rest).await.unwrap();
    assert_eq!(number(&node.message().await.1), 4);
}

#[tokio::test]
async fn a_ping_gets_a_pong_between_messages() {
    let mut node = start().await;
    let mut phone = connect(&node).await;
    let flow = node.up().await;
    phone.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(receive(&mut phone, 2).await, b"\r\n");
    phone.write_all(&options(Protocol::Tcp, 1)).await.unwrap();
    node.message().await;
    node.transport.send(&flow, Bytes::from_static(b"answer")).unwrap();
    assert_eq!(receive(&mut phone, 6).await, b"answer");
    phone.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(receive(&mut phone, 2).await, b"\r\n");
    assert_eq!(node.transport.stats().keepalives.get(), 2);
}

#[tokio::test]
async fn connections_are_limited_by_source() {
    let mut node =
        Node::start(Config { max_connections_per_source: 2, ..config(&["tcp:127.0.0.1:0"]) }).await;
    let first = connect(&node).await;
    let _second = connect(&node).await;
    let gone = node.up().await;
    node.up().await;
    let mut third = connect(&node).await;
    // Refused: the end comes, or a reset, and no flow.
    let mut byte = [0];
    assert!(matches!(timeout(PATIENCE, third.read(&mut byte)).await.unwrap(), Ok(0) | Err(_)));
    assert_eq!(node.transport.stats().connections_refused.get(), 1);
    drop(first);
    assert_eq!(node.down().await, gone);
    drained(&node, 1).await;
    let _fourth = connect(&node).await;
    node.up().await;
}

/// Waits until so many connections are left: their place is free a moment after FlowDown.
async fn drained(node: &Node, left: u64) {
    timeout(PATIENCE, async {
        while node.transport.stats().connections_open.get() > left {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("connections end");
}

#[tokio::test]
async fn connections_are_limited_in_total() {
    let mut node = Node::start(Config { max_connections: 1, ..config(&["tcp:127.0.0.1:0"]) }).await;
    let _first = connect(&node).await;
    node.up().await;
    let mut second = connect(&node).await;
    let mut byte = [0];
    assert!(matches!(timeout(PATIENCE, second.read(&mut byte)).await.unwrap(), Ok(0) | Err(_)));
    assert_eq!(node.transport.stats().connections_refused.get(), 1);
}

#[tokio::test]
async fn closing_writes_what_waits_and_reports_the_flow_down() {
    let mut node = start().await;
    let mut phone = connect(&node).await;
    let flow = node.up().await;
    node.transport.send(&flow, Bytes::from_static(b"last words")).unwrap();
    node.transport.close(&flow);
    assert!(!node.transport.is_open(&flow));
    assert_eq!(node.transport.send(&flow, Bytes::from_static(b"late")), Err(SendError::Gone));
    assert_eq!(node.down().await, flow);
    assert_eq!(receive_all(&mut phone).await, b"last words");
}

#[tokio::test]
async fn a_flow_is_more_than_its_number() {
    let mut node = start().await;
    let _phone = connect(&node).await;
    let flow = node.up().await;
    let mut other = flow;
    other.remote.set_port(flow.remote.port() ^ 1);
    assert!(node.transport.is_open(&flow));
    assert!(!node.transport.is_open(&other));
    assert_eq!(node.transport.send(&other, Bytes::from_static(b"x")), Err(SendError::Gone));
}

#[tokio::test]
async fn a_peer_that_does_not_read_fills_its_queue_and_no_more() {
    let mut node = Node::start(Config { send_queue: 1 << 20, ..config(&["tcp:127.0.0.1:0"]) }).await;
    let mut phone = connect(&node).await;
    let flow = node.up().await;
    let message = Bytes::from(vec![b'x'; 64 * 1024]);
    let mut sent = 0;
    timeout(PATIENCE, async {
        loop {
            match node.transport.send(&flow, message.clone()) {
                Ok(()) => sent += message.len(),
                Err(error) => break assert_eq!(error, SendError::Full),
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the queue is bounded");
    assert_eq!(node.transport.stats().stream_queue_full.get(), 1);
    // Nobody else notices.
    let mut other = connect(&node).await;
    let its_flow = node.up().await;
    other.write_all(&options(Protocol::Tcp, 1)).await.unwrap();
    assert_eq!(node.message().await.0, its_flow);
    node.transport.send(&its_flow, Bytes::from_static(b"answer")).unwrap();
    assert_eq!(receive(&mut other, 6).await, b"answer");
    // It reads again: everything that was accepted arrives.
    assert!(receive(&mut phone, sent).await.iter().all(|&byte| byte == b'x'));
    assert!(node.transport.is_open(&flow));
}

#[tokio::test]
async fn a_malformed_message_is_answered_and_the_stream_goes_on() {
    let mut node = start().await;
    let mut phone = connect(&node).await;
    node.up().await;
    phone.write_all(&request("MESSAGE", "INFO", Protocol::Tcp, 1)).await.unwrap();
    let answer = String::from_utf8(receive(&mut phone, 11).await).unwrap();
    assert_eq!(answer, "SIP/2.0 400");
    phone.write_all(&options(Protocol::Tcp, 2)).await.unwrap();
    assert_eq!(number(&node.message().await.1), 2);
}

#[tokio::test]
async fn a_stream_that_cannot_be_framed_is_answered_and_closed() {
    let mut node = start().await;
    let mut phone = connect(&node).await;
    let flow = node.up().await;
    let mut bytes = options(Protocol::Tcp, 1);
    // RFC 3261 §18.3: over a stream Content-Length is what frames a message.
    let broken = String::from_utf8(options(Protocol::Tcp, 2))
        .unwrap()
        .replace("Content-Length: 0", "Content-Length: x");
    bytes.extend(broken.into_bytes());
    phone.write_all(&bytes).await.unwrap();
    assert_eq!(number(&node.message().await.1), 1);
    assert_eq!(node.down().await, flow);
    let answer = String::from_utf8(receive_all(&mut phone).await).unwrap();
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
    assert!(answer.contains("Call-ID: 2\r\n"), "{answer}");
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_stream() {
    let mut limited = config(&["tcp:127.0.0.1:0"]);
    limited.limits.message = 1_000;
    let mut node = Node::start(limited).await;
    let mut phone = connect(&node).await;
    let flow = node.up().await;
    let _ = phone.write_all(&[b'x'; 5_000]).await;
    assert_eq!(node.down().await, flow);
    assert_eq!(node.transport.stats().malformed.get(), 1);
}

fn impatient() -> Config {
    Config { first_message_timeout: Duration::from_millis(100), ..config(&["tcp:127.0.0.1:0"]) }
}

#[tokio::test]
async fn a_stream_without_a_first_message_is_closed() {
    let mut node = Node::start(impatient()).await;
    let mut phone = connect(&node).await;
    let flow = node.up().await;
    // Pings alone prove nothing.
    phone.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(node.down().await, flow);
    assert_eq!(receive_all(&mut phone).await, b"\r\n");
    assert_eq!(node.transport.stats().connections_expired.get(), 1);
}

#[tokio::test]
async fn a_message_that_does_not_become_complete_ends_its_stream() {
    let mut node = Node::start(impatient()).await;
    let mut phone = connect(&node).await;
    let flow = node.up().await;
    let mut bytes = options(Protocol::Tcp, 1);
    bytes.extend(b"OPTIONS sip:bob@exam");
    phone.write_all(&bytes).await.unwrap();
    node.message().await;
    assert_eq!(node.down().await, flow);
}

#[tokio::test]
async fn an_idle_stream_is_closed() {
    let mut node =
        Node::start(Config { idle_timeout: Duration::from_millis(100), ..config(&["tcp:127.0.0.1:0"]) })
            .await;
    let mut phone = connect(&node).await;
    let flow = node.up().await;
    phone.write_all(&options(Protocol::Tcp, 1)).await.unwrap();
    node.message().await;
    assert_eq!(node.down().await, flow);
    assert_eq!(receive_all(&mut phone).await, b"");
}

#[tokio::test]
async fn shutdown_reports_every_flow_down_and_waits_for_no_peer() {
    let mut node = start().await;
    let _polite = connect(&node).await;
    let _silent = connect(&node).await;
    node.up().await;
    node.up().await;
    let addr = node.transport.listeners()[0].addr;
    timeout(PATIENCE, node.transport.shutdown()).await.expect("an end");
    node.down().await;
    node.down().await;
    assert_eq!(node.transport.stats().connections_open.get(), 0);
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn dropping_the_transport_closes_its_streams() {
    let mut node = start().await;
    let mut phone = connect(&node).await;
    node.up().await;
    let Node { transport, mut events, .. } = node;
    drop(transport);
    assert_eq!(receive_all(&mut phone).await, b"");
    assert!(matches!(timeout(PATIENCE, events.recv()).await.unwrap(), Some(Event::FlowDown(_))));
}
