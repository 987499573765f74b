//! The end of a process, in order: running → draining → stopped.
//!
//! A signal starts the drain: no longer ready, no new work, old work is finished. The process stops when that is
//! done, when the grace period is over, or at a second signal.

use std::{io, time::Duration};

use crate::admin::Readiness;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::timeout,
};

/// Where the process is on its way to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Takes new work.
    Running,
    /// Finishes old work.
    Draining,
    /// Does nothing any more.
    Stopped,
}

/// The common knowledge about the end; every clone speaks of the same one. It only ever moves forward.
#[derive(Clone, Debug)]
pub struct Shutdown {
    stage: watch::Sender<Stage>,
    grace: Duration,
}

impl Shutdown {
    /// A process that runs, and that may take this long to drain.
    pub fn new(grace: Duration) -> Self {
        Self { stage: watch::Sender::new(Stage::Running), grace }
    }

    /// The longest time between the begin of the drain and the end.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Where the process is.
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Begins the drain, unless it has begun.
    pub fn drain(&self) {
        self.advance(Stage::Draining);
    }

    /// Ends it: the old work is finished, or must be left.
    pub fn stop(&self) {
        self.advance(Stage::Stopped);
    }

    /// Waits until the drain has begun.
    pub async fn draining(&self) {
        self.reached(Stage::Draining).await;
    }

    /// Waits for the end.
    pub async fn stopped(&self) {
        self.reached(Stage::Stopped).await;
    }

    /// Waits until the drain has begun, by a signal or by [`drain`](Self::drain), and then bounds it: whatever comes
    /// first of [`stop`](Self::stop), the end of the grace period and a further signal is the end.
    pub async fn supervise(&self, mut signals: Signals) {
        tokio::select! {
            () = signals.next() => self.drain(),
            () = self.draining() => {}
        }
        let ended = async {
            tokio::select! {
                () = signals.next() => {}
                () = self.stopped() => {}
            }
        };
        if timeout(self.grace, ended).await.is_err() {
            tracing::warn!(grace = ?self.grace, "grace period over, unfinished work is left");
        }
        self.stop();
    }

    fn advance(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let forward = *stage < to;
            if forward {
                *stage = to;
            }
            forward
        });
    }

    async fn reached(&self, at_least: Stage) {
        let mut stage = self.stage.subscribe();
        stage.wait_for(|stage| *stage >= at_least).await.expect("self holds the sender");
    }
}

/// How often a draining process looks whether it is done.
const LOOK: Duration = Duration::from_millis(500);

impl Shutdown {
    /// The end of a node: waits for the begin of the drain, makes the node unready, calls `begun`, and stops as soon as
    /// nothing is left or the time is up. `is_idle` is asked from the second look on: the reports it goes by are older.
    pub async fn drain_until(&self, readiness: &Readiness, begun: impl FnOnce(), is_idle: impl Fn() -> bool) {
        self.draining().await;
        readiness.condition("drain").unready("this node is stopping");
        tracing::info!(grace = ?self.grace, "draining");
        begun();
        let mut look = tokio::time::interval(LOOK);
        for round in 0_u32.. {
            tokio::select! {
                () = self.stopped() => return,
                _ = look.tick() => {}
            }
            if round > 2 && is_idle() {
                return self.stop();
            }
        }
    }
}

/// The signals that ask the process to end: SIGTERM and SIGINT.
///
/// From its construction on, they no longer kill the process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Waits for the next one.
    pub async fn next(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        tracing::info!("{name}");
    }
}

/// Takes over SIGTERM and SIGINT.
///
/// # Errors
///
/// The operating system refused.
pub fn signals() -> io::Result<Signals> {
    Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
}

/// The requests to read files again: SIGHUP.
///
/// From its construction on, it no longer kills the process.
#[derive(Debug)]
pub struct Reloads(Signal);

impl Reloads {
    /// Waits for the next one. Several that come close together may be one.
    pub async fn next(&mut self) {
        self.0.recv().await;
        tracing::info!("SIGHUP");
    }
}

/// Takes over SIGHUP.
///
/// # Errors
///
/// The operating system refused.
pub fn reloads() -> io::Result<Reloads> {
    signal(SignalKind::hangup()).map(Reloads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[tokio::test]
    async fn moves_forward_only() {
        let shutdown = Shutdown::new(Duration::from_secs(1));
        assert_eq!(shutdown.stage(), Stage::Running);
        shutdown.stop();
        shutdown.drain();
        assert_eq!(shutdown.stage(), Stage::Stopped);
        // Whoever waits for the drain does not miss it because it is over.
        shutdown.draining().await;
        shutdown.stopped().await;
    }

    #[tokio::test]
    async fn every_clone_sees_it() {
        let shutdown = Shutdown::new(Duration::from_secs(1));
        let other = shutdown.clone();
        let waiting = tokio::spawn(async move { other.draining().await });
        shutdown.drain();
        waiting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_its_work() {
        let shutdown = Shutdown::new(Duration::from_secs(30));
        let begin = clock::now();
        shutdown.drain();
        let work = async {
            shutdown.draining().await;
            shutdown.stop();
        };
        tokio::join!(shutdown.supervise(signals().unwrap()), work);
        assert_eq!(clock::now(), begin);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_the_grace_period() {
        let shutdown = Shutdown::new(Duration::from_secs(30));
        let begin = clock::now();
        shutdown.drain();
        shutdown.supervise(signals().unwrap()).await;
        assert_eq!(shutdown.stage(), Stage::Stopped);
        let took = clock::now() - begin;
        assert!(took >= Duration::from_secs(30) && took < Duration::from_secs(31));
    }
}
