//! Group commit and batched lookups, between engines that must not wait and a store that takes time.
//!
//! Questions are put into two bounded queues, one for reads and one for writes, so that a lookup never waits for a
//! commit. A worker takes everything that has gathered in its queue as one batch. A question that finds its worker
//! idle goes at once and alone; under load a batch is what came in while the last one was on its way. Nobody waits
//! for a batch to fill.
//!
//! While the store is away, or a node of it takes over from another one, calls go on from what was known last.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use registrar::Record;
use sip::Aor;
use tokio::sync::{Mutex, mpsc};

use crate::known::Known;
use crate::{Answer, Credentials, Directory, Error, LocationStore, Query, Remember, Save, Saved, User};

/// How much a service takes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Questions that may wait in each queue. A queue that is full is overload, and a longer one would only answer
    /// people who have given up.
    pub queue: usize,
    /// Questions of one batch.
    pub batch: usize,
    /// A store that takes longer is as good as down.
    pub timeout: Duration,
    /// What a call waits for a store that is slow before it goes on from what was known last.
    pub patience: Duration,
    /// Reads that may be on their way at a time.
    pub readers: usize,
    /// Commits that may be on their way at a time.
    pub writers: usize,
    /// What is remembered for calls while the store is away.
    pub remember: Remember,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 4_096,
            batch: 128,
            timeout: Duration::from_secs(8),
            patience: Duration::from_secs(1),
            readers: 2,
            writers: 1,
            remember: Remember::default(),
        }
    }
}

/// What a worker has done, for whoever measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Records and credentials were read.
    Load,
    /// Records were saved.
    Save,
    /// Questions of calls were answered from what was known last.
    Remember,
}

/// A store with workers. What it needs to [`start`](Self::start).
pub struct Service<S, A, O> {
    /// What is asked.
    pub store: Arc<S>,
    /// How much is taken on.
    pub limits: Limits,
    /// The monotonic clock, for the times that are observed.
    pub now: fn() -> Instant,
    /// Takes every answer with the id of its question. Called in a worker: it must not wait.
    pub answer: A,
    /// Told of every batch: how long it took and how many questions it held.
    pub observe: O,
}

/// The queue is full, or its service has ended. The question was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the location service takes no more questions")]
pub struct Full;

/// Where questions are put. When the last handle is dropped, the workers answer what is left, and end.
#[derive(Debug, Clone)]
pub struct Handle {
    reads: mpsc::Sender<Read>,
    saves: mpsc::Sender<(u64, Save)>,
}

impl Handle {
    /// Asks without waiting; the answer comes with the same `id`, exactly once.
    ///
    /// # Errors
    /// When too many questions wait already.
    pub fn ask(&self, id: u64, query: Query) -> Result<(), Full> {
        match query {
            Query::Load { aor, user } => self.read(Read { id, aor: Some(aor), user, is_exact: true }),
            Query::Lookup { aor, user } => self.read(Read { id, aor: Some(aor), user, is_exact: false }),
            Query::Credentials(user) => self.read(Read { id, aor: None, user: Some(user), is_exact: false }),
            Query::Save(save) => self.saves.try_send((id, save)).map_err(|_| Full),
        }
    }

    fn read(&self, read: Read) -> Result<(), Full> {
        self.reads.try_send(read).map_err(|_| Full)
    }
}

impl<S, A, O> Service<S, A, O>
where
    S: LocationStore + Directory,
    A: Fn(u64, Answer) + Send + Sync + 'static,
    O: Fn(Operation, Duration, usize) + Send + Sync + 'static,
{
    /// Starts the workers on the current runtime.
    pub fn start(self) -> Handle {
        let (reads, read_queue) = mpsc::channel(self.limits.queue.max(1));
        let (saves, save_queue) = mpsc::channel(self.limits.queue.max(1));
        let (readers, writers) = (self.limits.readers.max(1), self.limits.writers.max(1));
        let known = Known::new(self.limits.remember);
        let shared = Arc::new(Shared { service: self, known, is_down: AtomicBool::new(false) });
        let (read_queue, save_queue) = (Arc::new(Mutex::new(read_queue)), Arc::new(Mutex::new(save_queue)));
        for _ in 0..readers {
            tokio::spawn(Arc::clone(&shared).read(Arc::clone(&read_queue)));
        }
        for _ in 0..writers {
            tokio::spawn(Arc::clone(&shared).save(Arc::clone(&save_queue)));
        }
        Handle { reads, saves }
    }
}

/// A [`Query::Load`] or [`Query::Lookup`], or without `aor` a [`Query::Credentials`].
#[derive(Debug)]
struct Read {
    id: u64,
    aor: Option<Aor>,
    user: Option<User>,
    /// Only the store can answer it.
    is_exact: bool,
}

struct Shared<S, A, O> {
    service: Service<S, A, O>,
    known: Known,
    is_down: AtomicBool,
}

