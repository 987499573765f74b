//! Egress with real processes and a real DNS: a name server on loopback, two servers of a gateway's domain of which the first
//! is dead, and a call through the cluster. RFC 3263 §4.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cluster_tests::cluster::{Binaries, Cluster, DOMAIN, Plan, Problem, free_port, poll};
use cluster_tests::dns::NameServer;
use cluster_tests::raw::{Datagrams, LIMIT, final_status};
use cluster_tests::ua::digest::{Algorithm, Challenge};
use sip::Uri;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use transport::Protocol;
use transport::resolve::{Families, Question, Resolver, Target, Unresolved};

const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const PASSWORD: &str = "wonderland";
/// Longer than it takes to pass over a silent server.
const PATIENCE: Duration = Duration::from_secs(15);

fn run(test: impl AsyncFnOnce() -> Result<(), Problem>) {
    let runtime = node::runtime::build(1).expect("a runtime");
    if let Err(problem) = runtime.block_on(test()) {
        panic!("{problem}");
    }
}

fn resolver(dns: &NameServer) -> Resolver {
    Resolver::new(&[dns.address], Families { v4: true, v6: false }, node::clock::now)
        .expect("servers are given")
}

async fn resolve(resolver: &Resolver, uri: &str) -> Result<Vec<String>, Unresolved> {
    let question = Question::of(&Uri::parse(uri.as_bytes()).expect("a URI")).expect("it can be followed");
    let show = |target: Target| format!("{}:{}", target.protocol, target.address);
    Ok(resolver.resolve(question, 1).await?.into_iter().map(show).collect())
}

#[test]
fn a_domain_is_followed_from_naptr_to_addresses() {
    run(async || {
        let dns = NameServer::start().await?;
        dns.service_of("example.net", 10, "SIP+D2T", "_sip._tcp.example.net");
        dns.service_of("example.net", 20, "SIP+D2U", "_sip._udp.example.net");
        dns.server_of("_sip._tcp.example.net", 20, 5070, "b.example.net");
        dns.server_of("_sip._tcp.example.net", 10, 5060, "A.Example.net");
        dns.address_of("a.example.net", [192, 0, 2, 1].into());
        dns.address_of("b.example.net", [192, 0, 2, 2].into());
        let resolver = resolver(&dns);
        let all = vec!["tcp:192.0.2.1:5060".to_owned(), "tcp:192.0.2.2:5070".to_owned()];
        assert_eq!(resolve(&resolver, "sip:bob@Example.NET").await, Ok(all.clone()));
        let asked = dns.asked();
        for wanted in
            ["example.net. NAPTR", "_sip._tcp.example.net. SRV", "a.example.net. A", "b.example.net. A"]
        {
            assert!(asked.iter().any(|it| it.eq_ignore_ascii_case(wanted)), "{wanted}: {asked:?}");
        }
        assert_eq!(resolve(&resolver, "sip:carol@example.net").await, Ok(all));
        assert_eq!(dns.asked().len(), asked.len(), "answered from memory");
        assert_eq!(resolver.stats().cache_hits.get(), 4);
        assert_eq!(resolve(&resolver, "sip:bob@nowhere.example.org").await, Err(Unresolved::Nowhere));
        Ok(())
    });
}

/// SERVFAIL is no proof that there is nothing: what is not known stays unknown, and what is known stays known.
#[test]
fn a_broken_dns_takes_nothing_away() {
    run(async || {
        let dns = NameServer::start().await?;
        dns.server_of("_sip._udp.example.net", 10, 5060, "a.example.net");
        dns.address_of("a.example.net", [192, 0, 2, 1].into());
        let resolver = resolver(&dns);
        let found = Ok(vec!["udp:192.0.2.1:5060".to_owned()]);
        assert_eq!(resolve(&resolver, "sip:example.net;transport=udp").await, found);
        dns.set_broken(true);
        assert_eq!(resolve(&resolver, "sip:example.net;transport=udp").await, found);
        assert_eq!(resolve(&resolver, "sip:example.org;transport=udp").await, Err(Unresolved::Unknown));
        assert!(resolver.stats().lookup_failures.get() > 0);
        dns.set_broken(false);
        dns.server_of("_sip._udp.example.org", 10, 5060, "a.example.net");
        assert_eq!(
            resolve(&resolver, "sip:example.org;transport=udp").await,
            found,
            "the failure left no trace"
        );
        Ok(())
    });
}

