//! The response context, RFC 3261 §16.6 to §16.9: everything a proxy remembers for one request. What is forked has one
//! (§16.1), and its own answers carry one To tag (§8.2.6.2).
//!
//! A branch: Pending → Accepted (2xx to an INVITE: more of them may come, RFC 6026 §7.2) | Ended.
//! The context: forks group by group, passes on 1xx and 2xx at once, and when no branch is waited for any
//! more gives the best final.
//!
//! The caller owns the transactions. It turns [`Action::Forward`] into a client transaction and reports what
//! comes of it with the branch id; it may report too much (a late response, a second failure) and nothing
//! happens. Deadlines are state: after every call [`ResponseContext::next_timeout`] tells when
//! [`ResponseContext::on_timeout`] wants to be called.
//!
//! # Which branches are waited for
//!
//! Pending ones, unless their next hop is known to be dead ([`ResponseContext::orphan`]): the silence of such
//! a branch does not count, so it holds up neither the next group nor an answer that other branches can give.
//! If it alone could answer, it is waited for, and as soon as it is heard of again, it counts as any other.

mod cancel;
mod forking;

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::{Method, Name, Reject, Request, Response, StatusCode};
use smallvec::SmallVec;

use crate::breadth::{self, Breadth};
use crate::response::{
    FLOW_FAILED, Finals, MAX_BREADTH_EXCEEDED, REQUEST_TIMEOUT, SERVICE_UNAVAILABLE, TEMPORARILY_UNAVAILABLE,
};
use crate::target::{Candidate, Target, TargetSet};

/// A branch of one response context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchId(u32);

/// What the caller has to do.
#[derive(Debug)]
pub enum Action {
    /// Send this copy in a new client transaction. It has no Via of ours yet.
    Forward {
        /// Names the branch in everything that is reported about it.
        branch: BranchId,
        /// The copy for this target.
        request: Request,
        /// The target's mark.
        tag: u64,
    },
    /// Cancel the branch. Whether a CANCEL may leave already is the transaction layer's knowledge (§9.1).
    Cancel {
        /// A pending branch of an INVITE.
        branch: BranchId,
        /// Values of its Reason header field (RFC 3326 §2): those of the CANCEL from upstream, or what another branch
        /// has said.
        reason: Option<Bytes>,
    },
    /// Drop the branch's client transaction: it was silent for 64·T1 after its CANCEL (§9.1) or over the
    /// whole of Timer C.
    Abandon {
        /// A branch that has just ended.
        branch: BranchId,
    },
    /// Send this response upstream. No Via of ours is in it.
    Respond(Response),
    /// Nothing is left: the context may be dropped. Comes once.
    Done,
}

/// Why a branch ended without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Timer B or F: counts as 408.
    Timeout,
    /// The transport failed: counts as 503 (§16.9).
    Transport,
    /// Nobody can carry it to this target: counts as 430 (RFC 5626 §5.3.1).
    NoRoute,
}

/// What differs between proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Timer C, larger than three minutes (§16.6 step 11).
    pub timer_c: Duration,
    /// 64·T1: how long a cancelled branch may be silent (§9.1), and how long 2xx of an accepted one may come
    /// (Timer M, RFC 6026 §8.4).
    pub lifetime: Duration,
    /// Largest Max-Breadth accepted and the one of a request without (RFC 5393 §5.3.3).
    pub max_breadth: u32,
    /// A 503 goes upstream as it is: a received one with Retry-After, or our own. Otherwise it becomes 500
    /// (§16.7 step 6).
    pub keep_503: bool,
    /// A 430 goes upstream as it is, to the proxy that knows the other flows. Otherwise it becomes 480 (RFC
    /// 5626 §11.5).
    pub keep_430: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timer_c: Duration::from_secs(190),
            lifetime: Duration::from_secs(32),
            max_breadth: breadth::RECOMMENDED,
            keep_503: false,
            keep_430: false,
        }
    }
}

/// The response context of one request.
#[derive(Debug)]
pub struct ResponseContext {
    request: Request,
    to_tag: String,
    options: Options,
    invite: bool,
    branches: SmallVec<[Branch; 1]>,
    targets: TargetSet,
    breadth: Breadth,
    finals: Finals,
    phase: Phase,
    /// A CANCEL came from upstream.
    cancelled: bool,
    /// Branches that hold up the answer.
    waiting: u32,
}

/// How far the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// No target set yet.
    New,
    /// Branches are tried.
    Forking,
    /// A 6xx or a CANCEL came: no new branches (§16.7 step 5).
    Closing,
    /// A final went upstream, or none may; a 2xx to an INVITE may be followed by others.
    Answered,
    /// Every branch has ended, too.
    Done,
}

