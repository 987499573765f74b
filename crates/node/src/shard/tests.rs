use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::oneshot;

use super::*;

/// Answers each number with itself after that many milliseconds, and notes when it was called.
#[derive(Default)]
struct Echo {
    due: Vec<(Instant, u64)>,
    outputs: VecDeque<u64>,
    timeouts: Vec<Instant>,
    early: bool,
    unpolled: bool,
}

impl Engine for Echo {
    type Input = u64;
    type Output = u64;

    fn handle(&mut self, input: u64, now: Instant) {
        self.unpolled |= !self.outputs.is_empty();
        if input == 0 {
            self.outputs.push_back(0);
        } else {
            self.due.push((now + Duration::from_millis(input), input));
            self.due.sort_unstable();
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.timeouts.push(now);
        self.early |= self.due.first().is_none_or(|(due, _)| *due > now);
        let later = self.due.partition_point(|(due, _)| *due <= now);
        self.outputs.extend(self.due.drain(..later).map(|(_, n)| n));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    fn poll_output(&mut self) -> Option<u64> {
        self.outputs.pop_front()
    }
}

/// The milliseconds at which a turn was flushed, and its outputs.
type Flushed = (u128, Vec<u64>);

/// Notes the outputs of each turn, with the milliseconds at which the turn was flushed.
#[derive(Clone)]
struct Turns {
    begin: Instant,
    open: Vec<u64>,
    flushed: Arc<Mutex<Vec<Flushed>>>,
}

impl Turns {
    fn new() -> Self {
        Self { begin: clock::now(), open: Vec::new(), flushed: Arc::default() }
    }

    fn seen(&self) -> Vec<Flushed> {
        self.flushed.lock().unwrap().clone()
    }
}

impl Driver<u64> for Turns {
    fn perform(&mut self, output: u64) {
        self.open.push(output);
    }

    fn flush(&mut self) {
        if !self.open.is_empty() {
            let at = (clock::now() - self.begin).as_millis();
            let turn = (at, std::mem::take(&mut self.open));
            self.flushed.lock().unwrap().push(turn);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_met_and_never_early() {
    let (inbox, receiver) = inbox(8);
    let turns = Turns::new();
    for input in [500, 20, 0, 20] {
        inbox.try_send(input).unwrap();
    }
    let running = tokio::spawn(run(
        Echo::default(),
        receiver,
        turns.clone(),
        sleep_until((turns.begin + Duration::from_secs(1)).into()),
    ));
    let engine = running.await.unwrap();
    let expected = [(0, vec![0]), (20, vec![20, 20]), (500, vec![500])];
    let seen = turns.seen();
    assert_eq!(seen.len(), expected.len(), "{seen:?}");
    for ((at, outputs), (due, expected)) in seen.into_iter().zip(expected) {
        // The runtime's timer counts milliseconds and rounds up.
        assert!((due..=due + 2).contains(&at), "{at} for {due}");
        assert_eq!(outputs, expected);
    }
    assert!(!engine.early && !engine.unpolled);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_deadline_moves_the_alarm() {
    let (inbox, receiver) = inbox(8);
    let turns = Turns::new();
    let at = |millis| sleep_until((turns.begin + Duration::from_millis(millis)).into());
    inbox.try_send(1_000).unwrap();
    let (second, end) = (at(100), at(2_000));
    let feed = async {
        second.await;
        inbox.try_send(50).unwrap();
    };
    let (engine, ()) = tokio::join!(run(Echo::default(), receiver, turns.clone(), end), feed);
    let at: Vec<u128> = turns.seen().iter().map(|(at, _)| *at).collect();
    assert!(matches!(at[..], [150..=152, 1_000..=1_002]), "{at:?}");
    assert!(!engine.early);
}

#[tokio::test(start_paused = true)]
async fn the_engine_is_called_only_when_something_is_due() {
    let (inbox, receiver) = inbox(8);
    let turns = Turns::new();
    let at = |millis| sleep_until((turns.begin + Duration::from_millis(millis)).into());
    inbox.try_send(10).unwrap();
    inbox.try_send(1_000).unwrap();
    let end = at(2_000);
    let engine = run(Echo::default(), receiver, turns.clone(), end).await;
    // Two deadlines, two calls: the engine is not asked when nothing is due.
    assert_eq!(engine.timeouts.len(), 2);
    assert!(!engine.early);
}

#[tokio::test]
async fn one_turn_has_one_time_and_one_flush() {
    let (inbox, receiver) = inbox(64);
    for _ in 0..64 {
        inbox.try_send(0).unwrap();
    }
    drop(inbox);
    let turns = Turns::new();
    run(Echo::default(), receiver, turns.clone(), std::future::pending()).await;
    let sizes: Vec<usize> = turns.seen().iter().map(|(_, turn)| turn.len()).collect();
    assert_eq!(sizes, [64]);
}

#[tokio::test]
async fn a_turn_is_bounded() {
    let (inbox, receiver) = inbox(1_000);
    for _ in 0..1_000 {
        inbox.try_send(0).unwrap();
    }
    drop(inbox);
    let turns = Turns::new();
    run(Echo::default(), receiver, turns.clone(), std::future::pending()).await;
    let sizes: Vec<usize> = turns.seen().iter().map(|(_, turn)| turn.len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 1_000);
    assert!(sizes.iter().all(|size| *size <= TURN), "{sizes:?}");
}

#[tokio::test]
async fn stop_still_handles_what_waits_and_refuses_more() {
    let (inbox, receiver) = inbox(8);
    let performed = Arc::new(AtomicUsize::new(0));
    let count = performed.clone();
    let (stop, stopped) = oneshot::channel::<()>();
    for _ in 0..3 {
        inbox.try_send(0).unwrap();
    }
    stop.send(()).unwrap();
    run(
        Echo::default(),
        receiver,
        move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        },
        async {
            let _ = stopped.await;
        },
    )
    .await;
    assert_eq!(performed.load(Ordering::Relaxed), 3);
    assert_eq!(inbox.try_send(7), Err(7));
    assert_eq!(inbox.send(7).await, Err(7));
}

#[tokio::test]
async fn stop_is_seen_under_load() {
    let (inbox, receiver) = inbox(8);
    // Each output puts the next input in, so that the inbox is never empty.
    let again = inbox.clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut stop = Some(stop);
    let mut turns = 0_u32;
    inbox.try_send(0).unwrap();
    run(
        Echo::default(),
        receiver,
        move |output| {
            turns += 1;
            if turns == 1_000 {
                let _ = stop.take().expect("once").send(());
            }
            let _ = again.try_send(output);
        },
        async {
            let _ = stopped.await;
        },
    )
    .await;
}

#[test]
fn a_full_inbox_gives_the_input_back() {
    let (inbox, receiver) = inbox(2);
    assert_eq!((inbox.depth(), inbox.limit()), (0, 2));
    assert_eq!(inbox.try_send("a"), Ok(()));
    assert_eq!(inbox.clone().try_send("b"), Ok(()));
    assert_eq!(inbox.try_send("c"), Err("c"));
    assert_eq!(inbox.depth(), 2);
    drop(receiver);
    assert_eq!(inbox.try_send("d"), Err("d"));
}

#[test]
fn a_home_does_not_depend_on_the_process() {
    // Calculated by another program in another language: nodes of different builds must agree.
    for (key, expected, home) in [
        (&b""[..], 0x1fbf_a51b_a591_5574, 1),
        (b"12345678", 0x970f_3428_70d3_7be1, 9),
        (b"a84b4c76e66710@pc33.example.com", 0xade5_905a_7cc6_7e32, 10),
    ] {
        assert_eq!(hash(key), expected);
        assert_eq!(of(key, 16), home);
        assert_eq!(of(key, 1), 0);
    }
    assert_eq!(of(b"anything", 0), 0);
}

#[test]
fn keys_spread_evenly() {
    const KEYS: usize = 100_000;
    for shards in [2, 3, 7, 16] {
        let mut counts = vec![0_usize; shards];
        for key in 0..KEYS {
            counts[of(format!("{key}@example.com").as_bytes(), shards)] += 1;
        }
        let even = KEYS / shards;
        assert!(counts.iter().all(|count| count.abs_diff(even) < even / 20), "{counts:?}");
    }
}

#[test]
fn every_byte_counts() {
    for length in 1..40 {
        let key = vec![b'x'; length];
        for place in 0..length {
            let mut other = key.clone();
            other[place] ^= 1;
            assert_ne!(hash(&key), hash(&other), "{length} {place}");
        }
        // Zeros at the end are not taken for filling.
        let longer = [&key[..], b"\0"].concat();
        assert_ne!(hash(&key), hash(&longer));
    }
}