/// The whole way: Alice's INVITE, challenged and proven, leaves for the domain's second server, the first being dead; the gateway
/// answers, and ACK and BYE find the way, too.
#[test]
fn a_call_reaches_the_second_server_when_the_first_is_dead() {
    run(async || {
        let dns = NameServer::start().await?;
        let settings =
            [("EDGE_DNS", dns.address.to_string()), ("EDGE_EGRESS_NETWORKS", "127.0.0.0/8".to_owned())];
        let settings = settings.map(|(variable, value)| (variable.to_owned(), value)).to_vec();
        let cluster = Cluster::start(&Plan { settings, ..Plan::default() }, &Binaries::build()?).await?;
        cluster.add_users([("alice", PASSWORD)]).await?;
        let gateway = UdpSocket::bind((HOST, 0)).await?;
        let dead = free_port()?;
        dns.server_of("_sip._udp.gw.test", 10, dead, "a.gw.test");
        dns.server_of("_sip._udp.gw.test", 20, gateway.local_addr()?.port(), "b.gw.test");
        dns.address_of("a.gw.test", HOST);
        dns.address_of("b.gw.test", HOST);

        let edge = cluster.edges.first().expect("a cluster has edges").sip();
        let alice = Datagrams::to(edge).await?;
        let challenge = ask(&alice, &invite(&alice, 1, "")?, |heard| final_status(heard) == Some(407)).await;
        let challenges = headers(&challenge, "Proxy-Authenticate");
        let challenges: Vec<&str> = challenges.iter().map(String::as_str).collect();
        let mut challenge =
            Challenge::choose(&challenges, Algorithm::Sha256).expect("a challenge that Alice knows");
        let answer = challenge.answer("alice", PASSWORD, "INVITE", "sip:bob@gw.test");
        let proof = format!("Proxy-Authorization: {answer}\r\n");
        alice.send(invite(&alice, 2, &proof)?.as_bytes()).await?;

        let (invite, from) = hears(&gateway, "INVITE").await;
        assert!(invite.starts_with("INVITE sip:bob@gw.test SIP/2.0\r\n"), "§4: the URI stays: {invite}");
        assert!(!invite.contains("Proxy-Authorization"), "{invite}");
        gateway.send_to(ok(&invite, gateway.local_addr()?).as_bytes(), from).await?;
        let heard = alice.receive(|heard| final_status(heard) == Some(200)).await.expect("200 for Alice");
        let route = headers(&String::from_utf8_lossy(&heard), "Record-Route");
        for method in ["ACK", "BYE"] {
            alice.send(inside(&alice, method, &heard, &route)?.as_bytes()).await?;
            let (request, from) = hears(&gateway, method).await;
            if method == "BYE" {
                gateway.send_to(ok(&request, gateway.local_addr()?).as_bytes(), from).await?;
            }
        }
        let bye = alice.receive(|heard| heard.starts_with(b"SIP/2.0 200") && contains(heard, "BYE")).await;
        assert!(bye.is_some(), "200 for the BYE");
        // Figures are published once in a second.
        let passed_over = poll(LIMIT, async || {
            for edge in &cluster.edges {
                if edge.metric("edge_egress_failed_total").await.is_ok_and(|count| count >= 1.0) {
                    return Some(());
                }
            }
            None
        });
        assert!(passed_over.await.is_some(), "the dead server is counted");
        Ok(())
    });
}

