//! The change feed of a core: every insert, update, end and expiry of a binding (RFC 3261 §10.3 step 7), in one order, for
//! replication, billing and push services.
//!
//! The engine gives every save what it changes (`Core::changes`); [`location::feed`] says how positions are given. Every core
//! does so once a second, also for a core that has died, and more often while somebody reads here. Where the feed is
//! off, nothing is noted; whoever has read before, or reads at a core where it is on, may not go on as if nothing was
//! missing. So a core with the feed off interrupts it when it starts, and again whenever it has written changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use location::{Answer, ChangeFeed, Database, Error};
use node::clock;
use node::metrics::Registry;
use node::shutdown::Shutdown;
use registrar::change::{self, BindingChange, BindingEvent};
use registrar::{Record, UnixTime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use transaction::Ids;

use crate::config::Config;
use crate::engine::Core;
use crate::metrics::{FeedMeter, Meter};

impl Core {
    /// What a save tells the change feed; nothing where it is off.
    pub(crate) fn changes(&self, before: &Record, after: &Record, now: UnixTime) -> Vec<BindingChange> {
        if !self.settings.change_feed {
            return Vec::new();
        }
        change::between(&before.bindings, &after.bindings, BindingEvent::Unregistered, now)
    }

    /// The store has answered; if that was about other bindings, a feed that is off has missed something. A store that is
    /// away may have done what it was asked.
    pub(crate) fn was_saved(&mut self, is_change: bool, answer: &Answer) {
        let was_perhaps_done = matches!(answer, Answer::Saved { .. } | Answer::Unavailable);
        if is_change && was_perhaps_done && !self.settings.change_feed {
            self.counters.unnoted += 1;
        }
    }
}

/// When something is removed beside the engine, if the change feed is to be told: where it is on, and where it may be on at
/// other cores.
///
/// # Errors
///
/// When the database is down.
pub(crate) async fn noted_at(is_on: bool, database: &Database) -> Result<Option<UnixTime>, Error> {
    let is_noted = is_on || database.head().await? > 0;
    Ok(is_noted.then(|| UnixTime(clock::unix_now().as_secs())))
}

/// How often positions are given while somebody reads; without a reader only every so many rounds.
const ROUND: Duration = Duration::from_millis(100);
const ROUNDS_WITHOUT_READERS: u32 = 10;
/// Positions given at once.
const PLACES: u32 = 1_000;
/// How often old changes are deleted, and how many at once.
const TRIM_EVERY: Duration = Duration::from_secs(5);
const TRIM_ROWS: u32 = 500;
/// How often a core tries whose database is away when it starts.
const RETRY: Duration = Duration::from_secs(1);
/// How often a core with the feed off looks whether it has to interrupt it again.
const INTERRUPT_EVERY: Duration = Duration::from_secs(3);
/// Readers of one core; each may ask the database for every change.
const SEATS: usize = 32;

/// The feed where it is on.
#[derive(Debug)]
pub struct Feed {
    pub(crate) database: Arc<Database>,
    state: watch::Sender<State>,
    seats: Arc<Semaphore>,
    meter: FeedMeter,
}

/// How far the feed has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The database was not asked yet.
    Starting,
    /// The newest position that this core knows of.
    Head(u64),
    /// The core ends.
    Over,
}

/// Starts what the configuration says: the feed, or its interruption.
pub(crate) fn start(
    config: &Config,
    database: &Arc<Database>,
    meter: &Arc<Meter>,
    registry: &Registry,
    shutdown: &Shutdown,
) -> Option<Arc<Feed>> {
    let stop = shutdown.clone();
    if !config.change_feed {
        let (database, meter) = (Arc::clone(database), Arc::clone(meter));
        tokio::spawn(async move {
            tokio::select! {
                () = keep_interrupted(&database, || meter.unnoted()) => {}
                () = stop.stopped() => {}
            }
        });
        return None;
    }
    let feed = Arc::new(Feed::new(Arc::clone(database), registry));
    let (running, retention) = (Arc::clone(&feed), config.change_feed_retention.duration());
    tokio::spawn(async move {
        tokio::select! {
            () = running.run(retention) => {}
            // Readers go to another core.
            () = stop.draining() => {}
        }
        running.reached(State::Over);
    });
    Some(feed)
}

impl Feed {
    /// A feed over this database. It has to [`run`](Self::run).
    pub fn new(database: Arc<Database>, registry: &Registry) -> Self {
        let meter = FeedMeter::new(registry);
        let state = watch::Sender::new(State::Starting);
        Self { database, state, seats: Arc::new(Semaphore::new(SEATS)), meter }
    }

