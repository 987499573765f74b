//! TLS on loopback: RFC 3261 §26.2.1, the choice of certificates by name, reload, limits.

use std::{fs, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;
use transport::{CertificatePart, Config, Error, Protocol};

use crate::{
    Node, PATIENCE, config, number, options,
    pki::{Pki, connect, shown},
};

const LISTEN: &str = "tls:127.0.0.1:0";

async fn receive(phone: &mut TlsStream<TcpStream>, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    timeout(PATIENCE, phone.read_exact(&mut bytes)).await.expect("bytes").unwrap();
    bytes
}

fn addr(node: &Node) -> std::net::SocketAddr {
    node.transport.listeners()[0].addr
}

#[tokio::test]
async fn round_trip() {
    let pki = Pki::new();
    let mut node = Node::start(pki.config(LISTEN)).await;
    let mut phone = pki.connect(addr(&node), "localhost").await;
    let flow = node.up().await;
    assert_eq!(flow.protocol, Protocol::Tls);
    assert_eq!(flow.remote, phone.get_ref().0.local_addr().unwrap());
    phone.write_all(&options(Protocol::Tls, 1)).await.unwrap();
    let (from, message) = node.message().await;
    assert_eq!((from, number(&message)), (flow, 1));
    node.transport.send(&flow, Bytes::from_static(b"answer")).unwrap();
    assert_eq!(receive(&mut phone, 6).await, b"answer");
    phone.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(receive(&mut phone, 2).await, b"\r\n");
    drop(phone);
    assert_eq!(node.down().await, flow);
}

/// RFC 5246 §7.2.1: without close_notify a peer could not tell the end from an attack.
#[tokio::test]
async fn closing_writes_what_waits_and_says_so() {
    let pki = Pki::new();
    let mut node = Node::start(pki.config(LISTEN)).await;
    let mut phone = pki.connect(addr(&node), "localhost").await;
    let flow = node.up().await;
    node.transport.send(&flow, Bytes::from_static(b"last words")).unwrap();
    node.transport.close(&flow);
    assert_eq!(node.down().await, flow);
    let mut bytes = Vec::new();
    timeout(PATIENCE, phone.read_to_end(&mut bytes)).await.expect("the end").expect("a clean end");
    assert_eq!(bytes, b"last words");
}

#[tokio::test]
async fn more_than_one_record_arrives_whole() {
    let pki = Pki::new();
    let mut node = Node::start(pki.config(LISTEN)).await;
    let mut phone = pki.connect(addr(&node), "localhost").await;
    let flow = node.up().await;
    let mut segment = Vec::new();
    for n in 1..=200 {
        segment.extend(options(Protocol::Tls, n));
    }
    phone.write_all(&segment).await.unwrap();
    for n in 1..=200 {
        assert_eq!(number(&node.message().await.1), n);
    }
    node.transport.send(&flow, Bytes::from(segment.clone())).unwrap();
    assert_eq!(receive(&mut phone, segment.len()).await, segment);
}

#[tokio::test]
async fn the_certificate_is_chosen_by_name_and_the_first_is_for_others() {
    let pki = Pki::new();
    let (first, first_der) = pki.issue("first", "localhost");
    let (second, second_der) = pki.issue("second", "*.example.com");
    let config = Config { certificates: vec![first, second], ..config(&[LISTEN]) };
    let node = Node::start(config).await;
    for (host, expected) in [("localhost", &first_der), ("sip.example.com", &second_der)] {
        assert_eq!(shown(&pki.connect(addr(&node), host).await), *expected, "{host}");
    }
    // Both are refused by the user agent, because they are shown the first.
    for host in ["other.example.org", "127.0.0.1"] {
        let error = connect(&pki.connector(), addr(&node), host).await.unwrap_err().to_string();
        assert!(error.contains("localhost"), "{error}");
    }
}

#[tokio::test]
async fn a_reload_is_for_new_flows_and_old_ones_go_on() {
    let pki = Pki::new();
    let config = pki.config(LISTEN);
    let mut node = Node::start(config).await;
    let connector = pki.connector();
    let mut old = connect(&connector, addr(&node), "localhost").await.unwrap();
    let flow = node.up().await;
    old.write_all(&options(Protocol::Tls, 1)).await.unwrap();
    node.message().await;

    let (_, fresh) = pki.issue("node", "localhost");
    assert_ne!(shown(&old), fresh);
    node.transport.reload_certificates().unwrap();
    // The same user agent: a session of the old certificate is not resumed.
    let new = connect(&connector, addr(&node), "localhost").await.unwrap();
    assert_eq!(shown(&new), fresh);
    node.up().await;

    node.transport.send(&flow, Bytes::from_static(b"answer")).unwrap();
    assert_eq!(receive(&mut old, 6).await, b"answer");
    old.write_all(&options(Protocol::Tls, 2)).await.unwrap();
    assert_eq!(number(&node.message().await.1), 2);
}

#[tokio::test]
async fn a_reload_of_bad_files_changes_nothing() {
    let pki = Pki::new();
    let config = pki.config(LISTEN);
    let files = config.certificates[0].clone();
    let node = Node::start(config).await;
    let before = shown(&pki.connect(addr(&node), "localhost").await);
    fs::write(&files.certificate, "nothing").unwrap();
    let error = node.transport.reload_certificates().unwrap_err();
    assert_eq!((error.path, error.part), (files.certificate, CertificatePart::Certificate));
    assert_eq!(shown(&pki.connect(addr(&node), "localhost").await), before);
}

/// RFC 8446 §4.4.2.4: who shows nothing goes on, who shows something that nobody believes does not.
#[tokio::test]
async fn a_client_certificate_is_asked_for_and_must_be_good() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let config = Config { client_authority: Some(pki.authority_file()), ..pki.config(LISTEN) };
    let mut node = Node::start(config).await;
    let shown = |node: &Node| node.transport.stats().client_certificates.get();
    let mut plain = pki.connect(addr(&node), "localhost").await;
    node.up().await;
    plain.write_all(&options(Protocol::Tls, 1)).await.unwrap();
    assert_eq!(number(&node.message().await.1), 1);
    assert_eq!(shown(&node), 0);

    let (own, _) = pki.issue("phone", "phone.example.com");
    let mut proven = connect(&pki.connector_with(&own), addr(&node), "localhost").await.unwrap();
    node.up().await;
    proven.write_all(&options(Protocol::Tls, 2)).await.unwrap();
    assert_eq!(number(&node.message().await.1), 2);
    assert_eq!(shown(&node), 1);

    let (foreign, _) = stranger.issue("phone", "phone.example.com");
    let refused = connect(&pki.connector_with(&foreign), addr(&node), "localhost").await;
    // With TLS 1.3 the client has done before the server judges.
    if let Ok(mut phone) = refused {
        let mut bytes = Vec::new();
        assert!(timeout(PATIENCE, phone.read_to_end(&mut bytes)).await.expect("the end").is_err());
    }
    assert!(node.events.try_recv().is_err(), "there was no flow");
    assert_eq!((shown(&node), node.transport.stats().handshakes_failed.get()), (1, 1));
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_named() {
    let pki = Pki::new();
    let nowhere = pki.path("nowhere.pem");
    let config = Config { client_authority: Some(nowhere.clone()), ..pki.config(LISTEN) };
    let Error::Certificate(error) = refused(config).await else { panic!("another error") };
    assert_eq!((error.path, error.part), (nowhere, CertificatePart::ClientAuthority));
}

async fn refused(config: Config) -> Error {
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    let (batches, _) = tokio::sync::mpsc::unbounded_channel();
    let sink = std::sync::Arc::new(crate::Forward { events, batches });
    transport::bind(config, sink, crate::now, 1).await.unwrap_err()
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_names_its_file() {
    let pki = Pki::new();
    let (good, _) = pki.issue("good", "localhost");
    let (other, _) = pki.issue("other", "localhost");
    let with = |certificate: &std::path::Path, key: &std::path::Path| Config {
        certificates: vec![transport::CertificateFiles { certificate: certificate.into(), key: key.into() }],
        ..config(&[LISTEN])
    };
    let nowhere = pki.path("nowhere.pem");
    for (config, path, part) in [
        (with(&nowhere, &good.key), &nowhere, CertificatePart::Certificate),
        (with(&good.key, &good.key), &good.key, CertificatePart::Certificate),
        (with(&good.certificate, &nowhere), &nowhere, CertificatePart::Key),
        (with(&good.certificate, &good.certificate), &good.certificate, CertificatePart::Key),
        (with(&good.certificate, &other.key), &other.key, CertificatePart::Key),
    ] {
        let Error::Certificate(error) = refused(config).await else { panic!("another error") };
        assert_eq!((&error.path, error.part), (path, part), "{error}");
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    }
    assert!(matches!(refused(config(&[LISTEN])).await, Error::NoCertificate { .. }));
    assert!(matches!(refused(config(&["wss:127.0.0.1:0"])).await, Error::NoCertificate { .. }));
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_ended() {
    let pki = Pki::new();
    for listen in [LISTEN, "ws:127.0.0.1:0", "wss:127.0.0.1:0"] {
        let config = Config { handshake_timeout: Duration::from_millis(100), ..pki.config(listen) };
        let mut node = Node::start(config).await;
        let mut silent = TcpStream::connect(addr(&node)).await.unwrap();
        let mut bytes = Vec::new();
        let _ = timeout(PATIENCE, silent.read_to_end(&mut bytes)).await.expect("the end");
        assert_eq!(node.transport.stats().handshakes_failed.get(), 1);
        // There was no flow.
        assert!(node.events.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_connection_counts_before_its_handshake() {
    let pki = Pki::new();
    let node = Node::start(Config { max_connections_per_source: 1, ..pki.config(LISTEN) }).await;
    let _silent = TcpStream::connect(addr(&node)).await.unwrap();
    assert!(connect(&pki.connector(), addr(&node), "localhost").await.is_err());
    assert_eq!(node.transport.stats().connections_refused.get(), 1);
}

#[tokio::test]
async fn plain_text_is_no_handshake() {
    let pki = Pki::new();
    let mut node = Node::start(pki.config(LISTEN)).await;
    let mut phone = TcpStream::connect(addr(&node)).await.unwrap();
    phone.write_all(&options(Protocol::Tls, 1)).await.unwrap();
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, phone.read_to_end(&mut bytes)).await.expect("the end");
    assert!(node.events.try_recv().is_err());
}

#[tokio::test]
async fn shutdown_waits_for_no_handshake() {
    let pki = Pki::new();
    let mut node = Node::start(pki.config(LISTEN)).await;
    let _silent = TcpStream::connect(addr(&node)).await.unwrap();
    let _phone = pki.connect(addr(&node), "localhost").await;
    node.up().await;
    timeout(Duration::from_secs(5), node.transport.shutdown()).await.expect("an end");
    node.down().await;
}
