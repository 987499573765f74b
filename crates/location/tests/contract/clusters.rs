//! What several cores on the nodes of a clustered database can rely on.

use std::sync::Arc;

use crate::common::{
    Cluster, MARIADB, NOW, POSTGRES, add_contact, binding, credentials, loaded, save, saved, user,
};
use location::{Database, Directory, LocationStore, NodeState, Saved, Schema};

/// One test function per kind of cluster for each of these rules.
macro_rules! on_clusters {
    ($($rule:ident),* $(,)?) => {
        mod postgres { $(#[tokio::test(flavor = "multi_thread")] async fn $rule() { super::$rule(super::POSTGRES).await; })* }
        mod mariadb { $(#[tokio::test(flavor = "multi_thread")] async fn $rule() { super::$rule(super::MARIADB).await; })* }
    };
}

on_clusters!(
    several_may_bring_the_schema_up_to_date_at_once,
    no_update_is_lost_between_two_cores,
    batches_that_cross_do_not_stop_each_other,
    what_one_core_commits_the_other_reads,
    two_sweepers_do_not_fight,
    a_schema_that_is_missing_is_an_error,
    a_node_is_in_use,
);

async fn several_may_bring_the_schema_up_to_date_at_once(variable: &str) {
    const AT_ONCE: usize = 12;
    let Some(cluster) = Cluster::empty(variable).await else { return };
    let Schema { applied, newest } = Database::schema(&cluster.url()).await.unwrap();
    assert!(applied == 0 && newest > 0, "{applied} {newest}");
    let migrations: Vec<_> = (0..AT_ONCE)
        .map(|n| {
            let urls = cluster.from(n);
            tokio::spawn(async move { Database::open(&urls).await.unwrap().migrate().await })
        })
        .collect();
    for migration in migrations {
        migration.await.unwrap().unwrap();
    }
    assert!(Database::schema(&cluster.url()).await.unwrap().is_current());
    // Again: nothing to do.
    cluster.open().await.migrate().await.unwrap();
}

async fn no_update_is_lost_between_two_cores(variable: &str) {
    const TASKS: usize = 4;
    const UPDATES: usize = 25;
    let Some((cluster, _)) = Cluster::new(variable).await else { return };
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let store = Database::open(&cluster.from(task)).await.unwrap();
        tasks.push(tokio::spawn(async move {
            for update in 0..UPDATES {
                add_contact(&store, &format!("sip:{update}@192.0.2.{task}")).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let bindings = loaded(&cluster.open().await, "alice").await.bindings;
    let mut contacts: Vec<_> = bindings.into_iter().map(|binding| binding.contact).collect();
    contacts.sort();
    contacts.dedup();
    assert_eq!(contacts.len(), TASKS * UPDATES);
}

/// The same records in opposite orders: each is saved by one of the two, and none of the batches fails.
async fn batches_that_cross_do_not_stop_each_other(variable: &str) {
    const ROWS: usize = 60;
    let Some((cluster, one)) = Cluster::new(variable).await else { return };
    let two = Arc::new(Database::open(&cluster.from(1)).await.unwrap());
    let one = Arc::new(one);
    let name = |n: usize| format!("u{n:03}");
    let mut versions = vec![0; ROWS];
    for round in 0..10_u32 {
        let batch = |contact: &str| -> Vec<_> {
            let to = |n: usize| save(&name(n), versions[n], vec![binding(contact, "edge", NOW.after(round))]);
            (0..ROWS).map(to).collect()
        };
        let (first, mut second) = (batch("sip:1@192.0.2.1"), batch("sip:2@192.0.2.1"));
        second.reverse();
        let (first, second) = tokio::join!(one.save(&first), two.save(&second));
        let (first, mut second) = (first.unwrap(), second.unwrap());
        second.reverse();
        for n in 0..ROWS {
            let (version, contact) = match (first[n], second[n]) {
                (Saved::Version(version), Saved::Conflict) => (version, "sip:1@192.0.2.1"),
                (Saved::Conflict, Saved::Version(version)) => (version, "sip:2@192.0.2.1"),
                both => panic!("{n} in round {round}: {both:?}"),
            };
            let record = loaded(&*one, &name(n)).await;
            assert_eq!((record.version, record.bindings[0].contact.as_str()), (version, contact));
            versions[n] = version;
        }
    }
}

/// Also when they are on different nodes: a call right after the 200 to a REGISTER finds the binding.
async fn what_one_core_commits_the_other_reads(variable: &str) {
    let Some((cluster, one)) = Cluster::new(variable).await else { return };
    let two = Database::open(&cluster.from(1)).await.unwrap();
    let mut version = 0;
    for n in 0..100 {
        let contact = format!("sip:{n}@192.0.2.1");
        version = saved(&one, "alice", version, vec![binding(&contact, "edge", NOW)]).await;
        let record = loaded(&two, "alice").await;
        assert_eq!((record.version, record.bindings[0].contact.as_str()), (version, contact.as_str()));
    }
    one.put(&user("alice"), &credentials("1")).await.unwrap();
    assert_eq!(two.credentials(&[user("alice")]).await.unwrap(), [Some(credentials("1"))]);
}

async fn two_sweepers_do_not_fight(variable: &str) {
    const ROWS: u64 = 200;
    let Some((cluster, one)) = Cluster::new(variable).await else { return };
    let two = Database::open(&cluster.from(1)).await.unwrap();
    let inserts: Vec<_> =
        (0..ROWS).map(|n| save(&format!("u{n}"), 0, vec![binding("sip:a@192.0.2.1", "edge", NOW)])).collect();
    let stored = one.save(&inserts).await.unwrap();
    let emptied = (0..ROWS).zip(stored).map(|(n, stored)| match stored {
        Saved::Version(version) => save(&format!("u{n}"), version, vec![]),
        Saved::Conflict => panic!("u{n} was there"),
    });
    one.save(&emptied.collect::<Vec<_>>()).await.unwrap();
    let late = NOW.after(100_000);
    let sweep = async |store: &Database| {
        let mut swept = 0;
        loop {
            match store.sweep(late, 20).await.unwrap() {
                0 => return swept,
                rows => swept += rows,
            }
        }
    };
    let (first, second) = tokio::join!(sweep(&one), sweep(&two));
    assert_eq!(first + second, ROWS, "each row once");
    assert_eq!(one.list(None, 10).await.unwrap().items, []);
    assert_eq!(one.flows_of("edge", NOW, None, 10).await.unwrap().items, []);
}

async fn a_schema_that_is_missing_is_an_error(variable: &str) {
    let Some(cluster) = Cluster::empty(variable).await else { return };
    assert!(cluster.open().await.credentials(&[user("alice")]).await.is_err());
}

async fn a_node_is_in_use(variable: &str) {
    let Some((_, store)) = Cluster::new(variable).await else { return };
    let nodes = store.nodes();
    assert_eq!(nodes.iter().filter(|node| node.state == NodeState::InUse).count(), 1, "{nodes:?}");
}
