//! A SUBSCRIBE to the registration state: RFC 6665 §4.2.1 with the package of RFC 3680 §4.
//!
//! Like a REGISTER it is read and checked first ([`read`]), then applied to the record ([`apply`]); the caller stores
//! what comes out by compare-and-set, answers, and sends the NOTIFY. Who may subscribe is decided in between.

use sip::{Aor, Contacts, Name, NameAddr, Reject, Request, StatusCode};

use crate::notify::{self, News, SubscriptionState};
use crate::reginfo::{MIME, Scope};
use crate::update::{require, text};
use crate::watcher::Watcher;
use crate::{Policy, Record, UnixTime};

/// Name of the package, RFC 3680 §4.1.
pub const PACKAGE: &str = "reg";
/// RFC 3680 §4.4: slightly longer than the default of a registration.
const DEFAULT_EXPIRES: u32 = 3_761;
const HOUR: u32 = 3_600;
/// Subscriptions to one address-of-record; each of them costs a NOTIFY for every change.
const MAX_WATCHERS: usize = 32;

/// What a SUBSCRIBE asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    call_id: String,
    cseq: u32,
    from_tag: String,
    /// None outside of a dialog.
    to_tag: Option<String>,
    local: String,
    remote: String,
    target: String,
    route: Vec<String>,
    event_id: Option<String>,
    /// Granted, in seconds; 0 ends the subscription.
    expires: u32,
}

/// What a SUBSCRIBE has led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// To be stored; `None` when nothing changes, as by a poll (RFC 6665 §4.4.3).
    pub record: Option<Record>,
    /// The NOTIFY with the full state (RFC 3680 §4.7.2) that follows the 200 (RFC 6665 §4.2.1.2); its dialog has our tag.
    pub news: News,
    /// Expires of the 200.
    pub expires: u32,
}

/// True for a SUBSCRIBE to this package. The event type is compared byte by byte (RFC 6665 §8.2.1).
pub fn is_meant(request: &Request) -> bool {
    request.headers.get(Name::Event).is_some_and(|event| split_event(event).0 == PACKAGE.as_bytes())
}

/// RFC 6665 §4.2.1.1: what the request asks for.
///
/// # Errors
/// 489 for another package and for none (§4.2.3: no PINT), 420 for an extension that is required, 406 when the subscriber does not take our
/// documents (RFC 3680 §4.5), 423 for an interval that is too brief, 400 without a tag or one Contact.
pub fn read(request: &Request, policy: &Policy) -> Result<Subscribe, Reject> {
    require(request, &[])?;
    if !is_meant(request) {
        return Err(Reject::new(StatusCode::new(489)).with(Name::AllowEvents, PACKAGE));
    }
    if !accepts(request) {
        return Err(Reject::new(StatusCode::new(406)));
    }
    let expires = granted(request, policy)?;
    let (from, to) = (request.from()?, request.to()?);
    let from_tag = from.tag().ok_or_else(|| bad("Missing From Tag"))?;
    let Contacts::List(contacts) = request.contacts()? else { return Err(bad("Missing Contact")) };
    let [contact] = &contacts[..] else { return Err(bad("More Than One Contact")) };
    contact.addr.parsed_uri()?;
    Ok(Subscribe {
        call_id: text(request.call_id(), "Call-ID")?,
        cseq: request.cseq()?.number,
        from_tag: from_tag.to_owned(),
        to_tag: to.tag().map(str::to_owned),
        local: bracketed(&to),
        remote: bracketed(&from),
        target: contact.addr.uri.to_owned(),
        route: request
            .headers
            .values(Name::RecordRoute)
            .map(|element| text(element, "Record-Route"))
            .collect::<Result<_, _>>()?,
        event_id: event_id(request)?,
        expires,
    })
}

/// What becomes of the record of `aor` by a SUBSCRIBE of `subscriber`. `tag` is ours, should a dialog begin.
///
/// # Errors
/// 481 when there is no such subscription, 500 for a request that is out of order (RFC 3261 §12.2.2), 403 when there
/// are too many subscriptions already.
pub fn apply(
    record: &Record,
    subscribe: &Subscribe,
    subscriber: &Aor,
    aor: &Aor,
    tag: &str,
    now: UnixTime,
) -> Result<Outcome, Reject> {
    let known = subscribe.find(record, subscriber, now)?;
    if known.is_none() && subscribe.expires > 0 && record.watchers.len() >= MAX_WATCHERS {
        return Err(Reject::new(StatusCode::new(403)).because("Too Many Watchers"));
    }
    let mut next = record.clone();
    let is_stored = known.is_some() || subscribe.expires > 0;
    let mut watcher = match known {
        Some(at) => next.watchers.remove(at),
        None => subscribe.watcher(subscriber, tag),
    };
    watcher.target.clone_from(&subscribe.target); // RFC 3261 §12.2.2: a target refresh
    watcher.remote_cseq = subscribe.cseq;
    watcher.expires_at = now.after(subscribe.expires);
    watcher.updated_at = now;
    let state = match subscribe.expires {
        0 => SubscriptionState::Terminated,
        seconds => SubscriptionState::Active(seconds),
    };
    let news = notify::one(&mut watcher, &next.bindings, aor, Some(Scope::Full), state, now);
    if subscribe.expires > 0 {
        next.watchers.insert(known.unwrap_or(next.watchers.len()), watcher);
    }
    Ok(Outcome { record: is_stored.then_some(next), news, expires: subscribe.expires })
}

