//! Nanoseconds per message: parsed, and parsed, changed as a hop changes it, and written.
//!
//! `cargo bench -p sip`. Each figure is the best of several rounds: everything slower is the machine.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::parse::{self, Limits};
use sip::{Message, Name, via};

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() {
    println!("{:<10} {:>6} {:>10} {:>12}", "ns", "bytes", "parse", "forward");
    for (what, text) in [("REGISTER", REGISTER), ("INVITE", INVITE), ("200 OK", OK)] {
        let bytes = Bytes::from_static(text.as_bytes());
        let parse = best(|| drop(black_box(read(&bytes))));
        let forward = best(|| drop(black_box(forwarded(&bytes))));
        println!("{what:<10} {:>6} {parse:>10} {forward:>12}", bytes.len());
    }
}

fn read(bytes: &Bytes) -> Message {
    parse::message(bytes.clone(), &Limits::default()).expect("the samples are valid")
}

/// What a proxy reads and changes (RFC 3261 §16.3 to §16.7).
fn forwarded(bytes: &Bytes) -> Bytes {
    let mut message = read(bytes);
    match &mut message {
        Message::Request(request) => {
            let hops = request.max_forwards().expect("readable").unwrap_or(70) - 1;
            black_box(request.top_via().expect("readable").branch());
            black_box((request.from_tag(), request.to_tag()));
            black_box(request.top_route().expect("there is one").expect("readable").uri);
            request.headers.set(Name::MaxForwards, hops.to_string());
            request.headers.pop_top(Name::Route);
            request.headers.push_top(Name::RecordRoute, "<sip:p1.example.com;lr;ob>");
            request.headers.push_top(Name::Via, via::compose("TCP", "p1.example.com:5060", "z9hG4bKbench"));
        }
        Message::Response(response) => {
            black_box(response.top_via().expect("there is one").expect("readable").branch());
            response.headers.pop_top(Name::Via);
        }
    }
    message.encode()
}

/// Nanoseconds of one call.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn best(mut work: impl FnMut()) -> u128 {
    const CALLS: u32 = 2_000;
    let round = |_| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| work());
        Instant::now().duration_since(start) / CALLS
    };
    (0..100).map(round).min().unwrap_or(Duration::ZERO).as_nanos()
}

const REGISTER: &str = concat!(
    "REGISTER sip:example.com SIP/2.0\r\n",
    "Via: SIP/2.0/UDP edge1.example.com:5060;branch=z9hG4bKnashds7f8d7f98ad\r\n",
    "Via: SIP/2.0/UDP 192.0.2.17:47213;branch=z9hG4bK.Hq7Yv1Tz;rport=47213;received=198.51.100.7\r\n",
    "Max-Forwards: 69\r\n",
    "Route: <sip:core.example.com:5060;lr>\r\n",
    "From: \"Alice Adams\" <sip:alice@example.com>;tag=9fxced76sl\r\n",
    "To: \"Alice Adams\" <sip:alice@example.com>\r\n",
    "Call-ID: 3848276298220188511@192.0.2.17\r\n",
    "CSeq: 17 REGISTER\r\n",
    "Contact: <sip:alice@192.0.2.17:47213;transport=udp;ob>;reg-id=1;",
    "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"\r\n",
    "Path: <sip:VskztcQ_S8p4WPbOnbuyh5iJvJIW3ib@edge1.example.com;lr;ob>\r\n",
    "Authorization: Digest username=\"alice\", realm=\"example.com\", ",
    "nonce=\"84a4cc6f3082121f32b42a2187831a9e\", uri=\"sip:example.com\", ",
    "response=\"7587245234b3434cc3412213e5f113a5\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"0a4f113b\"\r\n",
    "Supported: path, outbound, gruu\r\n",
    "Expires: 600\r\n",
    "Content-Length: 0\r\n\r\n",
);

const INVITE: &str = concat!(
    "INVITE sip:bob@example.com SIP/2.0\r\n",
    "Via: SIP/2.0/UDP 192.0.2.17:47213;branch=z9hG4bK.9aF3kQpL;rport=47213;received=198.51.100.7\r\n",
    "Max-Forwards: 70\r\n",
    "Route: <sip:VskztcQ_S8p4WPbOnbuyh5iJvJIW3ib@edge1.example.com;lr>\r\n",
    "From: \"Alice Adams\" <sip:alice@example.com>;tag=9fxced76sl\r\n",
    "To: <sip:bob@example.com>\r\n",
    "Call-ID: 6d2a1f0e9c8b7a65@192.0.2.17\r\n",
    "CSeq: 102 INVITE\r\n",
    "Contact: <sip:alice@192.0.2.17:47213;transport=udp;ob>\r\n",
    "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, UPDATE\r\n",
    "Supported: replaces, timer, outbound, gruu\r\n",
    "Session-Expires: 1800;refresher=uac\r\n",
    "Min-SE: 90\r\n",
    "User-Agent: Example Phone 4.2.1\r\n",
    "P-Early-Media: supported\r\n",
    "Content-Type: application/sdp\r\n",
    "Content-Length: 184\r\n\r\n",
    "v=0\r\no=alice 2890844526 2890844526 IN IP4 192.0.2.17\r\ns=-\r\nc=IN IP4 192.0.2.17\r\nt=0 0\r\n",
    "m=audio 49172 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone",
);

const OK: &str = concat!(
    "SIP/2.0 200 OK\r\n",
    "Via: SIP/2.0/UDP edge1.example.com:5060;branch=z9hG4bKnashds7f8d7f98ad\r\n",
    "Via: SIP/2.0/UDP 192.0.2.17:47213;branch=z9hG4bK.Hq7Yv1Tz;rport=47213;received=198.51.100.7\r\n",
    "From: \"Alice Adams\" <sip:alice@example.com>;tag=9fxced76sl\r\n",
    "To: <sip:bob@example.com>;tag=314159\r\n",
    "Call-ID: 6d2a1f0e9c8b7a65@192.0.2.17\r\n",
    "CSeq: 102 INVITE\r\n",
    "Contact: <sip:bob@203.0.113.9:5060;transport=udp>\r\n",
    "Record-Route: <sip:edge1.example.com;lr>\r\n",
    "Content-Length: 0\r\n\r\n",
);
