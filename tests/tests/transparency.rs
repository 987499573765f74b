//! What a proxy does not understand, it passes on: RFC 3261 §16.6 names the lines that a proxy touches, every other one
//! arrives as it was sent, byte for byte and in its order, and so does the body.
//!
//! Alice sends to Bob, and Bob to Alice, through a real cluster: edge, core, edge. Both are plain sockets, so what they
//! say and hear is not smoothed by any SIP stack.

use cluster_tests::cluster::{Binaries, Cluster, DOMAIN, Plan, Problem};
use cluster_tests::raw::{Datagrams, final_status};
use cluster_tests::ua::digest::{Algorithm, Challenge};

const PASSWORD: &str = "builder";

/// The lines that a proxy may touch: RFC 3261 §16.6 steps 2 to 8, RFC 3327 §5.2, RFC 5393 §5.3.3.
const TOUCHED: [&str; 7] = ["via", "v", "route", "record-route", "max-forwards", "max-breadth", "path"];

/// A body of two parts: SDP, and bytes that are no text.
const MULTIPART: &[u8] =
    b"--frontier\r\nContent-Type: application/sdp\r\n\r\nv=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n\
    \r\n--frontier\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n\
    \x00\xff\xfe\r\n\r\n\x80INVITE sip:x SIP/2.0\r\n\r\n\x00\r\n--frontier--\r\n";

#[test]
fn every_method_passes_outside_of_a_dialog() {
    with_cluster(async |pair| {
        let methods = [
            ("MESSAGE", "Content-Type: text/plain\r\n", &b"Hello, Bob"[..]),
            ("SUBSCRIBE", "Event: presence;id=7\r\nAccept: application/pidf+xml\r\nExpires: 600\r\n", b""),
            ("NOTIFY", "Event: presence\r\nSubscription-State: active;expires=599\r\n", b"<presence/>"),
            ("PUBLISH", "Event: presence\r\nSIP-If-Match: dx200xyz\r\nExpires: 3600\r\n", b"<presence/>"),
            (
                "REFER",
                "Refer-To: <sip:carol@elsewhere.test?Replaces=1%40x%3Bto-tag%3D2>\r\nRefer-Sub: false\r\n",
                b"",
            ),
            ("INFO", "Info-Package: dtmf\r\nContent-Disposition: Info-Package\r\n", b"Signal=5\r\n"),
            ("UPDATE", "Session-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\n", b""),
            ("PRACK", "RAck: 776656 1 INVITE\r\n", b""),
            ("OPTIONS", "Accept: application/sdp\r\n", b""),
            ("FROBNICATE", "", b"\x00\x01\x02"),
            ("x-a.b!%*_+`'~", "X-Nothing:\r\n", b""),
        ];
        for (method, extra, body) in methods {
            let request = pair.request(method, extra, body);
            let heard = pair.passes_to_bob(&request).await;
            pair.answer(&heard, 200, "", b"").await;
        }
    });
}

#[test]
fn every_way_to_write_a_header_passes() {
    with_cluster(async |pair| {
        let unknown =
            "X-Unknown: \"a, b\";c=<d>, , e\r\nx-UNKNOWN:no space\r\nP-Odd_Name.1 : \t tabs \t\r\nEmpty:\r\n";
        let folded = "Subject: one\r\n two\r\n\tthree\r\nX-Folded:\r\n at once\r\n";
        let utf8 = "Subject: Привет, 世界 — ✓\r\nReply-To: \"Ünï \\\"ç\\\" ødé\" <sip:u@elsewhere.test>\r\n";
        let compact = "k: timer, 100rel\r\ns: short\r\no: presence\r\nu: presence\r\nr: <sip:c@elsewhere.test>\r\nb: <sip:d@elsewhere.test>\r\n";
        let extensions = "Require: 100rel, x-unheard-of\r\nSupported: timer\r\nSupported: replaces,  norefersub\r\n\
                          Session-Expires: 1800\r\nMin-SE: 90\r\nAllow: INVITE,ACK\r\nDate: never\r\n\
                          Contact: *;x\r\nWarning: 399 h \"w\"\r\nPriority: !\r\n";
        for extra in [unknown, folded, utf8, compact, extensions] {
            let request = pair.request("MESSAGE", extra, b"body");
            let heard = pair.passes_to_bob(&request).await;
            pair.answer(&heard, 200, extra, b"back").await;
        }
        let multipart = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed;boundary=frontier\r\n";
        let request = pair.request("MESSAGE", multipart, MULTIPART);
        let heard = pair.passes_to_bob(&request).await;
        pair.answer(&heard, 200, multipart, MULTIPART).await;
    });
}

