//! TLS and secure WebSocket on the real program: a phone without anything of ours, SIGHUP as the operator sends it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod program;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use self::program::{PATIENCE, Program};

const HOST: &str = "sip.example.com";

/// A running edge with certificates of an authority that the phones trust.
struct Edge {
    program: Program,
    issuer: Issuer<'static, KeyPair>,
    phones: Arc<ClientConfig>,
}

impl Edge {
    fn start(listen: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let phones = trust(params.self_signed(&key).unwrap().der());
        let issuer = Issuer::new(params, key);
        let folder = tempfile::tempdir().unwrap();
        issue(&issuer, &folder);
        let certificate = [("EDGE_TLS_CERT", "edge.pem"), ("EDGE_TLS_KEY", "edge-key.pem")];
        let settings = [&[("EDGE_LISTEN", listen)][..], &certificate].concat();
        Self { program: Program::start(folder, &settings), issuer, phones }
    }

    fn connect(&self, addr: &str) -> Phone {
        let socket = TcpStream::connect(addr).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let host = ServerName::try_from(HOST).unwrap();
        let tls = ClientConnection::new(Arc::clone(&self.phones), host).unwrap();
        StreamOwned::new(tls, socket)
    }
}

type Phone = StreamOwned<ClientConnection, TcpStream>;

fn trust(authority: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A new certificate where the edge looks for it.
fn issue(issuer: &Issuer<'static, KeyPair>, folder: &tempfile::TempDir) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![HOST.to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
    fs::write(folder.path().join("edge.pem"), certificate.pem()).unwrap();
    fs::write(folder.path().join("edge-key.pem"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

fn shown(phone: &Phone) -> CertificateDer<'static> {
    phone.conn.peer_certificates().unwrap()[0].clone()
}

fn register(transport: &str, number: u32) -> String {
    format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/{transport} 10.0.0.9:5061;rport;branch=z9hG4bK{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\n\
         Call-ID: secure\r\nCSeq: {number} REGISTER\r\nContact: <sip:alice@10.0.0.9:5061;transport=tls>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Reads up to the empty line after the headers.
fn head(phone: &mut Phone) -> String {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        let mut byte = [0];
        phone.read_exact(&mut byte).unwrap();
        text.push(char::from(byte[0]));
    }
    text
}

/// Without a core nobody can answer but the edge: 503 (RFC 3261 §21.5.4), on the flow that the request came on.
fn ask(phone: &mut Phone, number: u32) {
    phone.write_all(register("TLS", number).as_bytes()).unwrap();
    let answer = head(phone);
    assert!(answer.starts_with("SIP/2.0 503 "), "{answer}");
    assert!(answer.contains("Via: SIP/2.0/TLS 10.0.0.9:5061;"), "{answer}");
    assert!(answer.contains(&format!("CSeq: {number} REGISTER")), "{answer}");
}

#[test]
fn sighup_renews_the_certificate_and_keeps_the_flows() {
    let edge = Edge::start("tls:127.0.0.1:0");
    let addr = edge.program.says("listening listener=tls:");
    edge.program.says("edge is up");
    let mut old = edge.connect(&addr);
    ask(&mut old, 1);

    let fresh = issue(&edge.issuer, &edge.program.folder);
    assert_ne!(shown(&old), fresh);
    edge.program.reload();
    edge.program.says("certificates are read again");
    let mut new = edge.connect(&addr);
    ask(&mut new, 2);
    assert_eq!(shown(&new), fresh);

    fs::write(edge.program.folder.path().join("edge-key.pem"), "nothing").unwrap();
    edge.program.reload();
    let error = edge.program.says("EDGE_TLS_KEY: edge-key.pem: ");
    assert!(error.ends_with("the old certificates stay in use"), "{error}");
    let mut newest = edge.connect(&addr);
    ask(&mut newest, 3);
    assert_eq!(shown(&newest), fresh);
    ask(&mut old, 4);
}

#[test]
fn a_browser_registers_over_secure_websocket() {
    let edge = Edge::start("wss:127.0.0.1:0");
    let addr = edge.program.says("listening listener=wss:");
    edge.program.says("edge is up");
    let mut phone = edge.connect(&addr);
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\nOrigin: https://{HOST}\r\n\r\n"
    );
    phone.write_all(upgrade.as_bytes()).unwrap();
    let answer = head(&mut phone);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nsec-websocket-protocol: sip\r\n"), "{answer}");

    // RFC 6455 §5.2: one frame, text, masked with zeros, which changes nothing.
    let request = register("WSS", 1);
    let length = u16::try_from(request.len()).unwrap().to_be_bytes();
    phone.write_all(&[0x81, 0x80 | 126, length[0], length[1], 0, 0, 0, 0]).unwrap();
    phone.write_all(request.as_bytes()).unwrap();
    let mut frame = [0; 4];
    phone.read_exact(&mut frame).unwrap();
    assert_eq!(frame[..2], [0x81, 126], "one frame of text");
    let mut answer = vec![0; usize::from(u16::from_be_bytes([frame[2], frame[3]]))];
    phone.read_exact(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("SIP/2.0 503 "), "{answer}");
    assert!(answer.contains("Via: SIP/2.0/WSS 10.0.0.9:5061;"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}
