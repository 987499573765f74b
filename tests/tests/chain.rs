//! Our edges in one chain with Debian's Kamailio: as the registrar behind, as the proxy in front, and both at once. RFC 3327,
//! RFC 3261 §16, RFC 5626 §5. Runs with `SIGNALBOX_KAMAILIO=1`.

use std::path::Path;
use std::time::Duration;

use cluster_tests::chain::{self, Kamailio};
use cluster_tests::cluster::{Binaries, Cluster, DOMAIN, Plan, Problem, poll};
use cluster_tests::phone::Transport::{Tcp, Tls, Udp, Ws, Wss};
use cluster_tests::phone::{Dialog, PASSWORD, Phone, Transport};
use cluster_tests::ua::digest::Algorithm;

/// How long somebody may take to notice that somebody else is gone, or back.
const NOTICE: Duration = Duration::from_secs(20);

/// An edge with every transport and no cores.
async fn edge_before(registrars: &[&Kamailio], transport: &str, trusted: &str) -> Result<Cluster, Problem> {
    let next_hops: Vec<String> = registrars
        .iter()
        .map(|registrar| format!("sip:{};transport={transport}", registrar.address))
        .collect();
    // Every shard watches for itself, so there are two of them.
    let settings = [("EDGE_CORES", next_hops.join(",").as_str()), ("EDGE_WORKERS", "2")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut settings = Vec::from(settings);
    if !trusted.is_empty() {
        settings.push(("EDGE_TRUSTED_PEERS".to_owned(), trusted.to_owned()));
    }
    let plan = Plan { edges: 1, cores: 0, every_transport: true, settings, ..Plan::default() };
    Cluster::start(&plan, &Binaries::build()?).await
}

fn registrar(host: u8, dir: &Path) -> Result<Kamailio, Problem> {
    Kamailio::new("registrar", host, dir, &[("DOMAIN_S", DOMAIN), ("PASSWORD_S", PASSWORD)])
}

/// A phone at our edge.
async fn phone(cluster: &Cluster, user: &str, transport: Transport) -> Phone {
    let edge = &cluster.edges[0];
    let more = edge.more.expect("every transport");
    let address = match transport {
        Udp | Tcp => edge.sip(),
        Tls => more.tls,
        Wss => more.wss,
        Ws => more.ws,
    };
    Phone::before(user, transport, address, cluster.certificate("ca.pem")).await
}

/// Registers with the digest that everybody knows; the final answer's status.
async fn register(phone: &mut Phone) -> Option<u16> {
    let (register, user) = (phone.registration(), phone.user.clone());
    phone.proven(register, &user, PASSWORD, Algorithm::Md5).await.status()
}

async fn registered(cluster: &Cluster, user: &str, transport: Transport) -> Phone {
    let mut phone = phone(cluster, user, transport).await;
    assert_eq!(register(&mut phone).await, Some(200), "{user}");
    phone
}

/// Calls that either side ends, a re-INVITE from either side, and a call that is given up.
async fn all_kinds_of_calls(alice: &mut Phone, bob: &mut Phone) {
    let (mut caller, mut callee) = alice.calls(bob, |invite| invite).await;
    again(alice, &mut caller, bob).await;
    again(bob, &mut callee, alice).await;
    alice.hangs_up(&mut caller, bob).await;
    let (_, mut callee) = alice.calls(bob, |invite| invite).await;
    bob.hangs_up(&mut callee, alice).await;
    let invite = alice.request("INVITE", &bob.aor());
    alice.send(&invite).await;
    let heard = bob.hears("INVITE").await;
    bob.reply(&heard, 180).await;
    alice.gets(&invite, 180).await;
    let cancel = Phone::cancel(&invite);
    alice.send(&cancel).await;
    alice.gets(&cancel, 200).await;
    let cancelled = bob.hears("CANCEL").await;
    bob.reply(&cancelled, 200).await;
    bob.reply(&heard, 487).await;
    let answer = alice.gets(&invite, 487).await;
    alice.send(&Phone::ack(&invite, &answer)).await;
    bob.hears("ACK").await;
}

/// A re-INVITE, RFC 3261 §14.
async fn again(from: &mut Phone, dialog: &mut Dialog, to: &mut Phone) {
    let invite = from.within(dialog, "INVITE");
    from.send(&invite).await;
    let heard = to.hears("INVITE").await;
    to.reply(&heard, 200).await;
    from.gets(&invite, 200).await;
    let ack = from.within(dialog, "ACK").with("CSeq", &format!("{} ACK", invite.number()));
    from.send(&ack).await;
    to.hears("ACK").await;
}

/// RFC 3327: the Path of the edge is stored, and it is the only way to a browser, whose Contact is nowhere.
#[test]
fn a_registrar_of_others_behind_the_edge() {
    chain::run(async || {
        for transport in ["udp", "tcp"] {
            let dir = tempfile::tempdir()?;
            let mut kamailio = registrar(2, dir.path())?;
            kamailio.start().await?;
            let cluster = edge_before(&[&kamailio], transport, "").await?;
            let mut alice = registered(&cluster, "alice", Udp).await;
            let mut bob = registered(&cluster, "bob", Tcp).await;
            let mut carol = registered(&cluster, "carol", Wss).await;
            let stored = kamailio.command(&["ul.dump"]).await?;
            let path = format!("@{}", cluster.edges[0].sip());
            let paths = stored.lines().filter(|line| line.contains("Path: <sip:in.") && line.contains(&path));
            assert_eq!(paths.count(), 3, "{stored}");
            all_kinds_of_calls(&mut alice, &mut bob).await;
            all_kinds_of_calls(&mut bob, &mut carol).await;
            all_kinds_of_calls(&mut carol, &mut alice).await;
            let mut wrong = phone(&cluster, "mallory", Ws).await;
            let attempt = wrong.registration();
            let refusal = wrong.proven(attempt, "mallory", "guess", Algorithm::Md5).await;
            assert_eq!(refusal.status(), Some(401));
        }
        Ok(())
    });
}

/// RFC 5626 §5.3.1: a token outlives the process, a stream does not.
#[test]
fn the_edge_starts_again() {
    chain::run(async || {
        let dir = tempfile::tempdir()?;
        let mut kamailio = registrar(2, dir.path())?;
        kamailio.start().await?;
        let mut cluster = edge_before(&[&kamailio], "tcp", "").await?;
        let mut alice = registered(&cluster, "alice", Udp).await;
        let bob = registered(&cluster, "bob", Tcp).await;
        let mut carol = registered(&cluster, "carol", Udp).await;
        let (mut caller, _) = alice.calls(&mut carol, |invite| invite).await;
        cluster.edges[0].kill().await?;
        cluster.start_all().await?;
        alice.hangs_up(&mut caller, &mut carol).await;
        all_kinds_of_calls(&mut carol, &mut alice).await;
        // Kamailio is told 430 at once; a caller has nothing of that (RFC 5626 §11.5).
        let invite = alice.request("INVITE", &bob.aor());
        alice.send(&invite).await;
        let answer = alice.final_answer(&invite).await;
        assert_eq!(answer.status(), Some(480), "{answer}");
        alice.send(&Phone::ack(&invite, &answer)).await;
        let stored = kamailio.command(&["ul.dump"]).await?;
        assert!(stored.contains("bob"), "a flow is not a registration: {stored}");
        Ok(())
    });
}

/// RFC 3263 §4.3, and `/ready`.
#[test]
fn registrars_die_and_come_back() {
    chain::run(async || {
        let dir = tempfile::tempdir()?;
        let (mut one, mut two) = (registrar(2, dir.path())?, registrar(3, dir.path())?);
        one.start().await?;
        two.start().await?;
        for transport in ["udp", "tcp"] {
            let cluster = edge_before(&[&one, &two], transport, "").await?;
            let edge = &cluster.edges[0];
            living(&cluster, 2).await?;
            one.kill().await?;
            // Nobody waits until the edge knows.
            for number in 0..8 {
                registered(&cluster, &format!("u{number}"), Udp).await;
            }
            living(&cluster, 1).await?;
            assert_eq!(edge.page("/ready").await?.0, 200);
            two.kill().await?;
            living(&cluster, 0).await?;
            assert_eq!(edge.page("/ready").await?.0, 503);
            let mut alice = phone(&cluster, "alice", Tcp).await;
            let attempt = alice.registration();
            alice.send(&attempt).await;
            let refusal = alice.final_answer(&attempt).await;
            assert_eq!(refusal.status(), Some(503));
            assert!(!refusal.get("Retry-After").is_empty());
            one.start().await?;
            living(&cluster, 1).await?;
            assert_eq!(register(&mut alice).await, Some(200));
            two.start().await?;
            living(&cluster, 2).await?;
        }
        Ok(())
    });
}

async fn living(cluster: &Cluster, count: u32) -> Result<(), Problem> {
    let edge = &cluster.edges[0];
    let is_so = async || (edge.metric("edge_next_hops").await.ok()? == f64::from(count)).then_some(());
    poll(NOTICE, is_so)
        .await
        .ok_or_else(|| Problem::new(format!("{count} next hops do not live\n{}", edge.log())))
}

/// Somebody else's proxy before this edge.
fn front(edge: &str, transport: &str, dir: &Path) -> Result<Kamailio, Problem> {
    Kamailio::new("edge", 3, dir, &[("NEXT_S", &format!("sip:{edge};transport={transport}"))])
}

/// A phone at that proxy.
async fn behind(front: &Kamailio, cluster: &Cluster, user: &str, transport: Transport) -> Phone {
    Phone::before(user, transport, front.address, cluster.certificate("ca.pem")).await
}

/// Alice and Bob are behind the proxy in front, Carol is not: calls between all of them, and one that goes on when the proxy has
/// ended and is there again.
async fn calls_past_a_restart(
    front: &mut Kamailio,
    alice: &mut Phone,
    bob: &mut Phone,
    carol: &mut Phone,
) -> Result<(), Problem> {
    all_kinds_of_calls(alice, carol).await;
    all_kinds_of_calls(carol, bob).await;
    all_kinds_of_calls(bob, alice).await;

    let (mut caller, mut callee) = carol.calls(alice, |invite| invite).await;
    front.kill().await?;
    front.start().await?;
    again(carol, &mut caller, alice).await;
    again(alice, &mut callee, carol).await;
    carol.hangs_up(&mut caller, alice).await;
    all_kinds_of_calls(carol, alice).await;
    Ok(())
}

/// RFC 3327 §5.2: its Path is stored below ours, and with the Record-Routes of both every request finds its way in both directions. Its own
/// stream to us may end: then its entry in the Route is followed.
#[test]
fn a_proxy_of_others_in_front() {
    chain::run(async || {
        for transport in ["udp", "tcp"] {
            let dir = tempfile::tempdir()?;
            let settings = [("EDGE_TRUSTED_PEERS", "127.0.0.3"), ("CORE_AUTH_METHODS", "none")];
            let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let plan = Plan { edges: 1, cores: 1, every_transport: true, settings, ..Plan::default() };
            let cluster = Cluster::start(&plan, &Binaries::build()?).await?;
            cluster.add_users(["alice", "bob", "carol"].map(|user| (user, PASSWORD))).await?;
            let mut front = front(&cluster.edges[0].sip().to_string(), transport, dir.path())?;
            front.start().await?;
            let mut alice = behind(&front, &cluster, "alice", Udp).await;
            let mut bob = behind(&front, &cluster, "bob", Tcp).await;
            let mut carol = phone(&cluster, "carol", Wss).await;
            for phone in [&mut alice, &mut bob, &mut carol] {
                phone.register().await;
            }
            calls_past_a_restart(&mut front, &mut alice, &mut bob, &mut carol).await?;
        }
        Ok(())
    });
}

/// Kamailio, Signalbox, Kamailio.
#[test]
fn others_on_both_sides() {
    chain::run(async || {
        for transport in ["udp", "tcp"] {
            let dir = tempfile::tempdir()?;
            let mut kamailio = registrar(2, dir.path())?;
            kamailio.start().await?;
            let cluster = edge_before(&[&kamailio], transport, "127.0.0.3").await?;
            let mut front = front(&cluster.edges[0].sip().to_string(), transport, dir.path())?;
            front.start().await?;
            let mut alice = behind(&front, &cluster, "alice", Udp).await;
            let mut bob = behind(&front, &cluster, "bob", Tcp).await;
            let mut carol = phone(&cluster, "carol", Wss).await;
            for phone in [&mut alice, &mut bob, &mut carol] {
                assert_eq!(register(phone).await, Some(200));
            }
            calls_past_a_restart(&mut front, &mut alice, &mut bob, &mut carol).await?;
        }
        Ok(())
    });
}
