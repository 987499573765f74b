//! Requests that the UA sends: client transactions (RFC 3261 §17.1, RFC 6026), calls (§13.2), CANCEL (§9.1).

use std::time::Duration;

use rsip::{Headers, Method, Response};

use super::message::{branch, cseq, first, header, lines, param, request, without_gr};
use super::{Call, CallOptions, Cancel, Challenge, LIFETIME, Outcome, T1, T2, T4, Ua};

/// What the answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Register(usize),
    Call(usize),
    Reinvite(usize),
    Bye(usize),
    Cancel,
    Subscribe(usize),
    Other(usize),
}

/// A client transaction.
#[derive(Debug)]
pub(super) struct Client {
    branch: String,
    method: Method,
    cseq: u32,
    line: usize,
    text: String,
    reliable: bool,
    state: State,
    /// When it is sent once more, and the interval until then.
    repeat: Option<(Duration, Duration)>,
    /// Timer B, F, D, K or M.
    end: Option<Duration>,
    ack: Option<String>,
    purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Calling,
    Proceeding,
    Completed,
    Accepted,
    Ended,
}

impl Client {
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        self.repeat.map(|(at, _)| at).into_iter().chain(self.end).min()
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == State::Ended
    }
}

impl Ua {
    /// Calls `target` on a line; gives the number of the call.
    pub fn call(&mut self, line: usize, target: &str, options: CallOptions) -> usize {
        let call_id = format!("call{}-{}", self.fresh(), self.profile.host);
        let from_tag = self.fresh_tag();
        self.calls.push(Call {
            call_id,
            target: target.to_owned(),
            statuses: Vec::new(),
            last: None,
            ended_at: None,
            dialog: None,
            timed_out: false,
            cancel: Cancel::No,
            line,
            from_tag,
            cseq: 0,
            attempts: 0,
            options,
        });
        let number = self.calls.len() - 1;
        self.send_invite(number);
        number
    }

    fn send_invite(&mut self, number: usize) {
        let Some(call) = self.calls.get_mut(number) else { return };
        call.cseq += 1;
        call.attempts += 1;
        let call = call.clone();
        let branch = self.fresh_branch();
        let mut headers = self.request_headers(&call, &branch, "INVITE");
        headers.push(header("Contact", format!("<{}>", self.target())));
        headers.push(header("Supported", "outbound"));
        if let Some(challenge) = self.proxy.as_mut() {
            let answer = challenge.answer(&self.profile.user, &self.profile.password, "INVITE", &call.target);
            headers.push(header("Proxy-Authorization", answer));
        }
        headers.push(header("Content-Length", "0"));
        let text = request(Method::Invite, &call.target, headers);
        self.start_client(call.line, branch, Method::Invite, call.cseq, text, Purpose::Call(number));
    }

    fn request_headers(&self, call: &Call, branch: &str, method: &str) -> Vec<rsip::Header> {
        let from = call.options.from.clone().unwrap_or_else(|| self.aor());
        let mut headers = vec![
            header("Via", self.via(call.line, branch)),
            header("Max-Forwards", call.options.max_forwards.to_string()),
            header("From", format!("<{from}>;tag={}", call.from_tag)),
            header("To", format!("<{}>", call.target)),
            header("Call-ID", call.call_id.clone()),
            header("CSeq", format!("{} {method}", call.cseq)),
        ];
        if self.profile.follows_service_route {
            headers.extend(self.service_route.iter().map(|hop| header("Route", hop.clone())));
        }
        headers.extend(call.options.extra.iter().map(|(name, value)| header(name, value.clone())));
        headers
    }

    /// Sends a request outside of any dialog that is neither INVITE nor REGISTER; gives the number of its outcome.
    pub fn ask(&mut self, line: usize, method: Method, target: &str, options: CallOptions) -> usize {
        let call = Call {
            call_id: format!("ask{}-{}", self.fresh(), self.profile.host),
            target: target.to_owned(),
            statuses: Vec::new(),
            last: None,
            ended_at: None,
            dialog: None,
            timed_out: false,
            cancel: Cancel::No,
            line,
            from_tag: self.fresh_tag(),
            cseq: 1,
            attempts: 1,
            options,
        };
        let branch = self.fresh_branch();
        let mut headers = self.request_headers(&call, &branch, &method.to_string());
        if let Some(challenge) = self.proxy.as_mut() {
            let name = method.to_string();
            let answer = challenge.answer(&self.profile.user, &self.profile.password, &name, target);
            headers.push(header("Proxy-Authorization", answer));
        }
        headers.push(header("Content-Length", "0"));
        let text = request(method, target, headers);
        self.outcomes.push(Outcome::default());
        let number = self.outcomes.len() - 1;
        self.start_client(line, branch, method, 1, text, Purpose::Other(number));
        number
    }

