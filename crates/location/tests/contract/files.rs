//! What a file can do and a process's memory cannot: several processes, and a life after them.

use std::sync::Arc;

use crate::common::{self, NOW, add_contact, aor, binding, credentials, loaded, open, saved, url, user};
use location::{Database, Directory, Error, LocationStore, Schema};
use registrar::UnixTime;
use sqlx::migrate::Migrator;

#[tokio::test]
async fn a_restart_keeps_everything() {
    let (store, folder) = common::sqlite().await;
    let version = saved(&store, "alice", 0, vec![binding("sip:a@192.0.2.1", "edge", NOW)]).await;
    store.put(&user("alice"), &credentials("1")).await.unwrap();
    store.close().await;

    let store = open(folder.path()).await;
    assert_eq!(loaded(&store, "alice").await.version, version);
    assert_eq!(store.credentials(&[user("alice")]).await.unwrap(), [Some(credentials("1"))]);
    assert_eq!(store.flows_of("edge", NOW, None, 10).await.unwrap().items.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_may_create_the_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(folder.path());
    let openings: Vec<_> = (0..6)
        .map(|_| {
            tokio::spawn({
                let url = url.clone();
                async move { Database::open(&url).await }
            })
        })
        .collect();
    for opening in openings {
        opening.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_update_is_lost_between_two_processes() {
    const TASKS: usize = 4;
    const UPDATES: usize = 50;
    let (one, folder) = common::sqlite().await;
    let stores = [Arc::new(one), Arc::new(open(folder.path()).await)];
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = Arc::clone(&stores[task % stores.len()]);
            tokio::spawn(async move {
                for update in 0..UPDATES {
                    add_contact(&store, &format!("sip:{update}@192.0.2.{task}")).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut contacts: Vec<_> =
        loaded(&*stores[0], "alice").await.bindings.into_iter().map(|binding| binding.contact).collect();
    contacts.sort();
    contacts.dedup();
    assert_eq!(contacts.len(), TASKS * UPDATES);
}

#[tokio::test]
async fn what_one_process_commits_the_other_reads() {
    let (one, folder) = common::sqlite().await;
    let two = open(folder.path()).await;
    let version = saved(&one, "alice", 0, vec![binding("sip:a@192.0.2.1", "edge", NOW)]).await;
    assert_eq!(loaded(&two, "alice").await.version, version);
    let version = saved(&two, "alice", version, vec![]).await;
    assert_eq!(loaded(&one, "alice").await.version, version);
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_refused_without_showing_it() {
    for url in [
        "oracle://signalbox:secret@db/signalbox",
        "postgres://signalbox:secret@db/signalbox,mysql://signalbox:secret@db/signalbox",
        "postgres://signalbox:secret@db:port/signalbox",
        "signalbox.db",
        "",
    ] {
        let error = Database::open(url).await.unwrap_err();
        assert!(matches!(error, Error::Url(_)), "{url}");
        assert!(!error.to_string().contains("secret"));
    }
    let folder = tempfile::tempdir().unwrap();
    let missing = format!("sqlite:{}", folder.path().join("no/such/folder/x.db").display());
    assert!(matches!(Database::open(&missing).await, Err(Error::Database(_))));
}

#[tokio::test]
async fn the_schema_is_read_without_changing_anything() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(folder.path());
    let Schema { applied, newest } = Database::schema(&url).await.unwrap();
    assert!(applied == 0 && newest > 0, "{applied} {newest}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::write(folder.path().join("signalbox.db"), "").unwrap();
    assert_eq!(Database::schema(&url).await.unwrap().applied, 0);

    open(folder.path()).await.close().await;
    assert!(Database::schema(&url).await.unwrap().is_current());
}

#[tokio::test]
async fn a_file_of_the_first_schema_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let options = format!("{}?mode=rwc", url(folder.path()));
    let pool = sqlx::SqlitePool::connect(&options).await.unwrap();
    let all: Vec<_> = sqlx::migrate!("migrations/sqlite").iter().cloned().collect();
    let first = all.iter().filter(|migration| migration.version == 1).cloned().collect();
    Migrator::with_migrations(first).run(&pool).await.unwrap();
    let bindings =
        r#"[{"contact":"sip:a@192.0.2.1","expires_at":170},{"contact":"sip:b@192.0.2.1","expires_at":160}]"#;
    for (aor, expires_at, bindings) in [
        ("sip:alice@example.com", 170, bindings),
        ("sip:bob@example.com", 100, "[]"),
        ("sip:carol@example.com", 9, "{"),
    ] {
        let row = "INSERT INTO location (aor, version, expires_at, bindings) VALUES (?, 7, ?, ?)";
        sqlx::query(row).bind(aor).bind(expires_at).bind(bindings).execute(&pool).await.unwrap();
    }
    pool.close().await;

    let store = open(folder.path()).await;
    assert!(Database::schema(&url(folder.path())).await.unwrap().is_current());
    let alice = loaded(&store, "alice").await;
    assert_eq!((alice.version, alice.bindings.len(), alice.watchers.len()), (7, 2, 0));
    let due = |now| {
        let store = &store;
        async move {
            store.due(UnixTime(now), 10).await.unwrap().into_iter().map(|(aor, _)| aor).collect::<Vec<_>>()
        }
    };
    assert_eq!(due(159).await, [], "nothing is over yet");
    assert_eq!(due(160).await, [aor("alice")], "the first of the two");
    assert_eq!(store.sweep(UnixTime(699), 10).await.unwrap(), 0);
    assert_eq!(store.sweep(UnixTime(700), 10).await.unwrap(), 1, "bob, who has been empty since 100");
    assert_eq!(due(700).await, [aor("alice"), aor("carol")], "what cannot be read is written anew");
}
