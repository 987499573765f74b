//! What a proxy does not understand, it passes on, from each transport to each: RFC 3261 §16.6 and §16.7 name the lines that
//! it touches, every other one and the body arrive byte for byte.

use cluster_tests::phone::Transport::{Tcp, Tls, Udp, Ws, Wss};
use cluster_tests::phone::{Exchange, Message, Phone, Transport, assert_passed, scenario};

/// From which transport to which.
const WAYS: [(Transport, Transport); 8] =
    [(Udp, Udp), (Udp, Tcp), (Tcp, Udp), (Tcp, Tcp), (Udp, Wss), (Wss, Tls), (Tls, Udp), (Ws, Tcp)];

/// Alice, who is no user, and Bob, who is registered, on each pair of transports.
async fn each_way(exchange: &Exchange, script: impl AsyncFn(&mut Phone, &mut Phone)) {
    for (from, to) in WAYS {
        let mut alice = exchange.outsider(1, from).await;
        let mut bob = exchange.registered(2, to).await;
        script(&mut alice, &mut bob).await;
    }
}

/// A request there, and its answer with the same lines back.
async fn passes(alice: &mut Phone, bob: &mut Phone, request: Message, lines: &[&str], body: &[u8]) {
    let request = lines.iter().fold(request, |request, line| request.line(line)).body(body);
    alice.send(&request).await;
    let heard = bob.hears(request.method()).await;
    assert_passed(&request, &heard);
    let answer = lines.iter().fold(bob.response(&heard, 200), |answer, line| answer.line(line)).body(body);
    bob.send(&answer).await;
    let got = alice.gets(&request, 200).await;
    assert_passed(&answer, &got);
}

#[test]
fn every_method_passes() {
    scenario(async |exchange| {
        each_way(exchange, async |alice, bob| {
            let methods: [(&str, &[&str], &[u8]); 9] = [
                ("MESSAGE", &["Content-Type: text/plain"], b"Hello"),
                ("SUBSCRIBE", &["Event: presence;id=7", "Expires: 600"], b""),
                ("PUBLISH", &["Event: presence", "SIP-If-Match: dx200xyz", "Expires: 3600"], b"<presence/>"),
                (
                    "REFER",
                    &["Refer-To: <sip:c@elsewhere.test?Replaces=1%40x%3Bto-tag%3D2>", "Refer-Sub: false"],
                    b"",
                ),
                ("INFO", &["Info-Package: dtmf"], b"Signal=5\r\n"),
                ("OPTIONS", &["Accept: application/sdp"], b""),
                ("NOTIFY", &["Event: presence", "Subscription-State: active;expires=599"], b"<presence/>"),
                ("FROBNICATE", &["X-Frob: \x01"], b"\x00\x01\x02"),
                ("x-a.b!%*_+`'~", &["X-Nothing:"], b""),
            ];
            for (method, lines, body) in methods {
                let request = alice.request(method, &bob.aor());
                passes(alice, bob, request, lines, body).await;
            }
        })
        .await;
    });
}

#[test]
fn every_byte_of_a_body_passes() {
    scenario(async |exchange| {
        let every: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        let multipart = [
            b"--frontier\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--frontier\r\nContent-Type: x/y\r\n\r\n",
            &*every,
            b"\r\n\r\nMESSAGE sip:x SIP/2.0\r\nContent-Length: 0\r\n\r\n--frontier--\r\n",
        ]
        .concat();
        each_way(exchange, async |alice, bob| {
            for (kind, body) in [
                ("Content-Type: application/octet-stream", &every),
                ("c: multipart/mixed;boundary=frontier", &multipart),
            ] {
                let request = alice.request("MESSAGE", &bob.aor());
                passes(alice, bob, request, &[kind, "MIME-Version: 1.0", "e: identity"], body).await;
            }
        })
        .await;
    });
}

