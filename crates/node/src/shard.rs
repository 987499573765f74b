//! A shard: one engine, one inbox, one loop, no locks.
//!
//! Everything with the same key has its home in the same shard ([`of`]), so it meets in one state machine that only
//! one task ever touches. The loop ([`run`]) is the whole life of an engine:
//!
//! wait for inputs or the deadline → read the clock once → handle each input, performing its outputs → run what is
//! due → flush → wait.

use std::{
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::{Sleep, sleep_until},
};

use crate::{Engine, clock};

/// The shard that is the home of `key`, below `shards`.
///
/// Depends on nothing but its arguments: the same in every process, on every machine, in every version. Keys spread
/// evenly and a change of one bit moves a key anywhere. It is no defence against somebody who chooses keys to load one
/// shard; that is for the limits per source.
pub fn of(key: &[u8], shards: usize) -> usize {
    let spread = u128::from(hash(key)) * shards.max(1) as u128;
    usize::try_from(spread >> 64).expect("the high half of hash × shards is less than shards")
}

/// The hash behind [`of`], for whoever needs all its bits.
pub fn hash(key: &[u8]) -> u64 {
    let (words, rest) = key.as_chunks::<8>();
    let mut tail = [0; 8];
    for (to, from) in tail.iter_mut().zip(rest) {
        *to = *from;
    }
    let mut state = START ^ key.len() as u64;
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), MULTIPLIER);
    }
    fold(fold(state ^ u64::from_le_bytes(tail), MULTIPLIER), FINALIZER)
}

/// Multiplies to 128 bits and folds the halves together, so that every input bit reaches every output bit.
fn fold(value: u64, by: u64) -> u64 {
    let [low, high] = halves(u128::from(value) * u128::from(by));
    low ^ high
}

#[expect(clippy::cast_possible_truncation, reason = "takes the two halves apart")]
fn halves(value: u128) -> [u64; 2] {
    [value as u64, (value >> 64) as u64]
}

/// A seed for each shard, so that no two draw the same random numbers.
pub fn seed(mut process: [u8; 32], shard: usize) -> [u8; 32] {
    for (byte, of_shard) in process.iter_mut().zip(shard.to_le_bytes()) {
        *byte ^= of_shard;
    }
    process
}

/// The way into a shard: bounded, and cheap to clone for everybody who feeds it.
#[derive(Debug)]
pub struct Inbox<I>(Sender<I>);

impl<I> Clone for Inbox<I> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<I> Inbox<I> {
    /// Puts an input in without waiting.
    ///
    /// # Errors
    ///
    /// Gives the input back when the inbox is full, which is overload, or when the shard has ended.
    pub fn try_send(&self, input: I) -> Result<(), I> {
        self.0.try_send(input).map_err(mpsc::error::TrySendError::into_inner)
    }

    /// Puts an input in as soon as there is room: for answers that the engine waits for and that must not be lost.
    ///
    /// # Errors
    ///
    /// Gives the input back when the shard has ended.
    pub async fn send(&self, input: I) -> Result<(), I> {
        self.0.send(input).await.map_err(|refused| refused.0)
    }

    /// Puts in what must not be lost, though it is rare: without room, it waits for it on a task of its own.
    ///
    /// Its order with later inputs is then open. Must be called inside a runtime.
    pub fn deliver(&self, input: I)
    where
        I: Send + 'static,
    {
        if let Err(input) = self.try_send(input) {
            let inbox = self.clone();
            tokio::spawn(async move { inbox.send(input).await.is_ok() });
        }
    }

    /// How many inputs wait.
    pub fn depth(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }

    /// How many inputs can wait.
    pub fn limit(&self) -> usize {
        self.0.max_capacity()
    }
}

/// The two ends of an inbox in which at most `limit` inputs wait.
pub fn inbox<I>(limit: usize) -> (Inbox<I>, Receiver<I>) {
    let (sender, receiver) = mpsc::channel(limit.max(1));
    (Inbox(sender), receiver)
}

