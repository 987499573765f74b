//! What holds for every script of messages, orders and failures.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sip::{Message, Method, Request};
use transaction::{ClientId, ServerId};

use support::{Hop, Stage, Told, answer, read, request};

/// 64·T1: the longest that any transaction lives without an event, a ringing INVITE excepted.
const LIFETIME: u64 = 32_000;

/// One thing that happens. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Receive { method: Method, branch: u8, hop: Hop },
    Respond { nth: usize, status: u16 },
    Launch { method: Method, hop: Hop },
    Answer { nth: usize, status: u16, of_cancel: bool },
    Cancel { nth: usize },
    Abandon { nth: usize },
    GiveUp { nth: usize },
    Fail(Hop),
}

/// The layer with what its TU knows.
struct Play {
    stage: Stage,
    clients: Vec<(ClientId, Request, Hop)>,
    abandoned: BTreeSet<ClientId>,
}

impl Play {
    fn new() -> Self {
        Self { stage: Stage::new(), clients: Vec::new(), abandoned: BTreeSet::new() }
    }

    fn run(steps: &[Step]) -> Self {
        let mut play = Self::new();
        let mut now = 0;
        for step in steps {
            play.step(step, &mut now);
        }
        // The TU does its duty: every INVITE gets a final, nobody waits for a phone for ever.
        for nth in 0..play.stage.servers.len() {
            play.stage.respond(nth, 500);
        }
        for nth in 0..play.clients.len() {
            play.stage.cancel(play.clients[nth].0);
            let (_, request, hop) = play.clients[nth].clone();
            if request.method == Method::Invite {
                // A waiting CANCEL goes out with this one.
                play.stage.receive(answer(&request, 180), hop);
            }
        }
        play.wait(now + LIFETIME);
        play
    }

    fn step(&mut self, step: &Step, now: &mut u64) {
        match step.clone() {
            Step::Wait(ms) => {
                *now += ms;
                self.wait(*now);
            }
            Step::Receive { method, branch, hop } => {
                self.stage.receive(request(&method, &format!("z9hG4bKs{branch}")), hop);
            }
            Step::Respond { nth, status } if !self.stage.servers.is_empty() => {
                self.stage.respond(nth % self.stage.servers.len(), status);
            }
            Step::Launch { method, hop } => {
                let request = request(&method, &format!("z9hG4bKc{}", self.clients.len()));
                let id = self.stage.request(request.clone(), hop);
                self.clients.push((id, request, hop));
            }
            Step::Answer { nth, status, of_cancel } if !self.clients.is_empty() => {
                let (_, request, hop) = &self.clients[nth % self.clients.len()];
                let mut response = answer(request, status);
                if of_cancel {
                    response.headers.set(sip::Name::CSeq, "986759 CANCEL");
                }
                self.stage.receive(response, *hop);
            }
            Step::Cancel { nth } if !self.clients.is_empty() => {
                self.stage.cancel(self.clients[nth % self.clients.len()].0);
            }
            Step::Abandon { nth } if !self.clients.is_empty() => {
                let id = self.clients[nth % self.clients.len()].0;
                self.stage.layer.abandon(id);
                if !self.stage.told.contains(&Told::ClientEnded(id)) {
                    self.abandoned.insert(id);
                }
            }
            Step::GiveUp { nth } if !self.clients.is_empty() => {
                self.stage.layer.give_up(self.clients[nth % self.clients.len()].0);
            }
            Step::Fail(hop) => {
                self.stage.transport_error(hop);
            }
            Step::Respond { .. }
            | Step::Answer { .. }
            | Step::Cancel { .. }
            | Step::Abandon { .. }
            | Step::GiveUp { .. } => {}
        }
    }

    /// Time repeats nothing on a reliable hop: only a first 100 may leave.
    fn wait(&mut self, until: u64) {
        let before = self.stage.sent.len();
        self.stage.at(until);
        for (hop, message) in &self.stage.sent[before..] {
            let is_trying = matches!(message, Message::Response(response) if response.status.code() == 100);
            assert!(matches!(hop, Hop::Udp(_)) || is_trying, "{hop:?} {message:?}");
        }
    }
}

fn hop() -> impl Strategy<Value = Hop> {
    prop_oneof![(0..2_u8).prop_map(Hop::Udp), (0..2_u8).prop_map(Hop::Tcp)]
}