/// §18.1.1: what is larger than a datagram goes over a stream.
#[test]
fn a_large_body_passes_over_streams() {
    scenario(async |exchange| {
        let body: Vec<u8> = (0..60_000_u32).map(|n| n.to_le_bytes()[usize::from(n % 7 == 0)]).collect();
        for (from, to) in [(Tcp, Tcp), (Tls, Wss), (Ws, Tls)] {
            let mut alice = exchange.outsider(1, from).await;
            let mut bob = exchange.registered(2, to).await;
            let request = alice.request("MESSAGE", &bob.aor());
            passes(&mut alice, &mut bob, request, &["Content-Type: application/octet-stream"], &body).await;
        }
    });
}

/// §7.3: folded lines, several values in a line and in several, compact names, text that is not ASCII, and nonsense.
#[test]
fn every_way_to_write_a_header_passes() {
    scenario(async |exchange| {
        let ways: [&[&str]; 6] = [
            &["Subject: one\r\n two\r\n\tthree", "X-Folded:\r\n at once"],
            &["Supported: a, b ,,c", "k: d,e", "supported:f", "Supported:"],
            &[
                "k: timer, 100rel",
                "s: short",
                "o: presence",
                "u: presence",
                "r: <sip:c@elsewhere.test>",
                "b: <sip:d@elsewhere.test>",
            ],
            &[
                "Subject: Привет, 世界 — ✓",
                "Reply-To: \"Ünï \\\"ç\\\" ødé\" <sip:u@elsewhere.test>",
                "Organization: \u{1F4DE}",
            ],
            &["X-Unknown: \"a, b\";c=<d>, , e", "x-UNKNOWN:no space", "P-Odd_Name.1 : \t tabs \t", "Empty:"],
            &[
                "Require: 100rel, x-unheard-of",
                "Date: never",
                "Priority: !",
                "Warning: 399 h \"w\"",
                "Timestamp: 54",
                "Max-Forwardz: 1",
            ],
        ];
        each_way(exchange, async |alice, bob| {
            for lines in ways {
                let request = alice.request("MESSAGE", &bob.aor());
                passes(alice, bob, request, lines, b"body").await;
            }
        })
        .await;
    });
}

/// §19.1, RFC 3966, RFC 5118: From, To and Contact are between the users.
#[test]
fn every_address_passes() {
    scenario(async |exchange| {
        let addresses = [
            (
                "\"Алиса 'Λ' \\\"☎\\\"\" <sip:a@elsewhere.test>;tag=1",
                "Bob the Builder <sip:bob@elsewhere.test>",
            ),
            ("<tel:+1-201-555-0123;phone-context=example.com>;tag=1", "<tel:7042;phone-context=example.com>"),
            ("sip:a%40b%20c@elsewhere.test;tag=1", "sip:%73@elsewhere.test"),
            ("<sip:a:p%3aw@[2001:db8::9:1]:5070;x=%41?h=v>;tag=1;odd=\"q;\"", "<sip:[2001:db8::1]>"),
            ("<http://elsewhere.test/a,b;c>;tag=1", "<urn:service:sos>;later"),
            ("<sip:a;isub=1?x=,@elsewhere.test>;tag=1", "sip:elsewhere.test:5061"),
            ("<sips:a@elsewhere.test>;tag=!%*_+`'~-.", "\"\" <sip:a@elsewhere.test;user=phone>"),
        ];
        each_way(exchange, async |alice, bob| {
            for (from, to) in addresses {
                let request = alice.request("MESSAGE", &bob.aor()).with("From", from).with("To", to);
                passes(alice, bob, request.with("Contact", "<sip:a@[::1]:5099>;+x"), &[], b"").await;
            }
        })
        .await;
    });
}