/// RFC 3261 §7.3.3: compact names stay compact, the mandatory ones, too; §18.3: the length is told when it was not.
#[test]
fn compact_forms_stay_and_a_missing_length_is_told() {
    with_cluster(async |pair| {
        let request = pair.compact("");
        let heard = pair.bob_hears(&request).await;
        let (lines, told) = (untouched(&request).0, untouched(&heard).0);
        assert_eq!(told.get(..lines.len()), Some(&lines[..]));
        assert_eq!(told.get(lines.len()..), Some(&[b"Content-Length: 4".to_vec()][..]), "one line more");
        assert!(heard.ends_with(b"\r\n\r\nbody"));
        pair.answer(&heard, 200, "", b"").await;

        let heard = pair.passes_to_bob(&pair.compact("l: 4\r\n")).await;
        pair.answer(&heard, 200, "", b"").await;
    });
}

/// RFC 3262, RFC 4028, RFC 3311: a proxy has no part in them.
#[test]
fn a_call_with_reliable_responses_and_session_timers_passes() {
    with_cluster(async |pair| {
        let offer = "Require: 100rel\r\nSupported: 100rel, timer\r\nSession-Expires: 120;refresher=uac\r\nMin-SE: 90\r\n\
                     Content-Type: application/sdp\r\n";
        let invite = pair.request("INVITE", offer, b"v=0\r\n");
        let heard = pair.passes_to_bob(&invite).await;
        pair.answer(&heard, 183, "Require: 100rel\r\nRSeq: 988789\r\n", b"v=0\r\n").await;
        // RFC 3261 §12.1.2: the route set is the Record-Route, and Alice reads it from below.
        let mut route: Vec<String> = values(&heard, "record-route");
        let from_bob = route.join(", ");
        route.reverse();
        let from_alice = route.join(", ");
        assert_eq!(route.len(), 2, "each edge is in it: {route:?}");

        for (method, extra) in [
            ("PRACK", "RAck: 988789 1 INVITE\r\n"),
            ("UPDATE", "Session-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\n"),
            ("INFO", "Info-Package: x\r\n"),
        ] {
            let request = pair.in_dialog(method, &from_alice, extra);
            let heard = pair.passes_to_bob(&request).await;
            pair.answer(&heard, 200, "", b"").await;
        }
        // RFC 4028 §6: what Bob refuses, Alice has to read.
        pair.answer(&heard, 422, "Min-SE: 3600\r\n", b"").await;
        let notify =
            pair.in_bobs_dialog("NOTIFY", &from_bob, "Event: refer\r\nSubscription-State: terminated\r\n");
        pair.bob.send(&notify).await.expect("a socket");
        let heard =
            pair.alice.receive(|message| message.starts_with(b"NOTIFY ")).await.expect("NOTIFY arrives");
        assert_same(&notify, &heard);
    });
}

/// RFC 3261 §16.3 step 5: what a proxy has to understand and does not is refused; what the UA has to, is not its business.
#[test]
fn an_unknown_proxy_require_is_420_and_goes_no_further() {
    with_cluster(async |pair| {
        let refused = pair.request("MESSAGE", "Require: 100rel\r\nProxy-Require: foo, bar\r\n", b"");
        pair.alice.send(&refused).await.expect("a socket");
        let answer = pair.alice.receive(|answer| final_status(answer).is_some()).await.expect("an answer");
        assert_eq!(final_status(&answer), Some(420));
        assert_eq!(values(&answer, "unsupported"), ["foo, bar"]);
        // The next message is the first that Bob hears.
        let heard = pair.passes_to_bob(&pair.request("MESSAGE", "Require: 100rel\r\n", b"")).await;
        pair.answer(&heard, 420, "Unsupported: 100rel\r\n", b"").await;
    });
}

/// Alice behind the first edge, unknown to the cluster; Bob behind the second one, registered.
struct Pair {
    alice: Datagrams,
    bob: Datagrams,
    number: std::cell::Cell<u32>,
}

