//! What is valid arrives as it was sent: behind the edge to which a message goes, somebody is at home whoever it is for.
//!
//! A message of the corpus is for users and domains of all kinds. They need not register: a binding is put into the
//! store for each of them, with a flow token made of the keys that the edges have. What arrives at the phone has the
//! lines and the body that were sent; the phone's answer arrives at who has sent it.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cluster_tests::cluster::{Binaries, Cluster, Node, Plan, Problem};
use cluster_tests::raw::{Datagrams, LIMIT, final_status, over_stream};
use location::{Database, LocationStore, Save, Saved};
use registrar::{Binding, Record, UnixTime};
use sip::{Aor, Message, Method, Request, parse};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use transport::token::Keys;
use transport::{Flow, Protocol};

/// The lines that a proxy may touch: RFC 3261 §16.6 steps 2 to 9, RFC 5393 §5.3.3. A Route that an outsider composes for a
/// new request is dropped.
const TOUCHED: [&str; 9] =
    ["via", "v", "max-forwards", "record-route", "route", "max-breadth", "content-length", "l", "path"];

/// The lines that a response repeats, RFC 3261 §8.2.6.2.
const REPEATED: [&str; 9] = ["via", "v", "from", "f", "to", "t", "call-id", "i", "cseq"];

const FLOW_KEY: [u8; 32] = [7; 32];

/// The answer of every phone: no proxy makes it up.
const ANSWER: u16 = 486;

/// A cluster in which everybody is at home whom the messages are for.
pub(crate) struct Village {
    cluster: Cluster,
    store: Database,
    keys: Keys,
}

/// A message that has to arrive.
pub(crate) struct Letter<'a> {
    pub(crate) name: &'a str,
    pub(crate) bytes: Bytes,
    to: Aor,
}

impl<'a> Letter<'a> {
    /// `None` for what no proxy forwards to a phone: a response, a REGISTER, a request for no user, or one
    /// inside a dialog, which goes by a Route that names somebody else.
    pub(crate) fn of(name: &'a str, bytes: &Bytes) -> Option<Self> {
        let request = request(bytes)?;
        if request.method == Method::Register || request.to_tag().is_some() {
            return None;
        }
        let to = Aor::of(&request.request_uri().ok()?).ok()?;
        Some(Self { name, bytes: bytes.clone(), to })
    }

    /// The same once more, and no repetition: in a transaction of its own.
    pub(crate) fn again(&self, mark: &str) -> Self {
        let text = String::from_utf8_lossy(&self.bytes);
        let bytes = Bytes::from(text.replacen("z9hG4bK", &format!("z9hG4bK{mark}"), 1));
        Self { name: self.name, bytes, to: self.to.clone() }
    }
}

