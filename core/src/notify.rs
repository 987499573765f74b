//! NOTIFYs of the registration state (RFC 3680) and what comes of them, RFC 6665 §4.2.2.
//!
//! A NOTIFY follows the route set of its dialog. When that names an edge that is gone, or a flow that is, it goes where the
//! subscriber has registered since, like any request inside a dialog. One that cannot be delivered is not kept: it has
//! used up a version of the document, and by the next one the subscriber sees that (RFC 3680 §5.2).

use std::time::Instant;

use bytes::Bytes;
use location::{Answer, Query, Save};
use proxy::branch;
use proxy::context::Failure;
use proxy::target::Target;
use registrar::notify::{News, SubscriptionState};
use registrar::reginfo::MIME;
use registrar::subscribe::PACKAGE;
use registrar::watcher::Watcher;
use sip::{Aor, Method, Name, Request, Response, StatusCode};
use transaction::ClientId;

use crate::callee::{Callee, Who};
use crate::edges::Way;
use crate::egress;
use crate::engine::{Core, EdgeHop, Output};
use crate::in_dialog::{FLOW_FAILED, drop_routes};
use crate::pending::Pending;
use crate::signature;

/// What a watcher is to be told, by the shard that has the transactions of its Call-ID.
#[derive(Debug)]
pub struct Notify {
    /// Who is watched.
    pub aor: Aor,
    /// The dialog and the document.
    pub news: News,
}

/// A NOTIFY on its way.
#[derive(Debug)]
pub(crate) struct Notification {
    aor: Aor,
    watcher: Box<Watcher>,
    request: Request,
    /// What is left to try, the best last; `None` before the location service was asked.
    ways: Option<Vec<Target>>,
}

/// A subscription that has to go, whose record is being read or saved.
#[derive(Debug)]
pub(crate) struct Unsubscribe {
    aor: Aor,
    watcher: Box<Watcher>,
    rounds: u32,
}

const MAX_ROUNDS: u32 = 8;

impl Core {
    /// Hands on what is to be told, now that it is stored.
    pub(crate) fn publish(&mut self, aor: &Aor, news: Vec<News>) {
        for news in news {
            self.out.push_back(Output::Notify(Box::new(Notify { aor: aor.clone(), news })));
        }
    }

    /// Sends one NOTIFY.
    pub(crate) fn notify(&mut self, aor: &Aor, news: News, now: Instant) {
        let request = request(aor, &news);
        let notification =
            Notification { aor: aor.clone(), watcher: Box::new(news.watcher), request, ways: None };
        self.counters.notified += 1;
        self.send_by_route(notification, now);
    }

    /// RFC 3261 §12.2.1.1: by the route set, without the edges that have died. A GRUU of ours is no place to send to: it
    /// stands for the flows of a UA (RFC 5627 §6.1).
    fn send_by_route(&mut self, mut it: Notification, now: Instant) {
        let is_gruu = it.request.request_uri().is_ok_and(|uri| {
            self.settings.serves(&uri) && matches!(Callee::of_gruu(&uri, &self.settings.keys), Ok(Some(_)))
        });
        // What the subscriber has record-routed lets nothing out of the cluster.
        match self.edges.past_the_dead(&it.request, egress::is_marked) {
            (Way::Edge(_), dead) if !is_gruu => {
                drop_routes(&mut it.request, dead);
                let copy = it.request.clone();
                self.send(it, copy, now);
            }
            (Way::Edge(_) | Way::None | Way::Dead | Way::Foreign, _) => self.look_up(it),
        }
    }

    /// Asks where the subscriber has registered.
    fn look_up(&mut self, it: Notification) {
        match self.subscriber_of(&it) {
            Some(callee) => {
                let query = Query::Load { aor: callee.aor.clone(), user: None };
                self.ask(query, Pending::Notify(Box::new((it, callee))));
            }
            None => self.counters.lost_notifies += 1,
        }
    }

    fn subscriber_of(&self, it: &Notification) -> Option<Callee> {
        let uri = it.request.request_uri().ok()?;
        if self.settings.serves(&uri)
            && let Ok(Some(callee)) = Callee::of_gruu(&uri, &self.settings.keys)
        {
            return Some(callee);
        }
        let aor = Aor::parse(&it.watcher.subscriber).ok()?;
        self.settings.owns(&aor).then_some(Callee { aor, who: Who::RemoteTarget })
    }

    /// The store has said where the subscriber is.
    pub(crate) fn on_notify_answer(
        &mut self,
        it: Notification,
        callee: &Callee,
        answer: Answer,
        now: Instant,
    ) {
        let Answer::Loaded { record, .. } = answer else {
            self.counters.lost_notifies += 1;
            return;
        };
        let mut ways = callee.targets(&record, &it.request, self.unix(now));
        ways.reverse();
        self.send_next(Notification { ways: Some(ways), ..it }, now);
    }

    /// Tries the next way.
    fn send_next(&mut self, mut it: Notification, now: Instant) {
        while let Some(way) = it.ways.as_mut().and_then(Vec::pop) {
            let mut request = it.request.clone();
            request.headers.remove(Name::Route);
            if let Ok(copy) = branch::copy(&request, &way)
                && matches!(self.edges.by_route(&copy), Way::Edge(_))
            {
                return self.send(it, copy, now);
            }
        }
        self.counters.lost_notifies += 1;
    }

    fn send(&mut self, it: Notification, mut copy: Request, now: Instant) {
        let Way::Edge(edge) = self.edges.by_route(&copy) else {
            self.counters.lost_notifies += 1;
            return;
        };
        let (token, hash) = (self.layer.ids().branch(), branch::loop_hash(&copy));
        branch::push_via(&mut copy, "TLS", signature::SENT_BY, &token, hash);
        let client = self.layer.request(copy, EdgeHop(edge), now);
        self.notifications.insert(client, it);
    }

