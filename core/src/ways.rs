//! What the location service makes of a request, RFC 3261 §16.5: one decision for the request itself and for the operator who asks why
//! it goes where it goes ([`crate::why`]). Pure.

use std::time::Instant;

use bytes::Bytes;
use proxy::target::Target;
use registrar::Record;
use sip::{Reject, Request};

use crate::callee::{Callee, Who};
use crate::engine::Core;
use crate::{routing, sips};

/// The record of a callee, and how fresh it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) record: &'a Record,
    /// The store is away: this was right some time ago.
    pub(crate) is_last_known: bool,
}

/// What there is for a request.
#[derive(Debug)]
pub(crate) enum Ways {
    /// The target set, and what is not in it because its flow is lost (RFC 5626 §7). Where nothing else is left, the empty set
    /// is answered with 480 at once: the caller does not wait for Timer B.
    Targets {
        /// The best first.
        targets: Vec<Target>,
        /// Passed over.
        suspended: Vec<Target>,
    },
    /// Nothing, and that is the answer.
    Refused(Reject),
    /// Nothing that is known without the store: he may have registered meanwhile.
    NotNow,
    /// Nothing; what that means depends on whether there is such a user.
    Nobody,
}

impl Core {
    /// The ways of a request to `callee` by what is registered. A stranger is somebody who has not proven to be one of
    /// ours although the method is challenged.
    pub(crate) fn ways(
        &self,
        callee: &Callee,
        request: &Request,
        found: Found<'_>,
        is_stranger: bool,
        now: Instant,
    ) -> Ways {
        let unix = self.unix(now);
        let mut targets = callee.targets(found.record, request, unix);
        if !targets.is_empty() {
            let suspended = self.flows.take_lost(&mut targets, now);
            return Ways::Targets { targets, suspended };
        }
        if found.is_last_known {
            return Ways::NotNow;
        }
        if sips::is_asked(request) && found.record.live(unix).next().is_some() {
            return Ways::Refused(sips::not_allowed());
        }
        if let Some(status) = callee.missing() {
            return Ways::Refused(Reject::new(status));
        }
        if is_stranger {
            // §16.5 wants 480 for whoever is not there. Only our own users are told who does not exist at all.
            return Ways::Refused(Reject::new(routing::UNAVAILABLE));
        }
        Ways::Nobody
    }

    /// What becomes of a request whose callee has no binding: somebody who exists is away; a number that is nobody's may be
    /// the operator's route, the Request-URI outside. Inside a dialog it never is.
    pub(crate) fn without_binding(
        &self,
        callee: &Callee,
        request: &Request,
        exists: bool,
    ) -> Result<Bytes, Reject> {
        if exists {
            return Err(Reject::new(routing::UNAVAILABLE));
        }
        let may_leave = callee.who == Who::Everybody && request.to_tag().is_none();
        let route = may_leave.then(|| self.settings.routes.of_user(callee.aor.user())).flatten();
        route.ok_or_else(|| Reject::new(routing::NOT_FOUND))
    }
}
