//! The torture messages of RFC 4475 and RFC 5118 against a running cluster: every one is answered as its RFC asks, or
//! dropped and counted, and a good request behind it is served; and what is valid arrives as it was sent (`forwarded`).
//!
//! The messages and what becomes of them are those of the parser's own test. When `SIP_TORTURE_RFC4475` is the path of
//! the text of RFC 4475, the originals of its Appendix A are sent, too.

#[path = "../../crates/sip/tests/torture"]
#[expect(dead_code, clippy::unwrap_used, reason = "what is read from a message is the parser's test")]
mod torture {
    pub(crate) mod archive;
    pub(crate) mod look;
    pub(crate) mod table;
}

#[path = "torture/forwarded.rs"]
mod forwarded;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use cluster_tests::cluster::{Binaries, Cluster, DOMAIN, Node, Plan, Problem, poll};
use cluster_tests::raw::{Datagrams, LIMIT, final_status, over_stream};
use forwarded::{Letter, Village};
use torture::archive;
use torture::table::{RFC_4475, RFC_5118, Row, Verdict, Way};
use transport::Protocol;

#[test]
fn every_message_of_the_corpus_is_survived() {
    run(&corpus());
}

#[test]
fn every_original_of_rfc_4475_is_survived() {
    if let Some(originals) = originals() {
        run(&originals);
    }
}

#[test]
fn what_is_valid_in_the_corpus_arrives_as_it_was_sent() {
    arrive(&corpus());
}

#[test]
fn what_is_valid_in_rfc_4475_arrives_as_it_was_sent() {
    if let Some(originals) = originals() {
        arrive(&originals);
    }
}

/// Our own messages.
fn corpus() -> Vec<(&'static Row, Bytes)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/sip/tests/torture");
    let read = |row: &'static Row| {
        let path = corpus.join(row.name).with_extension("dat");
        (row, fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into())
    };
    RFC_4475.iter().chain(RFC_5118).map(read).collect()
}

/// Those of the RFC, if its text is there.
fn originals() -> Option<Vec<(&'static Row, Bytes)>> {
    let Some(text) = std::env::var_os("SIP_TORTURE_RFC4475") else {
        archive::announce("SIP_TORTURE_RFC4475 is unset: the RFC's own archive is not sent to a cluster");
        return None;
    };
    let text = fs::read_to_string(&text).expect("the text of RFC 4475");
    let mut originals = archive::unpack(&text);
    Some(RFC_4475.iter().map(|row| (row, originals.remove(row.name).expect(row.name))).collect())
}