/// Sends again until the answer comes (RFC 3261 §17.1.1.2).
async fn ask(phone: &Datagrams, text: &str, wanted: impl Fn(&[u8]) -> bool) -> String {
    phone.send(text.as_bytes()).await.expect("a socket on loopback");
    let heard = phone.receive(wanted).await.expect("an answer");
    String::from_utf8_lossy(&heard).into_owned()
}

fn invite(phone: &Datagrams, cseq: u32, extra: &str) -> Result<String, Problem> {
    let local = phone.local()?;
    Ok(format!(
        "INVITE sip:bob@gw.test SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKnames{cseq}\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@{DOMAIN}>;tag=alice\r\nTo: <sip:bob@gw.test>\r\nCall-ID: names\r\nCSeq: {cseq} INVITE\r\n\
         Contact: <sip:alice@{local}>\r\n{extra}Content-Length: 0\r\n\r\n"
    ))
}

fn inside(
    phone: &Datagrams,
    method: &str,
    answer: &[u8],
    record_route: &[String],
) -> Result<String, Problem> {
    let answer = String::from_utf8_lossy(answer);
    let (local, to) = (phone.local()?, headers(&answer, "To").concat());
    let contact = headers(&answer, "Contact").concat();
    let target = contact.trim_start_matches('<').trim_end_matches('>').to_owned();
    let route: Vec<String> = record_route
        .iter()
        .flat_map(|line| line.split(','))
        .map(|element| format!("Route: {}\r\n", element.trim()))
        .rev()
        .collect();
    let cseq = if method == "ACK" { 2 } else { 3 };
    Ok(format!(
        "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKnames{method}\r\nMax-Forwards: 70\r\n{}\
         From: <sip:alice@{DOMAIN}>;tag=alice\r\nTo: {to}\r\nCall-ID: names\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n",
        route.concat()
    ))
}

/// The next request of a method that reaches the gateway, and from where.
async fn hears(gateway: &UdpSocket, method: &str) -> (String, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let request = async {
        loop {
            let (length, from) = gateway.recv_from(&mut buffer).await.expect("a socket on loopback");
            let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
            if text.starts_with(method) {
                return (text, from);
            }
        }
    };
    timeout(PATIENCE.max(LIMIT), request).await.unwrap_or_else(|_| panic!("no {method} for the gateway"))
}

fn ok(request: &str, local: SocketAddr) -> String {
    let copied: String = ["Via", "Record-Route", "From", "Call-ID", "CSeq"]
        .iter()
        .flat_map(|name| headers(request, name).into_iter().map(move |value| format!("{name}: {value}\r\n")))
        .collect();
    let to = headers(request, "To").concat();
    let tag = if to.contains("tag=") { "" } else { ";tag=gateway" };
    format!(
        "SIP/2.0 200 OK\r\n{copied}To: {to}{tag}\r\nContact: <sip:gateway@{local}>\r\nContent-Length: 0\r\n\r\n"
    )
}

fn headers(message: &str, name: &str) -> Vec<String> {
    let of = |line: &str| {
        line.split_once(':').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
    };
    let found = message.lines().filter_map(of).filter(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value).collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(text)
}

/// RFC 3263 §4.2: a numeric address is used as it is.
#[test]
fn a_numeric_target_needs_no_name_server() {
    run(async || {
        let resolver = Resolver::new(
            &[SocketAddr::from((HOST, free_port()?))],
            Families { v4: true, v6: false },
            node::clock::now,
        );
        let resolver = resolver.expect("servers are given");
        let question =
            Question::of(&Uri::parse(b"sip:192.0.2.9;transport=tcp").expect("a URI")).expect("usable");
        let targets = resolver.resolve(question, 1).await.expect("numbers are targets");
        assert_eq!(targets.first().map(|target| target.protocol), Some(Protocol::Tcp));
        assert_eq!(resolver.stats().lookups.get(), 0);
        Ok(())
    });
}
