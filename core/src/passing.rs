//! Responses to what a core has sent that is gone, RFC 3261 §16.11: they go on without a context, when the cluster has signed
//! their way (see [`crate::signature`]); others are dropped, RFC 6026 §7.3.

use link::PeerId;
use sip::{Method, Response};

use crate::edges::Way;
use crate::engine::{Core, Output};
use crate::signature;

impl Core {
    /// A response whose context died with another core: passed on when the cluster signed its way.
    pub(crate) fn on_stray(&mut self, mut response: Response) {
        if let Some((edge, lane)) = self.way_back(&mut response) {
            self.counters.passed_responses += 1;
            self.out.push_back(Output::ToEdge { edge, lane, bytes: response.encode() });
        } else {
            self.counters.stray_responses += 1;
        }
    }

    fn way_back(&self, response: &mut Response) -> Option<(PeerId, u64)> {
        if response.cseq().ok()?.method == Method::Cancel {
            return None; // §9.2: the CANCEL was answered here when it came
        }
        let branch = response.top_via()?.ok()?.branch()?.to_owned();
        let next = proxy::stateless::forward_response(response, &|_| true)?;
        if !signature::is_ours(&branch, &next, &self.settings.keys) {
            return None;
        }
        match self.edges.by_host(next.sent_by) {
            Way::Edge(edge) => Some((edge, transaction::lane(response.call_id()))),
            Way::None | Way::Dead | Way::Foreign => None,
        }
    }
}
