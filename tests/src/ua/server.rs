//! Requests that come to the UA: server transactions (RFC 3261 §17.2, RFC 6026) and what it answers (§8.2, §13.3, §9.2).

use std::time::Duration;

use rsip::{Method, Request};

use super::client::to_tag;
use super::message::{branch, cseq, first, header, lines, param, response};
use super::{LIFETIME, T1, T2, T4, Ua};

/// A server transaction.
#[derive(Debug)]
pub(super) struct Server {
    branch: String,
    method: Method,
    call_id: String,
    from_tag: String,
    cseq: u32,
    line: usize,
    reliable: bool,
    request: Request,
    to_tag: String,
    state: State,
    /// The last response.
    last: Option<String>,
    ring: Option<Duration>,
    answer: Option<(Duration, u16)>,
    /// When the final is sent once more, and the interval until then.
    repeat: Option<(Duration, Duration)>,
    end: Option<Duration>,
    dialog: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No final yet.
    Pending,
    /// A 2xx to an INVITE waits for its ACK.
    Accepted,
    /// Another final.
    Completed,
    /// Acknowledged; only repetitions are absorbed.
    Confirmed,
    Ended,
}

impl Server {
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        let answer = self.answer.map(|(at, _)| at);
        [self.ring, answer, self.repeat.map(|(at, _)| at), self.end].into_iter().flatten().min()
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == State::Ended
    }

    pub(super) fn is_pending(&self) -> bool {
        self.state == State::Pending
    }
}

impl Ua {
    pub(super) fn on_request(&mut self, line: usize, request: &Request) {
        if request.method == Method::Ack {
            return self.on_ack(request);
        }
        if let Some(at) = self.find_server(request, request.method) {
            return self.on_repetition(at);
        }
        let number = self.open_server(line, request);
        match request.method {
            Method::Cancel => self.on_cancel(number, request),
            Method::Invite => self.on_invite(number, request),
            Method::Notify if self.subscription_of(request).is_some() => self.on_notify(number, request),
            _ if !to_tag(&request.headers).is_empty() => self.on_request_inside(number, request),
            _ if self.is_merged(number) => self.respond(number, 482),
            _ => self.respond(number, 200),
        }
    }

    fn find_server(&self, request: &Request, method: Method) -> Option<usize> {
        let branch = branch(&request.headers);
        self.servers.iter().position(|server| server.branch == branch && server.method == method)
    }

    fn open_server(&mut self, line: usize, request: &Request) -> usize {
        let headers = &request.headers;
        let tag = to_tag(headers);
        let to_tag = if tag.is_empty() { self.fresh_tag() } else { tag };
        self.servers.push(Server {
            branch: branch(headers).to_owned(),
            method: request.method,
            call_id: first(headers, "Call-ID").to_owned(),
            from_tag: param(first(headers, "From"), "tag").unwrap_or("").to_owned(),
            cseq: cseq(headers).0,
            line,
            reliable: self.reliable.get(line).copied().unwrap_or(false),
            request: request.clone(),
            to_tag,
            state: State::Pending,
            last: None,
            ring: None,
            answer: None,
            repeat: None,
            end: None,
            dialog: None,
        });
        self.servers.len() - 1
    }

    fn on_repetition(&mut self, at: usize) {
        let Some(server) = self.servers.get(at) else { return };
        let absorbed = server.method == Method::Invite && server.state == State::Confirmed;
        if let Some(last) = server.last.clone().filter(|_| !absorbed) {
            let line = server.line;
            self.say(line, last);
        }
    }

    fn on_invite(&mut self, number: usize, request: &Request) {
        if !to_tag(&request.headers).is_empty() {
            return self.on_request_inside(number, request);
        }
        if self.is_merged(number) {
            return self.respond(number, 482);
        }
        let (now, policy) = (self.now, self.answer);
        let Some(server) = self.servers.get_mut(number) else { return };
        server.ring = policy.ring.map(|after| now + after);
        server.answer = policy.last.map(|(after, status)| (now + after, status));
        self.time_servers();
    }

    /// §8.2.2.2: the same request by another way.
    fn is_merged(&self, number: usize) -> bool {
        let Some(new) = self.servers.get(number) else { return false };
        self.servers.iter().enumerate().any(|(at, old)| {
            at != number
                && old.method == new.method
                && old.call_id == new.call_id
                && old.from_tag == new.from_tag
                && old.cseq == new.cseq
                && old.branch != new.branch
        })
    }

    fn on_request_inside(&mut self, number: usize, request: &Request) {
        let Some(at) = self.dialog_of_request(request) else { return self.respond(number, 481) };
        let Some(dialog) = self.dialogs.get_mut(at) else { return };
        if dialog.is_over && request.method != Method::Bye {
            return self.respond(number, 481);
        }
        if request.method == Method::Bye {
            dialog.is_over = true;
            dialog.is_acknowledged = true;
            for server in self.servers.iter_mut().filter(|server| server.dialog == Some(at)) {
                server.repeat = None;
            }
        }
        if let Some(server) = self.servers.get_mut(number) {
            server.dialog = Some(at);
        }
        self.respond(number, 200);
    }

