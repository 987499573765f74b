//! The change feed over the API: what every change of a binding was, in order, to the end of the connection.
//!
//! A reader says after which position to begin, by number or as a consumer whose position is kept. Without one he is a
//! newcomer and is given a snapshot first: the position is read before it, so a change that comes while the pages are read is
//! in the changes that follow, and perhaps in the snapshot, too. At least once, that is; versions tell what is older.
//!
//! A page is asked for when the one before it was taken, so a reader costs a few pages. One who takes nothing for
//! `PATIENCE` is cut off, and all are when the core ends. An answer that is cut off has no proper end, so
//! nobody takes it for a complete one.

use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use location::feed::Change;
use location::{ChangeFeed, LocationStore};
use node::admin::{Problem, axum};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::timeout;

use self::line::Form;
use super::{Api, away, now};
use crate::feed::{Feed, State as FeedState};

mod line;

/// Changes, and records of the snapshot, of one page.
const PAGE: u32 = 250;
/// Pages that wait for the reader.
const QUEUE: usize = 2;
/// How long a reader may take nothing.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a reader hears that nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Where a reader wants to begin, and how it ends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// After this position.
    after: Option<u64>,
    /// Where this consumer has come to.
    consumer: Option<String>,
    /// A snapshot first, or none. A newcomer gets one unless he says no.
    snapshot: Option<bool>,
    /// Whether to wait for what is to come.
    follow: Option<bool>,
}

/// `GET /v1/changes`
pub(super) async fn follow(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(which) = which.map_err(|error| Problem::bad_request(error.body_text()))?;
    let feed = api.feed.as_ref().ok_or_else(|| {
        Problem::new(StatusCode::CONFLICT, "the change feed is off: CORE_CHANGE_FEED says so")
    })?;
    let state = feed.state();
    if !matches!(*state.borrow(), FeedState::Head(_)) {
        return Err(Problem::unavailable("the change feed is not there at the moment"));
    }
    let is_following = which.follow.unwrap_or(true);
    let begin = api.begin(&headers, which).await?;
    let seat = feed.seat().ok_or_else(|| Problem::unavailable("too many readers of the change feed"))?;
    let (position, first) = match begin {
        Begin::Snapshot => (None, Vec::new()),
        Begin::AtHead => (Some(feed.database.head().await.map_err(away)?), Vec::new()),
        Begin::After(position) => {
            let found = feed.database.changes(position, PAGE).await.map_err(away)?;
            let gone = || Problem::new(StatusCode::GONE, GONE);
            (Some(position), found.ok_or_else(gone)?)
        }
    };
    let form = form(&headers);
    let (pages, queue) = mpsc::channel(QUEUE);
    let reader = Reader { feed: Arc::clone(feed), state, pages, form, is_following, _seat: seat };
    tokio::spawn(reader.run_until_over(position, first));
    let content = [(header::CONTENT_TYPE, form.content_type()), (header::CACHE_CONTROL, "no-store")];
    Ok((content, body(queue)).into_response())
}

const GONE: &str = "the changes after this position are not there any more: begin with a snapshot";

/// Where a reader begins.
enum Begin {
    Snapshot,
    AtHead,
    After(u64),
}

impl Api {
    /// A browser that reconnects repeats its URL and says by Last-Event-ID where it was, so that comes first.
    async fn begin(&self, headers: &HeaderMap, which: Which) -> Result<Begin, Problem> {
        if let Some(last) = headers.get("last-event-id") {
            let position = last.to_str().ok().and_then(|text| text.parse().ok());
            return position
                .map(Begin::After)
                .ok_or_else(|| Problem::bad_request("Last-Event-ID is no position"));
        }
        if which.after.is_some() && (which.snapshot == Some(true) || which.consumer.is_some()) {
            return Err(Problem::bad_request("`after` excludes `consumer` and a snapshot"));
        }
        let known = match which.consumer {
            Some(_) if which.snapshot == Some(true) => None,
            Some(consumer) => self.position_of(consumer).await?,
            None => which.after,
        };
        Ok(match (known, which.snapshot) {
            (Some(position), _) => Begin::After(position),
            (None, Some(false)) => Begin::AtHead,
            (None, _) => Begin::Snapshot,
        })
    }
}

fn form(headers: &HeaderMap) -> Form {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains(Form::Events.content_type()) { Form::Events } else { Form::Lines }
}

/// What a reader is sent.
enum Page {
    /// Whole lines.
    Lines(Bytes),
    /// That was everything he has asked for.
    End,
}

