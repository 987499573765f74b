//! Real databases under load that lose nodes: what was acknowledged is found, nobody is told anything wrong, and calls
//! go on without any database. Run by `tests/run`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::time::Duration;

use cluster_tests::cluster::{Binaries, Cluster, DOMAIN, Plan, Problem, poll};
use cluster_tests::database::{Buffers, Cut, Galera, Ledger, Load, Postgres, Switch, apart, is_wanted};
use cluster_tests::feed::{Admins, Follower};
use cluster_tests::lab::phone::Phone;
use cluster_tests::raw::Datagrams;

/// How long the phones may have to wait for the next answers: what takes over takes at most 5 s (and this machine has
/// other work, too).
const LIMIT: Duration = Duration::from_secs(30);
/// Answers that are waited for in each state.
const SOME: u64 = 300;

/// Two cores, the second of which prefers the second node.
async fn cluster(urls: [String; 2], users: &[(String, String)]) -> Cluster {
    let settings = vec![
        ("CORE_DATABASE_URL".to_owned(), urls[0].clone()),
        ("core2/CORE_DATABASE_URL".to_owned(), urls[1].clone()),
        ("CORE_AUTH_ALGORITHMS".to_owned(), "MD5".to_owned()),
        ("CORE_CHANGE_FEED".to_owned(), "true".to_owned()),
        ("CORE_ADMIN_TOKEN".to_owned(), "secret".to_owned()),
    ];
    let plan = Plan { settings, ..Plan::default() };
    let mut cluster = Cluster::prepare(&plan, &Binaries::find().unwrap()).unwrap();
    // A core says what is missing, and goes on when it is there.
    let core = &mut cluster.cores[0];
    core.spawn().unwrap();
    let is_missing = async || {
        let (status, page) = core.page("/ready").await.ok()?;
        (status == 503 && page.contains("core-registrar migrate")).then_some(())
    };
    poll(LIMIT, is_missing).await.unwrap();
    let migrated = cluster.command(&["migrate"], "").await.unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    cluster.start_all().await.unwrap();
    cluster.add_users(users.iter().map(|(user, password)| (user.as_str(), password.as_str()))).await.unwrap();
    cluster
}

async fn load(cluster: &Cluster, users: &[(String, String)]) -> Load {
    let edges: Vec<_> = cluster.edges.iter().map(cluster_tests::cluster::Node::sip).collect();
    Load::start(&edges, users).await.unwrap()
}

/// Somebody who follows the change feed from before the first registration on.
async fn follower(cluster: &Cluster) -> Follower {
    let cores = cluster.cores.iter().map(|core| core.admin).collect();
    let admins = Admins { cores, token: "secret".to_owned() };
    let follower = Follower::start(admins, u64::from(std::process::id()));
    follower.begun(LIMIT).await.unwrap();
    follower
}

/// Everything that was acknowledged is in the feed, in order, and what follows from it is what is stored.
async fn check_feed(what: &str, follower: Follower, ledger: &Ledger) {
    let followed = follower.finish(ledger, true, LIMIT).await.unwrap();
    assert!(followed.out_of_order().is_empty(), "{:?}", followed.out_of_order());
    eprintln!(
        "{what}: all {} acknowledged REGISTERs are in the {} changes of the feed, read over {} connections",
        ledger.acknowledged.len(),
        followed.changes.len(),
        followed.cuts
    );
}

fn check(what: &str, ledger: &Ledger, rows: &str) {
    eprintln!(
        "{what}: {:?}, {} without an answer, at most {:?} without a 200",
        ledger.statuses, ledger.unanswered, ledger.longest_gap
    );
    assert_eq!(ledger.missing_in(rows), [""; 0]);
    assert_eq!(ledger.wrong(), [0; 0]);
}

const ROWS: &str = "SELECT aor, bindings FROM signalbox.location";