/// Every accepted message that a proxy forwards, over UDP and over TCP.
fn arrive(messages: &[(&Row, Bytes)]) {
    let runtime = node::runtime::build(1).expect("a runtime");
    let result = runtime.block_on(async {
        let mut seen = BTreeSet::new();
        let accepted = messages.iter().filter(|(row, _)| matches!(row.verdict, Verdict::Accepted(_)));
        let letters = accepted.map(|(row, message)| (row.name, with_own_branch(row, message, &mut seen)));
        let letters: Vec<_> = letters
            .collect::<Vec<_>>()
            .iter()
            .filter_map(|(name, message)| Letter::of(name, message))
            .collect();
        assert!(letters.len() >= 13, "only {} are forwarded", letters.len());
        let village = Village::of(&letters).await?;
        let mut wrong = Vec::new();
        for letter in &letters {
            for protocol in [Protocol::Udp, Protocol::Tcp] {
                // §20.14: without a Content-Length nothing is a message on a stream.
                if (letter.name, protocol) == ("inv2543", Protocol::Tcp) {
                    continue;
                }
                if let Err(problem) = village.delivers(letter, protocol).await {
                    wrong.push(format!("{} over {protocol}: {problem}", letter.name));
                }
            }
        }
        // A 100 goes one hop only (§16.7 step 5).
        let is_response =
            |message: &Bytes| message.starts_with(b"SIP/2.0 ") && final_status(message).is_some();
        let responses = messages
            .iter()
            .filter(|(row, message)| matches!(row.verdict, Verdict::Accepted(_)) && is_response(message));
        let invite =
            letters.iter().find(|letter| letter.name == "sdp01").expect("an INVITE that is like others");
        for (row, response) in responses {
            if let Err(problem) = village.carries(&invite.again(row.name), response).await {
                wrong.push(format!("{}: {problem}", row.name));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        village.ends().await
    });
    if let Err(problem) = result {
        panic!("{problem}");
    }
}

/// What the cluster has to do with a message.
enum Expected {
    /// Answer with one of these.
    Status(Vec<u16>),
    /// Nothing but count it.
    Drop,
}

/// What a well-formed request comes to that is for nobody here: the caller or the registering user is unknown, or the
/// domain is foreign, or the dialog is.
const NOT_OURS: [u16; 6] = [401, 403, 404, 407, 480, 481];

fn expected(row: &Row, message: &Bytes) -> Expected {
    match row.verdict {
        Verdict::Accepted(_) if message.starts_with(b"SIP/2.0 ") => Expected::Drop,
        Verdict::Accepted(_) => Expected::Status(NOT_OURS.to_vec()),
        Verdict::Refused(status) => Expected::Status(vec![status]),
        Verdict::Dropped | Verdict::RefusedAbove(_, Way::Drop, _) => Expected::Drop,
        // RFC 3261 §10.3: a registrar knows who asks (step 3) before it reads what is asked (step 6).
        Verdict::RefusedAbove(torture::table::Layer::Registrar, Way::Answer(status), _) => {
            Expected::Status(vec![status, 401])
        }
        Verdict::RefusedAbove(torture::table::Layer::Proxy, Way::Answer(status), _) => {
            Expected::Status(vec![status])
        }
    }
}

/// Everything over UDP to the first edge and over TCP to the second one, so that no message is taken for the
/// repetition of itself.
fn run(messages: &[(&Row, Bytes)]) {
    let runtime = node::runtime::build(1).expect("a runtime");
    let result = runtime.block_on(async {
        // The messages are for example.com: as one of the cluster's domains they get further.
        let settings = vec![("CORE_DOMAINS".to_owned(), format!("{DOMAIN},example.com"))];
        let plan = Plan { cores: 1, settings, ..Plan::default() };
        let mut cluster = Cluster::start(&plan, &Binaries::build()?).await?;
        let mut wrong = Vec::new();
        let mut seen = BTreeSet::new();
        for (row, message) in messages {
            let message = with_own_branch(row, message, &mut seen);
            for (edge, transport) in cluster.edges.iter().zip(["UDP", "TCP"]) {
                let result = match transport {
                    "UDP" => over_udp(edge, row, &message).await,
                    _ => over_tcp(edge, row, &message).await,
                };
                if let Err(problem) = result {
                    wrong.push(format!("{} (§{}) over {transport}: {problem}", row.name, row.section));
                }
                works(edge, &format!("{}-{transport}", row.name)).await.map_err(|problem| {
                    Problem::new(format!("after {} over {transport}: {problem}\n{}", row.name, edge.log()))
                })?;
            }
        }
        assert_eq!(wrong, [""; 0]);
        // Nobody has died in between: every process still ends in order.
        cluster.stop_all().await
    });
    if let Err(problem) = result {
        panic!("{problem}");
    }
}

/// Many messages of the RFCs have one branch, so they would be repetitions of the first of them: those that come later
/// get a branch of their own.
fn with_own_branch(row: &Row, message: &Bytes, seen: &mut BTreeSet<Vec<u8>>) -> Bytes {
    let cookie = b"z9hG4bK";
    let Some(at) = message.windows(cookie.len()).position(|window| window == cookie) else {
        return message.clone();
    };
    let (head, tail) = message.split_at(at + cookie.len());
    let branch = tail.split(|byte| b";, \r\n".contains(byte)).next().unwrap_or_default();
    if seen.insert(branch.to_vec()) || branch.is_empty() {
        return message.clone();
    }
    [head, row.name.as_bytes(), tail].concat().into()
}

async fn over_udp(edge: &Node, row: &Row, message: &Bytes) -> Result<(), Problem> {
    let dropped = drops(edge).await?;
    let socket = Datagrams::to(edge.sip()).await?;
    socket.send(message).await?;
    match expected(row, message) {
        Expected::Status(statuses) => {
            let answer = socket.receive(|answer| final_status(answer).is_some()).await;
            one_of(&statuses, answer.as_deref().and_then(final_status))
        }
        Expected::Drop => {
            is_dropped(edge, dropped).await?;
            if socket.has_more() { Err(Problem::new("is answered")) } else { Ok(()) }
        }
    }
}

async fn over_tcp(edge: &Node, row: &Row, message: &Bytes) -> Result<(), Problem> {
    let dropped = drops(edge).await?;
    let (statuses, message) = match (row.name, expected(row, message)) {
        // §18.3: a stream waits for what Content-Length announces, and then it is a body like any other.
        ("clerr", _) => (NOT_OURS.to_vec(), filled(message)),
        // §20.14: on a stream there must be a Content-Length.
        ("inv2543", _) => (vec![400], message.clone()),
        // The datagram's end is a part of what is wrong with it; a stream waits for the empty line.
        (_, Expected::Status(statuses)) if !message.windows(4).any(|window| window == b"\r\n\r\n") => {
            (statuses, [message, &b"\r\n"[..]].concat().into())
        }
        (_, Expected::Status(statuses)) => (statuses, message.clone()),
        (_, Expected::Drop) => {
            return dropped_over_tcp(edge, row, message, dropped).await;
        }
    };
    let heard = final_status(&over_stream(edge.sip(), &message).await?);
    // What stands behind the first request is the next message here, and closes the stream when it is none.
    if row.name == "dblreq" && heard.is_none() { Ok(()) } else { one_of(&statuses, heard) }
}

async fn dropped_over_tcp(edge: &Node, row: &Row, message: &Bytes, before: f64) -> Result<(), Problem> {
    // A request behind it shows that the stream goes on, or that it was closed because it cannot.
    let after = options("TCP", "127.0.0.1:9", row.name);
    let heard = over_stream(edge.sip(), &[message, after.as_bytes()].concat()).await?;
    is_dropped(edge, before).await?;
    match final_status(&heard) {
        None | Some(200) => Ok(()),
        Some(status) => Err(Problem::new(format!("is answered with {status}"))),
    }
}

fn one_of(statuses: &[u16], status: Option<u16>) -> Result<(), Problem> {
    match status {
        Some(status) if statuses.contains(&status) => Ok(()),
        other => Err(Problem::new(format!("expected {statuses:?}, heard {other:?}"))),
    }
}

/// The message with all of the body that its Content-Length promises.
fn filled(message: &Bytes) -> Bytes {
    let text = String::from_utf8_lossy(message);
    let (head, body) = text.split_once("\r\n\r\n").expect("a header section");
    let promised = head.lines().find_map(|line| line.strip_prefix("Content-Length:"));
    let promised: usize = promised.expect("a length").trim().parse().expect("a number");
    [message, " ".repeat(promised - body.len()).as_bytes()].concat().into()
}

/// What an edge has dropped: no message at all, or a response to nothing it has asked.
async fn drops(edge: &Node) -> Result<f64, Problem> {
    Ok(edge.metric("edge_malformed").await? + edge.metric("edge_stray_responses_total").await?)
}

async fn is_dropped(edge: &Node, before: f64) -> Result<(), Problem> {
    let counted = poll(LIMIT, async || (drops(edge).await.ok()? > before).then_some(())).await;
    counted.ok_or_else(|| Problem::new("is not counted as dropped"))
}

/// The edge and the core behind it serve the next good request.
async fn works(edge: &Node, name: &str) -> Result<(), Problem> {
    let socket = Datagrams::to(edge.sip()).await?;
    let local = socket.local()?.to_string();
    socket.send(options("UDP", &local, name).as_bytes()).await?;
    let answer = socket.receive(|answer| final_status(answer).is_some()).await;
    one_of(&[200], answer.as_deref().and_then(final_status))
}

/// RFC 3261 §11.1: asks the domain what it can do. `name` makes it another request than all others.
fn options(transport: &str, local: &str, name: &str) -> String {
    format!(
        "OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};rport;branch=z9hG4bK{name}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:probe@elsewhere.test>;tag=1\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: {name}\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}