fn status() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![100, 180, 183, 200, 202, 302, 404, 408, 486, 487, 500, 603])
}

fn method(of: &'static [Method]) -> impl Strategy<Value = Method> {
    prop::sample::select(of)
}

fn step() -> impl Strategy<Value = Step> {
    const IN: &[Method] =
        &[Method::Invite, Method::Invite, Method::Ack, Method::Cancel, Method::Options, Method::Register];
    const OUT: &[Method] = &[Method::Invite, Method::Options];
    prop_oneof![
        3 => prop_oneof![0..600_u64, 0..40_000_u64].prop_map(Step::Wait),
        4 => (method(IN), 0..4_u8, hop()).prop_map(|(method, branch, hop)| Step::Receive { method, branch, hop }),
        3 => (any::<usize>(), status()).prop_map(|(nth, status)| Step::Respond { nth, status }),
        2 => (method(OUT), hop()).prop_map(|(method, hop)| Step::Launch { method, hop }),
        4 => (any::<usize>(), status(), prop::bool::weighted(0.2))
            .prop_map(|(nth, status, of_cancel)| Step::Answer { nth, status, of_cancel }),
        1 => any::<usize>().prop_map(|nth| Step::Cancel { nth }),
        1 => any::<usize>().prop_map(|nth| Step::Abandon { nth }),
        1 => any::<usize>().prop_map(|nth| Step::GiveUp { nth }),
        1 => hop().prop_map(Step::Fail),
    ]
}

fn script() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..60)
}