    /// Gives positions and deletes what is older than `retention`, for as long as it is polled.
    pub async fn run(&self, retention: Duration) {
        until_done(|| self.database.begin()).await;
        tokio::join!(self.place(), self.keep(retention));
    }

    /// A place for one more reader; none is left when there are too many.
    pub(crate) fn seat(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.seats).try_acquire_owned().ok()
    }

    /// How far it has come, from now on.
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The end is the end. The head moves on, and back where the database does: it was restored, or a node that was behind
    /// has been promoted.
    pub(crate) fn reached(&self, next: State) {
        self.state.send_if_modified(|state| {
            let is_news = match (*state, next) {
                (State::Over, _) | (_, State::Starting) => false,
                (State::Head(old), State::Head(new)) => old != new,
                (State::Starting | State::Head(_), State::Head(_) | State::Over) => true,
            };
            if is_news {
                *state = next;
            }
            is_news
        });
    }

    pub(crate) fn readers(&self) -> usize {
        SEATS - self.seats.available_permits()
    }

    async fn place(&self) {
        let mut round = rounds(ROUND);
        let (mut count, mut is_failing) = (0_u32, false);
        loop {
            round.tick().await;
            count = count.wrapping_add(1);
            let readers = self.readers();
            self.meter.readers.set(number(readers));
            if readers == 0 && !count.is_multiple_of(ROUNDS_WITHOUT_READERS) {
                continue;
            }
            match self.place_all().await {
                Ok(()) => is_failing = false,
                Err(error) => {
                    self.meter.failures.inc();
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(%error, "cannot give positions to changes, the change feed stands still");
                    }
                }
            }
        }
    }

    async fn place_all(&self) -> Result<(), Error> {
        loop {
            let done = self.database.sequence(PLACES).await?;
            self.meter.placed.inc_by(done.count);
            self.meter.head.set(number(done.head));
            self.reached(State::Head(done.head));
            if done.count < u64::from(PLACES) {
                return Ok(());
            }
        }
    }

    async fn keep(&self, retention: Duration) {
        let mut round = rounds(TRIM_EVERY);
        let mut names = BTreeSet::new();
        loop {
            round.tick().await;
            let until = UnixTime(clock::unix_now().saturating_sub(retention).as_secs());
            if let Err(error) = self.trim(until).await {
                tracing::warn!(%error, "cannot delete old changes");
            }
            match self.look_at_consumers(&names).await {
                Ok(found) => names = found,
                Err(error) => tracing::debug!(%error, "cannot look at the consumers of the feed"),
            }
        }
    }

    async fn trim(&self, until: UnixTime) -> Result<(), Error> {
        loop {
            let count = self.database.trim(until, TRIM_ROWS).await?;
            self.meter.trimmed.inc_by(count);
            if count < u64::from(TRIM_ROWS) {
                return Ok(());
            }
        }
    }

    /// Publishes how far each is behind, and gives their names; `known` are those of the last time.
    async fn look_at_consumers(&self, known: &BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
        let head = self.database.head().await?;
        let consumers = self.database.consumers().await?;
        for consumer in &consumers {
            let lag = head.saturating_sub(consumer.position);
            self.meter.lag.with(&[("consumer", &consumer.name)]).set(number(lag));
        }
        let names: BTreeSet<_> = consumers.into_iter().map(|consumer| consumer.name).collect();
        for gone in known.difference(&names) {
            self.meter.lag.remove(&[("consumer", gone)]);
        }
        Ok(names)
    }
}

/// Interrupts the feed, and again after changes have been written here that are not in it: `unnoted` tells how many so far.
async fn keep_interrupted(database: &Database, unnoted: impl Fn() -> u64) {
    let mut round = rounds(INTERRUPT_EVERY);
    let mut known = unnoted();
    until_done(|| interrupt(database)).await;
    let mut is_warned = false;
    loop {
        round.tick().await;
        let count = unnoted();
        if count == known {
            continue;
        }
        match interrupt(database).await {
            Ok(found) => {
                known = count;
                if found > 0 && !std::mem::replace(&mut is_warned, true) {
                    tracing::warn!(
                        "CORE_CHANGE_FEED is off here and on at another core: nobody can follow the changes"
                    );
                }
            }
            Err(error) => tracing::debug!(%error, "cannot interrupt the change feed"),
        }
    }
}

