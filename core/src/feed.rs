//! The change feed of a core: every insert, update, end and expiry of a binding (RFC 3261 §10.3 step 7), in one order, for
//! replication, billing and push services.
//!
//! The engine gives every save what it changes (`Core::changes`); [`location::feed`] says how positions are given. Every core
//! does so once a second, also for a core that has died, and more often while somebody reads here. Where the feed is
//! off, nothing is noted; whoever has read before may not go on as if nothing was missing, so a core that starts
//! with the feed off interrupts it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use location::{ChangeFeed, Database, Error};
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
use crate::metrics::FeedMeter;

impl Core {
    /// What a save tells the change feed; nothing where it is off.
    pub(crate) fn changes(&self, before: &Record, after: &Record, now: UnixTime) -> Vec<BindingChange> {
        if !self.settings.change_feed {
            return Vec::new();
        }
        change::between(&before.bindings, &after.bindings, BindingEvent::Unregistered, now)
    }
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
    registry: &Registry,
    shutdown: &Shutdown,
) -> Option<Arc<Feed>> {
    let stop = shutdown.clone();
    if !config.change_feed {
        let database = Arc::clone(database);
        tokio::spawn(async move {
            tokio::select! {
                () = interrupt(&database) => {}
                () = stop.draining() => {}
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

    /// The head only moves on, and the end is the end. A round that another core has overtaken may know less than the one before.
    pub(crate) fn reached(&self, next: State) {
        self.state.send_if_modified(|state| {
            let is_news = match (*state, next) {
                (State::Over, _) | (_, State::Starting) => false,
                (State::Head(old), State::Head(new)) => old < new,
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
        let mut count = 0_u32;
        loop {
            round.tick().await;
            count = count.wrapping_add(1);
            let readers = self.readers();
            self.meter.readers.set(number(readers));
            if readers == 0 && !count.is_multiple_of(ROUNDS_WITHOUT_READERS) {
                continue;
            }
            if let Err(error) = self.place_all().await {
                tracing::debug!(%error, "cannot give positions to changes");
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

/// Makes a feed that was on useless: what is in it goes, and nobody can go on from where he was.
async fn interrupt(database: &Database) {
    until_done(|| async {
        if database.head().await? == 0 {
            return Ok(());
        }
        database.interrupt().await?;
        let until = UnixTime(clock::unix_now().as_secs());
        loop {
            let placed = database.sequence(TRIM_ROWS).await?.count;
            let trimmed = database.trim(until, TRIM_ROWS).await?;
            if placed == 0 && trimmed == 0 {
                return Ok(());
            }
        }
    })
    .await;
}

/// Tries until the database is there, and its schema.
async fn until_done<F: Future<Output = Result<(), Error>>>(mut what: impl FnMut() -> F) {
    let mut retry = tokio::time::interval(RETRY);
    loop {
        retry.tick().await;
        match what().await {
            Ok(()) => return,
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