/// §16.6 step 2: a Request-URI is written in many ways, and all of them mean Bob.
#[test]
fn every_way_to_write_the_callee_finds_him() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let escaped: String = bob.user.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for uri in [
            bob.aor().replacen("sip:", "SIP:", 1),
            bob.aor().replace("cluster.test", "CLUSTER.Test"),
            format!("{};user=phone;x=y", bob.aor()),
            format!("sip:{escaped}@cluster.test"),
        ] {
            let request = alice.request("MESSAGE", &uri).with("To", "<sip:bob@elsewhere.test>");
            alice.send(&request).await;
            let heard = bob.hears("MESSAGE").await;
            assert_eq!(heard.uri(), bob.contact(), "{uri}");
            bob.reply(&heard, 200).await;
            alice.gets(&request, 200).await;
        }
    });
}

/// §16.7 step 5 and §7.2: answers of every class, with phrases of their own.
#[test]
fn every_answer_passes() {
    scenario(async |exchange| {
        each_way(exchange, async |alice, bob| {
            for status in [202, 299, 302, 380, 400, 404, 422, 489, 491, 494, 500, 580, 600, 699] {
                let (request, heard) = alice.reaches(bob, "MESSAGE").await;
                let answer = Message::response(&heard, status, "Ünusual  phrase: 100 %", "tag.of+bob");
                let answer =
                    answer.line("Error-Info: <sip:e@elsewhere.test>").line("X: \u{2603}").body("why");
                bob.send(&answer).await;
                let got = alice.gets(&request, status).await;
                assert_passed(&answer, &got);
            }
        })
        .await;
    });
}

/// §7.3.3: compact names stay compact, the mandatory ones, too; §18.3, §20.14: the length is told when it was not.
#[test]
fn a_missing_length_is_told() {
    scenario(async |exchange| {
        for to in [Udp, Tcp, Tls] {
            let mut alice = exchange.outsider(1, Udp).await;
            let mut bob = exchange.registered(2, to).await;
            let via = alice.via();
            let request = Message::request("MESSAGE", &bob.aor()).line(format!("v:{via}"));
            let request = request.line("f:<sip:a@elsewhere.test>;tag=a").line("t: <sip:b@elsewhere.test>");
            let request =
                request.line(format!("i :{}", alice.fresh())).line("CSEQ:1 MESSAGE").line("c:text/plain");
            let whole = [&request.bytes()[..], b"body"].concat();
            alice.send_bytes(&whole).await;
            let heard = bob.hears("MESSAGE").await;
            let (sent, lines) = (request.untouched(), heard.untouched());
            assert_eq!(lines.get(..sent.len()), Some(&sent[..]));
            assert_eq!(lines.get(sent.len()..), Some(&["Content-Length: 4".to_owned()][..]), "one line more");
            assert_eq!(heard.content(), b"body");
            bob.reply(&heard, 200).await;
            alice.gets(&request, 200).await;
        }
    });
}

/// Two messages in one segment, one message in many: RFC 3261 §18.3.
#[test]
fn a_stream_is_cut_by_length_alone() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Tcp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let inner = "\r\n\r\nBYE sip:x SIP/2.0\r\n\r\n";
        let requests: Vec<Message> =
            (0..5).map(|_| alice.request("MESSAGE", &bob.aor()).body(inner)).collect();
        let bytes: Vec<u8> = requests.iter().flat_map(Message::bytes).collect();
        alice.send_bytes(&bytes).await;
        let mut heard = Vec::new();
        for _ in &requests {
            let message = bob.hears("MESSAGE").await;
            assert_eq!(message.content(), inner.as_bytes());
            bob.reply(&message, 200).await;
            heard.push(message.get("Call-ID"));
        }
        heard.sort();
        let mut sent: Vec<_> = requests.iter().map(|request| request.get("Call-ID")).collect();
        sent.sort();
        assert_eq!(heard, sent);
        for request in &requests {
            alice.gets(request, 200).await;
        }
        let last = alice.request("MESSAGE", &bob.aor()).body(inner);
        for byte in last.bytes() {
            alice.send_bytes(&[byte]).await;
        }
        let message = bob.hears("MESSAGE").await;
        bob.reply(&message, 200).await;
        alice.gets(&last, 200).await;
    });
}
