//! What holds for every response context, whatever comes in and in whatever order.
//!
//! A script of operations runs against a context; then everything pending is answered and all deadlines pass.
//! The judge below knows only RFC 3261 §16.7 and RFC 5626 §7, not how the context keeps its books.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proxy::context::{Action, BranchId, Failure, Options, ResponseContext};
use proxy::target::{Target, TargetSet};
use sip::{Message, Name, Request, Response, StatusCode, parse, via};

#[derive(Debug, Clone)]
enum Op {
    Receive { branch: usize, code: u16 },
    Fail { branch: usize, failure: Failure },
    Orphan { branch: usize },
    Cancel,
    Wait { seconds: u64 },
    Add,
}

#[derive(Debug, Clone)]
struct Script {
    invite: bool,
    breadth: Option<u32>,
    targets: Vec<Target>,
    ops: Vec<Op>,
}

fn code() -> impl Strategy<Value = u16> {
    prop_oneof![
        4 => prop::sample::select(vec![100, 180, 183]),
        1 => prop::sample::select(vec![200, 202]),
        1 => prop::sample::select(vec![600, 603]),
        6 => prop::sample::select(vec![302, 401, 404, 407, 408, 415, 430, 480, 482, 484, 486, 487, 500, 503]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let failure = prop::sample::select(vec![Failure::Timeout, Failure::Transport, Failure::NoRoute]);
    prop_oneof![
        12 => (0..6usize, code()).prop_map(|(branch, code)| Op::Receive { branch, code }),
        2 => (0..6usize, failure).prop_map(|(branch, failure)| Op::Fail { branch, failure }),
        1 => (0..6usize).prop_map(|branch| Op::Orphan { branch }),
        1 => Just(Op::Cancel),
        2 => (0..250u64).prop_map(|seconds| Op::Wait { seconds }),
        1 => Just(Op::Add),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    let target =
        (prop::option::weighted(0.5, 0..3u8), prop::sample::select(vec![100u16, 500, 1000]), 0..3usize);
    let targets = prop::collection::vec(target, 0..6).prop_map(|targets| {
        targets
            .into_iter()
            .enumerate()
            .map(|(tag, (instance, q, hops))| made_target(tag as u64, instance, q, hops))
            .collect()
    });
    (prop::bool::weighted(0.8), prop::option::of(0..70u32), targets, prop::collection::vec(op(), 0..30))
        .prop_map(|(invite, breadth, targets, ops)| Script { invite, breadth, targets, ops })
}

/// Its URI and every value of its route name the target.
fn made_target(tag: u64, instance: Option<u8>, q: u16, hops: usize) -> Target {
    Target {
        route: (0..hops).map(|hop| format!("<sip:t{tag}@e{hop};lr>").into()).collect(),
        q,
        instance: instance.map(|instance| vec![instance].into()),
        ..Target::new(format!("sip:bob@192.0.2.{tag}"), tag)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Life {
    Pending,
    Accepted,
    Ended,
}

struct Seen {
    id: BranchId,
    copy: Request,
    target: Target,
    life: Life,
    /// The non-2xx final that came while an answer was open.
    last: Option<u16>,
    orphan: bool,
    /// It was an orphan once: it may be alive beside what has started since.
    strayed: bool,
    cancelled: bool,
    accepted: Option<Instant>,
}

/// Runs a script and judges what comes out.
struct Judge {
    context: ResponseContext,
    script: Script,
    now: Instant,
    branches: Vec<Seen>,
    upstream: Vec<u16>,
    done: usize,
    /// A 2xx, a 6xx or a CANCEL came: no branch may start, every pending one is cancelled.
    closed: bool,
    cancelled: bool,
    /// A retry was added by hand: it borrows its breadth.
    added: bool,
}

impl Judge {
    fn new(script: Script) -> Self {
        let method = if script.invite { "INVITE" } else { "MESSAGE" };
        let breadth = script.breadth.map_or(String::new(), |breadth| format!("Max-Breadth: {breadth}\r\n"));
        let text = format!(
            "{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP ua.example.org;branch=z9hG4bKua\r\nRoute: <sip:rest;lr>\r\n\
             From: <sip:alice@example.org>;tag=a\r\nTo: <sip:bob@example.com>\r\nCall-ID: c1\r\nCSeq: 1 {method}\r\n{breadth}\r\n"
        );
        let Ok(Message::Request(request)) = parse::message(text.into(), &parse::Limits::default()) else {
            panic!("a request");
        };
        #[expect(clippy::disallowed_methods, reason = "an arbitrary origin of virtual time")]
        let now = Instant::now();
        let context = ResponseContext::new(request, "own".into(), Options::default());
        Self {
            context,
            script,
            now,
            branches: Vec::new(),
            upstream: Vec::new(),
            done: 0,
            closed: false,
            cancelled: false,
            added: false,
        }
    }

    fn run(mut self) {
        let targets: TargetSet = self.script.targets.iter().cloned().collect();
        self.turn(|context, now, out| context.start(targets, now, out));
        for op in self.script.ops.clone() {
            self.step(&op);
        }
        // Whatever is left gets its end from Timer F or from a deadline.
        for _ in 0..100 {
            for branch in 0..self.branches.len() {
                if !self.script.invite {
                    self.step(&Op::Fail { branch, failure: Failure::Timeout });
                }
            }
            if let Some(due) = self.context.next_timeout() {
                self.step(&Op::Wait { seconds: due.saturating_duration_since(self.now).as_secs() + 1 });
            }
        }
        assert!(self.context.is_done() && self.done == 1, "the context ends, once: {} times", self.done);
        let finals = self.finals();
        match self.script.invite {
            true => assert!(
                finals.len() == 1 || (!finals.is_empty() && finals.iter().all(|code| *code < 300)),
                "{finals:?}"
            ),
            false => assert!(finals.len() <= 1, "{finals:?}"),
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Receive { branch, code } => self.receive(branch, code),
            Op::Fail { branch, failure } => {
                if let Some(seen) = self.branches.get_mut(branch) {
                    let id = seen.id;
                    if seen.life == Life::Pending {
                        seen.life = Life::Ended;
                    }
                    self.turn(|context, now, out| context.on_failure(id, failure, now, out));
                }
            }
            Op::Orphan { branch } => {
                if let Some(seen) = self.branches.get_mut(branch) {
                    seen.orphan = seen.life == Life::Pending;
                    seen.strayed |= seen.orphan;
                    let id = seen.id;
                    self.turn(|context, now, out| context.orphan(id, now, out));
                }
            }
            Op::Cancel => {
                self.cancelled |= self.script.invite;
                self.closed |= self.script.invite;
                self.turn(|context, now, out| context.on_cancel(None, now, out));
            }
            Op::Wait { seconds } => {
                self.now += Duration::from_secs(seconds);
                for seen in &mut self.branches {
                    // Timer M: 64·T1 after its first 2xx no more of them come.
                    if seen.accepted.is_some_and(|since| since + Duration::from_secs(32) <= self.now) {
                        seen.life = Life::Ended;
                    }
                }
                self.turn(ResponseContext::on_timeout);
            }
            Op::Add => {
                let target = made_target(50 + self.script.targets.len() as u64, None, 1, 1);
                self.script.targets.push(target.clone());
                self.added = true;
                self.turn(|context, now, out| {
                    context.add_target(target, now, out);
                });
            }
        }
    }

    fn receive(&mut self, branch: usize, code: u16) {
        let open = self.finals().is_empty();
        let Some(seen) = self.branches.get_mut(branch) else {
            return;
        };
        let mut response = Response::to(&seen.copy, StatusCode::new(code), Some("callee"));
        response.headers.push_top(Name::Via, via::compose("TLS", "us", "z9hG4bKus.0"));
        let id = seen.id;
        let merged = seen.life == Life::Pending && code == 482 && open;
        match (seen.life, code) {
            (Life::Pending, 101..200) => seen.orphan = false,
            (Life::Pending | Life::Accepted, 200..300) => {
                seen.life = if self.script.invite { Life::Accepted } else { Life::Ended };
                seen.accepted.get_or_insert(self.now);
                self.closed = true;
            }
            (Life::Pending, 300..) => {
                seen.life = Life::Ended;
                seen.last = open.then_some(code);
                self.closed |= code >= 600;
            }
            _ => {}
        }
        if merged {
            self.branches.iter_mut().for_each(|seen| seen.orphan = false);
        }
        self.turn(|context, now, out| context.on_response(id, response, now, out));
    }

    fn turn(&mut self, step: impl FnOnce(&mut ResponseContext, Instant, &mut Vec<Action>)) {
        let mut out = Vec::new();
        step(&mut self.context, self.now, &mut out);
        for action in out {
            assert_eq!(self.done, 0, "nothing comes after Done: {action:?}");
            match action {
                Action::Forward { branch, request, tag } => self.forward(branch, request, tag),
                Action::Cancel { branch, .. } => {
                    let seen = self.seen(branch);
                    assert!(
                        seen.life == Life::Pending && !seen.cancelled,
                        "a pending branch is cancelled once"
                    );
                    seen.cancelled = true;
                    assert!(self.script.invite, "RFC 3261 §9.1");
                }
                Action::Abandon { branch } => {
                    let seen = self.seen(branch);
                    assert_eq!(seen.life, Life::Pending);
                    seen.life = Life::Ended;
                }
                Action::Respond(response) => self.respond(&response),
                Action::Done => {
                    self.done += 1;
                    let live = self.branches.iter().any(|seen| seen.life == Life::Pending && !seen.orphan);
                    assert!(!live, "the last branch has ended");
                }
            }
        }
        if self.script.invite && (self.closed || !self.finals().is_empty()) {
            let left = self.branches.iter().find(|seen| seen.life == Life::Pending && !seen.cancelled);
            assert!(left.is_none(), "RFC 3261 §16.7 step 10");
        }
        let waits = self.branches.iter().any(|seen| seen.life == Life::Pending && !seen.orphan);
        assert!(
            waits || !self.branches.iter().all(|seen| seen.life == Life::Ended) || self.done == 1,
            "nobody waits for nothing"
        );
    }

    fn forward(&mut self, id: BranchId, copy: Request, tag: u64) {
        assert!(
            !self.closed && self.finals().is_empty(),
            "no new branch after a 2xx, a 6xx, a CANCEL or a final"
        );
        assert!(self.branches.iter().all(|seen| seen.target.tag != tag), "a target is tried once");
        let target =
            self.script.targets.iter().find(|target| target.tag == tag).expect("one of ours").clone();
        let expected: Vec<&[u8]> =
            target.route.iter().map(|value| &**value).chain([&b"<sip:rest;lr>"[..]]).collect();
        assert_eq!(
            copy.headers.values(Name::Route).collect::<Vec<_>>(),
            expected,
            "its own route and no other"
        );
        assert_eq!(copy.uri, target.uri);
        let rank = self.rank(&target);
        let beside =
            |seen: &&Seen| seen.life == Life::Pending && !seen.strayed && tag < 50 && seen.target.tag < 50;
        for other in self.branches.iter().filter(beside) {
            assert!(target.instance.is_none() || other.target.instance != target.instance, "RFC 5626 §7");
            assert_eq!(self.rank(&other.target), rank, "groups come one after another");
        }
        self.branches.push(Seen {
            id,
            copy,
            target,
            life: Life::Pending,
            last: None,
            orphan: false,
            strayed: false,
            cancelled: false,
            accepted: None,
        });
        if !self.added {
            let incoming = self.script.breadth.unwrap_or(60).min(60);
            let live = self.branches.iter().filter(|seen| seen.life == Life::Pending && !seen.strayed);
            let shares = live.map(|seen| {
                let lines: Vec<&[u8]> = seen.copy.headers.lines(Name::MaxBreadth).collect();
                let [value] = lines[..] else { panic!("RFC 5393 §5.3.3: one value, not {lines:?}") };
                let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok());
                number.expect("1*DIGIT")
            });
            assert!(shares.sum::<u32>() <= incoming, "RFC 5393 §5.3.3");
        }
    }

    fn respond(&mut self, response: &Response) {
        assert_eq!(
            response.headers.values(Name::Via).collect::<Vec<_>>(),
            [b"SIP/2.0/UDP ua.example.org;branch=z9hG4bKua"]
        );
        let code = response.status.code();
        let finals = self.finals();
        if code < 200 {
            assert!(self.script.invite && code > 100 && finals.is_empty(), "{code} after {finals:?}");
        } else if code < 300 {
            assert!(
                finals.iter().all(|code| *code < 300) && (self.script.invite || finals.is_empty()),
                "{code} after {finals:?}"
            );
        } else {
            assert!(finals.is_empty(), "{code} after {finals:?}");
            self.judge(code);
        }
        self.upstream.push(code);
    }

    /// RFC 3261 §16.7 step 6, read literally.
    fn judge(&self, chosen: u16) {
        if self.branches.is_empty() {
            return assert!([440, 480, 487].contains(&chosen), "{chosen} without a branch");
        }
        if !self.closed {
            for target in &self.script.targets {
                let tried = self.branches.iter().any(|seen| {
                    seen.target.tag == target.tag
                        || (target.instance.is_some() && seen.target.instance == target.instance)
                });
                assert!(tried || target.tag >= 50, "every UA was tried before the answer");
            }
        }
        let replaced = |at: usize| {
            let instance = self.branches[at].target.instance.as_ref();
            let mut later = self.branches[at + 1..].iter();
            matches!(self.branches[at].last, Some(408 | 430))
                && instance.is_some()
                && later.any(|later| later.target.instance.as_ref() == instance)
        };
        let received: Vec<u16> = (0..self.branches.len())
            .filter(|at| !replaced(*at))
            .filter_map(|at| self.branches[at].last)
            .filter(|code| self.script.invite || *code != 408)
            .collect();
        if received.iter().any(|code| *code >= 600) {
            return assert!(received.contains(&chosen) && chosen >= 600, "{chosen} from {received:?}");
        }
        let Some(class) = received.iter().map(|code| code / 100).min() else {
            let own: &[u16] = match (self.script.invite, self.cancelled) {
                (true, true) => &[487],
                (true, false) => &[408, 480, 500],
                (false, _) => &[480, 500],
            };
            return assert!(own.contains(&chosen), "{chosen} from nothing");
        };
        let informative = |code: &&u16| [401, 407, 415, 420, 484].contains(*code);
        let of_class: Vec<u16> = received.iter().copied().filter(|code| code / 100 == class).collect();
        let best: Vec<u16> = match of_class.iter().any(|code| informative(&code)) {
            true => of_class.iter().filter(informative).copied().collect(),
            false => of_class,
        };
        // What only proxies understand is told to the caller in other words.
        let told: Vec<u16> = best
            .iter()
            .map(|code| {
                if *code == 430 {
                    480
                } else if *code == 503 {
                    500
                } else {
                    *code
                }
            })
            .collect();
        assert!(told.contains(&chosen), "{chosen} from {received:?}");
    }

    /// The most preferred target of a UA ranks all its targets.
    fn rank(&self, target: &Target) -> u16 {
        let same = |other: &&Target| {
            other.tag == target.tag || (target.instance.is_some() && other.instance == target.instance)
        };
        self.script.targets.iter().filter(same).map(|target| target.q).max().unwrap_or(target.q)
    }

    fn finals(&self) -> Vec<u16> {
        self.upstream.iter().copied().filter(|code| *code >= 200).collect()
    }

    fn seen(&mut self, id: BranchId) -> &mut Seen {
        self.branches.iter_mut().find(|seen| seen.id == id).expect("a branch that was forwarded")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_script_ends_as_the_rfc_says(script in script()) {
        Judge::new(script).run();
    }
}
