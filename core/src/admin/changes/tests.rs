use futures_util::StreamExt;
use location::{Database, Save};
use node::metrics::Registry;
use registrar::change::{BindingEvent, between};
use registrar::{Record, UnixTime};
use sip::Aor;

use super::*;

/// A reader at a feed that stands still, and what it would send.
async fn reader() -> (Reader, mpsc::Receiver<Page>) {
    let database = Arc::new(Database::open("sqlite::memory:").await.unwrap());
    let feed = Arc::new(Feed::new(database, &Registry::new("core")));
    let (pages, queue) = mpsc::channel(QUEUE);
    let (state, seat) = (feed.state(), feed.seat().unwrap());
    (Reader { feed, state, pages, form: Form::Lines, is_following: true, _seat: seat }, queue)
}

/// What comes next, which is not the end.
async fn lines(queue: &mut mpsc::Receiver<Page>) -> Bytes {
    match queue.recv().await {
        Some(Page::Lines(lines)) => lines,
        Some(Page::End) | None => panic!("the end"),
    }
}

/// Registers so many users.
async fn register(database: &Database, users: std::ops::Range<u32>) {
    let saves = users.map(|user| {
        let contact = format!("sip:{user}@192.0.2.1");
        let bindings = vec![crate::fixture::binding(&contact, &[], UnixTime(1 << 40))];
        Save {
            aor: Aor::parse(&format!("{user}@example.com")).unwrap(),
            expected: 0,
            changes: between(&[], &bindings, BindingEvent::Unregistered, UnixTime(1)),
            record: Record { bindings, ..Record::default() },
        }
    });
    database.save(&saves.collect::<Vec<_>>()).await.unwrap();
}

/// How the body of a reader ends: what it has, or that it was broken off.
async fn read(queue: mpsc::Receiver<Page>) -> Result<String, axum::Error> {
    let mut text = String::new();
    let mut pages = body(queue).into_data_stream();
    while let Some(page) = pages.next().await {
        text.push_str(std::str::from_utf8(&page?).unwrap());
    }
    Ok(text)
}

#[tokio::test]
async fn a_core_that_ends_waits_for_no_reader() {
    let (reader, mut queue) = reader().await;
    let feed = Arc::clone(&reader.feed);
    feed.database.begin().await.unwrap();
    // A snapshot of more pages than wait for him.
    register(&feed.database, 0..PAGE * (u32::try_from(QUEUE).unwrap() + 2)).await;
    let running = tokio::spawn(reader.run_until_over(None, Vec::new()));
    lines(&mut queue).await;
    feed.reached(FeedState::Over);
    running.await.unwrap();
    assert!(read(queue).await.is_err(), "what he has is not everything");
    assert_eq!(feed.readers(), 0);
}

#[tokio::test]
async fn an_answer_that_is_complete_ends_in_order() {
    let (reader, queue) = reader().await;
    reader.feed.database.begin().await.unwrap();
    let reader = Reader { is_following: false, ..reader };
    tokio::spawn(reader.run_until_over(None, Vec::new()));
    assert_eq!(read(queue).await.unwrap(), "{\"event\":\"live\",\"position\":1}\n");
}

#[tokio::test]
async fn who_falls_behind_the_retention_is_broken_off() {
    let (reader, queue) = reader().await;
    let feed = Arc::clone(&reader.feed);
    feed.database.begin().await.unwrap();
    register(&feed.database, 0..3).await;
    let head = feed.database.sequence(10).await.unwrap().head;
    feed.database.trim(UnixTime(1), 2).await.unwrap();
    feed.reached(FeedState::Head(head));
    tokio::spawn(reader.run_until_over(Some(1), Vec::new()));
    assert!(read(queue).await.is_err());
}

/// The database has lost its newest commits, and this core has seen them.
#[tokio::test]
async fn a_head_that_is_not_there_is_waited_for_only_once() {
    let (mut reader, mut queue) = reader().await;
    let feed = Arc::clone(&reader.feed);
    feed.database.begin().await.unwrap();
    feed.reached(FeedState::Head(100));
    assert!(reader.wait(1, false).await.is_ok());
    {
        tokio::time::pause();
        let mut waiting = std::pin::pin!(reader.wait(1, true));
        tokio::select! {
            _ = &mut waiting => panic!("there is nothing"),
            _ = queue.recv() => {}
        }
        // The next round tells what there is.
        feed.reached(FeedState::Head(1));
        tokio::select! {
            _ = &mut waiting => panic!("he has that"),
            _ = queue.recv() => {}
        }
        feed.reached(FeedState::Head(2));
        assert!(waiting.await.is_ok());
    }
    tokio::time::resume();
    register(&feed.database, 0..1).await;
    feed.database.sequence(10).await.unwrap();
    feed.reached(FeedState::Head(100));
    tokio::spawn(reader.run_until_over(Some(1), Vec::new()));
    assert!(lines(&mut queue).await.starts_with(b"{\"event\":\"registered\",\"position\":2"));
    feed.reached(FeedState::Over);
    assert!(queue.recv().await.is_none());
}

#[tokio::test]
async fn a_reader_who_takes_nothing_is_cut_off() {
    let (reader, mut queue) = reader().await;
    tokio::time::pause();
    let page = || reader.send(|form, page| form.live(page, 1));
    for _ in 0..QUEUE {
        assert!(page().await.is_ok());
    }
    assert!(page().await.is_err(), "nothing is kept for him beyond that");
    queue.recv().await.unwrap();
    assert!(page().await.is_ok());
}

#[tokio::test]
async fn a_reader_hears_that_nothing_happens_and_that_the_core_ends() {
    let (mut reader, mut queue) = reader().await;
    let feed = Arc::clone(&reader.feed);
    feed.reached(FeedState::Head(7));
    tokio::time::pause();
    let waiting = tokio::spawn(async move { reader.wait(7, false).await.is_err() });
    for _ in 0..3 {
        assert_eq!(lines(&mut queue).await, "{\"event\":\"heartbeat\",\"position\":7}\n");
    }
    feed.reached(FeedState::Over);
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn a_reader_who_is_gone_leaves_his_seat() {
    let (mut reader, queue) = reader().await;
    let feed = Arc::clone(&reader.feed);
    feed.reached(FeedState::Head(7));
    assert_eq!(feed.readers(), 1);
    let waiting = tokio::spawn(async move { reader.wait(7, false).await.is_err() });
    drop(queue);
    assert!(waiting.await.unwrap());
    assert_eq!(feed.readers(), 0);
}
