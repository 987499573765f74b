//! Idle limits: closes streams that nobody uses. RFC 3261 §18 leaves the time to the implementation.
//!
//! One task looks over all streams from time to time, so that a stream has no timer of its own and a message on it costs
//! no more than noting the time.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    connection::{Shared, millis},
    outbox::{Outbox, Phase},
};

/// Ends what has expired, until `stop` changes.
pub(crate) async fn sweep(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let idle = millis(shared.config.idle_timeout);
    let mut ticks = interval(period(&shared));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.changed() => return,
        }
        let now = shared.clock();
        for outbox in shared.table.select(|outbox| outbox.is_expired(now, idle)) {
            shared.stats.connections_expired.add(1);
            expire(&outbox);
        }
    }
}

/// One that is open may still be told why it ends, by nothing but the end; one that is closing has had its time.
fn expire(outbox: &Outbox) {
    tracing::debug!(flow = ?outbox.flow(), "stream expired");
    outbox.advance(if outbox.is_open() { Phase::Closing } else { Phase::Aborted });
}

/// Often enough that no limit is overrun by more than a quarter.
fn period(shared: &Shared) -> Duration {
    let shortest = shared.config.idle_timeout.min(shared.config.first_message_timeout) / 4;
    shortest.clamp(Duration::from_millis(10), Duration::from_secs(1))
}
