//! The end of bindings and subscriptions that nobody refreshes, and news that had to wait: RFC 3261 §10.3, RFC 3680 §4.10.
//!
//! Every core asks the store now and then for a few records that are due, by an index and never by reading all of them. A
//! record is changed by compare-and-set: of two cores that have found the same one, one is first, and it is the one that
//! tells the watchers. Cores begin at different moments, so that is rare.

use std::sync::Arc;
use std::time::{Duration, Instant};

use location::{Answer, Database, LocationStore, Query, Save};
use node::clock;
use node::shard::{self, Inbox};
use registrar::expire::{self, Expiry};
use registrar::notify::News;
use registrar::{Record, UnixTime};
use sip::Aor;
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use transaction::Ids;

use crate::engine::{Core, Input};
use crate::pending::Pending;

/// A record without what was over, on its way to the store.
#[derive(Debug)]
pub(crate) struct Saving {
    aor: Aor,
    news: Vec<News>,
    expired: u64,
}

impl Core {
    /// The store has found these records due.
    pub(crate) fn expire(&mut self, due: Vec<(Aor, Record)>, now: Instant) {
        let unix = self.unix(now);
        for (aor, record) in due {
            let Some(Expiry { record: next, news, expired }) = expire::expire(&record, &aor, unix) else {
                continue;
            };
            let changes = self.changes(&record, &next, unix);
            let save = Save { aor: aor.clone(), expected: next.version, record: next, changes };
            let saving = Saving { aor, news, expired: expired as u64 };
            self.ask(Query::Save(save), Pending::Expire(Box::new(saving)));
        }
    }

    /// Whoever was first tells.
    pub(crate) fn on_expire_answer(&mut self, saving: Saving, answer: &Answer) {
        self.was_saved(saving.expired > 0, answer);
        if let Answer::Saved { .. } = answer {
            self.counters.expired += saving.expired;
            self.publish(&saving.aor, saving.news);
        }
    }
}

/// How often a core looks. Only every so many rounds unless it is behind.
const ROUND: Duration = Duration::from_millis(250);
const ROUNDS_TO_LOOK: u32 = 4;
const ROUNDS_TO_SWEEP: u32 = 40;
/// Most records of one look, and most empty rows that go at once.
const BATCH: u32 = 200;
const SWEEP_ROWS: u32 = 500;
/// A store that takes longer is as good as down.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks for what is due for as long as the process lives. It begins at a random moment.
pub(crate) async fn watch(store: Arc<Database>, inboxes: Vec<Inbox<Input>>) {
    let offset = Duration::from_millis(Ids::new(clock::seed()).u64() % 1_000);
    let mut round = interval_at((clock::now() + offset).into(), ROUND);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut count, mut is_behind) = (0_u32, false);
    loop {
        round.tick().await;
        count = count.wrapping_add(1);
        if is_behind || count.is_multiple_of(ROUNDS_TO_LOOK) {
            is_behind = look(&store, &inboxes).await;
        }
        if !is_behind && count.is_multiple_of(ROUNDS_TO_SWEEP) {
            sweep(&store).await;
        }
    }
}

/// Gives the engines what is due. True when there may be more.
async fn look(store: &Database, inboxes: &[Inbox<Input>]) -> bool {
    let now = UnixTime(clock::unix_now().as_secs());
    let due = match timeout(PATIENCE, store.due(now, BATCH)).await {
        Ok(Ok(due)) => due,
        Ok(Err(error)) => {
            tracing::debug!(%error, "cannot look for what is due");
            return false;
        }
        Err(_) => return false,
    };
    let is_full = u32::try_from(due.len()).is_ok_and(|count| count == BATCH);
    let mut shares: Vec<Vec<_>> = inboxes.iter().map(|_| Vec::new()).collect();
    for (aor, record) in due {
        if let Some(share) = shares.get_mut(shard::of(aor.as_str().as_bytes(), inboxes.len())) {
            share.push((aor, record));
        }
    }
    for (inbox, share) in inboxes.iter().zip(shares).filter(|(_, share)| !share.is_empty()) {
        // A full inbox has more urgent things; what is due stays due.
        let _ = inbox.try_send(Input::Due(share));
    }
    is_full
}

/// Deletes rows that have long been empty. Cores do not fight over it: a row is gone or it is not.
async fn sweep(store: &Database) {
    let now = UnixTime(clock::unix_now().as_secs());
    match timeout(PATIENCE, store.sweep(now, SWEEP_ROWS)).await {
        Ok(Ok(0)) | Err(_) => {}
        Ok(Ok(rows)) => tracing::debug!(rows, "empty records swept"),
        Ok(Err(error)) => tracing::warn!(%error, "cannot sweep"),
    }
}