    /// Cancels a call: now, or as soon as the first provisional response has come (§9.1).
    pub fn cancel(&mut self, number: usize) {
        let Some(call) = self.calls.get_mut(number) else { return };
        if call.last.is_some() || call.cancel != Cancel::No {
            return;
        }
        call.cancel = Cancel::Wanted;
        let proceeding = self
            .clients
            .iter()
            .any(|client| client.purpose == Purpose::Call(number) && client.state == State::Proceeding);
        if proceeding {
            self.send_cancel(number);
        }
    }

    fn send_cancel(&mut self, number: usize) {
        let Some(call) = self.calls.get_mut(number) else { return };
        call.cancel = Cancel::Sent;
        let call = call.clone();
        let pending =
            |client: &&Client| client.purpose == Purpose::Call(number) && client.state == State::Proceeding;
        let Some(branch) = self.clients.iter().find(pending).map(|client| client.branch.clone()) else {
            return;
        };
        let mut headers = self.request_headers(&call, &branch, "CANCEL");
        headers.push(header("Content-Length", "0"));
        let text = request(Method::Cancel, &call.target, headers);
        self.start_client(call.line, branch, Method::Cancel, call.cseq, text, Purpose::Cancel);
    }

    pub(super) fn start_client(
        &mut self,
        line: usize,
        branch: String,
        method: Method,
        cseq: u32,
        text: String,
        purpose: Purpose,
    ) {
        let reliable = self.reliable.get(line).copied().unwrap_or(false);
        let repeat = (!reliable).then(|| (self.now + T1, T1));
        self.say(line, text.clone());
        self.clients.push(Client {
            branch,
            method,
            cseq,
            line,
            text,
            reliable,
            state: State::Calling,
            repeat,
            end: Some(self.now + LIFETIME),
            ack: None,
            purpose,
        });
    }

    pub(super) fn on_response(&mut self, response: &Response) {
        let (branch, (number, method)) = (branch(&response.headers), cseq(&response.headers));
        let Some(at) = self.clients.iter().position(|client| {
            client.branch == branch && client.cseq == number && client.method.to_string() == method
        }) else {
            return;
        };
        if self.clients.get(at).is_some_and(|client| client.method == Method::Invite) {
            self.on_invite_response(at, response);
        } else {
            self.on_other_response(at, response);
        }
    }

    fn on_other_response(&mut self, at: usize, response: &Response) {
        let now = self.now;
        let Some(client) = self.clients.get_mut(at) else { return };
        let status = response.status_code.code();
        match client.state {
            State::Calling | State::Proceeding if status < 200 => {
                client.state = State::Proceeding;
                client.repeat = client.repeat.map(|(at, _)| (at, T2));
            }
            State::Calling | State::Proceeding => {
                client.state = if client.reliable { State::Ended } else { State::Completed };
                client.repeat = None;
                client.end = Some(now + T4);
                let purpose = client.purpose;
                self.conclude(purpose, status, &response.headers);
            }
            State::Completed | State::Accepted | State::Ended => {}
        }
    }

    fn on_invite_response(&mut self, at: usize, response: &Response) {
        let now = self.now;
        let Some(client) = self.clients.get_mut(at) else { return };
        let status = response.status_code.code();
        let purpose = client.purpose;
        match client.state {
            State::Calling | State::Proceeding if status < 200 => {
                client.state = State::Proceeding;
                client.repeat = None;
                client.end = None;
                self.on_provisional(purpose, status);
            }
            State::Calling | State::Proceeding if status < 300 => {
                client.state = State::Accepted;
                client.repeat = None;
                client.end = Some(now + LIFETIME);
                self.on_invite_success(purpose, response);
            }
            State::Accepted if (200..300).contains(&status) => self.on_invite_success(purpose, response),
            State::Calling | State::Proceeding => {
                client.state = if client.reliable { State::Ended } else { State::Completed };
                client.repeat = None;
                client.end = Some(now + LIFETIME);
                let ack = ack_for(&client.text, response);
                client.ack = Some(ack.clone());
                let line = client.line;
                self.say(line, ack);
                self.conclude(purpose, status, &response.headers);
            }
            State::Completed if status >= 300 => {
                if let Some(ack) = client.ack.clone() {
                    let line = client.line;
                    self.say(line, ack);
                }
            }
            State::Completed | State::Accepted | State::Ended => {}
        }
    }

    fn on_provisional(&mut self, purpose: Purpose, status: u16) {
        let Purpose::Call(number) = purpose else { return };
        let Some(call) = self.calls.get_mut(number) else { return };
        if status > 100 {
            call.statuses.push(status);
        }
        if call.cancel == Cancel::Wanted {
            self.send_cancel(number);
        }
    }

