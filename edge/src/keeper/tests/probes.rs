//! Between two turns of the wheel: the questions after an INVITE that nobody answers.

use super::*;

impl Bench {
    /// A phone that has answered a ping after that time, and whose INVITE is not answered.
    fn unanswered_invite(mode: NatPing, took: Duration) -> (Self, Vec<Output>) {
        let mut bench = Self::new(mode);
        bench.handle(Input::CoreUp(CORE));
        bench.register(udp(1), "alice", 3600);
        let (flow, bytes) = bench.next_ping();
        bench.now += took;
        bench.handle(Input::Answered { flow, ping: id_of(&bytes) });
        let asked = bench.handle(Input::Silent(udp(1)));
        (bench, asked)
    }

    /// Lets time pass until there is a ping.
    fn next_ping(&mut self) -> (Flow, Bytes) {
        loop {
            self.now = self.keeper.poll_timeout().expect("a flow is kept");
            self.keeper.handle_timeout(self.now);
            if let Some(ping) = pings(&self.outputs()).pop() {
                return ping;
            }
        }
    }

    /// How often the phone is asked and when it is given up, if it is within that time.
    pub(super) fn given_up(&mut self, time: Duration) -> (usize, Option<Duration>) {
        let (begin, mut asked) = (self.now, 0);
        while let Some(due) = self.keeper.poll_timeout().filter(|due| *due <= begin + time) {
            self.now = due;
            self.keeper.handle_timeout(due);
            let outputs = self.outputs();
            asked += pings(&outputs).len();
            if outputs.iter().any(|output| matches!(output, Output::Lost(flow) if *flow == udp(1))) {
                return (asked, Some(due - begin));
            }
        }
        (asked, None)
    }
}

const MS: Duration = Duration::from_millis(1);

/// However many are to be missed, a phone is not flooded.
#[test]
fn the_pings_of_an_unanswered_invite_are_ten_a_second_at_most() {
    let mut bench = Bench::new(NatPing::Options);
    bench.keeper.pings.lost = u8::MAX;
    bench.register(udp(1), "alice", 3600);
    bench.ping(true);
    assert_eq!(pings(&bench.handle(Input::Silent(udp(1)))).len(), 1);
    assert!(bench.given_up(Duration::from_millis(1050)).0 <= 10);
}

/// Between two turns of the wheel: asked at once and quickly, lost after three, and those who wait are told.
#[test]
fn an_unanswered_invite_makes_the_pings_quick() {
    // Four octets measure nothing: a phone that sleeps has time to wake up.
    for (mode, expected) in [(NatPing::Options, 600 * MS), (NatPing::Udp, 2_000 * MS)] {
        let (mut bench, asked) = Bench::unanswered_invite(mode, 20 * MS);
        assert_eq!(pings(&asked).len(), 1);
        assert!(bench.handle(Input::Silent(udp(1))).is_empty(), "a second INVITE asks nothing more");
        let (more, after) = bench.given_up(INTERVAL / 2);
        let after = after.expect("in the end");
        assert_eq!(more, 2);
        assert!(
            after <= expected && after > expected - 3 * MS,
            "a caller has waited 200 ms before: {after:?}"
        );
        assert_eq!(bench.keeper.counters().lost, 1);
        assert_eq!(bench.keeper.counters().unanswered, 3);
        let next = pings(&bench.run(INTERVAL));
        assert!(next[0].1.starts_with(b"OPTIONS"), "it may come back");
        assert_eq!(next.len(), 1, "by the wheel alone");
    }
}

/// RFC 5626 §4.4.2 leaves the time to who pings; a phone on a slow link is not taken for a dead one.
#[test]
fn a_phone_on_a_slow_link_has_more_time() {
    for (took, expected) in [(150, 600), (200, 800), (800, 3_200), (3_000, 4_000)] {
        let (mut bench, _) = Bench::unanswered_invite(NatPing::Options, took * MS);
        let (more, after) = bench.given_up(INTERVAL / 2);
        let after = after.expect("in the end");
        assert_eq!(more, 2);
        assert!(after <= expected * MS && after > (expected - 3) * MS, "{took} ms: {after:?}");
    }
}

/// What was slow a minute ago may be so again, and not for ever.
#[test]
fn a_slow_answer_is_forgotten_slowly() {
    let (mut bench, asked) = Bench::unanswered_invite(NatPing::Options, 800 * MS);
    let mut slowest = Vec::new();
    let mut answer = |bench: &mut Bench, (flow, bytes): (Flow, Bytes)| {
        bench.now += 10 * MS;
        bench.handle(Input::Answered { flow, ping: id_of(&bytes) });
        slowest.push(bench.keeper.registered.get(0).unwrap().slowest());
    };
    answer(&mut bench, pings(&asked).remove(0));
    for _ in 0..40 {
        let ping = bench.next_ping();
        answer(&mut bench, ping);
    }
    assert_eq!(slowest[0], 700 * MS);
    assert!(slowest.is_sorted_by(|before, after| before >= after), "{slowest:?}");
    assert!(slowest[4] > 300 * MS && slowest[40] < 20 * MS, "{slowest:?}");
}

/// An answer, however late, to whichever of them, and a REGISTER are signs of life.
#[test]
fn a_sign_of_life_ends_the_questions() {
    let (mut bench, asked) = Bench::unanswered_invite(NatPing::Options, 20 * MS);
    let first = pings(&asked).remove(0);
    assert_eq!(pings(&bench.run(450 * MS)).len(), 2);
    bench.handle(Input::Answered { flow: first.0, ping: id_of(&first.1) });
    assert_eq!(bench.given_up(INTERVAL / 2), (0, None));
    bench.handle(Input::Silent(udp(1)));
    bench.register(udp(1), "alice", 3600);
    assert_eq!(bench.given_up(INTERVAL / 4), (0, None));
    bench.handle(Input::Silent(udp(1)));
    assert_eq!(bench.given_up(INTERVAL / 4), (2, Some(600 * MS)), "and the next one asks again");
}

/// The number of a flow that has ended in between is another one's.
#[test]
fn a_flow_that_ends_is_asked_nothing_more() {
    let (mut bench, _) = Bench::unanswered_invite(NatPing::Options, 20 * MS);
    bench.register(udp(1), "alice", 0);
    bench.register(udp(2), "bob", 3600);
    assert_eq!(pings(&bench.run(2 * INTERVAL)).len(), 2, "by the wheel alone");
    assert_eq!(bench.keeper.counters().lost, 0);
}

#[test]
fn a_phone_that_never_answers_pings_is_not_asked_more_often() {
    let mut bench = Bench::new(NatPing::Options);
    bench.register(udp(1), "alice", 3600);
    assert!(bench.handle(Input::Silent(udp(1))).is_empty());
}
