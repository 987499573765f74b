//! A response context under any sequence of operations: RFC 3261 §16.7 and §16.10, RFC 5626 §7.
//!
//! The judge knows what came in and what may go out, not how the context keeps its books. After the sequence all deadlines
//! pass: every context ends, and ends once.

use std::time::{Duration, Instant};

use arbitrary::{Result, Unstructured};
use proxy::context::{Action, BranchId, Failure, Options, ResponseContext};
use proxy::target::{Target, TargetSet};
use sip::{Message, Name, Reject, Request, Response, StatusCode, parse, via};

/// Reads a target set and a sequence of operations, and carries them out.
pub fn check(data: &[u8]) {
    _ = play(&mut Unstructured::new(data));
}

fn play(data: &mut Unstructured<'_>) -> Result<()> {
    let breadth = if data.arbitrary()? { Some(data.int_in_range(0..=70)?) } else { None };
    let mut judge = Judge::new(data.ratio(3, 4)?, breadth);
    if data.ratio(1, 16)? {
        judge.turn(|context, _, out| context.reject(&Reject::new(StatusCode::BAD_REQUEST), out));
    }
    for _ in 0..data.int_in_range(0..=6)? {
        let target = target(data, judge.targets.len())?;
        judge.targets.push(target);
    }
    let targets: TargetSet = judge.targets.iter().cloned().collect();
    judge.turn(|context, now, out| context.start(targets, now, out));
    for _ in 0..MOST_OPERATIONS {
        if data.is_empty() {
            break;
        }
        judge.step(data)?;
    }
    judge.finish();
    Ok(())
}

