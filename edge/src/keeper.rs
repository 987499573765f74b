//! The keeper of flows: pings what is registered here, and tells the cores what is lost and what is back. Pure.
//!
//! A stream is lost when it is closed, and then for ever; a flow over UDP when its phone does not answer any more: `health`.
//!
//! One keeper for a process, beside the shards: the answer to a REGISTER reaches it from whichever shard has it. What a
//! core is told is a hint (the edge's 430 and the expiry are the truth), so it is not repeated: each link begins with what is
//! lost at that moment.
//!
//! `probe` asks more often where an INVITE was not answered, `registered` holds the table, `ping` the messages, `news` what the
//! cores are told, `recovery` how the flows of the time before a restart come back; the wheel is [`transport::ping`]'s.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use link::PeerId;
use proto::Flows;
use proto::frame::Kind;
use std::collections::VecDeque;
use transaction::Ids;
use transport::Flow;
use transport::ping::Wheel;
use transport::pong::PingId;
use transport::token::Keys;

use crate::health;
use crate::news::{News, What};
use crate::ping::{Composer, DOUBLE_CRLF, NatPing, ZEROS, is_datagram};
use crate::probe::Probes;
use crate::recovery::Recovery;
use crate::registered::{Learned, PROTOCOLS, Registered, Registration};
use crate::settings::Settings;

/// What happens to a keeper.
#[derive(Debug)]
pub enum Input {
    /// A REGISTER was answered with 200.
    Registered(Box<Registration>),
    /// A stream is closed, or nothing can be sent on a flow.
    FlowDown(Flow),
    /// An INVITE on a flow has had no answer for a while.
    Silent(Flow),
    /// The phone of a lost flow has spoken.
    Heard(Flow),
    /// A ping was answered.
    Answered {
        /// On which flow.
        flow: Flow,
        /// Which one.
        ping: PingId,
    },
    /// The link to a core stands.
    CoreUp(PeerId),
    /// The link to a core is lost.
    CoreDown(PeerId),
    /// A core says which flows this edge had.
    Flows(PeerId, Flows),
    /// Tokens are made with these keys from now on.
    Keys(Box<Keys>),
    /// Asks for [`Output::Report`].
    Report,
}

/// What a keeper wants done.
#[derive(Debug)]
pub enum Output {
    /// A ping for a flow.
    Ping {
        /// Where to.
        flow: Flow,
        /// Not always a message.
        bytes: Bytes,
    },
    /// A flow is lost by silence: what waits on it waits in vain.
    Lost(Flow),
    /// It is not lost any more: its phone answers, or has no registration left.
    Back(Flow),
    /// A frame for a core.
    ToCore(PeerId, Kind),
    /// A stream has to be closed when its UA is not heard any more (Flow-Timer).
    Supervise(Flow),
    /// What was counted so far.
    Report(Box<Counters>),
}

/// How flows are kept.
#[derive(Debug, Clone, Copy)]
pub struct Pings {
    /// With what.
    pub mode: NatPing,
    /// How often.
    pub interval: Duration,
    /// After how many unanswered ones in a row a flow is lost; 0: never.
    pub lost: u8,
}

/// Counters since start, and gauges of this moment.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Pings sent.
    pub pings: u64,
    /// Pings answered with a message.
    pub answered: u64,
    /// Pings not answered by UAs that do answer.
    pub unanswered: u64,
    /// Flows reported as lost.
    pub lost: u64,
    /// Flows reported as back.
    pub returned: u64,
    /// Flows taken over from the time before a restart.
    pub recovered: u64,
    /// Gauge: flows with registrations, in the order of their protocols.
    pub registered: [u64; PROTOCOLS.len()],
}

/// The state of a keeper.
#[derive(Debug)]
pub struct Keeper {
    pub(crate) settings: Settings,
    pub(crate) pings: Pings,
    /// Upper half of the numbers of this process's connections, and what its pings are known by.
    pub(crate) epoch: u32,
    ids: Ids,
    pub(crate) registered: Registered,
    wheel: Wheel,
    pub(crate) composer: Composer,
    pub(crate) cores: BTreeSet<PeerId>,
    pub(crate) news: News,
    pub(crate) recovery: Recovery,
    pub(crate) out: VecDeque<Output>,
    pub(crate) counters: Counters,
    due: Vec<u32>,
    /// Flows that are asked more often, since an INVITE was not answered.
    pub(crate) probes: Probes,
}

