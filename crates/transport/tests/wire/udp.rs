//! UDP on loopback: RFC 3261 §18, RFC 3581 §4, RFC 5626 §8.

use std::net::SocketAddr;

use crate::{Node, PATIENCE, config, number, options, request};
use bytes::Bytes;
use tokio::{net::UdpSocket, time::timeout};
use transport::{Error, Flow, Protocol, SendError};

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (length, from) = timeout(PATIENCE, socket.recv_from(&mut buffer)).await.expect("a datagram").unwrap();
    buffer.truncate(length);
    (buffer, from)
}

async fn round_trip(listen: &str, client: &str) {
    let mut node = Node::start(config(&[listen])).await;
    let server = node.transport.listeners()[0].addr;
    let phone = UdpSocket::bind(client).await.unwrap();
    phone.send_to(&options(Protocol::Udp, 1), server).await.unwrap();
    let (flow, message) = node.message().await;
    assert_eq!(flow, Flow::udp(server, phone.local_addr().unwrap()));
    assert_eq!(number(&message), 1);
    node.transport.send(&flow, Bytes::from_static(b"answer")).unwrap();
    node.transport.flush();
    assert_eq!(receive(&phone).await, (b"answer".to_vec(), server));
}

#[tokio::test]
async fn round_trip_over_ipv4() {
    round_trip("udp:127.0.0.1:0", "127.0.0.1:0").await;
}

#[tokio::test]
async fn round_trip_over_ipv6() {
    round_trip("udp:[::1]:0", "[::1]:0").await;
}

#[tokio::test]
async fn a_message_is_delivered_byte_for_byte() {
    let mut node = Node::start(config(&["udp:127.0.0.1:0"])).await;
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let sent = options(Protocol::Udp, 1);
    phone.send_to(&sent, node.transport.listeners()[0].addr).await.unwrap();
    // No `received` yet: that is for whoever handles the request.
    assert_eq!(node.message().await.1.encode(), sent);
}

#[tokio::test]
async fn a_hundred_datagrams_arrive_in_order_and_in_batches() {
    let mut node = Node::start(config(&["udp:127.0.0.1:0"])).await;
    let server = node.transport.listeners()[0].addr;
    let phone = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // One thread: nothing is read before all are there.
    for n in 0..100 {
        phone.send_to(&options(Protocol::Udp, n), server).unwrap();
    }
    for n in 0..100 {
        assert_eq!(number(&node.message().await.1), n);
    }
    let batches: Vec<usize> = std::iter::from_fn(|| node.batches.try_recv().ok()).collect();
    assert_eq!(batches, [32, 32, 32, 4]);
    assert_eq!(node.transport.stats().datagrams_in.get(), 100);
}

#[tokio::test]
async fn a_hundred_answers_leave_in_order() {
    let mut node = Node::start(config(&["udp:0.0.0.0:0"])).await;
    let server = SocketAddr::from(([127, 0, 0, 1], node.port()));
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    phone.send_to(&options(Protocol::Udp, 1), server).await.unwrap();
    let (flow, _) = node.message().await;
    for n in 0..100 {
        node.transport.send(&flow, Bytes::from(format!("{n}"))).unwrap();
    }
    node.transport.flush();
    for n in 0..100 {
        assert_eq!(receive(&phone).await.0, format!("{n}").into_bytes());
    }
    assert_eq!(node.transport.stats().datagrams_out.get(), 100);
}