impl Subscribe {
    /// Where the subscription stands that this request is about.
    ///
    /// One that begins a dialog may be seen twice: the core that has stored it dies before it answers, and the edge asks
    /// another core.
    fn find(&self, record: &Record, subscriber: &Aor, now: UnixTime) -> Result<Option<usize>, Reject> {
        let is_it = |watcher: &&Watcher| {
            watcher.is_live(now)
                && watcher.call_id == self.call_id
                && watcher.remote_tag == self.from_tag
                && watcher.event_id == self.event_id
                && watcher.subscriber == subscriber.as_str()
        };
        let position = |is_meant: &dyn Fn(&Watcher) -> bool| {
            record.watchers.iter().position(|watcher| is_it(&watcher) && is_meant(watcher))
        };
        let Some(tag) = &self.to_tag else {
            return Ok(position(&|watcher| watcher.remote_cseq == self.cseq));
        };
        let at = position(&|watcher| watcher.local_tag == *tag);
        match at.and_then(|at| record.watchers.get(at)) {
            None => Err(Reject::new(StatusCode::new(481))),
            Some(watcher) if watcher.remote_cseq > self.cseq => {
                Err(Reject::new(StatusCode::new(500)).because("CSeq Out of Order"))
            }
            Some(_) => Ok(at),
        }
    }

    fn watcher(&self, subscriber: &Aor, tag: &str) -> Watcher {
        Watcher {
            call_id: self.call_id.clone(),
            local_tag: tag.to_owned(),
            remote_tag: self.from_tag.clone(),
            local: self.local.clone(),
            remote: self.remote.clone(),
            route: self.route.clone(),
            event_id: self.event_id.clone(),
            subscriber: subscriber.as_str().to_owned(),
            ..Watcher::default()
        }
    }
}

/// RFC 3680 §4.5: Accept, if there is one, names our documents.
fn accepts(request: &Request) -> bool {
    let mut ranges = request.headers.values(Name::Accept).peekable();
    ranges.peek().is_none()
        || ranges.any(|range| {
            let range = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            [MIME, "application/*", "*/*"].iter().any(|ours| range.eq_ignore_ascii_case(ours.as_bytes()))
        })
}

/// RFC 6665 §4.2.1.1, §4.2.1.4: no longer than asked for, and 423 for less than an hour and less than the minimum.
fn granted(request: &Request, policy: &Policy) -> Result<u32, Reject> {
    let asked = request.expires().unwrap_or(DEFAULT_EXPIRES);
    if asked > 0 && asked < policy.min_expires && asked < HOUR {
        return Err(Reject::new(StatusCode::new(423)).with(Name::MinExpires, policy.min_expires.to_string()));
    }
    Ok(asked.min(policy.max_expires.max(DEFAULT_EXPIRES)))
}

/// The event type and its parameters.
fn split_event(event: &[u8]) -> (&[u8], &[u8]) {
    let end = event.iter().position(|byte| *byte == b';').unwrap_or(event.len());
    let (package, params) = event.split_at(end);
    (package.trim_ascii(), params)
}

fn event_id(request: &Request) -> Result<Option<String>, Reject> {
    let (_, params) = split_event(request.headers.get(Name::Event).unwrap_or_default());
    let params = text(params, "Event")?;
    let mut ids = params.split(';').filter_map(|param| {
        let (name, value) = param.split_once('=')?;
        name.trim().eq_ignore_ascii_case("id").then(|| value.trim().to_owned())
    });
    Ok(ids.next())
}

/// A local or remote URI as From and To of later requests (RFC 3261 §12.1.1): the name is no part of it.
fn bracketed(addr: &NameAddr<'_>) -> String {
    format!("<{}>", addr.uri)
}

fn bad(reason: &'static str) -> Reject {
    Reject::new(StatusCode::new(400)).because(reason)
}

#[cfg(test)]
mod tests;
