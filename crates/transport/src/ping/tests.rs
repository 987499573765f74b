use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const INTERVAL: Duration = Duration::from_secs(25);

/// A fixed moment: what is tested are the distances from it.
fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "an instant can be made in no other way")]
    *START.get_or_init(Instant::now)
}

/// Numbers without pattern.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Runs the wheel exactly by its own deadlines; (time since the start, flow).
fn run(wheel: &mut Wheel, until: Duration) -> Vec<(Duration, u32)> {
    let mut pings = Vec::new();
    while let Some(next) = wheel.next().filter(|next| *next <= start() + until) {
        let mut due = Vec::new();
        assert!(wheel.due(next, &mut due), "a deadline is a deadline");
        assert!(!due.is_empty(), "nobody wakes for nothing");
        pings.extend(due.into_iter().map(|flow| (next - start(), flow)));
    }
    pings
}

fn filled(flows: u32) -> Wheel {
    let mut wheel = Wheel::new(INTERVAL, start());
    let mut seed = 7;
    for flow in 0..flows {
        wheel.insert(flow, random(&mut seed), start());
    }
    wheel
}

#[test]
fn every_flow_is_due_once_in_every_interval() {
    let flows = 10_000;
    let mut wheel = filled(flows);
    let mut times: BTreeMap<u32, Vec<Duration>> = BTreeMap::new();
    for (at, flow) in run(&mut wheel, 5 * INTERVAL) {
        times.entry(flow).or_default().push(at);
    }
    assert_eq!(times.len(), flows as usize);
    for (flow, times) in times {
        assert_eq!(times.len(), 5, "flow {flow}: {times:?}");
        for pair in times.windows(2) {
            let apart = pair[1] - pair[0];
            assert!(INTERVAL - apart < Duration::from_micros(2), "flow {flow}: {apart:?}");
        }
    }
}

#[test]
fn the_flows_are_spread_evenly() {
    let mut wheel = filled(100_000);
    let mut slices = [0_u32; 100];
    for (at, _) in run(&mut wheel, INTERVAL) {
        let slice = (at.as_nanos() - 1) * 100 / INTERVAL.as_nanos();
        slices[usize::try_from(slice).unwrap().min(99)] += 1;
    }
    assert_eq!(slices.iter().sum::<u32>(), 100_000);
    for (slice, pings) in slices.into_iter().enumerate() {
        assert!((800..=1_200).contains(&pings), "slice {slice} of 100: {pings} of 1 000");
    }
}

#[test]
fn what_is_removed_is_not_due() {
    let mut wheel = filled(100);
    for flow in (0..100).step_by(2) {
        wheel.remove(flow);
    }
    wheel.remove(4_000);
    assert_eq!(wheel.len(), 50);
    let mut due: Vec<u32> = run(&mut wheel, INTERVAL).into_iter().map(|(_, flow)| flow).collect();
    due.sort_unstable();
    assert_eq!(due, (0..100).filter(|flow| flow % 2 == 1).collect::<Vec<_>>());
}

#[test]
fn an_empty_wheel_stands_still_and_starts_again() {
    let mut wheel = filled(1);
    wheel.remove(0);
    assert_eq!(wheel.next(), None);
    let later = start() + 100 * INTERVAL;
    assert!(!wheel.due(later, &mut Vec::new()));
    wheel.insert(3, 99, later);
    let first = wheel.next().unwrap();
    assert!(first > later && first <= later + INTERVAL, "within one interval");
}

#[test]
fn one_that_overslept_gives_every_flow_once() {
    let mut wheel = filled(1_000);
    let mut due = Vec::new();
    let late = start() + 10 * INTERVAL;
    while wheel.due(late, &mut due) {}
    due.sort_unstable();
    assert_eq!(due, (0..1_000).collect::<Vec<_>>());
    assert!(wheel.next().unwrap() > late);
}

#[test]
fn a_flow_that_is_there_is_not_put_twice() {
    let mut wheel = filled(1);
    wheel.insert(0, 12_345, start());
    assert_eq!(wheel.len(), 1);
    assert_eq!(run(&mut wheel, INTERVAL).len(), 1);
}

proptest! {
    /// Against a plain set: whatever is put on and taken off, each flow that stays is due exactly once in a turn.
    #[test]
    fn agrees_with_a_set(script in prop::collection::vec((0_u32..50, any::<bool>(), any::<u64>()), 0..200)) {
        let mut wheel = Wheel::new(INTERVAL, start());
        let mut set = std::collections::BTreeSet::new();
        for (flow, put, random) in script {
            if put {
                wheel.insert(flow, random, start());
                set.insert(flow);
            } else {
                wheel.remove(flow);
                set.remove(&flow);
            }
            prop_assert_eq!(wheel.len(), set.len());
        }
        let mut due: Vec<u32> = run(&mut wheel, INTERVAL).into_iter().map(|(_, flow)| flow).collect();
        due.sort_unstable();
        prop_assert_eq!(due, set.into_iter().collect::<Vec<_>>());
    }
}