fn with_cluster(script: impl AsyncFnOnce(&Pair)) {
    let runtime = node::runtime::build(1).expect("a runtime");
    let result = runtime.block_on(async {
        let mut cluster = Cluster::start(&Plan { cores: 1, ..Plan::default() }, &Binaries::build()?).await?;
        cluster.add_users([("bob", PASSWORD)]).await?;
        let [ep1, ep2] = &cluster.edges[..] else { return Err(Problem::new("two edges")) };
        let pair = Pair {
            alice: Datagrams::to(ep1.sip()).await?,
            bob: Datagrams::to(ep2.sip()).await?,
            number: 0.into(),
        };
        pair.register().await?;
        script(&pair).await;
        cluster.stop_all().await
    });
    if let Err(problem) = result {
        panic!("{problem}");
    }
}

impl Pair {
    async fn register(&self) -> Result<(), Problem> {
        let uri = format!("sip:{DOMAIN}");
        let mut credentials = String::new();
        for cseq in 1..=2 {
            let local = self.bob.local()?;
            let register = format!(
                "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKr{cseq}\r\nMax-Forwards: 70\r\n\
                 From: <sip:bob@{DOMAIN}>;tag=r\r\nTo: <sip:bob@{DOMAIN}>\r\nCall-ID: r\r\nCSeq: {cseq} REGISTER\r\n\
                 Contact: <sip:bob@{local}>\r\n{credentials}Content-Length: 0\r\n\r\n"
            );
            self.bob.send(register.as_bytes()).await?;
            let answer = self.bob.receive(|answer| final_status(answer).is_some()).await;
            let answer = answer.ok_or_else(|| Problem::new("no answer to REGISTER"))?;
            if final_status(&answer) == Some(200) {
                return Ok(());
            }
            let challenges = values(&answer, "www-authenticate");
            let lines: Vec<&str> = challenges.iter().map(String::as_str).collect();
            let mut challenge =
                Challenge::choose(&lines, Algorithm::Sha256).ok_or_else(|| Problem::new("no challenge"))?;
            credentials =
                format!("Authorization: {}\r\n", challenge.answer("bob", PASSWORD, "REGISTER", &uri));
        }
        Err(Problem::new("Bob is not registered"))
    }

    fn next(&self) -> u32 {
        self.number.set(self.number.get() + 1);
        self.number.get()
    }