#[tokio::test(flavor = "multi_thread")]
async fn galera_loses_nodes() {
    if !is_wanted() {
        return;
    }
    let mut galera = Galera::start(3, Buffers::Small).await.unwrap();
    let users = Load::users(40);
    let cluster = cluster([galera.url(0), galera.url(1)], &users).await;
    let follower = follower(&cluster).await;
    let load = load(&cluster, &users).await;
    load.more(SOME, LIMIT).await.unwrap();

    galera.kill(0).await;
    load.more(SOME, LIMIT).await.unwrap();
    galera.rejoin(0).await.unwrap();
    load.more(SOME, LIMIT).await.unwrap();

    // Without a word to the others, though its core still reaches it.
    galera.isolate(1, true).await.unwrap();
    load.more(SOME, LIMIT).await.unwrap();
    galera.isolate(1, false).await.unwrap();
    galera.joined(1).await.unwrap();
    load.more(SOME, LIMIT).await.unwrap();

    // Silent to everybody.
    galera.freeze(0, true);
    load.more(SOME, LIMIT).await.unwrap();
    galera.freeze(0, false);
    galera.joined(0).await.unwrap();
    load.more(SOME, LIMIT).await.unwrap();

    let ledger = load.finish().await.unwrap();
    for node in 0..3 {
        // One that was silent learns only by and by that the others have gone on without it.
        let read = format!("SET SESSION wsrep_sync_wait = 1; {ROWS}");
        let rows = poll(LIMIT, async || galera.sql(node, &read).await.ok()).await.unwrap();
        check(&format!("Galera, node {}", node + 1), &ledger, &rows);
    }
    check_feed("Galera", follower, &ledger).await;
}

/// The network between the nodes fails, packet by packet: first a node loses the others and still has its clients, then
/// it loses everybody, and nobody is told.
#[test]
fn galera_is_parted_by_the_network() {
    if !is_wanted() {
        return;
    }
    apart(async || {
        let switch = Switch::new(3).await?;
        let mut galera = Galera::start_at(&switch.places()?, Buffers::Small).await?;
        let users = Load::users(40);
        let cluster = cluster([galera.url(0), galera.url(1)], &users).await;
        let load = load(&cluster, &users).await;
        load.more(SOME, LIMIT).await?;
        for from in [Cut::Nodes, Cut::All] {
            // It is the node that the second core uses.
            switch.cut(1, from).await?;
            poll(LIMIT, async || (size(&galera, 0).await == Some(2)).then_some(())).await.unwrap();
            // Of three nodes two are the majority, and the one that is left must not go on by itself.
            poll(LIMIT, async || {
                let status = "SHOW STATUS LIKE 'wsrep_cluster_status'";
                galera.sql(1, status).await.ok().filter(|said| said.contains("non-Primary"))
            })
            .await
            .unwrap();
            let refused = galera.sql(1, "UPDATE signalbox.location SET due_at = 0").await.unwrap_err();
            assert!(refused.to_string().contains("1047"), "{refused}");
            load.more(SOME, LIMIT).await?;
            assert_eq!(size(&galera, 0).await, Some(2), "the network is still parted");

            switch.cut(1, Cut::Nothing).await?;
            galera.joined(1).await?;
            poll(LIMIT, async || (size(&galera, 0).await == Some(3)).then_some(())).await.unwrap();
            load.more(SOME, LIMIT).await?;
        }
        let ledger = load.finish().await?;
        for node in 0..3 {
            let read = format!("SET SESSION wsrep_sync_wait = 1; {ROWS}");
            let rows = poll(LIMIT, async || galera.sql(node, &read).await.ok()).await.unwrap();
            check(&format!("Galera after partitions, node {}", node + 1), &ledger, &rows);
        }
        Ok(())
    });
}