/// The hands of a shard: does what the engine wants done. Never waits.
pub trait Driver<O> {
    /// Does one thing, or puts it into the batch of this turn.
    fn perform(&mut self, output: O);

    /// The end of a turn: what was put into batches goes out.
    fn flush(&mut self) {}
}

impl<O, F: FnMut(O)> Driver<O> for F {
    fn perform(&mut self, output: O) {
        self(output);
    }
}

/// Runs an engine until `stop` is ready or every [`Inbox`] is gone; what waits in the inbox by then is still handled.
///
/// Gives the engine back as it ended. A drain is not the business of the loop: the engine gets it as an input, and
/// `stop` comes when it is done or out of time.
pub async fn run<E, D>(
    mut engine: E,
    mut inbox: Receiver<E::Input>,
    mut driver: D,
    stop: impl Future<Output = ()>,
) -> E
where
    E: Engine,
    D: Driver<E::Output>,
{
    let mut stop = pin!(stop);
    let mut alarm = Alarm::new();
    let mut inputs = Vec::with_capacity(TURN);
    loop {
        alarm.set(engine.poll_timeout());
        // `stop` first: under load the inbox is always ready, and whatever stands behind it is never asked. The alarm
        // may stand there, because what is due is run in every turn.
        let more = tokio::select! {
            biased;
            () = &mut stop => { inbox.close(); false }
            taken = inbox.recv_many(&mut inputs, TURN) => taken > 0,
            () = alarm.wait() => true,
        };
        turn(&mut engine, &mut inputs, &mut driver);
        if !more {
            break;
        }
    }
    while inbox.recv_many(&mut inputs, TURN).await > 0 {
        turn(&mut engine, &mut inputs, &mut driver);
    }
    engine
}

/// One turn: every input, then what is due, all at one time.
fn turn<E: Engine>(engine: &mut E, inputs: &mut Vec<E::Input>, driver: &mut impl Driver<E::Output>) {
    let now = clock::now();
    for input in inputs.drain(..) {
        engine.handle(input, now);
        perform(engine, driver);
    }
    if engine.poll_timeout().is_some_and(|due| due <= now) {
        engine.handle_timeout(now);
        perform(engine, driver);
    }
    driver.flush();
}

fn perform<E: Engine>(engine: &mut E, driver: &mut impl Driver<E::Output>) {
    while let Some(output) = engine.poll_output() {
        driver.perform(output);
    }
}

/// One reused timer that wakes no later than the deadline, and sometimes for nothing.
///
/// # Why
///
/// Most deadlines are cancelled long before they are reached, so the earliest one mostly moves later. Following it
/// would touch the runtime's timer in every turn; waking once for nothing is cheaper.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

impl Alarm {
    fn new() -> Self {
        let never = clock::now() + FAR;
        Self { sleep: Box::pin(sleep_until(never.into())), armed: None }
    }

    /// Makes sure that the alarm rings at `deadline` or before.
    fn set(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.armed = Some(deadline);
            self.sleep.as_mut().reset(deadline.into());
        }
    }

    /// Waits for the ring; for ever when nothing was set.
    async fn wait(&mut self) {
        if self.armed.is_none() {
            std::future::pending::<()>().await;
        }
        self.sleep.as_mut().await;
        self.armed = None;
    }
}

/// The most inputs of one turn: enough to share a flush, few enough that nobody waits long for it.
const TURN: usize = 256;

/// The alarm before anything is set; it does not ring then.
const FAR: Duration = Duration::from_secs(86_400);

// Odd numbers without pattern (the fractions of the golden ratio, of √2 and of √3).
const START: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLIER: u64 = 0x6a09_e667_f3bc_c909;
const FINALIZER: u64 = 0xbb67_ae85_84ca_a73b;

#[cfg(test)]
mod tests;