    fn on_invite_success(&mut self, purpose: Purpose, response: &Response) {
        match purpose {
            Purpose::Call(number) => {
                let now = self.now;
                let Some(call) = self.calls.get_mut(number) else { return };
                let line = call.line;
                let is_first = call.last.is_none();
                if is_first {
                    call.statuses.push(response.status_code.code());
                    call.last = Some(response.status_code.code());
                    call.ended_at = Some(now);
                }
                let (dialog, is_new) = self.dialog_of_success(line, response);
                if is_first && let Some(call) = self.calls.get_mut(number) {
                    call.dialog = Some(dialog);
                }
                self.acknowledge(dialog, cseq(&response.headers).0);
                // §13.2.2.4: one dialog is enough; §15: a call that was cancelled too late is hung up.
                let unwanted = self.calls.get(number).is_some_and(|call| call.cancel != Cancel::No);
                if is_new && (!is_first || unwanted) {
                    self.hang_up(dialog);
                }
            }
            Purpose::Reinvite(dialog) => {
                self.acknowledge(dialog, cseq(&response.headers).0);
                self.conclude(purpose, response.status_code.code(), &response.headers);
            }
            Purpose::Register(_)
            | Purpose::Bye(_)
            | Purpose::Cancel
            | Purpose::Subscribe(_)
            | Purpose::Other(_) => {}
        }
    }

    fn conclude(&mut self, purpose: Purpose, status: u16, headers: &Headers) {
        match purpose {
            Purpose::Register(number) => self.on_register_final(number, status, headers),
            Purpose::Call(number) => self.on_call_final(number, status, headers),
            Purpose::Reinvite(dialog) => self.on_reinvite_final(dialog, status),
            Purpose::Bye(dialog) => self.on_bye_final(dialog, status),
            Purpose::Cancel => {}
            Purpose::Subscribe(number) => self.on_subscribe_final(number, status, headers),
            Purpose::Other(number) => {
                let now = self.now;
                if let Some(outcome) = self.outcomes.get_mut(number) {
                    *outcome = Outcome { status: Some(status), at: now };
                }
            }
        }
    }

    fn on_call_final(&mut self, number: usize, status: u16, headers: &Headers) {
        let (now, algorithm) = (self.now, self.profile.algorithm);
        let Some(call) = self.calls.get_mut(number) else { return };
        if status == 407 && call.cancel == Cancel::No {
            let challenge = Challenge::choose(&lines(headers, "Proxy-Authenticate"), algorithm);
            let again = call.attempts == 1 || challenge.as_ref().is_some_and(|challenge| challenge.stale);
            if again && call.attempts < 4 && challenge.is_some() {
                self.proxy = challenge;
                return self.send_invite(number);
            }
            self.proxy = None;
        }
        call.statuses.push(status);
        call.last = Some(status);
        call.ended_at = Some(now);
    }

    pub(super) fn time_clients(&mut self) {
        let now = self.now;
        let mut over = Vec::new();
        for client in &mut self.clients {
            if client.end.is_some_and(|end| end <= now) {
                if client.state == State::Calling || client.state == State::Proceeding {
                    over.push(client.purpose);
                }
                client.state = State::Ended;
                (client.end, client.repeat) = (None, None);
                continue;
            }
            let Some((_, interval)) = client.repeat.filter(|(at, _)| *at <= now) else { continue };
            let doubled = if client.method == Method::Invite { interval * 2 } else { (interval * 2).min(T2) };
            client.repeat = Some((now + doubled, doubled));
            self.out.push_back(super::Packet { line: client.line, text: client.text.clone() });
        }
        for purpose in over {
            if let Purpose::Call(number) = purpose
                && let Some(call) = self.calls.get_mut(number)
            {
                call.timed_out = true;
            }
            // §8.1.3.1: as if a 408 had come.
            self.conclude(purpose, 408, &Headers::default());
        }
    }

    /// The line is lost: what waits for an answer on it has failed (§17.1.4, §8.1.3.1: as if a 503 had come).
    pub fn line_lost(&mut self, line: usize) {
        let mut over = Vec::new();
        for client in self.clients.iter_mut().filter(|client| client.line == line && client.reliable) {
            if client.state == State::Calling || client.state == State::Proceeding {
                over.push(client.purpose);
            }
            client.state = State::Ended;
            (client.end, client.repeat) = (None, None);
        }
        for purpose in over {
            self.conclude(purpose, 503, &Headers::default());
        }
        self.clients.retain(|client| !client.is_over());
    }
}

/// §17.1.1.3.
fn ack_for(invite: &str, response: &Response) -> String {
    let uri = invite.split(' ').nth(1).unwrap_or_default();
    let bare = without_gr(uri).0;
    let invite = invite.replacen(uri, bare, 1);
    let invite = rsip::Request::try_from(invite.as_str()).expect("the UA has built it with rsip");
    let headers = vec![
        header("Via", first(&invite.headers, "Via")),
        header("Max-Forwards", "70"),
        header("From", first(&invite.headers, "From")),
        header("To", first(&response.headers, "To")),
        header("Call-ID", first(&invite.headers, "Call-ID")),
        header("CSeq", format!("{} ACK", cseq(&invite.headers).0)),
    ];
    let routes = lines(&invite.headers, "Route").into_iter().map(|route| header("Route", route));
    let headers = headers.into_iter().chain(routes).chain([header("Content-Length", "0")]).collect();
    request(Method::Ack, uri, headers)
}

/// The To tag of a response; empty when there is none.
pub(super) fn to_tag(headers: &Headers) -> String {
    param(first(headers, "To"), "tag").unwrap_or("").to_owned()
}
