//! The change feed of a running cluster while cores die: everything that a phone was told is in it, in order, and whoever
//! follows it has what the database has.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::time::Duration;

use cluster_tests::cluster::{Binaries, Cluster, DOMAIN, Node, Plan, poll};
use cluster_tests::database::Load;
use cluster_tests::feed::{Admins, Follower};
use cluster_tests::lab::phone::Phone;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

/// Longer than anything here should take.
const LIMIT: Duration = Duration::from_secs(30);

async fn cluster(more: &[(&str, &str)]) -> (Cluster, Admins) {
    let own = [("CORE_CHANGE_FEED", "true"), ("CORE_ADMIN_TOKEN", "secret"), ("CORE_AUTH_ALGORITHMS", "MD5")];
    let settings = own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let plan = Plan { settings: settings.collect(), ..Plan::default() };
    let cluster = Cluster::start(&plan, &Binaries::find().unwrap()).await.unwrap();
    let cores = cluster.cores.iter().map(|core| core.admin).collect();
    (cluster, Admins { cores, token: "secret".to_owned() })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_in_the_feed_whichever_core_dies() {
    let (mut cluster, admins) = cluster(&[]).await;
    let users = Load::users(12);
    cluster.add_users(users.iter().map(|(user, password)| (user.as_str(), password.as_str()))).await.unwrap();
    let seed = u64::from(std::process::id());
    let early = Follower::start(admins.clone(), seed);
    // Before there is a contact.
    early.begun(LIMIT).await.unwrap();
    let edges: Vec<_> = cluster.edges.iter().map(Node::sip).collect();
    let load = Load::start(&edges, &users).await.unwrap();
    load.more(100, LIMIT).await.unwrap();
    let late = Follower::start(admins.clone(), seed + 1);
    for core in [0, 1] {
        // Between some commit and its position.
        cluster.cores[core].kill().await.unwrap();
        load.more(100, LIMIT).await.unwrap();
        cluster.start_all().await.unwrap();
        load.more(100, LIMIT).await.unwrap();
    }
    let ledger = load.finish().await.unwrap();
    assert_eq!(ledger.wrong(), [0; 0]);
    for (follower, is_early) in [(early, true), (late, false)] {
        let followed = follower.finish(&ledger, is_early, LIMIT).await.unwrap();
        assert!(followed.out_of_order().is_empty(), "seed {seed}: {:?}", followed.out_of_order());
        assert!(followed.cuts > 3 && followed.contacts.len() == 12, "{}", followed.cuts);
        let count = followed.changes.len() as u64;
        let (first, last) =
            (followed.changes.keys().next().unwrap(), followed.changes.keys().last().unwrap());
        assert_eq!(last - first + 1, count, "no gap");
    }
}

/// A contact whose time is over, and one that an operator has removed, whose own environment does not name the feed.
#[tokio::test(flavor = "multi_thread")]
async fn every_end_of_a_contact_has_its_name() {
    let (cluster, admins) = cluster(&[
        ("CORE_REGISTER_MIN_EXPIRES", "1s"),
        ("CORE_REGISTER_DEFAULT_EXPIRES", "6s"),
        ("CORE_REGISTER_MAX_EXPIRES", "6s"),
    ])
    .await;
    cluster.add_users([("alice", "secret"), ("bob", "secret")]).await.unwrap();
    let edge = &cluster.edges[0];
    let mut phones = Vec::new();
    for user in ["alice", "bob"] {
        let mut phone = Phone::new(user, "secret", DOMAIN, (&edge.name, edge.sip())).await.unwrap();
        phone.register().await.unwrap();
        phones.push(phone);
    }
    let removed = cluster.command(&["contacts", "remove", &format!("bob@{DOMAIN}")], "").await.unwrap();
    assert!(removed.status.success(), "{removed:?}");
    let told = async || {
        let (_, body) = admins.page("/v1/changes?after=1&follow=false").await?;
        let is_there = |event: &str, user: &str| {
            body.lines().any(|line| {
                line.contains(&format!("\"{event}\"")) && line.contains(&format!("{user}@{DOMAIN}"))
            })
        };
        (is_there("expired", "alice") && is_there("registered", "alice") && is_there("deactivated", "bob"))
            .then_some(())
    };
    poll(LIMIT, told).await.unwrap();
}

/// Nobody waits for a reader, and who was away while the feed was off has to begin again.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_was_off_is_no_place_to_go_on_from() {
    let (mut cluster, admins) = cluster(&[]).await;
    let begun = poll(LIMIT, async || admins.snapshot().await).await.unwrap().1;
    let status = async |admins: &Admins| {
        admins.page(&format!("/v1/changes?after={begun}&follow=false")).await.map(|(status, _)| status)
    };
    assert_eq!(status(&admins).await, Some(200));
    // It follows to the end of the core.
    let reader = Follower::start(admins.clone(), 1);
    reader.begun(LIMIT).await.unwrap();
    for core in &mut cluster.cores {
        core.stop(Duration::from_secs(10)).await.unwrap();
        core.set("CORE_CHANGE_FEED", "false");
    }
    drop(reader);
    cluster.start_all().await.unwrap();
    poll(LIMIT, async || status(&admins).await.filter(|status| *status == 409)).await.unwrap();
    for core in &mut cluster.cores {
        core.stop(Duration::from_secs(10)).await.unwrap();
        core.set("CORE_CHANGE_FEED", "true");
    }
    cluster.start_all().await.unwrap();
    poll(LIMIT, async || status(&admins).await.filter(|status| *status == 410)).await.unwrap();
    assert!(admins.snapshot().await.is_some_and(|(_, position)| position > begun));
}

/// One core has another setting than the other. Whoever reads hears again and again that he has missed something.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_core_with_the_feed_off_writes_is_not_stepped_over() {
    let (mut cluster, admins) = cluster(&[]).await;
    let users = Load::users(12);
    cluster.add_users(users.iter().map(|(user, password)| (user.as_str(), password.as_str()))).await.unwrap();
    cluster.cores[1].stop(Duration::from_secs(10)).await.unwrap();
    cluster.cores[1].set("CORE_CHANGE_FEED", "false");
    cluster.start_all().await.unwrap();
    let edges: Vec<_> = cluster.edges.iter().map(Node::sip).collect();
    let on = Admins { cores: vec![admins.cores[0]], ..admins };
    // The first time may be that of the start.
    for _ in 0..2 {
        let begun = poll(LIMIT, async || on.snapshot().await).await.unwrap().1;
        let load = Load::start(&edges, &users).await.unwrap();
        load.more(100, LIMIT).await.unwrap();
        let path = format!("/v1/changes?after={begun}&follow=false");
        let is_gone = async || on.page(&path).await.filter(|(status, _)| *status == 410);
        poll(LIMIT, is_gone).await.unwrap();
        load.finish().await.unwrap();
    }
    let log = cluster.cores[1].log();
    assert!(log.contains("CORE_CHANGE_FEED is off here and on at another core"), "{log}");
}

/// Answers that nobody takes: more than the sockets hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_does_not_keep_a_core() {
    let (mut cluster, admins) = cluster(&[]).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stuck = socket.connect(admins.cores[0]).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: core\r\n\r\n".repeat(1_000);
    stuck.write_all(request.as_bytes()).await.unwrap();
    let reader = Follower::start(admins.clone(), 1);
    reader.begun(LIMIT).await.unwrap();
    // Some seconds more than the period of grace.
    cluster.cores[0].stop(Duration::from_secs(10)).await.unwrap();
    drop(stuck);
}