fn target(data: &mut Unstructured<'_>, tag: usize) -> Result<Target> {
    let instance = *data.choose(&[None, None, Some("a"), Some("b")])?;
    let hops = data.int_in_range(0..=2)?;
    Ok(Target {
        route: (0..hops).map(|hop| format!("<sip:t{tag}@e{hop};lr>").into()).collect(),
        q: *data.choose(&[1000, 500, 100])?,
        instance: instance.map(Into::into),
        ..Target::new(format!("sip:bob@192.0.2.{tag}"), tag as u64)
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Pending,
    Accepted,
    Ended,
}

/// A branch as the judge sees it.
struct Branch {
    id: BranchId,
    copy: Request,
    target: Target,
    life: Life,
    cancelled: bool,
    /// Its next hop was said to be dead: others may be tried beside it.
    strayed: bool,
}

struct Judge {
    context: ResponseContext,
    invite: bool,
    now: Instant,
    targets: Vec<Target>,
    branches: Vec<Branch>,
    /// Finals that went upstream.
    finals: Vec<u16>,
    done: bool,
    /// A 2xx, a 6xx or a CANCEL came: no branch may start, every pending one is cancelled.
    closed: bool,
}

impl Judge {
    fn new(invite: bool, breadth: Option<u32>) -> Self {
        let method = if invite { "INVITE" } else { "MESSAGE" };
        let breadth = breadth.map_or(String::new(), |breadth| format!("Max-Breadth: {breadth}\r\n"));
        let text = format!(
            "{method} sip:bob@example.com SIP/2.0\r\nVia: {UPSTREAM}\r\nFrom: <sip:alice@example.org>;tag=a\r\n\
             To: <sip:bob@example.com>\r\nCall-ID: c1\r\nCSeq: 1 {method}\r\n{breadth}\r\n"
        );
        let Ok(Message::Request(request)) = parse::message(text.into(), &parse::Limits::default()) else {
            panic!("a request");
        };
        Self {
            context: ResponseContext::new(request, "own".into(), Options::default()),
            invite,
            now: super::origin(),
            targets: Vec::new(),
            branches: Vec::new(),
            finals: Vec::new(),
            done: false,
            closed: false,
        }
    }

    fn step(&mut self, data: &mut Unstructured<'_>) -> Result<()> {
        match data.int_in_range(0..=15)? {
            0..=8 => {
                let (branch, code) = (data.int_in_range(0..=7)?, *data.choose(&CODES)?);
                self.receive(branch, code, data.ratio(15, 16)?);
            }
            9 | 10 => {
                let failure = *data.choose(&[Failure::Timeout, Failure::Transport, Failure::NoRoute])?;
                self.fail(data.int_in_range(0..=7)?, failure);
            }
            11 => {
                if let Some(branch) = self.branches.get_mut(data.int_in_range(0..=7)?) {
                    branch.strayed = true;
                    let id = branch.id;
                    self.turn(|context, now, out| context.orphan(id, now, out));
                }
            }
            12 => {
                self.closed |= self.invite;
                self.turn(|context, now, out| context.on_cancel(None, now, out));
            }
            13 => self.wait(Duration::from_secs(data.int_in_range(0..=250)?)),
            14 => {
                if let Some(branch) = self.branches.get_mut(data.int_in_range(0..=7)?) {
                    branch.life = Life::Ended;
                    let id = branch.id;
                    self.turn(|context, now, out| context.on_ended(id, now, out));
                }
            }
            _ => self.add(),
        }
        Ok(())
    }

    /// A response from downstream; without the Via of the hop before us it is not for upstream (§16.7 step 3).
    fn receive(&mut self, branch: usize, code: u16, addressed: bool) {
        let Some(branch) = self.branches.get_mut(branch) else { return };
        let mut response = Response::to(&branch.copy, StatusCode::new(code), Some("callee"));
        if !addressed {
            response.headers.remove(Name::Via);
        }
        response.headers.push_top(Name::Via, via::compose("TLS", "us", "z9hG4bKus"));
        match (branch.life, code) {
            (Life::Pending | Life::Accepted, 200..300) if addressed => {
                branch.life = if self.invite { Life::Accepted } else { Life::Ended };
                self.closed = true;
            }
            (Life::Pending, 200..) => {
                branch.life = Life::Ended;
                self.closed |= addressed && code >= 600;
            }
            _ => {}
        }
        let id = branch.id;
        self.turn(|context, now, out| context.on_response(id, response, now, out));
    }

    fn fail(&mut self, branch: usize, failure: Failure) {
        let Some(branch) = self.branches.get_mut(branch) else { return };
        if branch.life == Life::Pending {
            branch.life = Life::Ended;
        }
        let id = branch.id;
        self.turn(|context, now, out| context.on_failure(id, failure, now, out));
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.turn(ResponseContext::on_timeout);
        let next = self.context.next_timeout();
        assert!(next.is_none_or(|next| next > self.now), "a deadline that has passed is dealt with");
    }

    fn add(&mut self) {
        let tag = self.targets.len();
        let target = Target::new(format!("sip:bob@192.0.2.{tag}"), tag as u64);
        self.targets.push(target.clone());
        let (before, mut added) = (self.branches.len(), None);
        self.turn(|context, now, out| added = context.add_target(target, now, out));
        assert_eq!(added, self.branches.get(before).map(|branch| branch.id).filter(|_| added.is_some()));
    }

    /// Timer F ends what is no INVITE, deadlines end the rest.
    fn finish(&mut self) {
        for _ in 0..MOST_OPERATIONS {
            for branch in 0..self.branches.len() {
                if !self.invite {
                    self.fail(branch, Failure::Timeout);
                }
            }
            match self.context.next_timeout() {
                Some(next) => self.wait(next.saturating_duration_since(self.now)),
                None if self.done => break,
                None => {}
            }
        }
        assert!(self.done && self.context.is_done() && self.context.next_timeout().is_none(), "it ends");
        let answered = match self.finals.as_slice() {
            [] => !self.invite,
            [_] => true,
            several => self.invite && several.iter().all(|code| *code < 300),
        };
        assert!(answered, "one non-2xx final, or 2xx: {:?}", self.finals);
    }

    fn turn(&mut self, step: impl FnOnce(&mut ResponseContext, Instant, &mut Vec<Action>)) {
        let mut out = Vec::new();
        step(&mut self.context, self.now, &mut out);
        for action in out {
            assert!(!self.done, "nothing comes after Done: {action:?}");
            match action {
                Action::Forward { branch, request, tag } => self.forward(branch, request, tag),
                Action::Cancel { branch, .. } => {
                    assert!(self.invite, "RFC 3261 §9.1");
                    let branch = self.pending(branch);
                    assert!(!branch.cancelled, "a branch is cancelled once");
                    branch.cancelled = true;
                }
                Action::Abandon { branch } => self.pending(branch).life = Life::Ended,
                Action::Respond(response) => self.respond(&response),
                Action::Done => self.done = true,
            }
        }
        if self.invite && (self.closed || !self.finals.is_empty()) {
            let left = self.branches.iter().any(|branch| branch.life == Life::Pending && !branch.cancelled);
            assert!(!left, "RFC 3261 §16.7 step 10");
        }
    }

    fn forward(&mut self, id: BranchId, copy: Request, tag: u64) {
        assert!(!self.closed && self.finals.is_empty(), "no branch after a 2xx, a 6xx, a CANCEL or a final");
        assert!(self.branches.iter().all(|branch| branch.target.tag != tag), "a target is tried once");
        let target = self.targets.iter().find(|target| target.tag == tag).expect("one of ours").clone();
        assert_eq!(copy.uri, target.uri);
        let route: Vec<&[u8]> = copy.headers.values(Name::Route).collect();
        assert_eq!(route, target.route, "its own route and no other");
        let beside = self.branches.iter().filter(|branch| branch.life == Life::Pending && !branch.strayed);
        for other in beside {
            assert!(target.instance.is_none() || target.instance != other.target.instance, "RFC 5626 §7");
        }
        self.branches.push(Branch {
            id,
            copy,
            target,
            life: Life::Pending,
            cancelled: false,
            strayed: false,
        });
    }

    fn respond(&mut self, response: &Response) {
        let vias: Vec<&[u8]> = response.headers.values(Name::Via).collect();
        assert_eq!(vias, [UPSTREAM.as_bytes()], "no Via of ours");
        let (code, finals) = (response.status.code(), &self.finals);
        let allowed = match code {
            ..=100 => false,
            101..200 => self.invite && finals.is_empty(),
            200..300 => finals.is_empty() || (self.invite && finals.iter().all(|code| *code < 300)),
            300.. => finals.is_empty(),
        };
        assert!(allowed, "{code} after {finals:?}");
        if code >= 200 {
            self.finals.push(code);
        }
    }

    fn pending(&mut self, id: BranchId) -> &mut Branch {
        let is_pending = |branch: &&mut Branch| branch.id == id && branch.life == Life::Pending;
        self.branches.iter_mut().find(is_pending).expect("a pending branch")
    }
}

/// The Via of the hop before us.
const UPSTREAM: &str = "SIP/2.0/UDP ua.example.org;branch=z9hG4bKua";

const CODES: [u16; 20] =
    [100, 180, 183, 200, 202, 302, 401, 404, 407, 408, 415, 430, 480, 482, 486, 487, 500, 503, 600, 603];

const MOST_OPERATIONS: usize = 100;