    /// From Alice to Bob's address-of-record.
    fn request(&self, method: &str, extra: &str, body: &[u8]) -> Vec<u8> {
        let (number, local, length) = (self.next(), self.alice.local().expect("bound"), body.len());
        let head = format!(
            "{method} sip:bob@{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKa{number}\r\n\
             Max-Forwards: 70\r\nFrom: \"Алиса 'Λ' \\\"☎\\\"\" <sip:alice@elsewhere.test>;tag=a\r\n\
             To: Bob the Builder <sip:bob@{DOMAIN}>\r\nCall-ID: {number}-transparency\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:alice@{local}>\r\n{extra}Content-Length: {length}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    }

    /// The same with compact names, and perhaps a length.
    fn compact(&self, length: &str) -> Vec<u8> {
        let (number, local) = (self.next(), self.alice.local().expect("bound"));
        format!(
            "MESSAGE sip:bob@{DOMAIN} SIP/2.0\r\nv:SIP/2.0/UDP {local};rport;branch=z9hG4bKa{number}\r\n\
             f:<sip:alice@elsewhere.test>;tag=a\r\nt: <sip:bob@{DOMAIN}>\r\ni :{number}-transparency\r\nCSEQ:1 MESSAGE\r\n\
             c:text/plain\r\n{length}\r\nbody"
        )
        .into_bytes()
    }

    /// From Alice in the dialog of the last INVITE.
    fn in_dialog(&self, method: &str, route: &str, extra: &str) -> Vec<u8> {
        let (number, local) = (self.next(), self.alice.local().expect("bound"));
        format!(
            "{method} sip:bob@{} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKa{number}\r\nMax-Forwards: 70\r\n\
             Route: {route}\r\nFrom: <sip:alice@elsewhere.test>;tag=a\r\nTo: <sip:bob@{DOMAIN}>;tag=b\r\n\
             Call-ID: dialog\r\nCSeq: {number} {method}\r\n{extra}Content-Length: 0\r\n\r\n",
            self.bob.local().expect("bound"),
        )
        .into_bytes()
    }

    /// From Bob in the same dialog.
    fn in_bobs_dialog(&self, method: &str, route: &str, extra: &str) -> Vec<u8> {
        let (number, local) = (self.next(), self.bob.local().expect("bound"));
        format!(
            "{method} sip:alice@{} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKb{number}\r\nMax-Forwards: 70\r\n\
             Route: {route}\r\nFrom: <sip:bob@{DOMAIN}>;tag=b\r\nTo: <sip:alice@elsewhere.test>;tag=a\r\n\
             Call-ID: dialog\r\nCSeq: {number} {method}\r\n{extra}Content-Length: 0\r\n\r\n",
            self.alice.local().expect("bound"),
        )
        .into_bytes()
    }

    async fn bob_hears(&self, request: &[u8]) -> Vec<u8> {
        self.alice.send(request).await.expect("a socket");
        let method = request.split(|byte| *byte == b' ').next().unwrap_or_default().to_vec();
        let heard = self.bob.receive(|message| !message.starts_with(b"OPTIONS sip:ping")).await;
        let heard = heard.unwrap_or_else(|| panic!("does not arrive:\n{}", String::from_utf8_lossy(request)));
        assert!(heard.starts_with(&method), "{}", String::from_utf8_lossy(&heard));
        heard
    }

    /// What Alice sends reaches Bob; gives what he hears.
    async fn passes_to_bob(&self, request: &[u8]) -> Vec<u8> {
        let heard = self.bob_hears(request).await;
        assert_same(request, &heard);
        heard
    }

    /// What Bob answers reaches Alice: RFC 3261 §16.7 takes off a Via at each hop and touches nothing else.
    async fn answer(&self, request: &[u8], status: u16, extra: &str, body: &[u8]) {
        let mut answer = format!("SIP/2.0 {status} Ünusual  phrase\r\n").into_bytes();
        for line in lines(request) {
            let name = name(&line);
            if ["via", "v", "from", "f", "to", "t", "call-id", "i", "cseq", "record-route"].contains(&&*name)
            {
                answer.extend_from_slice(&line);
                if ["to", "t"].contains(&&*name) && !line.windows(5).any(|window| window == b";tag=") {
                    answer.extend_from_slice(b";tag=b");
                }
                answer.extend_from_slice(b"\r\n");
            }
        }
        answer.extend_from_slice(format!("{extra}Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        answer.extend_from_slice(body);
        self.bob.send(&answer).await.expect("a socket");
        let expected = format!("SIP/2.0 {status} ");
        let heard = self.alice.receive(|message| message.starts_with(expected.as_bytes())).await;
        let heard =
            heard.unwrap_or_else(|| panic!("does not come back:\n{}", String::from_utf8_lossy(&answer)));
        assert_same(&answer, &heard);
        assert_eq!(start_line(&answer), start_line(&heard), "§16.7: the phrase, too");
        assert_eq!(vias(&heard), 1, "Alice's own");
    }
}

#[track_caller]
fn assert_same(sent: &[u8], heard: &[u8]) {
    let readable = |lines: Vec<Vec<u8>>| {
        lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>()
    };
    let ((sent, sent_body), (heard, heard_body)) = (untouched(sent), untouched(heard));
    assert_eq!(readable(heard.clone()), readable(sent.clone()));
    assert!(heard == sent && heard_body == sent_body, "byte for byte");
}

/// The header lines that a proxy may not touch, in their order, and the body.
fn untouched(message: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (_, body) = cut(message);
    (lines(message).into_iter().filter(|line| !TOUCHED.contains(&&*name(line))).collect(), body.to_vec())
}

/// Header lines as they were written, folded ones with their continuation.
fn lines(message: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in cut(message).0.split(|byte| *byte == b'\n').skip(1) {
        match lines.last_mut() {
            Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                last.push(b'\n');
                last.extend_from_slice(line);
            }
            _ => lines.push(line.to_vec()),
        }
    }
    // The line end belongs to no line.
    lines.into_iter().map(|line| line.strip_suffix(b"\r").unwrap_or(&line).to_vec()).collect()
}

/// Start line and header section, and what is behind the empty line.
fn cut(message: &[u8]) -> (&[u8], &[u8]) {
    let at = message.windows(4).position(|window| window == b"\r\n\r\n").expect("an empty line");
    (&message[..at], &message[at + 4..])
}

fn start_line(message: &[u8]) -> &[u8] {
    message.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

fn name(line: &[u8]) -> String {
    String::from_utf8_lossy(line).split(':').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The values of the lines with this name.
fn values(message: &[u8], wanted: &str) -> Vec<String> {
    let lines = lines(message).into_iter().filter(|line| name(line) == wanted);
    lines
        .map(|line| {
            let line = String::from_utf8_lossy(&line).into_owned();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        })
        .collect()
}

fn vias(message: &[u8]) -> usize {
    values(message, "via").len() + values(message, "v").len()
}