impl Keeper {
    /// A keeper that knows nothing yet.
    pub fn new(settings: Settings, pings: Pings, epoch: u32, seed: [u8; 32], now: Instant) -> Self {
        let mut ids = Ids::new(seed);
        let hasher = ahash::RandomState::with_seeds(ids.u64(), ids.u64(), ids.u64(), ids.u64());
        Self {
            composer: Composer::new(&settings, epoch),
            recovery: Recovery::new(ids.u64()),
            settings,
            pings,
            epoch,
            ids,
            registered: Registered::new(hasher, now),
            wheel: Wheel::new(pings.interval, now),
            cores: BTreeSet::new(),
            news: News::default(),
            out: VecDeque::new(),
            counters: Counters::default(),
            due: Vec::new(),
            probes: Probes::default(),
        }
    }

    /// What was counted so far, with the gauges of this moment.
    pub fn counters(&self) -> Counters {
        Counters { registered: self.registered.by_protocol(), ..self.counters.clone() }
    }

    fn on_registered(&mut self, registration: &Registration, now: Instant) {
        let Learned { flow, ended } = self.registered.learn(registration, now);
        for number in ended {
            self.forget(number);
        }
        self.let_go();
        let Some((number, new)) = flow else { return };
        if new {
            self.keep(number, now);
        } else {
            self.is_used(number, now);
        }
        if registration.supervised && registration.flow.protocol.is_reliable() {
            self.out.push_back(Output::Supervise(registration.flow));
        }
    }

    /// From now on a flow is pinged.
    pub(crate) fn keep(&mut self, number: u32, now: Instant) {
        let random = self.ids.u64();
        self.wheel.insert(number, random, now);
    }

    fn on_flow_down(&mut self, flow: &Flow, now: Instant) {
        let Some(number) = self.registered.number(flow) else { return };
        self.forget(number);
        let aors = self.registered.remove(number);
        self.let_go();
        self.counters.lost += 1;
        self.tell(What::Closed, flow, &aors, now);
    }

    /// Lost flows without a registration are nobody's concern any more.
    fn let_go(&mut self) {
        self.out.extend(self.registered.forgotten.drain(..).map(Output::Back));
    }

    /// A flow is due on the wheel.
    fn on_due(&mut self, number: u32, now: Instant) {
        if self.registered.expire(number, now) {
            self.let_go();
            return self.forget(number);
        }
        let Some(entry) = self.registered.get(number) else { return };
        let flow = entry.flow;
        if self.pings.mode == NatPing::Off || self.probes.has(number) {
            return;
        }
        if !is_datagram(&flow) {
            self.send(flow, Bytes::from_static(DOUBLE_CRLF));
        } else if health::is_asked(entry, self.pings.mode) {
            let missed = self.miss(number);
            if self.pings.lost > 0 && missed >= self.pings.lost {
                self.lose(number, now);
            }
            self.ask_phone(number, now);
        } else {
            self.send(flow, Bytes::from_static(ZEROS));
        }
    }

    pub(crate) fn send(&mut self, flow: Flow, bytes: Bytes) {
        self.counters.pings += 1;
        self.out.push_back(Output::Ping { flow, bytes });
    }

    /// The flow is out of the table.
    fn forget(&mut self, number: u32) {
        self.wheel.remove(number);
        self.probes.forget(number);
    }
}

impl node::Engine for Keeper {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Registered(registration) => self.on_registered(&registration, now),
            Input::FlowDown(flow) => self.on_flow_down(&flow, now),
            Input::Silent(flow) => self.on_silent(&flow, now),
            Input::Heard(flow) => self.on_heard(&flow, now),
            Input::Answered { flow, ping } => self.on_answered(&flow, ping, now),
            Input::CoreUp(core) => self.on_core_up(core, now),
            Input::CoreDown(core) => self.on_core_down(core, now),
            Input::Flows(core, flows) => self.on_flows(core, &flows, now),
            Input::Keys(keys) => self.settings.keys = *keys,
            Input::Report => self.out.push_back(Output::Report(Box::new(self.counters()))),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let mut due = std::mem::take(&mut self.due);
        while self.wheel.due(now, &mut due) {
            for number in due.drain(..) {
                self.on_due(number, now);
            }
        }
        self.due = due;
        self.on_probes_due(now);
        self.on_recovery_due(now);
        if self.news.due().is_some_and(|due| due <= now) {
            self.publish();
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.wheel.next(), self.probes.next(), self.news.due(), self.recovery.due()]
            .into_iter()
            .flatten()
            .min()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }
}

#[cfg(test)]
mod tests;
