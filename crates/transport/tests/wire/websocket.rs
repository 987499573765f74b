//! SIP over WebSocket on loopback: RFC 7118, RFC 6455.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message, client::IntoClientRequest, handshake::client::Response, http::HeaderValue,
        protocol::frame::coding::CloseCode,
    },
};
use transport::{Config, Protocol, SendError};

use crate::{Node, PATIENCE, config, number, options, pki::Pki, request};

const LISTEN: &str = "ws:127.0.0.1:0";

/// A handshake with these headers besides the necessary ones.
async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    headers: &[(&'static str, &'static str)],
) -> Result<(WebSocketStream<S>, Response), Error> {
    let mut request = "ws://localhost/".into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    timeout(PATIENCE, client_async(request, socket)).await.expect("an answer")
}

async fn connect(node: &Node) -> TcpStream {
    let socket = TcpStream::connect(node.transport.listeners()[0].addr).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

const SIP: (&str, &str) = ("sec-websocket-protocol", "sip");

async fn open(node: &Node) -> WebSocketStream<TcpStream> {
    handshake(connect(node).await, &[SIP]).await.unwrap().0
}

async fn next<S: AsyncRead + AsyncWrite + Unpin>(phone: &mut WebSocketStream<S>) -> Message {
    timeout(PATIENCE, phone.next()).await.expect("a message").unwrap().unwrap()
}

fn text(protocol: Protocol, number: usize) -> Message {
    Message::text(String::from_utf8(options(protocol, number)).unwrap())
}

#[tokio::test]
async fn round_trip_in_text_and_binary() {
    let mut node = Node::start(config(&[LISTEN])).await;
    let mut phone = open(&node).await;
    let flow = node.up().await;
    assert_eq!(flow.protocol, Protocol::Ws);
    // RFC 7118 §4.2: both must be accepted.
    phone.send(text(Protocol::Ws, 1)).await.unwrap();
    assert_eq!(number(&node.message().await.1), 1);
    phone.send(Message::binary(options(Protocol::Ws, 2))).await.unwrap();
    let (from, message) = node.message().await;
    assert_eq!((from, number(&message)), (flow, 2));
    assert_eq!(message.encode(), options(Protocol::Ws, 2));
    // RFC 7118 §4.2: what is no UTF-8 goes in a binary message; each message in one of its own (§5).
    node.transport.send(&flow, Bytes::from_static(b"answer \xc3\xa4")).unwrap();
    node.transport.send(&flow, Bytes::from_static(b"answer \xff")).unwrap();
    assert_eq!(next(&mut phone).await, Message::text("answer ä"));
    assert_eq!(next(&mut phone).await, Message::binary(&b"answer \xff"[..]));
    drop(phone);
    assert_eq!(node.down().await, flow);
    assert_eq!(node.transport.send(&flow, Bytes::from_static(b"late")), Err(SendError::Gone));
}

#[tokio::test]
async fn round_trip_over_tls() {
    let pki = Pki::new();
    let mut node = Node::start(pki.config("wss:127.0.0.1:0")).await;
    let socket = pki.connect(node.transport.listeners()[0].addr, "localhost").await;
    let (mut phone, _) = handshake(socket, &[SIP]).await.unwrap();
    let flow = node.up().await;
    assert_eq!(flow.protocol, Protocol::Wss);
    phone.send(text(Protocol::Wss, 1)).await.unwrap();
    assert_eq!(number(&node.message().await.1), 1);
    node.transport.send(&flow, Bytes::from_static(b"answer")).unwrap();
    assert_eq!(next(&mut phone).await, Message::text("answer"));
    phone.close(None).await.unwrap();
    assert_eq!(node.down().await, flow);
}

/// Phones and browsers on one port: what begins as HTTP is a WebSocket, everything else SIP as RFC 3261 §18.3 frames it.
async fn one_port<S: AsyncRead + AsyncWrite + Unpin>(
    node: &mut Node,
    browser: S,
    mut phone: S,
    is_secure: bool,
) {
    let (tcp, ws) = if is_secure { (Protocol::Tls, Protocol::Wss) } else { (Protocol::Tcp, Protocol::Ws) };
    let stream = node.up().await;
    assert_eq!((stream.protocol, node.up().await.protocol), (tcp, tcp));
    let (mut browser, _) = handshake(browser, &[SIP]).await.unwrap();
    assert_eq!(node.down().await, stream);
    let flow = node.up().await;
    assert_eq!((flow.protocol, flow.remote), (ws, stream.remote));
    assert_ne!(flow.connection, stream.connection);
    browser.send(text(ws, 1)).await.unwrap();
    assert_eq!(number(&node.message().await.1), 1);
    phone.write_all(&options(tcp, 2)).await.unwrap();
    phone.flush().await.unwrap();
    let (flow, message) = node.message().await;
    assert_eq!((flow.protocol, number(&message)), (tcp, 2));
    // Only what comes first can be a handshake.
    phone.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    phone.flush().await.unwrap();
    assert_eq!(node.down().await, flow);
}

#[tokio::test]
async fn a_tcp_port_takes_both() {
    let mut node = Node::start(config(&["tcp:127.0.0.1:0"])).await;
    let (browser, phone) = (connect(&node).await, connect(&node).await);
    one_port(&mut node, browser, phone, false).await;
}

#[tokio::test]
async fn a_tls_port_takes_both() {
    let pki = Pki::new();
    let mut node = Node::start(pki.config("tls:127.0.0.1:0")).await;
    let addr = node.transport.listeners()[0].addr;
    let browser = pki.connect(addr, "localhost").await;
    let phone = pki.connect(addr, "localhost").await;
    Box::pin(one_port(&mut node, browser, phone, true)).await;
}

/// The limits of a port hold for both, and a place is given back once.
#[tokio::test]
async fn a_browser_on_a_tcp_port_has_one_place() {
    let config = Config { max_connections: 1, ..config(&["tcp:127.0.0.1:0"]) };
    let mut node = Node::start(config).await;
    for _ in 0..3 {
        let (phone, _) = handshake(connect(&node).await, &[SIP]).await.unwrap();
        node.up().await;
        node.down().await;
        node.up().await;
        let mut second = connect(&node).await;
        assert_eq!(timeout(PATIENCE, second.read(&mut [0])).await.expect("the end").unwrap_or(0), 0);
        drop(phone);
        node.down().await;
        while node.transport.stats().connections_open.get() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// RFC 7118 §4.1: offered by the client, in one list or several, and echoed. The key and its answer are those of RFC 6455 §1.3.
#[tokio::test]
async fn the_subprotocol_is_echoed() {
    let mut node = Node::start(config(&[LISTEN])).await;
    for offers in [&["sip"][..], &["chat, sip"], &["chat", "msrp ,sip"]] {
        let offers: String =
            offers.iter().map(|list| format!("Sec-WebSocket-Protocol: {list}\r\n")).collect();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offers}\r\n"
        );
        let mut phone = connect(&node).await;
        phone.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            let byte = timeout(PATIENCE, phone.read_u8()).await.expect("an answer").unwrap();
            answer.push(char::from(byte));
        }
        let answer = answer.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101 "), "{answer}");
        assert!(answer.contains("\r\nsec-websocket-protocol: sip\r\n"), "{answer}");
        assert!(answer.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{answer}");
        node.up().await;
        drop(phone);
        node.down().await;
    }
}

fn status(answer: Result<(WebSocketStream<TcpStream>, Response), Error>) -> u16 {
    match answer {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_the_subprotocol_there_is_no_flow() {
    let mut node = Node::start(config(&[LISTEN])).await;
    assert_eq!(status(handshake(connect(&node).await, &[]).await), 400);
    let other = [("sec-websocket-protocol", "msrp, sipx")];
    assert_eq!(status(handshake(connect(&node).await, &other).await), 400);
    assert!(node.events.try_recv().is_err());
}

/// RFC 6455 §4.2.2 item 4: 403 for an Origin that is not wanted.
#[tokio::test]
async fn origins_are_checked_when_there_is_a_list() {
    let ws_origins = vec!["https://phone.example.com".to_owned(), "https://localhost:8443".to_owned()];
    let mut node = Node::start(Config { ws_origins, ..config(&[LISTEN]) }).await;
    for origin in ["https://evil.example.com", "http://phone.example.com", "null"] {
        let answer = handshake(connect(&node).await, &[SIP, ("origin", origin)]).await;
        assert_eq!(status(answer), 403, "{origin}");
    }
    assert_eq!(status(handshake(connect(&node).await, &[SIP]).await), 403);
    let mut phones = Vec::new();
    for origin in ["https://phone.example.com", "https://LOCALHOST:8443"] {
        phones.push(handshake(connect(&node).await, &[SIP, ("origin", origin)]).await.unwrap());
        node.up().await;
    }
}

#[tokio::test]
async fn both_kinds_of_ping_are_answered() {
    let mut node = Node::start(config(&[LISTEN])).await;
    let mut phone = open(&node).await;
    let flow = node.up().await;
    // RFC 6455 §5.5.3: with the same data.
    phone.send(Message::Ping(Bytes::from_static(b"12"))).await.unwrap();
    assert_eq!(next(&mut phone).await, Message::Pong(Bytes::from_static(b"12")));
    // RFC 5626 §4.4.1, which RFC 7118 §6 allows.
    phone.send(Message::text("\r\n\r\n")).await.unwrap();
    assert_eq!(next(&mut phone).await, Message::text("\r\n"));
    // Ours: browsers answer without the page.
    node.transport.send(&flow, Bytes::from_static(b"\r\n\r\n")).unwrap();
    assert_eq!(next(&mut phone).await, Message::Ping(Bytes::new()));
    phone.send(text(Protocol::Ws, 1)).await.unwrap();
    node.message().await;
    assert_eq!(node.transport.stats().keepalives.get(), 3);
}

/// RFC 7118 §5: Content-Length is not needed, the message ends with its WebSocket message.
#[tokio::test]
async fn a_message_needs_no_content_length_and_may_come_in_fragments() {
    let mut node = Node::start(config(&[LISTEN])).await;
    let mut phone = open(&node).await;
    node.up().await;
    let bare = String::from_utf8(options(Protocol::Ws, 1)).unwrap().replace("Content-Length: 0\r\n", "");
    phone.send(Message::text(format!("{bare}a body"))).await.unwrap();
    let (_, message) = node.message().await;
    assert!(message.encode().ends_with(b"a body"));

    // The first of two frames by hand: masked with zeros, not final (RFC 6455 §5.2).
    let whole = options(Protocol::Ws, 2);
    let (first, last) = whole.split_at(100);
    let raw = phone.get_mut();
    raw.write_all(&[0x01, 0x80 | 100, 0, 0, 0, 0]).await.unwrap();
    raw.write_all(first).await.unwrap();
    let rest = u16::try_from(last.len()).unwrap().to_be_bytes();
    raw.write_all(&[0x80, 0x80 | 126, rest[0], rest[1], 0, 0, 0, 0]).await.unwrap();
    raw.write_all(last).await.unwrap();
    assert_eq!(node.message().await.1.encode(), whole);
}

#[tokio::test]
async fn a_malformed_message_is_answered_and_the_flow_goes_on() {
    let mut node = Node::start(config(&[LISTEN])).await;
    let mut phone = open(&node).await;
    node.up().await;
    phone.send(Message::binary(request("MESSAGE", "INFO", Protocol::Ws, 1))).await.unwrap();
    let answer = next(&mut phone).await.into_text().unwrap();
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
    phone.send(text(Protocol::Ws, 2)).await.unwrap();
    assert_eq!(number(&node.message().await.1), 2);
}

/// The close frame that ends it; what comes before it is read over.
async fn closed(phone: &mut WebSocketStream<TcpStream>) -> CloseCode {
    loop {
        if let Message::Close(frame) = next(phone).await {
            return frame.unwrap().code;
        }
    }
}

/// RFC 6455 §7.4.1.
#[tokio::test]
async fn a_message_over_the_limit_closes_with_1009() {
    let mut limited = config(&[LISTEN]);
    limited.limits.message = 10_000;
    let mut node = Node::start(limited).await;
    let mut phone = open(&node).await;
    let flow = node.up().await;
    phone.send(Message::text("x".repeat(10_001))).await.unwrap();
    assert_eq!(node.down().await, flow);
    assert_eq!(closed(&mut phone).await, CloseCode::Size);
    assert_eq!(node.transport.stats().malformed.get(), 1);
}

#[tokio::test]
async fn what_is_no_frame_closes_with_1002_and_no_utf8_with_1007() {
    // RFC 6455 §5.1: a frame of a client is masked. §5.6: text is UTF-8.
    for (bytes, code) in
        [(&b"\x81\x02hi"[..], CloseCode::Protocol), (&b"\x81\x82\0\0\0\0\xff\xff"[..], CloseCode::Invalid)]
    {
        let mut node = Node::start(config(&[LISTEN])).await;
        let mut phone = open(&node).await;
        let flow = node.up().await;
        phone.get_mut().write_all(bytes).await.unwrap();
        assert_eq!(node.down().await, flow);
        assert_eq!(closed(&mut phone).await, code);
    }
}

#[tokio::test]
async fn closing_writes_what_waits_and_says_goodbye() {
    let mut node = Node::start(config(&[LISTEN])).await;
    let mut phone = open(&node).await;
    let flow = node.up().await;
    node.transport.send(&flow, Bytes::from_static(b"last words")).unwrap();
    node.transport.close(&flow);
    assert_eq!(node.down().await, flow);
    assert_eq!(next(&mut phone).await, Message::text("last words"));
    assert_eq!(closed(&mut phone).await, CloseCode::Away);
}

/// RFC 6455 §5.5.1: a close frame is answered by one.
#[tokio::test]
async fn the_close_of_a_user_agent_is_answered() {
    let mut node = Node::start(config(&[LISTEN])).await;
    let mut phone = open(&node).await;
    let flow = node.up().await;
    phone.close(None).await.unwrap();
    assert_eq!(node.down().await, flow);
    assert!(matches!(next(&mut phone).await, Message::Close(_)));
    assert!(timeout(PATIENCE, phone.next()).await.expect("the end").is_none());
}

#[tokio::test]
async fn a_message_that_does_not_become_complete_ends_its_flow() {
    let impatient = Config { first_message_timeout: Duration::from_millis(100), ..config(&[LISTEN]) };
    let mut node = Node::start(impatient).await;
    let mut phone = open(&node).await;
    let flow = node.up().await;
    phone.send(text(Protocol::Ws, 1)).await.unwrap();
    node.message().await;
    phone.get_mut().write_all(b"\x81\x90\0\0\0\0OPTIONS").await.unwrap();
    assert_eq!(node.down().await, flow);
    assert_eq!(node.transport.stats().connections_expired.get(), 1);
}

#[tokio::test]
async fn a_peer_that_does_not_read_fills_its_queue_and_no_more() {
    let mut node = Node::start(Config { send_queue: 1 << 20, ..config(&[LISTEN]) }).await;
    let mut phone = open(&node).await;
    let flow = node.up().await;
    let message = Bytes::from(vec![b'x'; 64 * 1024]);
    let mut sent = 0;
    timeout(PATIENCE, async {
        while node.transport.send(&flow, message.clone()).is_ok() {
            sent += 1;
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the queue is bounded");
    for _ in 0..sent {
        assert_eq!(next(&mut phone).await.into_data(), message);
    }
    assert!(node.transport.is_open(&flow));
}

#[tokio::test]
async fn shutdown_says_goodbye() {
    let mut node = Node::start(config(&[LISTEN])).await;
    let mut phone = open(&node).await;
    let _silent = open(&node).await;
    node.up().await;
    node.up().await;
    let ends = async { assert_eq!(closed(&mut phone).await, CloseCode::Away) };
    timeout(PATIENCE, async { tokio::join!(node.transport.shutdown(), ends) }).await.expect("an end");
    node.down().await;
    node.down().await;
    assert_eq!(node.transport.stats().connections_open.get(), 0);
}