/// The pages as they come. Where they stop without an [`End`](Page::End) the body is broken off.
fn body(mut queue: mpsc::Receiver<Page>) -> Body {
    let mut is_over = false;
    Body::from_stream(stream::poll_fn(move |context| {
        if is_over {
            return Poll::Ready(None);
        }
        let next = match ready!(queue.poll_recv(context)) {
            Some(Page::Lines(lines)) => Some(Ok(lines)),
            Some(Page::End) => None,
            None => Some(Err(io::Error::other("a reader of the change feed is cut off"))),
        };
        is_over = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }))
}

/// The side of a connection that asks the database. It ends by itself: a reader that is gone, or takes nothing, is an `Err`.
struct Reader {
    feed: Arc<Feed>,
    state: watch::Receiver<FeedState>,
    pages: mpsc::Sender<Page>,
    form: Form,
    is_following: bool,
    _seat: OwnedSemaphorePermit,
}

/// There is nobody to read, or nothing to be read.
struct Ended;

impl From<location::Error> for Ended {
    fn from(error: location::Error) -> Self {
        tracing::warn!(%error, "a reader of the change feed is cut off");
        Self
    }
}

impl Reader {
    /// Wherever it is, it ends with the core.
    async fn run_until_over(self, position: Option<u64>, first: Vec<Change>) {
        let mut state = self.state.clone();
        tokio::select! {
            _ = self.run(position, first) => {}
            _ = state.wait_for(|state| *state == FeedState::Over) => {}
        }
    }

    async fn run(mut self, position: Option<u64>, first: Vec<Change>) -> Result<(), Ended> {
        let mut at = match position {
            Some(position) => position,
            None => self.snapshot().await?,
        };
        let mut found = first;
        loop {
            while !found.is_empty() {
                at = found.last().map_or(at, |change| change.position);
                self.send(|form, page| found.iter().for_each(|change| form.change(page, change))).await?;
                found = self.next(at).await?;
            }
            if !self.is_following {
                return self.give(Page::End).await;
            }
            self.wait(at, false).await?;
            found = self.next(at).await?;
            while found.is_empty() {
                // This core knows of a head that the database does not have: a node of it is behind, or was restored.
                self.wait(at, true).await?;
                found = self.next(at).await?;
            }
        }
    }

    async fn next(&self, at: u64) -> Result<Vec<Change>, Ended> {
        self.feed.database.changes(at, PAGE).await?.ok_or_else(|| {
            tracing::warn!(at, "a reader of the change feed has fallen behind its retention");
            Ended
        })
    }

    /// Sends what is bound, and gives the position from which on changes follow.
    async fn snapshot(&self) -> Result<u64, Ended> {
        let position = self.feed.database.head().await?;
        let mut after = None;
        loop {
            let page = self.feed.database.list(after.as_ref(), PAGE).await?;
            let now = now();
            self.send(|form, to| {
                for (aor, record) in &page.items {
                    record.live(now).for_each(|binding| form.bound(to, aor, record.version, binding, now));
                }
            })
            .await?;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.send(|form, page| form.live(page, position)).await?;
        Ok(position)
    }

    /// Until there is more than this position, with a sign of life now and then. What is known already counts for nothing
    /// where it `was_nothing`.
    async fn wait(&mut self, at: u64, was_nothing: bool) -> Result<(), Ended> {
        loop {
            let is_news = |state: &FeedState| match *state {
                FeedState::Head(head) => head > at,
                FeedState::Starting | FeedState::Over => true,
            };
            let state = &mut self.state;
            let news = async {
                if was_nothing {
                    state.changed().await?;
                }
                state.wait_for(is_news).await.map(|state| *state)
            };
            let news = tokio::select! {
                news = timeout(HEARTBEAT, news) => news,
                () = self.pages.closed() => return Err(Ended),
            };
            match news {
                Ok(Ok(FeedState::Head(_))) => return Ok(()),
                Ok(_) => return Err(Ended),
                Err(_) => self.send(|form, page| form.heartbeat(page, at)).await?,
            }
        }
    }

    async fn send(&self, write: impl FnOnce(Form, &mut BytesMut)) -> Result<(), Ended> {
        let mut page = BytesMut::new();
        write(self.form, &mut page);
        if page.is_empty() {
            return Ok(());
        }
        self.give(Page::Lines(page.freeze())).await
    }

    async fn give(&self, page: Page) -> Result<(), Ended> {
        match timeout(PATIENCE, self.pages.send(page)).await {
            Ok(sent) => sent.map_err(|_| Ended),
            Err(_) => {
                tracing::warn!("a reader of the change feed takes nothing and is cut off");
                Err(Ended)
            }
        }
    }
}

#[cfg(test)]
mod tests;
