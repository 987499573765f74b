//! What the cores are told of flows: lost, or back. Pure.
//!
//! Thousands of flows are lost at one moment when a network is: what comes within a few milliseconds leaves as one frame.

use std::time::{Duration, Instant};

use bytes::Bytes;
use link::PeerId;
use proto::frame::Kind;
use proto::{FlowDown, FlowUp};
use sip::Aor;
use transport::Flow;

use crate::keeper::{Keeper, Output};

/// What is said of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// The stream is closed.
    Closed,
    /// Its UA does not answer pings any more.
    Unanswered,
    /// It is there again.
    Back,
}

/// What will be told next: all of one kind, so that the order is kept.
#[derive(Debug, Default)]
pub(crate) struct News {
    what: Option<What>,
    tokens: Vec<Bytes>,
    aors: Vec<String>,
    due: Option<Instant>,
}

/// How long news wait for company: a caller does not notice it.
const GATHER: Duration = Duration::from_millis(5);
/// Flows of one frame: far less than a link takes at once.
const MOST: usize = 256;

impl News {
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl Keeper {
    /// Notes something to be told.
    pub(crate) fn tell(&mut self, what: What, flow: &Flow, aors: &[Aor], now: Instant) {
        if self.news.what != Some(what) || self.news.tokens.len() >= MOST {
            self.publish();
        }
        self.news.what = Some(what);
        self.news.due.get_or_insert(now + GATHER);
        self.news.tokens.extend(self.settings.keys.mint_all(*flow).map(Bytes::from));
        self.news.aors.extend(aors.iter().map(|aor| aor.as_str().to_owned()));
    }

    /// Notes flows of which only the tokens are known.
    pub(crate) fn tell_closed(&mut self, token: Bytes, aor: String, now: Instant) {
        if self.news.what != Some(What::Closed) || self.news.tokens.len() >= MOST {
            self.publish();
        }
        self.news.what = Some(What::Closed);
        self.news.due.get_or_insert(now + GATHER);
        self.news.tokens.push(token);
        self.news.aors.push(aor);
    }

    /// Tells every core what has gathered. One without a link hears it when it has one.
    pub(crate) fn publish(&mut self) {
        let News { what, tokens, aors, .. } = std::mem::take(&mut self.news);
        let Some(what) = what else { return };
        let frame = frame(what, tokens, aors);
        for core in &self.cores {
            self.out.push_back(Output::ToCore(*core, frame.clone()));
        }
    }

    /// A core with a new link knows nothing: what is lost now.
    pub(crate) fn tell_lost(&mut self, core: PeerId) {
        let keys = &self.settings.keys;
        let tokens: Vec<Bytes> =
            self.registered.lost().flat_map(|flow| keys.mint_all(flow).map(Bytes::from)).collect();
        for portion in tokens.chunks(MOST) {
            let frame = frame(What::Unanswered, portion.to_vec(), Vec::new());
            self.out.push_back(Output::ToCore(core, frame));
        }
    }
}

fn frame(what: What, mut tokens: Vec<Bytes>, aors: Vec<String>) -> Kind {
    let reason = match what {
        What::Back => return Kind::FlowUp(FlowUp { tokens }),
        What::Closed => "closed",
        What::Unanswered => "pings unanswered",
    };
    let token = tokens.pop().unwrap_or_default();
    Kind::FlowDown(FlowDown { token, aors, reason: reason.to_owned(), more: tokens })
}