/// What a response on the wire answers: branch and method.
fn answered(message: &Message) -> Option<(String, Method, u16)> {
    let Message::Response(response) = message else { return None };
    let branch = response.top_via()?.ok()?.branch()?.to_owned();
    Some((branch, response.cseq().ok()?.method, response.status.code()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn every_transaction_ends_exactly_once_and_says_nothing_after(steps in script()) {
        let play = Play::run(&steps);
        let mut ended = BTreeSet::new();
        for told in &play.stage.told {
            match told {
                Told::ClientEnded(id) => prop_assert!(ended.insert((Some(*id), None))),
                Told::ServerEnded(id) => prop_assert!(ended.insert((None, Some(*id)))),
                Told::Response(id, _) | Told::Timeout(id) | Told::Error(id) => {
                    prop_assert!(!ended.contains(&(Some(*id), None)));
                }
                Told::Request(id) | Told::Cancel(id) => prop_assert!(!ended.contains(&(None, Some(*id)))),
            }
        }
        let expected: BTreeSet<(Option<ClientId>, Option<ServerId>)> = play
            .clients
            .iter()
            .map(|(id, ..)| (Some(*id), None))
            .filter(|(id, _)| !play.abandoned.contains(&id.expect("a client")))
            .chain(play.stage.servers.iter().map(|(id, _)| (None, Some(*id))))
            .collect();
        prop_assert_eq!(ended, expected);
    }

    #[test]
    fn nothing_is_left_after_64_t1_of_silence(steps in script()) {
        let mut play = Play::run(&steps);
        let counts = play.stage.layer.counts();
        prop_assert_eq!(counts.total(), 0, "{:?}", counts);
        prop_assert_eq!(play.stage.layer.poll_timeout(), None);
        prop_assert!(play.stage.layer.poll_output().is_none());
    }

    #[test]
    fn a_client_transaction_gives_one_final_or_failure_unless_accepted(steps in script()) {
        let play = Play::run(&steps);
        let mut outcomes: BTreeMap<ClientId, Vec<Told>> = BTreeMap::new();
        for told in &play.stage.told {
            match told {
                Told::Response(id, status) => {
                    let outcome = outcomes.entry(*id).or_default();
                    // No provisional response after a final.
                    prop_assert!(status.is_final() || outcome.is_empty());
                    if status.is_final() {
                        outcome.push(*told);
                    }
                }
                Told::Timeout(id) | Told::Error(id) => outcomes.entry(*id).or_default().push(*told),
                Told::Request(_) | Told::Cancel(_) | Told::ClientEnded(_) | Told::ServerEnded(_) => {}
            }
        }
        for (id, request, _) in &play.clients {
            let outcome = outcomes.get(id).map(Vec::as_slice).unwrap_or_default();
            let is_success = |told: &Told| matches!(told, Told::Response(_, status) if status.is_success());
            let is_accepted = request.method == Method::Invite && outcome.iter().all(is_success);
            prop_assert!(outcome.len() <= 1 || is_accepted, "{:?} {:?}", request.method, outcome);
            prop_assert!(!outcome.is_empty() || play.abandoned.contains(id));
        }
    }

    #[test]
    fn the_wire_sees_one_final_of_a_server_transaction_unless_accepted(steps in script(), on in hop()) {
        // Every request has a branch of its own here, so that the wire shows which transaction speaks.
        let mut play = Play::new();
        let (mut now, mut branch) = (0, 0);
        for step in &steps {
            match step {
                Step::Receive { method, .. } => {
                    let method = if *method == Method::Ack { &Method::Invite } else { method };
                    let request = request(method, &format!("z9hG4bKs{branch}"));
                    branch += 1;
                    // Twice: the second is absorbed.
                    play.stage.receive(request.clone(), on).receive(request, on);
                }
                Step::Wait(_) | Step::Respond { .. } => play.step(step, &mut now),
                Step::Launch { .. } | Step::Answer { .. } | Step::Cancel { .. } | Step::Abandon { .. } | Step::GiveUp { .. } | Step::Fail(_) => {}
            }
        }
        prop_assert_eq!(play.stage.servers.len(), branch);
        let mut finals: BTreeMap<(String, String), BTreeSet<u16>> = BTreeMap::new();
        for (branch, method, status) in play.stage.sent.iter().filter_map(|(_, message)| answered(message)) {
            let seen = finals.entry((branch, method.to_string())).or_default();
            if method != Method::Invite {
                prop_assert!(status != 408, "RFC 4320 §4.2");
                prop_assert!(status >= 200 || status == 100, "RFC 4320 §4.1");
            }
            if status >= 200 {
                seen.insert(status);
            } else {
                prop_assert!(seen.is_empty(), "a provisional response after a final");
            }
            let is_accepted = method == Method::Invite && seen.iter().all(|status| status / 100 == 2);
            prop_assert!(seen.len() <= 1 || is_accepted, "{} {:?}", method, seen);
        }
    }

    #[test]
    fn one_request_is_told_once_while_its_transaction_lives(steps in script()) {
        let play = Play::run(&steps);
        let mut requests = play.stage.servers.iter();
        let mut living: BTreeMap<ServerId, (String, String)> = BTreeMap::new();
        for told in &play.stage.told {
            match told {
                Told::Request(id) => {
                    let (_, request) = requests.next().expect("as many as were told");
                    let branch = request.top_via().unwrap().branch().unwrap().to_owned();
                    let key = (branch, request.method.to_string());
                    prop_assert!(living.values().all(|other| *other != key), "{:?}", key);
                    living.insert(*id, key);
                }
                Told::ServerEnded(id) => {
                    living.remove(id);
                }
                Told::Cancel(_) | Told::Response(..) | Told::Timeout(_) | Told::Error(_) | Told::ClientEnded(_) => {}
            }
        }
    }

    #[test]
    fn a_request_leaves_once_on_a_reliable_hop(steps in script()) {
        let play = Play::run(&steps);
        let mut sent = BTreeSet::new();
        for (hop, message) in &play.stage.sent {
            if let (Hop::Tcp(_), Message::Request(request)) = (hop, message) {
                let branch = request.top_via().unwrap().branch().unwrap().to_owned();
                prop_assert!(sent.insert((branch, request.method.to_string())), "{:?}", request);
            }
        }
    }

    #[test]
    fn the_same_script_gives_the_same_bytes(steps in script()) {
        let (one, two) = (Play::run(&steps), Play::run(&steps));
        prop_assert_eq!(one.stage.log, two.stage.log);
        let bytes = |sent: &[(Hop, Message)]| sent.iter().map(|(_, message)| message.encode()).collect::<Vec<_>>();
        prop_assert_eq!(bytes(&one.stage.sent), bytes(&two.stage.sent));
    }

    #[test]
    fn what_is_sent_can_be_read(steps in script()) {
        for (_, message) in Play::run(&steps).stage.sent {
            prop_assert_eq!(read(message.encode()).encode(), message.encode());
        }
    }
}