#[tokio::test]
async fn what_one_flush_leaves_is_sent_in_order_by_the_writer() {
    let node = Node::start(config(&["udp:0.0.0.0:0"])).await;
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for n in 0..100_u8 {
        // Neighbours leave from different addresses, so each needs a call of its own: too many for one flush.
        let local = SocketAddr::from(([127, 0, 0, 1 + n % 2], node.port()));
        let flow = Flow::udp(local, phone.local_addr().unwrap());
        node.transport.send(&flow, Bytes::from(vec![n])).unwrap();
    }
    node.transport.flush();
    for n in 0..100 {
        assert_eq!(receive(&phone).await.0, [n]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_send_at_once_and_each_in_its_order() {
    let node = Node::start(config(&["udp:127.0.0.1:0"])).await;
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let flow = Flow::udp(node.transport.listeners()[0].addr, phone.local_addr().unwrap());
    for task in 0..4 {
        let transport = node.transport.clone();
        tokio::spawn(async move {
            for n in 0..40 {
                transport.send(&flow, Bytes::from(vec![task, n])).unwrap();
                transport.flush();
            }
        });
    }
    let mut next = [0; 4];
    for _ in 0..160 {
        let datagram = receive(&phone).await.0;
        let [task, n] = datagram[..] else { panic!("{datagram:?}") };
        assert_eq!(n, next[usize::from(task)]);
        next[usize::from(task)] += 1;
    }
    assert_eq!(next, [40; 4]);
}

#[tokio::test]
async fn a_wildcard_listener_answers_from_the_address_asked() {
    let mut node = Node::start(config(&["udp:0.0.0.0:0"])).await;
    let first = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let second = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for (phone, last) in [(&first, 2), (&second, 3)] {
        let server = SocketAddr::from(([127, 0, 0, last], node.port()));
        phone.send_to(&options(Protocol::Udp, 1), server).await.unwrap();
        let (flow, _) = node.message().await;
        assert_eq!(flow.local, server);
        node.transport.send(&flow, Bytes::from_static(b"answer")).unwrap();
    }
    // Both are in the queue: one flush sends from two addresses.
    node.transport.flush();
    assert_eq!(receive(&first).await.1.ip().to_string(), "127.0.0.2");
    assert_eq!(receive(&second).await.1.ip().to_string(), "127.0.0.3");
}

#[tokio::test]
async fn a_wildcard_listener_of_ipv6_answers_from_the_address_asked() {
    let mut node = Node::start(config(&["udp:[::]:0"])).await;
    let phone = UdpSocket::bind("[::1]:0").await.unwrap();
    let server = format!("[::1]:{}", node.port()).parse().unwrap();
    phone.send_to(&options(Protocol::Udp, 1), server).await.unwrap();
    let (flow, _) = node.message().await;
    assert_eq!(flow.local, server);
    node.transport.send(&flow, Bytes::from_static(b"answer")).unwrap();
    node.transport.flush();
    assert_eq!(receive(&phone).await.1, server);
}

#[tokio::test]
async fn both_families_share_a_port() {
    let node = Node::start(config(&["udp:0.0.0.0:0"])).await;
    let other = format!("udp:[::]:{}", node.port());
    Node::start(config(&[&other])).await;
}

#[tokio::test]
async fn a_flow_is_good_after_a_restart() {
    let mut node = Node::start(config(&["udp:127.0.0.1:0"])).await;
    let listen = node.transport.listeners()[0];
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    phone.send_to(&options(Protocol::Udp, 1), listen.addr).await.unwrap();
    let (flow, _) = node.message().await;
    node.transport.shutdown().await;
    drop(node);
    let node = Node::start(config(&[&listen.to_string()])).await;
    assert!(node.transport.is_open(&flow));
    node.transport.send(&flow, Bytes::from_static(b"ping")).unwrap();
    node.transport.flush();
    assert_eq!(receive(&phone).await, (b"ping".to_vec(), listen.addr));
}

#[tokio::test]
async fn the_largest_datagram_passes_and_larger_ones_are_refused() {
    let node = Node::start(config(&["udp:127.0.0.1:0"])).await;
    let server = node.transport.listeners()[0].addr;
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let flow = Flow::udp(server, phone.local_addr().unwrap());
    assert_eq!(node.transport.send(&flow, Bytes::from(vec![0; 65_508])), Err(SendError::TooLarge));
    node.transport.send(&flow, Bytes::from(vec![b'x'; 65_507])).unwrap();
    node.transport.flush();
    assert_eq!(receive(&phone).await.0.len(), 65_507);
}

#[tokio::test]
async fn a_flow_of_another_node_is_gone() {
    let node = Node::start(config(&["udp:127.0.0.1:0"])).await;
    for local in ["127.0.0.2:5060", "[::1]:5060"] {
        let flow = Flow::udp(local.parse().unwrap(), "127.0.0.1:9".parse().unwrap());
        assert!(!node.transport.is_open(&flow));
        assert_eq!(node.transport.send(&flow, Bytes::from_static(b"x")), Err(SendError::Gone));
    }
}

#[tokio::test]
async fn a_source_address_that_is_not_here_is_dropped_and_holds_up_nobody() {
    let mut node = Node::start(config(&["udp:0.0.0.0:0"])).await;
    let server = SocketAddr::from(([127, 0, 0, 1], node.port()));
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    phone.send_to(&options(Protocol::Udp, 1), server).await.unwrap();
    let (flow, _) = node.message().await;
    // The token of a sibling whose address has not moved here (yet).
    let foreign = Flow { local: SocketAddr::from(([192, 0, 2, 99], node.port())), ..flow };
    node.transport.send(&foreign, Bytes::from_static(b"lost")).unwrap();
    node.transport.send(&flow, Bytes::from_static(b"answer")).unwrap();
    node.transport.flush();
    assert_eq!(receive(&phone).await.0, b"answer");
    assert_eq!(node.transport.stats().datagrams_dropped.get(), 1);
}

#[tokio::test]
async fn a_full_queue_is_an_error() {
    let mut limited = config(&["udp:127.0.0.1:0"]);
    limited.datagram_queue = 2;
    let node = Node::start(limited).await;
    let flow = Flow::udp(node.transport.listeners()[0].addr, "127.0.0.1:9".parse().unwrap());
    let bytes = Bytes::from_static(b"x");
    assert_eq!(node.transport.send(&flow, bytes.clone()), Ok(()));
    assert_eq!(node.transport.send(&flow, bytes.clone()), Ok(()));
    assert_eq!(node.transport.send(&flow, bytes.clone()), Err(SendError::Full));
    node.transport.flush();
    assert_eq!(node.transport.send(&flow, bytes), Ok(()));
}

#[tokio::test]
async fn malformed_requests_are_answered_and_the_rest_is_counted() {
    let mut node = Node::start(config(&["udp:127.0.0.1:0"])).await;
    let server = node.transport.listeners()[0].addr;
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for datagram in [
        b"no message at all".to_vec(),
        // Never answered, whatever is wrong with it.
        request("ACK", "INVITE", Protocol::Udp, 1),
        request("MESSAGE", "INFO", Protocol::Udp, 2),
        options(Protocol::Udp, 3),
    ] {
        phone.send_to(&datagram, server).await.unwrap();
    }
    let (answer, from) = receive(&phone).await;
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(from, server);
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
    assert!(answer.contains("Call-ID: 2\r\n"), "{answer}");
    assert_eq!(number(&node.message().await.1), 3);
    let stats = node.transport.stats();
    assert_eq!((stats.malformed.get(), stats.malformed_answered.get(), stats.messages_in.get()), (3, 1, 1));
}

#[tokio::test]
async fn stun_binding_requests_are_answered_on_the_sip_port() {
    let node = Node::start(config(&["udp:0.0.0.0:0"])).await;
    let server = SocketAddr::from(([127, 0, 0, 2], node.port()));
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    request.extend([7; 12]);
    phone.send_to(&request, server).await.unwrap();
    let (answer, from) = receive(&phone).await;
    assert_eq!(from, server);
    assert_eq!(answer[..2], [1, 1]);
    assert_eq!(answer[8..20], [7; 12]);
    let port = u16::from_be_bytes([answer[26], answer[27]]) ^ 0x2112;
    assert_eq!(port, phone.local_addr().unwrap().port());
    assert_eq!(node.transport.stats().stun.get(), 1);
}

#[tokio::test]
async fn keepalive_datagrams_are_swallowed() {
    let mut node = Node::start(config(&["udp:127.0.0.1:0"])).await;
    let server = node.transport.listeners()[0].addr;
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for keepalive in [&b""[..], b"\r\n", b"\r\n\r\n", b"\0\0\0\0"] {
        phone.send_to(keepalive, server).await.unwrap();
    }
    phone.send_to(&options(Protocol::Udp, 1), server).await.unwrap();
    node.message().await;
    let stats = node.transport.stats();
    assert_eq!((stats.keepalives.get(), stats.malformed.get(), stats.datagrams_out.get()), (4, 0, 0));
}

#[tokio::test]
async fn errors_name_the_listener() {
    let node = Node::start(config(&["udp:127.0.0.1:0"])).await;
    let taken = node.transport.listeners()[0].to_string();
    for (listen, expected) in [
        (&*taken, format!("cannot listen on {taken}: ")),
        ("wss:127.0.0.1:0", "wss:127.0.0.1:0 needs a certificate".to_owned()),
    ] {
        let error = bind_error(listen).await.to_string();
        assert!(error.starts_with(&expected), "{error}");
    }
}

async fn bind_error(listen: &str) -> Error {
    struct Nobody;
    impl transport::Sink for Nobody {
        fn deliver(&self, _: &mut Vec<transport::Event>) {}
    }
    let clock = || unreachable!("nothing starts");
    transport::bind(config(&[listen]), std::sync::Arc::new(Nobody), clock, 0).await.unwrap_err()
}