/// Makes a feed that was on useless: what is in it goes, and nobody can go on from where he was. Gives how many changes were in
/// it. Nothing happens where it was never on.
async fn interrupt(database: &Database) -> Result<u64, Error> {
    if database.head().await? == 0 {
        return Ok(0);
    }
    database.interrupt().await?;
    let until = UnixTime(clock::unix_now().as_secs());
    let mut found = 0;
    loop {
        let placed = database.sequence(TRIM_ROWS).await?.count;
        let trimmed = database.trim(until, TRIM_ROWS).await?;
        found += trimmed;
        if placed == 0 && trimmed == 0 {
            return Ok(found);
        }
    }
}

/// Tries until the database is there, and its schema.
async fn until_done<T, F: Future<Output = Result<T, Error>>>(mut what: impl FnMut() -> F) {
    let mut retry = tokio::time::interval(RETRY);
    loop {
        retry.tick().await;
        match what().await {
            Ok(_) => return,
            Err(error) => tracing::debug!(%error, "the change feed waits for the database"),
        }
    }
}

/// Cores begin at different moments.
fn rounds(every: Duration) -> Interval {
    let random = u32::try_from(Ids::new(clock::seed()).u64() >> 48).unwrap_or(0);
    let mut round = interval_at((clock::now() + every * random / 0x1_0000).into(), every);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    round
}

fn number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use location::{LocationStore, Save};
    use registrar::change::between;
    use sip::Aor;

    use super::*;

    async fn save(database: &Database, user: &str) {
        let bindings = vec![crate::fixture::binding("sip:a@192.0.2.1", &[], UnixTime(1))];
        let changes = between(&[], &bindings, BindingEvent::Unregistered, UnixTime(1));
        let record = Record { bindings, ..Record::default() };
        let aor = Aor::parse(&format!("{user}@example.com")).unwrap();
        database.save(&[Save { aor, expected: 0, changes, record }]).await.unwrap();
    }

    async fn until(database: &Database, holds: impl Fn(u64) -> bool) -> u64 {
        loop {
            let head = database.head().await.unwrap();
            if holds(head) {
                return head;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn nobody_goes_on_over_what_was_written_with_the_feed_off() {
        let database = Arc::new(Database::open("sqlite::memory:").await.unwrap());
        database.begin().await.unwrap();
        save(&database, "alice").await;
        let before = database.sequence(10).await.unwrap().head;
        let unnoted = Arc::new(AtomicU64::new(0));
        let (kept, count) = (Arc::clone(&database), Arc::clone(&unnoted));
        tokio::spawn(async move { keep_interrupted(&kept, || count.load(Ordering::Relaxed)).await });
        let begun = until(&database, |head| head > before).await;
        assert_eq!(database.changes(before, 10).await.unwrap(), None, "it is off here from now on");
        assert_eq!(database.changes(begun, 10).await.unwrap(), Some(Vec::new()), "a reader at another core");
        unnoted.store(1, Ordering::Relaxed);
        let again = until(&database, |head| head > begun).await;
        assert_eq!(database.changes(begun, 10).await.unwrap(), None, "he has missed something");
        // What is noted elsewhere comes after the gap.
        save(&database, "bob").await;
        database.sequence(10).await.unwrap();
        assert_eq!(database.changes(begun, 10).await.unwrap(), None);
        assert_eq!(database.changes(again, 10).await.unwrap().map(|found| found.len()), Some(1));
    }

    #[tokio::test]
    async fn a_feed_that_was_never_on_is_not_interrupted() {
        let database = Database::open("sqlite::memory:").await.unwrap();
        assert_eq!(interrupt(&database).await.unwrap(), 0);
        assert_eq!(database.head().await.unwrap(), 0);
        assert_eq!(noted_at(false, &database).await.unwrap(), None);
        assert!(noted_at(true, &database).await.unwrap().is_some());
        database.begin().await.unwrap();
        assert!(noted_at(false, &database).await.unwrap().is_some(), "another core may have it on");
    }

    #[tokio::test]
    async fn the_head_goes_where_the_database_goes() {
        let database = Arc::new(Database::open("sqlite::memory:").await.unwrap());
        let feed = Feed::new(database, &Registry::new("core"));
        for (next, then) in [
            (State::Head(7), State::Head(7)),
            (State::Head(3), State::Head(3)),
            (State::Over, State::Over),
            (State::Head(9), State::Over),
        ] {
            feed.reached(next);
            assert_eq!(*feed.state().borrow(), then);
        }
    }
}