    /// §9.2.
    fn on_cancel(&mut self, number: usize, request: &Request) {
        let invite = self.find_server(request, Method::Invite);
        self.respond(number, if invite.is_some() { 200 } else { 481 });
        if let Some(invite) = invite.filter(|at| self.servers.get(*at).is_some_and(Server::is_pending)) {
            self.respond(invite, 487);
        }
    }

    fn on_ack(&mut self, request: &Request) {
        let now = self.now;
        if let Some(at) = self.find_server(request, Method::Invite)
            && let Some(server) = self.servers.get_mut(at)
        {
            if server.state == State::Completed {
                server.state = State::Confirmed;
                server.repeat = None;
                server.end = Some(now + T4);
            }
            return;
        }
        let Some(dialog) = self.dialog_of_request(request) else { return };
        let number = cseq(&request.headers).0;
        if let Some(dialog) = self.dialogs.get_mut(dialog) {
            dialog.is_acknowledged = true;
        }
        for server in &mut self.servers {
            if server.dialog == Some(dialog) && server.cseq == number && server.state == State::Accepted {
                server.state = State::Confirmed;
                server.repeat = None;
            }
        }
    }

    pub(super) fn respond(&mut self, number: usize, status: u16) {
        let now = self.now;
        let Some(server) = self.servers.get_mut(number) else { return };
        let source = &server.request.headers;
        let mut headers: Vec<_> = lines(source, "Via").into_iter().map(|via| header("Via", via)).collect();
        let to = first(source, "To");
        let tagged =
            if to_tag(source).is_empty() { format!("{to};tag={}", server.to_tag) } else { to.to_owned() };
        headers.push(header("From", first(source, "From")));
        headers.push(header("To", tagged));
        headers.push(header("Call-ID", first(source, "Call-ID")));
        headers.push(header("CSeq", first(source, "CSeq")));
        if (101..300).contains(&status) && server.method == Method::Invite {
            headers
                .extend(lines(source, "Record-Route").into_iter().map(|route| header("Record-Route", route)));
            let own = || format!("sip:{}@{}", self.profile.user, self.profile.host);
            let contact = self.gruu.clone().unwrap_or_else(own);
            headers.push(header("Contact", format!("<{contact}>")));
        }
        headers.push(header("Content-Length", "0"));
        let text = response(status, headers);
        server.last = Some(text.clone());
        let line = server.line;
        if status >= 200 {
            server.conclude(status, now);
            let (invite, tag) = (server.request.clone(), server.to_tag.clone());
            if status < 300 && server.method == Method::Invite && server.dialog.is_none() {
                let dialog = self.dialog_of_answer(line, &invite, &tag);
                if let Some(server) = self.servers.get_mut(number) {
                    server.dialog = Some(dialog);
                }
            }
        }
        self.say(line, text);
    }

    pub(super) fn time_servers(&mut self) {
        let now = self.now;
        for number in 0..self.servers.len() {
            let Some(server) = self.servers.get_mut(number) else { continue };
            if server.ring.is_some_and(|at| at <= now) {
                server.ring = None;
                self.respond(number, 180);
            }
            let Some(server) = self.servers.get_mut(number) else { continue };
            if let Some((_, status)) = server.answer.filter(|(at, _)| *at <= now) {
                server.answer = None;
                self.respond(number, status);
            }
            let Some(server) = self.servers.get_mut(number) else { continue };
            if let Some((_, interval)) = server.repeat.filter(|(at, _)| *at <= now) {
                let doubled = (interval * 2).min(T2);
                server.repeat = Some((now + doubled, doubled));
                let (line, last) = (server.line, server.last.clone());
                self.say(line, last.unwrap_or_default());
            }
            self.end_server(number);
        }
    }

    fn end_server(&mut self, number: usize) {
        let now = self.now;
        let Some(server) =
            self.servers.get_mut(number).filter(|server| server.end.is_some_and(|end| end <= now))
        else {
            return;
        };
        let unacknowledged = server.state == State::Accepted;
        server.state = State::Ended;
        (server.end, server.repeat) = (None, None);
        // §13.3.1.4: no ACK within 64·T1 ends the session.
        if unacknowledged && let Some(dialog) = server.dialog {
            self.hang_up(dialog);
        }
    }
}

impl Server {
    /// A final was sent.
    fn conclude(&mut self, status: u16, now: Duration) {
        (self.ring, self.answer) = (None, None);
        let success = status < 300;
        self.state =
            if success && self.method == Method::Invite { State::Accepted } else { State::Completed };
        self.end = Some(now + LIFETIME);
        // §13.3.1.4: a 2xx is repeated on every transport; §17.2.1: another final of an INVITE on UDP.
        if self.method == Method::Invite && (success || !self.reliable) {
            self.repeat = Some((now + T1, T1));
        }
    }
}
