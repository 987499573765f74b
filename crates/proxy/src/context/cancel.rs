//! CANCEL and the deadlines that lead to it (no other CANCEL is made: §16.1), RFC 3261 §9.1, §16.7 step 10, §16.8 and §16.10; Reason of a CANCEL, RFC 3326.

use std::time::Instant;

use bytes::Bytes;
use sip::{Reject, StatusCode};

use super::{Action, BranchId, Phase, ResponseContext, State};
use crate::response::{REQUEST_TERMINATED, REQUEST_TIMEOUT};

impl ResponseContext {
    /// A CANCEL came from upstream: every pending branch is cancelled, none starts any more, and the 487s
    /// that follow decide. Before the first branch the answer is our own 487 (§9.2). It has no effect on a
    /// non-INVITE request. Its Reason goes on with every CANCEL that it leads to (RFC 3326 §2).
    pub fn on_cancel(&mut self, reason: Option<&Bytes>, now: Instant, out: &mut Vec<Action>) {
        if !self.invite {
            return;
        }
        match self.phase {
            Phase::New => self.reject(&Reject::new(REQUEST_TERMINATED), out),
            Phase::Forking | Phase::Closing => {
                self.cancelled = true;
                self.close(reason, now, out);
                self.advance(now, out);
            }
            Phase::Answered | Phase::Done => {}
        }
    }

    /// Ends what is overdue: Timer C cancels a branch that has been heard of and counts as 408 for one that
    /// has not (§16.8); a cancelled branch is given up (§9.1); an accepted one has sent its last 2xx.
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.is_done() {
            return;
        }
        let lifetime = self.options.lifetime;
        for at in 0..self.branches.len() {
            let id = BranchId::at(at);
            let Some(branch) = self
                .branches
                .get_mut(at)
                .filter(|branch| branch.deadline.is_some_and(|deadline| deadline <= now))
            else {
                continue;
            };
            match branch.state {
                State::Accepted => {
                    self.retire(id);
                }
                State::Pending if branch.proceeding && !branch.cancelled => {
                    branch.cancelled = true;
                    branch.deadline = Some(now + lifetime);
                    out.push(Action::Cancel { branch: id, reason: None });
                }
                State::Pending => {
                    out.push(Action::Abandon { branch: id });
                    self.give_up(id, REQUEST_TIMEOUT, now, out);
                }
                State::Ended => {}
            }
        }
        self.advance(now, out);
    }

    /// No new branches, and the pending ones are cancelled (§16.7 step 5 for a 6xx).
    pub(super) fn close(&mut self, reason: Option<&Bytes>, now: Instant, out: &mut Vec<Action>) {
        if self.is_open() {
            self.phase = Phase::Closing;
            self.cancel_pending(reason, now, out);
        }
    }

    /// §16.7 step 10. Only an INVITE can be cancelled (§9.1).
    pub(super) fn cancel_pending(&mut self, reason: Option<&Bytes>, now: Instant, out: &mut Vec<Action>) {
        if !self.invite {
            return;
        }
        let lifetime = self.options.lifetime;
        for (at, branch) in self.branches.iter_mut().enumerate() {
            if branch.state == State::Pending && !branch.cancelled {
                branch.cancelled = true;
                // Before the first provisional response the CANCEL waits in the transaction layer, and Timer
                // B or C decides.
                if branch.proceeding {
                    branch.deadline = Some(now + lifetime);
                }
                out.push(Action::Cancel { branch: BranchId::at(at), reason: reason.cloned() });
            }
        }
    }
}

/// Why the other phones stop to ring when one has been answered (RFC 3326 §2): no call was missed there.
pub(super) static ELSEWHERE: Bytes = Bytes::from_static(b"SIP;cause=200;text=\"Call completed elsewhere\"");

/// Why the other phones stop to ring when one has refused for all of them.
pub(super) fn because_of(status: StatusCode) -> Bytes {
    Bytes::from(format!("SIP;cause={};text=\"{}\"", status.code(), status.reason()))
}
