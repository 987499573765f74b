//! How branches start, end and lead to the answer, RFC 3261 §16.6 and §16.7.

use std::time::Instant;

use bytes::Bytes;
use sip::{Reject, Response, StatusCode};

use super::{Action, Branch, BranchId, Phase, ResponseContext, State, cancel};
use crate::branch;
use crate::response::{LOOP_DETECTED, MAX_BREADTH_EXCEEDED, REQUEST_TIMEOUT, Shape};
use crate::target::{Candidate, Target, TargetSet};

impl ResponseContext {
    /// A branch ended without a response that counts; the caller goes on with [`Self::advance`].
    pub(super) fn give_up(
        &mut self,
        branch: BranchId,
        status: StatusCode,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let broken = status != REQUEST_TIMEOUT || !self.is_ringing(branch);
        if !self.end(branch, broken, now, out) {
            self.finals.add_own(status);
        }
    }

    /// §16.7 step 4 for a non-2xx final.
    pub(super) fn collect(&mut self, response: Response, now: Instant, out: &mut Vec<Action>) {
        if !self.is_open() {
            return;
        }
        let status = response.status;
        self.finals.add(response);
        if status.class() == 6 {
            self.close(Some(&cancel::because_of(status)), now, out);
        }
        // RFC 3261 §8.2.2.2: the UA serves another copy of this request already, so what looked dead has
        // arrived.
        if status == LOOP_DETECTED {
            for at in 0..self.branches.len() {
                self.adopt(BranchId::at(at));
            }
        }
    }

    /// Starts the next alternative of a UA; false when there is none, no new branch may start or no breadth
    /// is left for it.
    pub(super) fn replace(&mut self, mut reserves: Vec<Target>, now: Instant, out: &mut Vec<Action>) -> bool {
        if reserves.is_empty() || !self.may_fork() || !self.breadth.allows(1) {
            return false;
        }
        let target = reserves.remove(0);
        self.launch(Candidate { target, reserves }, 1, now, out);
        true
    }

    /// §16.6: one branch, of `together` that start now.
    pub(super) fn launch(
        &mut self,
        candidate: Candidate,
        together: usize,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let branch = BranchId::at(self.branches.len());
        let Candidate { target, reserves } = candidate;
        let mut new = Branch {
            state: State::Ended,
            deadline: None,
            proceeding: false,
            ringing: false,
            cancelled: false,
            orphan: false,
            replaced: false,
            share: 0,
            reserves,
        };
        let share = self.breadth.take(together);
        let copy = share.ok_or_else(|| Reject::new(MAX_BREADTH_EXCEEDED)).and_then(|share| {
            let copy = branch::copy_with_breadth(&self.request, &target, share);
            copy.map(|copy| (copy, share)).inspect_err(|_| self.breadth.give_back(share))
        });
        match copy {
            Ok((request, share)) => {
                new.state = State::Pending;
                new.deadline = self.invite.then(|| now + self.options.timer_c);
                new.share = share;
                self.branches.push(new);
                self.waiting += 1;
                out.push(Action::Forward { branch, request, tag: target.tag });
            }
            Err(reject) => {
                self.branches.push(new);
                self.collect(reject.response(&self.request, &self.to_tag), now, out);
            }
        }
    }

    /// Goes on as far as nothing is waited for: next group, answer, end.
    pub(super) fn advance(&mut self, now: Instant, out: &mut Vec<Action>) {
        while self.waiting == 0 && self.may_fork() && !self.targets.is_empty() {
            let group = self.targets.next_group();
            let mut together = group.len();
            for candidate in group {
                self.launch(candidate, together, now, out);
                together -= 1;
            }
        }
        let orphans = || self.branches.iter().any(|branch| branch.state == State::Pending);
        if self.waiting == 0
            && self.is_open()
            && self.phase != Phase::New
            && !(self.finals.is_empty() && orphans())
        {
            let shape = Shape { keep_503: self.options.keep_503, keep_430: self.options.keep_430 };
            let best = self.finals.choose(&self.request, &self.to_tag, shape, self.cancelled);
            out.extend(best.map(Action::Respond));
            self.answered(None, now, out);
        }
        self.finish(out);
    }

    /// A final went upstream: every other branch is cancelled (§16.7 step 10) and no new one starts.
    pub(super) fn answered(&mut self, reason: Option<&Bytes>, now: Instant, out: &mut Vec<Action>) {
        if self.is_open() {
            self.phase = Phase::Answered;
            self.targets = TargetSet::new();
            self.cancel_pending(reason, now, out);
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<Action>) {
        let answered = self.phase == Phase::Answered;
        if answered && self.waiting == 0 && self.branches.iter().all(|branch| branch.state != State::Accepted)
        {
            self.phase = Phase::Done;
            out.push(Action::Done);
        }
    }

    pub(super) fn accept(&mut self, branch: BranchId, now: Instant) {
        let deadline = now + self.options.lifetime;
        if let Some(branch) = self.branches.get_mut(branch.index()) {
            branch.state = State::Accepted;
            branch.deadline = Some(deadline);
        }
    }

    /// Ends a branch that came to nothing; true when another branch to the same UA stands in for it, because
    /// only this way to the UA was `broken`.
    pub(super) fn end(
        &mut self,
        branch: BranchId,
        broken: bool,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> bool {
        let replaced = self.branch(branch).is_some_and(|branch| branch.replaced);
        let reserves = self.retire(branch);
        broken && (replaced || self.replace(reserves, now, out))
    }

    /// Takes a branch out of the books and gives the alternatives of its UA that are left.
    pub(super) fn retire(&mut self, branch: BranchId) -> Vec<Target> {
        let Some(branch) = self.branches.get_mut(branch.index()) else {
            return Vec::new();
        };
        if branch.state == State::Pending && !branch.orphan {
            self.waiting -= 1;
        }
        branch.state = State::Ended;
        branch.deadline = None;
        self.breadth.give_back(std::mem::take(&mut branch.share));
        std::mem::take(&mut branch.reserves)
    }

    /// An orphan was heard of: it is waited for again.
    pub(super) fn adopt(&mut self, branch: BranchId) {
        if let Some(branch) = self.branches.get_mut(branch.index())
            && branch.state == State::Pending
            && std::mem::take(&mut branch.orphan)
        {
            self.waiting += 1;
        }
    }
}