impl<S, A, O> Shared<S, A, O>
where
    S: LocationStore + Directory,
    A: Fn(u64, Answer) + Send + Sync + 'static,
    O: Fn(Operation, Duration, usize) + Send + Sync + 'static,
{
    async fn read(self: Arc<Self>, queue: Arc<Mutex<mpsc::Receiver<Read>>>) {
        let limit = self.service.limits.batch.max(1);
        let mut batch = Vec::with_capacity(limit);
        loop {
            let count = queue.lock().await.recv_many(&mut batch, limit).await;
            if count == 0 {
                return;
            }
            let started = (self.service.now)();
            let aors = distinct(batch.iter().filter_map(|read| read.aor.as_ref()));
            let users = distinct(batch.iter().filter_map(|read| read.user.as_ref()));
            let found = {
                let mut lookup = pin!(self.within(self.service.store.lookup(&aors, &users)));
                match tokio::time::timeout(self.service.limits.patience, &mut lookup).await {
                    Ok(found) => found,
                    Err(_) => {
                        self.answer_from_memory(&mut batch);
                        lookup.await
                    }
                }
            };
            self.observe(Operation::Load, started, count);
            let Some((records, credentials)) = found else {
                self.answer_from_memory(&mut batch);
                batch.drain(..).for_each(|read| (self.service.answer)(read.id, Answer::Unavailable));
                continue;
            };
            let found = Found {
                records: aors.into_iter().zip(records).collect(),
                credentials: users.into_iter().zip(credentials).collect(),
            };
            self.remember(&found);
            for read in batch.drain(..) {
                let answer = found.answer_to(&read);
                (self.service.answer)(read.id, answer);
            }
        }
    }

    fn remember(&self, found: &Found) {
        let now = (self.service.now)();
        for (aor, record) in &found.records {
            self.known.note_record(aor, record, now);
        }
        for (user, credentials) in &found.credentials {
            self.known.note_user(user, credentials.as_ref(), now);
        }
    }

    /// Answers what may be answered without the store, and leaves the rest.
    fn answer_from_memory(&self, batch: &mut Vec<Read>) {
        let now = (self.service.now)();
        let before = batch.len();
        batch.retain(|read| {
            let answer = self.known_answer(read, now);
            let is_left = answer.is_none();
            if let Some(answer) = answer {
                (self.service.answer)(read.id, answer);
            }
            is_left
        });
        if batch.len() < before {
            self.observe(Operation::Remember, now, before - batch.len());
        }
    }

    fn known_answer(&self, read: &Read, now: Instant) -> Option<Answer> {
        if read.is_exact {
            return None;
        }
        let credentials = match &read.user {
            Some(user) => Some(self.known.credentials(user, now)?),
            None => None,
        };
        match &read.aor {
            None => Some(Answer::Credentials(credentials)),
            Some(aor) => {
                let record = self.known.record(aor, now)?;
                Some(Answer::Loaded { record, credentials: credentials.map(Some), is_last_known: true })
            }
        }
    }

    async fn save(self: Arc<Self>, queue: Arc<Mutex<mpsc::Receiver<(u64, Save)>>>) {
        let limit = self.service.limits.batch.max(1);
        let mut batch = Vec::with_capacity(limit);
        loop {
            let count = queue.lock().await.recv_many(&mut batch, limit).await;
            if count == 0 {
                return;
            }
            let (ids, saves): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
            let started = (self.service.now)();
            let saved = self.within(self.service.store.save(&saves)).await;
            self.observe(Operation::Save, started, count);
            let mut saved = saved.into_iter().flatten();
            for (id, mut save) in ids.into_iter().zip(saves) {
                let answer = match saved.next() {
                    Some(Saved::Version(version)) => {
                        save.record.version = version;
                        self.known.note_record(&save.aor, &save.record, started);
                        Answer::Saved { version }
                    }
                    Some(Saved::Conflict) => Answer::Conflict,
                    None => Answer::Unavailable,
                };
                (self.service.answer)(id, answer);
            }
        }
    }

    /// The result in time, or nothing. Says once when the store goes away and once when it is back.
    async fn within<T>(&self, statement: impl Future<Output = Result<T, Error>>) -> Option<T> {
        let limit = self.service.limits.timeout;
        let result = match tokio::time::timeout(limit, statement).await {
            Ok(result) => result,
            Err(_) => Err(Error::TimedOut(limit)),
        };
        match result {
            Ok(found) => {
                if self.is_down.swap(false, Ordering::Relaxed) {
                    tracing::info!("the location store is back");
                }
                Some(found)
            }
            Err(error) => {
                if self.is_down.swap(true, Ordering::Relaxed) {
                    tracing::debug!(%error, "the location store is still unavailable");
                } else {
                    tracing::warn!(%error, "the location store is unavailable: calls go on from what was known last");
                }
                None
            }
        }
    }

    fn observe(&self, operation: Operation, started: Instant, count: usize) {
        let took = (self.service.now)().saturating_duration_since(started);
        (self.service.observe)(operation, took, count);
    }
}

/// What a batch of reads has found.
struct Found {
    records: BTreeMap<Aor, Record>,
    credentials: BTreeMap<User, Option<Credentials>>,
}

impl Found {
    fn answer_to(&self, read: &Read) -> Answer {
        let credentials = read.user.as_ref().map(|user| self.credentials.get(user).cloned().flatten());
        match &read.aor {
            None => Answer::Credentials(credentials.flatten()),
            Some(aor) => {
                let record = self.records.get(aor).cloned().unwrap_or_default();
                Answer::Loaded { record, credentials, is_last_known: false }
            }
        }
    }
}

fn distinct<'a, T: Ord + Clone + 'a>(values: impl Iterator<Item = &'a T>) -> Vec<T> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values.dedup();
    values.into_iter().cloned().collect()
}
