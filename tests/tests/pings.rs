//! NAT pings of real processes: each transport, and as many flows as a large installation has on one edge.
//!
//! The load takes minutes, so it runs only with `SIGNALBOX_PINGS=1`, as `tests/run` sets it. `SIGNALBOX_PINGS_FLOWS` is the number of
//! flows (100 000), `SIGNALBOX_PINGS_SECONDS` how long they are watched (60).

use std::env;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cluster_tests::cluster::{Binaries, Cluster, DOMAIN, Plan, Problem, free_port, poll};
use cluster_tests::ua::digest::{Algorithm, Challenge};
use futures_util::{SinkExt, StreamExt};
use location::{Database, LocationStore, Save};
use node::clock;
use registrar::{Binding, Record, UnixTime};
use sip::{Aor, Message, Method, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;
use transport::token::Keys;
use transport::{Event, Flow, Listen, Protocol, Sink, Transport};

const PASSWORD: &str = "secret";
const LIMIT: Duration = Duration::from_secs(20);

/// A REGISTER, with the answer to a challenge from its second try on.
fn register(via: &str, local: SocketAddr, user: &str, number: u32, challenge: Option<&[u8]>) -> String {
    let uri = format!("sip:{DOMAIN}");
    let credentials = challenge.map_or_else(String::new, |answer| {
        let text = String::from_utf8_lossy(answer).into_owned();
        let lines: Vec<&str> = text.lines().filter_map(|it| it.strip_prefix("WWW-Authenticate: ")).collect();
        let mut challenge = Challenge::choose(&lines, Algorithm::Sha256).expect("a challenge");
        format!("Authorization: {}\r\n", challenge.answer(user, PASSWORD, "REGISTER", &uri))
    });
    format!(
        "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/{via} {local};branch=z9hG4bK{user}{number}\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@{DOMAIN}>;tag=1\r\nTo: <sip:{user}@{DOMAIN}>\r\nCall-ID: {user}\r\n\
         CSeq: {number} REGISTER\r\nContact: <sip:{user}@{local}>\r\n{credentials}Content-Length: 0\r\n\r\n"
    )
}

async fn datagram(socket: &UdpSocket, start: &[u8]) -> Vec<u8> {
    let mut room = vec![0; 4_096];
    let wanted = async {
        loop {
            let length = socket.recv(&mut room).await.expect("a datagram");
            let message = room.get(..length).unwrap_or_default();
            if message.starts_with(start) {
                return message.to_vec();
            }
        }
    };
    timeout(LIMIT, wanted).await.unwrap_or_else(|_| panic!("no {}", String::from_utf8_lossy(start)))
}

/// Registers; the second REGISTER has the proof.
async fn register_over_udp(socket: &UdpSocket, user: &str, number: u32) {
    let local = socket.local_addr().expect("bound");
    let _ = socket.send(register("UDP", local, user, number, None).as_bytes()).await;
    let challenge = datagram(socket, b"SIP/2.0 401").await;
    let _ = socket.send(register("UDP", local, user, number + 1, Some(&challenge)).as_bytes()).await;
    datagram(socket, b"SIP/2.0 200").await;
}

/// Waits until the core knows that many lost flows.
async fn lost(cluster: &Cluster, count: f64) {
    let known = poll(LIMIT, async || {
        let lost = cluster.cores[0].metric("core_lost_flows").await.ok()?;
        (lost == count).then_some(())
    });
    assert!(known.await.is_some(), "the core does not come to know {count} lost flows");
}

async fn pinging_cluster() -> Result<Cluster, Problem> {
    let settings = [("EDGE_NAT_PING_INTERVAL", "1s"), ("EDGE_NAT_PING_LOST", "2")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let plan = Plan { edges: 1, cores: 1, every_transport: true, settings, ..Plan::default() };
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    let binaries = BINARIES.get_or_init(|| Binaries::build().expect("the nodes can be built"));
    let cluster = Cluster::start(&plan, binaries).await?;
    cluster.add_users([("udp", PASSWORD), ("tcp", PASSWORD), ("ws", PASSWORD)]).await?;
    Ok(cluster)
}

fn run(test: impl AsyncFnOnce() -> Result<(), Problem>) {
    let runtime = node::runtime::build(1).expect("a runtime");
    if let Err(problem) = runtime.block_on(test()) {
        panic!("{problem}");
    }
}

#[test]
fn a_phone_on_udp_is_asked_missed_and_found_again() {
    run(async || {
        let cluster = pinging_cluster().await?;
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(cluster.edges[0].sip()).await?;
        register_over_udp(&socket, "udp", 1).await;
        let ping = datagram(&socket, b"OPTIONS sip:udp@").await;
        let Ok(Message::Request(request)) = sip::parse::message(ping.into(), &sip::parse::Limits::default())
        else {
            panic!("a ping is a request")
        };
        socket.send(&Response::to(&request, StatusCode::new(404), Some("x")).encode()).await?;
        // From here on it is silent.
        lost(&cluster, 1.0).await;
        register_over_udp(&socket, "udp", 3).await;
        lost(&cluster, 0.0).await;
        Ok(())
    });
}

#[test]
fn a_stream_gets_line_ends_and_its_end_is_told() {
    run(async || {
        let cluster = pinging_cluster().await?;
        let mut stream = TcpStream::connect(cluster.edges[0].sip()).await?;
        let local = stream.local_addr()?;
        let mut heard = Vec::new();
        for (number, status) in [(1, "SIP/2.0 401"), (2, "SIP/2.0 200")] {
            let challenge = (number == 2).then(|| std::mem::take(&mut heard));
            let request = register("TCP", local, "tcp", number, challenge.as_deref());
            stream.write_all(request.as_bytes()).await?;
            let answer = async {
                while !heard.ends_with(b"\r\n\r\n")
                    && stream.read_buf(&mut heard).await.is_ok_and(|it| it > 0)
                {}
            };
            timeout(LIMIT, answer).await.expect("an answer");
            assert!(heard.starts_with(status.as_bytes()), "{}", String::from_utf8_lossy(&heard));
        }
        heard.clear();
        let ping =
            async { while heard.len() < 4 && stream.read_buf(&mut heard).await.is_ok_and(|it| it > 0) {} };
        timeout(LIMIT, ping).await.expect("a ping");
        assert_eq!(heard, b"\r\n\r\n", "RFC 5626 §4.4.1");
        drop(stream);
        lost(&cluster, 1.0).await;
        Ok(())
    });
}

#[test]
fn a_browser_gets_a_ping_of_websocket() {
    run(async || {
        let cluster = pinging_cluster().await?;
        let address = cluster.edges[0].more.expect("every transport is planned").ws;
        let stream = TcpStream::connect(address).await?;
        let local = stream.local_addr()?;
        let request =
            tungstenite::ClientRequestBuilder::new(format!("ws://{address}/").parse().expect("a URI"))
                .with_sub_protocol("sip");
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.expect("a WebSocket");
        let mut challenge = None;
        for number in 1..=2 {
            let text = register("WS", local, "ws", number, challenge.as_deref());
            socket.send(tungstenite::Message::text(text)).await.expect("it is open");
            let answer = timeout(LIMIT, socket.next()).await.expect("an answer").expect("it is open");
            challenge = Some(answer.expect("a message").into_data());
        }
        assert!(challenge.is_some_and(|answer| answer.starts_with(b"SIP/2.0 200")));
        let ping = timeout(LIMIT, socket.next()).await.expect("a ping").expect("it is open");
        assert!(ping.expect("a frame").is_ping(), "RFC 7118 §6");
        Ok(())
    });
}

/// The phones of the load: addresses of 127/8, one socket.
struct Phones {
    /// When each was pinged, in milliseconds.
    pings: Mutex<Vec<Vec<u64>>>,
    count: AtomicU64,
    start: Instant,
    transport: OnceLock<Transport>,
}

impl Sink for Phones {
    fn deliver(&self, batch: &mut Vec<Event>) {
        let now = u64::try_from(clock::now().duration_since(self.start).as_millis()).unwrap_or(0);
        let transport = self.transport.get().expect("set before anything comes");
        let mut pings = self.pings.lock().expect("nobody panics with it");
        for event in batch.drain(..) {
            let Event::Message { flow, message: Message::Request(request) } = event else { continue };
            let uri = request.request_uri().expect("ours");
            let number: usize = uri.user.and_then(|user| user.get(1..)?.parse().ok()).expect("uNUMBER");
            assert_eq!((&request.method, flow.local), (&Method::Options, address(number, flow.local.port())));
            pings[number].push(now);
            self.count.fetch_add(1, Ordering::Relaxed);
            let _ = transport.send(&flow, Response::to(&request, StatusCode::OK, Some("x")).encode());
        }
    }
}

/// The address of a phone.
fn address(number: usize, port: u16) -> SocketAddr {
    let base = u32::from(Ipv4Addr::new(127, 16, 0, 1));
    (Ipv4Addr::from(base + u32::try_from(number).expect("fewer than addresses")), port).into()
}

/// Its binding, as a core would have stored it.
fn binding(number: usize, flow: &Flow, keys: &Keys) -> Save {
    let now = clock::unix_now().as_secs();
    let binding = Binding {
        contact: format!("sip:u{number}@{}", flow.remote),
        params: String::new(),
        q: 1000,
        expires_at: UnixTime(now + 7_200),
        call_id: "c".to_owned(),
        cseq: 1,
        path: vec![format!("<sip:{}@ep1;lr;ob>", keys.mint(flow))],
        instance: None,
        reg_id: None,
        gruu_epoch: 0,
        user_agent: String::new(),
        edge: "ep1".to_owned(),
        source: String::new(),
        registered_at: UnixTime(now),
        updated_at: UnixTime(now),
        written_by: "test".to_owned(),
    };
    let aor = Aor::parse(&format!("u{number}@{DOMAIN}")).expect("an address");
    Save {
        aor,
        expected: 0,
        record: Record { bindings: vec![binding], ..Record::default() },
        changes: Vec::new(),
    }
}

fn number_of(variable: &str, default: usize) -> usize {
    env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

const INTERVAL: u64 = 25_000;

/// Flows of before a restart, all of them, learned from the database; none missed, none twice, evenly spread.
#[test]
fn a_hundred_thousand_flows_are_pinged_once_an_interval() {
    if env::var_os("SIGNALBOX_PINGS").is_none_or(|wanted| wanted != "1") {
        let _ = writeln!(std::io::stderr(), "not run: the load of pings wants SIGNALBOX_PINGS=1");
        return;
    }
    let flows = number_of("SIGNALBOX_PINGS_FLOWS", 100_000);
    let rounds = number_of("SIGNALBOX_PINGS_SECONDS", 60) as u64 * 1_000 / INTERVAL;
    run(async || load(flows, rounds.max(2)).await);
}

async fn load(flows: usize, rounds: u64) -> Result<(), Problem> {
    let key = STANDARD.encode([7; 32]);
    let keys: Keys = key.parse().expect("a key");
    let settings = vec![("EDGE_FLOW_KEYS".to_owned(), key)];
    let plan = Plan { edges: 1, cores: 1, settings, ..Plan::default() };
    let mut cluster = Cluster::start(&plan, &Binaries::find()?).await?;
    let edge = cluster.edges[0].sip();
    cluster.edges[0].kill().await?;

    let port = free_port()?;
    let phones = phones(flows, port).await;
    fill(&cluster, flows, port, edge, &keys).await;
    let began = clock::now();
    cluster.start_all().await?;
    let registered = "edge_registered_flows{transport=\"udp\"}";
    let empty = cluster.edges[0].metric("process_resident_memory_bytes").await?;
    let all = poll(Duration::from_secs(120), async || {
        (cluster.edges[0].metric(registered).await.ok()? >= flows as f64).then_some(())
    });
    assert!(all.await.is_some(), "{:?} flows are recovered", cluster.edges[0].metric(registered).await);
    let recovery = clock::now().duration_since(began);

    let before = Usage::of(&cluster).await?;
    phones.pings.lock().expect("sound").iter_mut().for_each(Vec::clear);
    phones.count.store(0, Ordering::Relaxed);
    let wanted = flows as u64 * (rounds + 1);
    let limit = Duration::from_millis(INTERVAL * (rounds + 2));
    let done = poll(limit, async || (phones.count.load(Ordering::Relaxed) >= wanted).then_some(())).await;
    assert!(done.is_some(), "{} of {wanted} pings came", phones.count.load(Ordering::Relaxed));
    let after = Usage::of(&cluster).await?;
    let pinged = after.pings - before.pings;
    let _ = writeln!(
        std::io::stderr(),
        "  {flows} flows, recovered in {:.1} s; {:.0} pings, {:.1} % answered, {:.2} µs of CPU each; {:.0} bytes a flow",
        recovery.as_secs_f64(),
        pinged,
        (after.answered - before.answered) * 100.0 / pinged,
        (after.cpu - before.cpu) * 1e6 / pinged,
        (after.memory - empty) / flows as f64,
    );
    let heard = phones.count.load(Ordering::Relaxed) as f64;
    assert!(
        (pinged - heard).abs() < pinged / 30.0,
        "{heard} of {pinged} pings have arrived: the machine is too slow for this load, and says nothing about the edge"
    );
    judge(&phones.pings.lock().expect("sound"), rounds);
    Ok(())
}

/// What the edge has used and done.
struct Usage {
    cpu: f64,
    memory: f64,
    pings: f64,
    answered: f64,
}

impl Usage {
    async fn of(cluster: &Cluster) -> Result<Self, Problem> {
        let edge = &cluster.edges[0];
        Ok(Self {
            cpu: edge.metric("process_cpu_seconds_total").await?,
            memory: edge.metric("process_resident_memory_bytes").await?,
            pings: edge.metric("edge_pings_total").await?,
            answered: edge.metric("edge_pings_answered_total").await?,
        })
    }
}

async fn phones(flows: usize, port: u16) -> Arc<Phones> {
    let phones = Arc::new(Phones {
        pings: Mutex::new(vec![Vec::new(); flows]),
        count: AtomicU64::new(0),
        start: clock::now(),
        transport: OnceLock::new(),
    });
    let listen = Listen { protocol: Protocol::Udp, addr: (Ipv4Addr::UNSPECIFIED, port).into() };
    let config =
        transport::Config { listen: vec![listen], datagram_queue: 1 << 16, ..transport::Config::default() };
    let transport = transport::bind(config, Arc::clone(&phones), clock::now, 1).await.expect("a socket");
    let _ = phones.transport.set(transport);
    phones
}

async fn fill(cluster: &Cluster, flows: usize, port: u16, edge: SocketAddr, keys: &Keys) {
    let url = format!("sqlite:{}", cluster.dir().join("location.db").display());
    let store = Database::open(&url).await.expect("the store of the core");
    let numbers: Vec<usize> = (0..flows).collect();
    for chunk in numbers.chunks(1_000) {
        let saves: Vec<Save> = chunk
            .iter()
            .map(|number| binding(*number, &Flow::udp(edge, address(*number, port)), keys))
            .collect();
        store.save(&saves).await.expect("the store of the core");
    }
    store.close().await;
}

/// A ping in every interval, and as many in one second as in another. The machine may be busy: a second of delay is none.
fn judge(pings: &[Vec<u64>], rounds: u64) {
    let mut seconds = std::collections::BTreeMap::<u64, u64>::new();
    let first = pings.iter().flatten().min().copied().unwrap_or_default();
    for (number, times) in pings.iter().enumerate() {
        assert!(times.len() as u64 >= rounds, "u{number}: {times:?}");
        for pair in times.windows(2) {
            let apart = pair[1] - pair[0];
            assert!(apart.abs_diff(INTERVAL) < 2_000, "u{number}: {apart} ms between two pings");
        }
        for time in times {
            *seconds.entry((time - first) / 1_000).or_default() += 1;
        }
    }
    let even = pings.len() as u64 * 1_000 / INTERVAL;
    let last = seconds.keys().max().copied().unwrap_or_default();
    let full: Vec<u64> = seconds.range(1..last).map(|(_, count)| *count).collect();
    let (least, most) = (full.iter().min().copied().unwrap_or(0), full.iter().max().copied().unwrap_or(0));
    let _ = writeln!(std::io::stderr(), "  pings in one second: {least} to {most}, evenly {even}");
    assert!(least * 2 > even && most < even * 2, "not spread evenly: {full:?}");
}
