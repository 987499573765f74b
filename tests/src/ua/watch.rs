//! Subscriptions, the subscriber's side: RFC 6665 §4.1, for any event package.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rsip::{Headers, Method, Request};

use super::client::{Purpose, to_tag};
use super::message::{cseq, elements, first, header, lines, param, request, uri_of};
use super::{Challenge, Ua};

/// One SUBSCRIBE as a test wants it.
#[derive(Debug, Clone)]
pub struct Subscribe {
    /// The line that it leaves on.
    pub line: usize,
    /// Who is watched, as a URI.
    pub target: String,
    /// Value of Event.
    pub event: String,
    /// Value of Expires.
    pub expires: Option<u32>,
    /// Another password than the right one.
    pub password: Option<String>,
    /// Whole header lines to add.
    pub extra: Vec<(String, String)>,
}

impl Subscribe {
    /// An ordinary one to the registration state.
    pub fn to(target: impl Into<String>) -> Self {
        Self {
            line: 0,
            target: target.into(),
            event: "reg".to_owned(),
            expires: None,
            password: None,
            extra: Vec::new(),
        }
    }
}

/// A subscription and its dialog.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Its Call-ID.
    pub call_id: String,
    /// The final of the last SUBSCRIBE, challenges that were answered left out; 408 when nobody answered.
    pub status: Option<u16>,
    /// The headers of that final.
    pub headers: Headers,
    /// What it was told, repetitions left out.
    pub notified: Vec<Notified>,
    /// What it answers to a NOTIFY; `None`: nothing.
    pub answer: Option<u16>,
    wanted: Subscribe,
    cseq: u32,
    local_tag: String,
    remote_tag: String,
    remote_target: String,
    route: Vec<String>,
    attempts: u32,
}

/// One NOTIFY.
#[derive(Debug, Clone)]
pub struct Notified {
    /// When it came.
    pub at: Duration,
    /// Its CSeq number.
    pub cseq: u32,
    /// Value of Event.
    pub event: String,
    /// Value of Subscription-State.
    pub state: String,
    /// The document.
    pub body: String,
}

impl Subscription {
    /// The URIs of the contacts that its documents have told of, RFC 3680 §5.2: each document is one newer than the last.
    ///
    /// # Panics
    ///
    /// A document is missing, or is none.
    pub fn contacts(&self) -> BTreeSet<String> {
        let mut rows = BTreeMap::new();
        for (version, notified) in self.notified.iter().filter(|it| !it.body.is_empty()).enumerate() {
            let document = &notified.body;
            assert!(
                document.contains(&format!(" version=\"{version}\" ")),
                "{version} is missing: {document}"
            );
            if document.contains(" state=\"full\">") {
                rows.clear();
            }
            for contact in document.split("<contact ").skip(1) {
                let between = |start: &str, end: &str| {
                    let (_, rest) = contact.split_once(start).expect("every contact has it");
                    rest.split(end).next().unwrap_or_default().to_owned()
                };
                let id = between("id=\"", "\"");
                if between("state=\"", "\"") == "active" {
                    rows.insert(id, between("<uri>", "</uri>"));
                } else {
                    rows.remove(&id);
                }
            }
        }
        rows.into_values().collect()
    }
}

impl Ua {
    /// Subscribes; gives the number of the subscription.
    pub fn subscribe(&mut self, wanted: Subscribe) -> usize {
        let call_id = format!("sub{}-{}", self.fresh(), self.profile.host);
        let local_tag = self.fresh_tag();
        self.subscriptions.push(Subscription {
            call_id,
            status: None,
            headers: Headers::default(),
            notified: Vec::new(),
            answer: Some(200),
            remote_target: wanted.target.clone(),
            wanted,
            cseq: 0,
            local_tag,
            remote_tag: String::new(),
            route: Vec::new(),
            attempts: 0,
        });
        let number = self.subscriptions.len() - 1;
        self.send_subscribe(number);
        number
    }

    /// Refreshes a subscription on a line, or ends it with `expires` 0.
    pub fn resubscribe(&mut self, number: usize, line: usize, expires: Option<u32>) {
        let Some(it) = self.subscriptions.get_mut(number) else { return };
        (it.status, it.attempts) = (None, 0);
        (it.wanted.line, it.wanted.expires) = (line, expires);
        self.send_subscribe(number);
    }