#[derive(Debug)]
struct Branch {
    state: State,
    /// Timer C while pending, 64·T1 once cancelled or accepted. None for a non-INVITE: Timer F ends it.
    deadline: Option<Instant>,
    /// Any provisional response, 100 included.
    proceeding: bool,
    /// A provisional response other than 100: the UA itself has been reached.
    ringing: bool,
    cancelled: bool,
    orphan: bool,
    /// An orphan whose UA is tried by another branch: what that one comes to counts.
    replaced: bool,
    /// Its part of Max-Breadth; 0 once given back.
    share: u32,
    /// Other targets of the same UA, next first.
    reserves: Vec<Target>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Accepted,
    Ended,
}

impl ResponseContext {
    /// A context for a request as received, validated and preprocessed; not an ACK or CANCEL. `to_tag` is for
    /// answers of our own.
    pub fn new(request: Request, to_tag: String, options: Options) -> Self {
        let invite = request.method == Method::Invite;
        Self {
            to_tag,
            options,
            invite,
            branches: SmallVec::new(),
            targets: TargetSet::new(),
            breadth: Breadth::of(&request, options.max_breadth),
            finals: Finals::new(invite),
            phase: Phase::New,
            cancelled: false,
            waiting: 0,
            request,
        }
    }

    /// Begins to fork. An empty set is answered with 480 (§16.5), one that needs more breadth than there is
    /// with 440 (RFC 5393 §5.3.3).
    pub fn start(&mut self, targets: TargetSet, now: Instant, out: &mut Vec<Action>) {
        if self.phase != Phase::New {
            return;
        }
        if targets.is_empty() {
            return self.reject(&Reject::new(TEMPORARILY_UNAVAILABLE), out);
        }
        if !self.breadth.allows(targets.widest()) {
            return self.reject(&Reject::new(MAX_BREADTH_EXCEEDED), out);
        }
        self.phase = Phase::Forking;
        self.targets = targets;
        self.advance(now, out);
    }

    /// One more branch at once, as the retry of one that the caller is about to [`Self::orphan`] or to report
    /// as failed; both come after this call. None when no new branch may start: after a final, a 6xx or a
    /// CANCEL. When the others use up Max-Breadth, the new branch takes over the share of the youngest.
    pub fn add_target(&mut self, target: Target, now: Instant, out: &mut Vec<Action>) -> Option<BranchId> {
        if !self.may_fork() {
            return None;
        }
        if !self.breadth.allows(1) {
            let youngest = self.branches.iter_mut().rev().find(|branch| branch.share > 0)?;
            self.breadth.give_back(std::mem::take(&mut youngest.share));
        }
        self.phase = Phase::Forking;
        let id = BranchId::at(self.branches.len());
        self.launch(Candidate { target, reserves: Vec::new() }, 1, now, out);
        self.advance(now, out);
        Some(id)
    }

    /// A response of a branch, our Via still on top (§16.7).
    pub fn on_response(
        &mut self,
        branch: BranchId,
        mut response: Response,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(state) = self.branch(branch).map(|branch| branch.state) else {
            return;
        };
        if state == State::Ended || (state == State::Accepted && !response.status.is_success()) {
            return;
        }
        // §16.7 step 3: a response without a second Via was not meant for upstream.
        response.headers.pop_top(Name::Via);
        let addressed = response.headers.top(Name::Via).is_some();
        if response.status.is_provisional() {
            if addressed {
                self.on_provisional(branch, response, now, out);
            }
        } else if !addressed {
            self.fail(branch, SERVICE_UNAVAILABLE, now, out);
        } else if response.status.is_success() {
            self.on_success(branch, response, now, out);
        } else {
            self.on_final(branch, response, now, out);
        }
    }

    /// A branch ended without a response.
    pub fn on_failure(&mut self, branch: BranchId, failure: Failure, now: Instant, out: &mut Vec<Action>) {
        let status = match failure {
            Failure::Timeout => REQUEST_TIMEOUT,
            Failure::Transport => SERVICE_UNAVAILABLE,
            Failure::NoRoute => FLOW_FAILED,
        };
        if self.branch(branch).is_some_and(|branch| branch.state == State::Pending) {
            self.fail(branch, status, now, out);
        }
    }

    /// The branch may still answer, but its next hop has died: its late responses count, its silence does
    /// not. Unless its UA is known to be reached, the UA's next alternative is tried.
    pub fn orphan(&mut self, branch: BranchId, now: Instant, out: &mut Vec<Action>) {
        let Some(orphan) = self
            .branches
            .get_mut(branch.index())
            .filter(|branch| branch.state == State::Pending && !branch.orphan)
        else {
            return;
        };
        orphan.orphan = true;
        self.waiting -= 1;
        self.breadth.give_back(std::mem::take(&mut orphan.share));
        if !orphan.ringing {
            let reserves = std::mem::take(&mut orphan.reserves);
            let replaced = self.replace(reserves, now, out);
            if let Some(orphan) = self.branches.get_mut(branch.index()) {
                orphan.replaced = replaced;
            }
        }
        self.advance(now, out);
    }