/// How many nodes a node counts.
async fn size(galera: &Galera, node: usize) -> Option<u32> {
    let said = galera.sql(node, "SHOW STATUS LIKE 'wsrep_cluster_size'").await.ok()?;
    said.split_whitespace().last()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_loses_its_primary() {
    if !is_wanted() {
        return;
    }
    let mut postgres = Postgres::start(2, Buffers::Small).await.unwrap();
    let users = Load::users(40);
    let cluster = cluster([postgres.url(0), postgres.url(1)], &users).await;
    let follower = follower(&cluster).await;
    let load = load(&cluster, &users).await;
    load.more(SOME, LIMIT).await.unwrap();

    postgres.kill(0).await;
    postgres.promote(1).await.unwrap();
    load.more(SOME, LIMIT).await.unwrap();
    postgres.rejoin(0, 1).await.unwrap();
    load.more(SOME, LIMIT).await.unwrap();

    // The primary is silent, its standby takes over, and it comes back believing to be the primary.
    postgres.freeze(1, true);
    postgres.promote(0).await.unwrap();
    load.more(SOME, LIMIT).await.unwrap();
    postgres.freeze(1, false);
    load.more(SOME, LIMIT).await.unwrap();

    let ledger = load.finish().await.unwrap();
    let rows = postgres.sql(0, "signalbox", "SELECT aor, bindings FROM location").await.unwrap();
    check("PostgreSQL", &ledger, &rows);
    check_feed("PostgreSQL", follower, &ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_without_a_database() {
    if !is_wanted() {
        return;
    }
    let mut postgres = Postgres::start(1, Buffers::Small).await.unwrap();
    let users: Vec<_> = ["alice", "bob", "carol"].map(|user| (user.to_owned(), format!("{user}s"))).into();
    let mut cluster = cluster([postgres.url(0), postgres.url(0)], &users).await;
    // One core, so that it is the one that has seen them.
    cluster.cores[1].kill().await.unwrap();
    cluster.linked().await.unwrap();
    let edges: Vec<_> = cluster.edges.iter().map(|edge| (edge.name.clone(), edge.sip())).collect();
    let phone = async |n: usize, edge: usize| {
        let (name, address) = &edges[edge];
        Phone::new(&users[n].0, &users[n].1, DOMAIN, (name, *address)).await.unwrap()
    };
    let (mut alice, mut bob, mut carol) = (phone(0, 0).await, phone(1, 1).await, phone(2, 0).await);
    alice.register().await.unwrap();
    bob.register().await.unwrap();
    let call = async |alice: &mut Phone, bob: &mut Phone| {
        let (called, answered) = tokio::join!(alice.call("bob"), bob.answer());
        called.and(answered)
    };
    call(&mut alice, &mut bob).await.unwrap();

    postgres.kill(0).await;
    call(&mut alice, &mut bob).await.unwrap();
    call(&mut alice, &mut bob).await.unwrap();
    assert!(cluster.cores[0].metric("core_last_known_total").await.unwrap() > 0.0);
    // Never 401, 403 or 404.
    let is_503 = |result: Result<String, Problem>| result.err().filter(|why| why.to_string().contains("503"));
    poll(LIMIT, async || is_503(carol.register().await)).await.unwrap();
    let refused = alice.call("nobody").await;
    assert!(refused.as_ref().is_err_and(|why| why.to_string().contains("503")), "{refused:?}");
    // Those who need no database do not notice.
    let probe = Datagrams::to(edges[0].1).await.unwrap();
    let options = format!(
        "OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKo\r\nMax-Forwards: 70\r\n\
         From: <sip:x@192.0.2.1>;tag=1\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n",
        probe.local().unwrap()
    );
    probe.send(options.as_bytes()).await.unwrap();
    assert!(probe.receive(|answer| answer.starts_with(b"SIP/2.0 200 ")).await.is_some());

    postgres.restart(0).await.unwrap();
    poll(LIMIT, async || carol.register().await.ok()).await.unwrap();
    call(&mut alice, &mut bob).await.unwrap();
}
