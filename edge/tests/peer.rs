//! Proxies in front of an edge that are trusted, and their streams, RFC 3261 §16.6 step 7, RFC 5626 §5.1, §5.3.1.

use std::time::Instant;

use bytes::Bytes;
use edge_proxy::egress::{Answer, Ask};
use edge_proxy::engine::{Edge, Input, Output};
use edge_proxy::settings::Settings;
use link::PeerId;
use node::Engine as _;
use sip::{Message, Name, Request, parse};
use transaction::Timers;
use transport::resolve::{Families, Step, Walk};
use transport::token::Keys;
use transport::{Flow, Listen, Protocol};

const CORE: PeerId = PeerId(1);

fn keys() -> Keys {
    Keys::random([7; 32])
}

fn flow(remote: &str, connection: u64) -> Flow {
    let local = "192.0.2.1:5060".parse().expect("an address");
    Flow { protocol: Protocol::Tcp, local, remote: remote.parse().expect("an address"), connection }
}

/// What becomes of a request with the token of a stream that is gone: the status of the answer, or the flow and the copy.
fn sent(method: &str, gone: &str, route: &str) -> Result<(Flow, Request), u16> {
    let listen = |protocol| Listen { protocol, addr: "192.0.2.1:5060".parse().expect("an address") };
    let trusted = ["10.0.0.0/24", "192.0.2.0/24"].map(|text| text.parse().expect("a network")).into();
    let listeners = vec![listen(Protocol::Udp), listen(Protocol::Tcp)];
    let settings = Settings::new("edge-1".to_owned(), None, listeners, &[], trusted, keys());
    let now = node::clock::now();
    let mut edge = Edge::new(settings, Timers::default(), [3; 32]);
    edge.handle(Input::CoreUp { core: CORE, name: "core-1".to_owned(), weight: 1 }, now);
    let token = keys().mint(&flow(gone, 1));
    let text = format!(
        "{method} sip:bob@192.168.1.1 SIP/2.0\r\nVia: SIP/2.0/TLS core;branch=z9hG4bK1\r\n\
         Route: <sip:{token}@edge-1;lr>\r\n{route}From: <sip:alice@example.com>;tag=a\r\n\
         To: <sip:bob@example.com>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n"
    );
    edge.handle(Input::FromCore { core: CORE, message: read(text.into()) }, now);
    follow(&mut edge, now)
}

fn follow(edge: &mut Edge, now: Instant) -> Result<(Flow, Request), u16> {
    while let Some(output) = edge.poll_output() {
        match output {
            Output::Egress(Ask::Resolve { ticket, question, seed }) => {
                let Step::Done(found) = Walk::new(question, Families { v4: true, v6: false }, seed).1 else {
                    panic!("a name")
                };
                edge.handle(Input::Egress(Answer::Targets(ticket, found)), now);
            }
            Output::Egress(Ask::Reach { ticket, target }) => {
                let (protocol, to) = (target.protocol, target.address.to_string());
                let flow = Flow { protocol, connection: 2, ..flow(&to, 0) };
                edge.handle(Input::Egress(Answer::Flow(ticket, Some(flow))), now);
            }
            Output::ToUa { flow, bytes } => {
                let Message::Request(request) = read(bytes) else { panic!("no request") };
                return Ok((flow, request));
            }
            Output::ToCore { bytes, .. } => {
                let Message::Response(response) = read(bytes) else { panic!("no response") };
                if response.status.code() > 100 {
                    return Err(response.status.code());
                }
            }
            _ => {}
        }
    }
    Err(0)
}

fn read(bytes: Bytes) -> Message {
    parse::message(bytes, &parse::Limits::default()).expect("well-formed")
}

#[test]
fn a_peer_that_has_closed_its_stream_is_reached_where_its_route_says() {
    let route = "Route: <sip:10.0.0.7:5070;transport=tcp;lr>\r\n";
    for method in ["INVITE", "BYE", "ACK"] {
        let (to, request) = sent(method, "10.0.0.7:40001", route).expect("it leaves");
        assert_eq!((to.remote.to_string().as_str(), to.connection), ("10.0.0.7:5070", 2), "{method}");
        let values = |name| request.headers.values(name).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(values(Name::Route), [b"<sip:10.0.0.7:5070;transport=tcp;lr>".to_vec()], "{method}");
        assert_eq!(request.top_via().expect("ours").sent_by, "192.0.2.1:5060");
        let token = keys().mint(&to);
        let recorded = format!("<sip:{token}@192.0.2.1:5060;transport=tcp;lr>").into_bytes();
        assert_eq!(values(Name::RecordRoute), if method == "INVITE" { vec![recorded] } else { vec![] });
    }
}

/// RFC 3261 §16.6 step 4: the transport is one that this edge listens on, whatever it speaks to the peer.
#[test]
fn a_peer_is_told_a_transport_that_is_listened_on() {
    let route = "Route: <sip:10.0.0.7:5061;transport=tls;lr>\r\n";
    let (to, request) = sent("INVITE", "10.0.0.7:40001", route).expect("it leaves");
    assert_eq!(to.protocol, Protocol::Tls);
    let recorded: Vec<&[u8]> = request.headers.values(Name::RecordRoute).collect();
    let token = keys().mint(&to);
    assert_eq!(recorded, [format!("<sip:{token}@192.0.2.1:5060;lr>").as_bytes()]);
}

/// RFC 5626 §5.3.1: a UA's stream can only be opened by the UA; and no Route leads from here to strangers.
#[test]
fn nobody_else_is() {
    let route = "Route: <sip:10.0.0.7:5070;lr>\r\n";
    assert_eq!(sent("INVITE", "198.51.100.1:40001", route).err(), Some(430), "a UA");
    assert_eq!(sent("INVITE", "10.0.0.7:40001", "").err(), Some(430), "nothing says where the peer is");
    let elsewhere = "Route: <sip:203.0.113.9:5060;lr>\r\n";
    assert_eq!(sent("INVITE", "10.0.0.7:40001", elsewhere).err(), Some(403), "not one of them");
    let another = "Route: <sip:10.0.0.8:5060;lr>\r\n";
    assert_eq!(
        sent("INVITE", "10.0.0.7:40001", another).err(),
        Some(403),
        "trusted, and not whose stream it was"
    );
    // A trusted peer may live on our own host.
    let beside = "Route: <sip:192.0.2.1:5070;lr>\r\n";
    assert!(sent("INVITE", "192.0.2.1:40001", beside).is_ok());
    let us = "Route: <sip:192.0.2.1:5060;lr>\r\n";
    assert_eq!(sent("INVITE", "192.0.2.1:40001", us).err(), Some(403), "our own socket");
}