    /// The client transaction of a branch has terminated. Optional: deadlines end every branch of an INVITE,
    /// too.
    pub fn on_ended(&mut self, branch: BranchId, now: Instant, out: &mut Vec<Action>) {
        match self.branch(branch).map(|branch| branch.state) {
            Some(State::Accepted) => {
                self.retire(branch);
                self.advance(now, out);
            }
            Some(State::Pending) => self.fail(branch, REQUEST_TIMEOUT, now, out),
            Some(State::Ended) | None => {}
        }
    }

    /// An answer of our own instead of forwarding. Comes too late, and does nothing, once a branch has
    /// started.
    pub fn reject(&mut self, reject: &Reject, out: &mut Vec<Action>) {
        if self.phase == Phase::New {
            out.push(Action::Respond(reject.response(&self.request, &self.to_tag)));
            self.phase = Phase::Answered;
            self.finish(out);
        }
    }

    /// The request as received.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// True once [`Action::Done`] was given.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// When [`Self::on_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.is_done() {
            return None;
        }
        self.branches.iter().filter_map(|branch| branch.deadline).min()
    }

    fn on_provisional(&mut self, branch: BranchId, response: Response, now: Instant, out: &mut Vec<Action>) {
        let Some(at) = self.branches.get_mut(branch.index()) else {
            return;
        };
        let first = !std::mem::replace(&mut at.proceeding, true);
        if at.cancelled {
            // The CANCEL can only have left now; what was waited before does not count.
            if first {
                at.deadline = Some(now + self.options.lifetime);
            }
        } else if response.status != StatusCode::TRYING && self.invite {
            // §16.7 step 2.
            at.deadline = Some(now + self.options.timer_c);
        }
        if response.status == StatusCode::TRYING {
            return;
        }
        at.ringing = true;
        self.adopt(branch);
        // RFC 4320 §4.1: a non-INVITE gets no other provisional than 100, and 100 is not passed on.
        if self.invite && self.is_open() {
            out.push(Action::Respond(response));
        }
    }

    fn on_success(&mut self, branch: BranchId, response: Response, now: Instant, out: &mut Vec<Action>) {
        let may_respond = match self.phase {
            Phase::New | Phase::Forking | Phase::Closing => true,
            // §16.7 step 5: every 2xx to an INVITE. A non-2xx final leaves no branch that is waited for, so
            // this one was a 2xx.
            Phase::Answered => self.invite,
            // Upstream sees one non-2xx final or nothing but 2xx.
            Phase::Done => false,
        };
        if self.branch(branch).is_some_and(|branch| branch.state == State::Pending) {
            self.retire(branch);
            if self.invite && may_respond {
                self.accept(branch, now);
            }
        }
        if may_respond {
            out.push(Action::Respond(response));
            self.answered(Some(&cancel::ELSEWHERE), now, out);
        }
        self.advance(now, out);
    }

    fn on_final(&mut self, branch: BranchId, response: Response, now: Instant, out: &mut Vec<Action>) {
        // RFC 5626 §7: this way to the UA is broken. A 408 after ringing is the answer of the UA, or of its
        // silence.
        let broken = response.status == FLOW_FAILED
            || (response.status == REQUEST_TIMEOUT && !self.is_ringing(branch));
        if !self.end(branch, broken, now, out) {
            self.collect(response, now, out);
        }
        self.advance(now, out);
    }

    fn fail(&mut self, branch: BranchId, status: StatusCode, now: Instant, out: &mut Vec<Action>) {
        self.give_up(branch, status, now, out);
        self.advance(now, out);
    }

    /// True while new branches may start.
    fn may_fork(&self) -> bool {
        self.phase <= Phase::Forking
    }

    /// True while no final went upstream.
    fn is_open(&self) -> bool {
        self.phase <= Phase::Closing
    }

    fn is_ringing(&self, branch: BranchId) -> bool {
        self.branch(branch).is_some_and(|branch| branch.ringing)
    }

    fn branch(&self, branch: BranchId) -> Option<&Branch> {
        self.branches.get(branch.index())
    }
}

impl BranchId {
    fn at(index: usize) -> Self {
        Self(u32::try_from(index).expect("fewer branches than numbers"))
    }

    fn index(self) -> usize {
        usize::try_from(self.0).expect("made from an index")
    }
}

#[cfg(test)]
mod tests;