impl Village {
    /// Starts it.
    pub(crate) async fn of(letters: &[Letter<'_>]) -> Result<Self, Problem> {
        let domains: Vec<&str> = letters.iter().map(|letter| letter.to.domain()).collect();
        let settings = [
            ("CORE_DOMAINS", domains.join(",")),
            ("CORE_AUTH_METHODS", "none".to_owned()),
            ("EDGE_FLOW_KEYS", STANDARD.encode(FLOW_KEY)),
        ];
        let settings = settings.map(|(variable, value)| (variable.to_owned(), value)).into();
        let plan = Plan { cores: 1, settings, ..Plan::default() };
        let cluster = Cluster::start(&plan, &Binaries::build()?).await?;
        let path = cluster.dir().join("location.db");
        let store = Database::open(&format!("sqlite:{}", path.display())).await;
        let store = store.map_err(|error| Problem::new(error.to_string()))?;
        let keys = Keys::new(&FLOW_KEY, None).map_err(|error| Problem::new(error.to_string()))?;
        Ok(Self { cluster, store, keys })
    }

    /// Ends it in order.
    pub(crate) async fn ends(mut self) -> Result<(), Problem> {
        self.store.close().await;
        self.cluster.stop_all().await
    }

    /// Sends a message to the first edge over UDP, or to the second one over TCP; the phone is behind the first one.
    pub(crate) async fn delivers(&self, letter: &Letter<'_>, protocol: Protocol) -> Result<(), Problem> {
        let [near, far] = &self.cluster.edges[..] else { return Err(Problem::new("two edges")) };
        let phone = UdpSocket::bind("127.0.0.1:0").await?;
        self.binds(&letter.to, near, phone.local_addr()?).await?;
        let arrives = async {
            let (heard, edge) = hears(&phone, &letter.bytes).await?;
            phone.send_to(&answer(&heard), edge).await?;
            same(&letter.bytes, &heard)
        };
        let sends = async {
            let heard = if protocol == Protocol::Udp {
                let socket = Datagrams::to(near.sip()).await?;
                socket.send(&letter.bytes).await?;
                socket.receive(|answer| final_status(answer).is_some()).await.unwrap_or_default()
            } else {
                over_stream(far.sip(), &letter.bytes).await?
            };
            match final_status(&heard) {
                Some(ANSWER) => Ok(()),
                other => Err(Problem::new(format!("the phone's answer does not arrive, but {other:?}"))),
            }
        };
        // Why it does not arrive is what the sender hears.
        let (arrived, answered) = tokio::join!(arrives, sends);
        answered.and(arrived)
    }

    /// A phone answers a message with a response of the corpus: what is not taken from the request arrives as it is.
    pub(crate) async fn carries(&self, letter: &Letter<'_>, response: &Bytes) -> Result<(), Problem> {
        let edge = self.cluster.edges.first().ok_or_else(|| Problem::new("an edge"))?;
        let phone = UdpSocket::bind("127.0.0.1:0").await?;
        self.binds(&letter.to, edge, phone.local_addr()?).await?;
        let socket = Datagrams::to(edge.sip()).await?;
        socket.send(&letter.bytes).await?;
        let (heard, edge) = hears(&phone, &letter.bytes).await?;
        let start = start_line(response);
        let own = lines(response).into_iter().filter(|line| !REPEATED.contains(&&*name(line)));
        let body = response.windows(4).position(|window| window == b"\r\n\r\n");
        let body = body.and_then(|at| response.get(at + 4..)).unwrap_or_default();
        let length = format!("Content-Length: {}\r\n\r\n", body.len());
        let head =
            [start.to_vec(), repeated(&heard).concat(), own.flatten().collect(), length.into()].concat();
        let sent = Bytes::from([&head[..], body].concat());
        phone.send_to(&sent, edge).await?;
        let arrived = socket.receive(|message| final_status(message).is_some()).await;
        let arrived = Bytes::from(arrived.ok_or_else(|| Problem::new("does not arrive"))?);
        if start_line(&arrived) == start && lines(&arrived) == lines(&sent) && arrived.ends_with(body) {
            return Ok(());
        }
        let (sent, arrived) = (String::from_utf8_lossy(&sent), String::from_utf8_lossy(&arrived));
        Err(Problem::new(format!("sent\n{sent}\narrives as\n{arrived}")))
    }

    /// Puts a phone into the store as the only contact of an address.
    async fn binds(&self, aor: &Aor, edge: &Node, phone: SocketAddr) -> Result<(), Problem> {
        let flow = Flow { protocol: Protocol::Udp, local: edge.sip(), remote: phone, connection: 0 };
        let now = UnixTime(node::clock::unix_now().as_secs());
        let binding = Binding {
            contact: format!("sip:phone@{phone}"),
            params: String::new(),
            q: 1000,
            expires_at: UnixTime(now.0 + 3_600),
            call_id: "torture".to_owned(),
            cseq: 1,
            path: vec![format!("<sip:{}@{};lr>", self.keys.mint(&flow), edge.name)],
            instance: None,
            reg_id: None,
            gruu_epoch: 0,
            user_agent: String::new(),
            edge: edge.name.clone(),
            source: format!("udp:{phone}"),
            registered_at: now,
            updated_at: now,
            written_by: "core1".to_owned(),
        };
        let store = |error: location::Error| Problem::new(error.to_string());
        let known = self.store.load(std::slice::from_ref(aor)).await.map_err(store)?;
        let expected = known.first().map_or(0, |record| record.version);
        let record = Record { bindings: vec![binding], ..Record::default() };
        let save = Save { aor: aor.clone(), expected, record, changes: Vec::new() };
        match self.store.save(&[save]).await.map_err(store)?[..] {
            [Saved::Version(_)] => Ok(()),
            _ => Err(Problem::new("the store has another version")),
        }
    }
}

fn request(bytes: &Bytes) -> Option<Request> {
    match parse::message(bytes.clone(), &parse::Limits::default()) {
        Ok(Message::Request(request)) => Some(request),
        Ok(Message::Response(_)) | Err(_) => None,
    }
}

/// The message as it arrives, and from where.
async fn hears(phone: &UdpSocket, sent: &Bytes) -> Result<(Bytes, SocketAddr), Problem> {
    let call = |bytes: &Bytes| request(bytes).map(|request| request.call_id().to_vec());
    let wanted = call(sent);
    let arrives = async {
        let mut buffer = vec![0; 65_536];
        loop {
            let (length, edge) = phone.recv_from(&mut buffer).await?;
            let heard = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
            if call(&heard) == wanted {
                return Ok((heard, edge));
            }
        }
    };
    timeout(LIMIT, arrives).await.map_err(|_| Problem::new("does not arrive"))?
}

/// Method, lines and body are as they were.
fn same(sent: &Bytes, heard: &Bytes) -> Result<(), Problem> {
    let differs = |what: &str, sent: &[u8], heard: &[u8]| {
        let (sent, heard) = (String::from_utf8_lossy(sent), String::from_utf8_lossy(heard));
        Problem::new(format!("{what} differ: sent\n{sent}\nheard\n{heard}"))
    };
    let method = |bytes: &[u8]| bytes.split(|byte| *byte == b' ').next().unwrap_or_default().to_vec();
    if method(sent) != method(heard) {
        return Err(differs("the methods", &method(sent), &method(heard)));
    }
    let (before, after) = (lines(sent), lines(heard));
    if before != after {
        return Err(differs("the lines", &before.concat(), &after.concat()));
    }
    let body = |bytes| request(bytes).map(|request| request.body).unwrap_or_default();
    if body(sent) != body(heard) {
        return Err(differs("the bodies", &body(sent), &body(heard)));
    }
    Ok(())
}

fn start_line(message: &[u8]) -> &[u8] {
    message.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// The header lines that a proxy leaves alone.
fn lines(message: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = all_lines(message);
    lines.retain(|line| !TOUCHED.contains(&&*name(line)));
    lines
}

/// The lines that a response takes from its request (RFC 3261 §8.2.6.2).
fn repeated(request: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = all_lines(request);
    lines.retain(|line| REPEATED.contains(&&*name(line)));
    lines
}

/// The header lines, each with its folds and its end.
fn all_lines(message: &[u8]) -> Vec<Vec<u8>> {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n").map_or(message.len(), |at| at + 2);
    let head = message.get(..end).unwrap_or_default();
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in head.split_inclusive(|byte| *byte == b'\n').skip(1) {
        match lines.last_mut() {
            Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => last.extend_from_slice(line),
            _ => lines.push(line.to_vec()),
        }
    }
    lines
}

fn name(line: &[u8]) -> String {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    String::from_utf8_lossy(name).trim().to_ascii_lowercase()
}

/// The phone's answer: what it has to repeat is repeated as it stands.
fn answer(request: &[u8]) -> Vec<u8> {
    let start = format!("SIP/2.0 {ANSWER} Busy Here\r\n").into_bytes();
    [start, repeated(request).concat(), b"Content-Length: 0\r\n\r\n".to_vec()].concat()
}

#[test]
fn lines_are_compared_with_their_folds_and_without_what_proxies_touch() {
    let message =
        b"OPTIONS sip:a SIP/2.0\r\nVia: x\r\n  y\r\nsubject :a\r\n\tb\r\nl: 0\r\nTO: z\r\n\r\nbody: x\r\n";
    assert_eq!(lines(message), [&b"subject :a\r\n\tb\r\n"[..], b"TO: z\r\n"]);
    let sent = Bytes::from_static(message);
    assert!(same(&sent, &sent).is_ok());
    let folded = Bytes::from(String::from_utf8_lossy(message).replace("\r\n\tb", " b"));
    assert!(same(&sent, &folded).is_err());
}