    /// What became of a NOTIFY, if it was one.
    pub(crate) fn on_notify_response(&mut self, client: ClientId, response: &Response, now: Instant) {
        if response.status.class() == 1 {
            return;
        }
        let Some(it) = self.notifications.remove(&client) else { return };
        if response.status == FLOW_FAILED {
            self.on_no_flow(it, now);
        } else if ends_the_subscription(response.status) {
            self.unsubscribe(it.aor, it.watcher);
        } else if response.status.class() != 2 {
            self.counters.lost_notifies += 1;
        }
    }

    /// RFC 6665 §4.2.2: Timer F ends the subscription; a flow that is lost does not.
    pub(crate) fn on_notify_failure(&mut self, client: ClientId, failure: Failure, now: Instant) {
        let Some(it) = self.notifications.remove(&client) else { return };
        match failure {
            Failure::Timeout => self.unsubscribe(it.aor, it.watcher),
            Failure::NoRoute | Failure::Transport => self.on_no_flow(it, now),
        }
    }

    fn on_no_flow(&mut self, it: Notification, now: Instant) {
        if it.ways.is_some() {
            self.send_next(it, now);
        } else {
            self.look_up(it);
        }
    }

    fn unsubscribe(&mut self, aor: Aor, watcher: Box<Watcher>) {
        self.counters.unsubscribed += 1;
        self.find_subscription(Unsubscribe { aor, watcher, rounds: 0 });
    }

    fn find_subscription(&mut self, mut it: Unsubscribe) {
        it.rounds += 1;
        self.ask(Query::Load { aor: it.aor.clone(), user: None }, Pending::Unsubscribe(Box::new(it)));
    }

    /// The store has answered one of the questions about a subscription that has to go.
    pub(crate) fn on_unsubscribe_answer(&mut self, it: Unsubscribe, answer: Answer) {
        match answer {
            Answer::Loaded { mut record, .. } => {
                let count = record.watchers.len();
                record.watchers.retain(|watcher| !watcher.is_same_dialog(&it.watcher));
                if record.watchers.len() < count {
                    let save =
                        Save { aor: it.aor.clone(), expected: record.version, record, changes: Vec::new() };
                    self.ask(Query::Save(save), Pending::Unsubscribe(Box::new(it)));
                }
            }
            Answer::Conflict if it.rounds < MAX_ROUNDS => self.find_subscription(it),
            // If it stays, the next NOTIFY finds out again.
            Answer::Saved { .. } | Answer::Conflict | Answer::Unavailable | Answer::Credentials(_) => {}
        }
    }
}

/// RFC 6665 §4.2.2: these remove the subscription. 408 is what Timer F of a hop before us has to say.
fn ends_the_subscription(status: StatusCode) -> bool {
    matches!(status.code(), 404 | 405 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 604)
}

/// The Contact of the notifier: the watched address itself, which any core serves. RFC 3261 §12.1.1: a sips URI for who
/// has given one.
pub(crate) fn contact(aor: &Aor, watcher: &Watcher) -> String {
    let is_secure = watcher.target.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"));
    if is_secure { format!("<sips:{}@{}>", aor.user(), aor.domain()) } else { format!("<{aor}>") }
}

/// RFC 6665 §4.2.2 with RFC 3261 §12.2.1.1.
fn request(aor: &Aor, news: &News) -> Request {
    let News { watcher, state, body } = news;
    let mut request = Request::new(Method::Notify, Bytes::copy_from_slice(watcher.target.as_bytes()));
    let headers = &mut request.headers;
    headers.append(Name::MaxForwards, "70");
    for route in &watcher.route {
        headers.append(Name::Route, Bytes::copy_from_slice(route.as_bytes()));
    }
    headers.append(Name::From, format!("{};tag={}", watcher.local, watcher.local_tag));
    headers.append(Name::To, format!("{};tag={}", watcher.remote, watcher.remote_tag));
    headers.append(Name::CallId, Bytes::copy_from_slice(watcher.call_id.as_bytes()));
    headers.append(Name::CSeq, format!("{} NOTIFY", watcher.cseq));
    headers.append(Name::Contact, contact(aor, watcher));
    headers.append(
        Name::Event,
        match &watcher.event_id {
            Some(id) => format!("{PACKAGE};id={id}"),
            None => PACKAGE.to_owned(),
        },
    );
    headers.append(
        Name::SubscriptionState,
        match state {
            SubscriptionState::Active(seconds) => format!("active;expires={seconds}"),
            SubscriptionState::Terminated => "terminated;reason=timeout".to_owned(),
        },
    );
    if let Some(body) = body {
        headers.append(Name::ContentType, MIME);
        request.body = Bytes::copy_from_slice(body.as_bytes());
    }
    let length = request.body.len().to_string();
    request.headers.append(Name::ContentLength, length);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_a_sips_contact_gets_one() {
        let aor = Aor::parse("alice@example.com").unwrap();
        for (target, expected) in [
            ("sip:alice@192.0.2.1", "<sip:alice@example.com>"),
            ("SIPS:alice@192.0.2.1", "<sips:alice@example.com>"),
        ] {
            let watcher = Watcher { target: target.to_owned(), ..Watcher::default() };
            assert_eq!(contact(&aor, &watcher), expected);
        }
    }

    #[test]
    fn the_statuses_that_end_a_subscription_are_those_of_the_rfc() {
        let ending: Vec<u16> =
            (300..700).filter(|code| ends_the_subscription(StatusCode::new(*code))).collect();
        // RFC 6665 §4.2.2, and 408 for Timer F.
        assert_eq!(ending, [404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604]);
    }
}