    fn send_subscribe(&mut self, number: usize) {
        let Some(it) = self.subscriptions.get_mut(number) else { return };
        it.cseq += 1;
        it.attempts += 1;
        let it = it.clone();
        let branch = self.fresh_branch();
        let to_tag = if it.remote_tag.is_empty() { String::new() } else { format!(";tag={}", it.remote_tag) };
        let mut headers = vec![
            header("Via", self.via(it.wanted.line, &branch)),
            header("Max-Forwards", "70"),
            header("From", format!("<{}>;tag={}", self.aor(), it.local_tag)),
            header("To", format!("<{}>{to_tag}", it.wanted.target)),
            header("Call-ID", it.call_id.clone()),
            header("CSeq", format!("{} SUBSCRIBE", it.cseq)),
            header("Contact", format!("<{}>", self.target())),
            header("Event", it.wanted.event.clone()),
        ];
        headers.extend(it.route.iter().map(|route| header("Route", route.clone())));
        headers.extend(it.wanted.expires.map(|seconds| header("Expires", seconds.to_string())));
        headers.extend(it.wanted.extra.iter().map(|(name, value)| header(name, value.clone())));
        let password = it.wanted.password.as_ref().unwrap_or(&self.profile.password);
        if let Some(challenge) = self.www.as_mut() {
            let answer = challenge.answer(&self.profile.user, password, "SUBSCRIBE", &it.remote_target);
            headers.push(header("Authorization", answer));
        }
        headers.push(header("Content-Length", "0"));
        let text = request(Method::Subscribe, &it.remote_target, headers);
        let purpose = Purpose::Subscribe(number);
        self.start_client(it.wanted.line, branch, Method::Subscribe, it.cseq, text, purpose);
    }

    pub(super) fn on_subscribe_final(&mut self, number: usize, status: u16, headers: &Headers) {
        let algorithm = self.profile.algorithm;
        let Some(it) = self.subscriptions.get_mut(number) else { return };
        it.headers = headers.clone();
        if status == 401 {
            let challenge = Challenge::choose(&lines(headers, "WWW-Authenticate"), algorithm);
            let again = it.attempts == 1 || challenge.as_ref().is_some_and(|challenge| challenge.stale);
            if again && it.attempts < 4 && challenge.is_some() {
                self.www = challenge;
                return self.send_subscribe(number);
            }
            self.www = None;
        }
        it.status = Some(status);
        if status == 200 {
            it.remote_tag = to_tag(headers);
        }
    }

    /// The subscription that a NOTIFY belongs to (§4.4.1).
    pub(super) fn subscription_of(&self, notify: &Request) -> Option<usize> {
        let headers = &notify.headers;
        let remote_tag = param(first(headers, "From"), "tag").unwrap_or("");
        self.subscriptions.iter().position(|it| {
            it.call_id == first(headers, "Call-ID")
                && it.local_tag == to_tag(headers)
                && (it.remote_tag.is_empty() || it.remote_tag == remote_tag)
                && it.wanted.event == first(headers, "Event")
        })
    }

    pub(super) fn on_notify(&mut self, server: usize, notify: &Request) {
        let (now, headers) = (self.now, &notify.headers);
        let Some(at) = self.subscription_of(notify) else { return };
        let Some(it) = self.subscriptions.get_mut(at) else { return };
        // §4.4.1: the dialog is that of the NOTIFY, its route set, too.
        it.remote_tag = param(first(headers, "From"), "tag").unwrap_or("").to_owned();
        it.remote_target = uri_of(first(headers, "Contact")).to_owned();
        if it.route.is_empty() {
            it.route = elements(headers, "Record-Route");
        }
        it.notified.push(Notified {
            at: now,
            cseq: cseq(headers).0,
            event: first(headers, "Event").to_owned(),
            state: first(headers, "Subscription-State").to_owned(),
            body: String::from_utf8_lossy(&notify.body).into_owned(),
        });
        if let Some(status) = it.answer {
            self.respond(server, status);
        }
    }
}
