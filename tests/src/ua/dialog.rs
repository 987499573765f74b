//! Dialogs, RFC 3261 §12: what both sides keep, and the requests inside of them.

use rsip::{Method, Request, Response};

use super::Ua;
use super::client::{Purpose, to_tag};
use super::message::{cseq, elements, first, header, param, request, uri_of};

/// One side of a dialog.
#[derive(Debug, Clone)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: String,
    /// Own tag.
    pub local_tag: String,
    /// The peer's tag.
    pub remote_tag: String,
    /// Where requests go: the peer's Contact.
    pub remote_target: String,
    /// The route set in the order of use (§12.1.1, §12.1.2).
    pub route: Vec<String>,
    /// True for the side that has called.
    pub is_caller: bool,
    /// A BYE was sent or received.
    pub is_over: bool,
    /// Whether the peer has acknowledged the 2xx of this side.
    pub is_acknowledged: bool,
    /// Answers to the BYEs of this side.
    pub bye: Option<u16>,
    /// The final answer to the last re-INVITE of this side.
    pub reinvite: Option<u16>,
    local_uri: String,
    remote_uri: String,
    line: usize,
    local_cseq: u32,
    /// The ACKs sent, by CSeq number: a repeated 2xx gets the same again.
    acks: Vec<(u32, String)>,
}

impl Ua {
    /// The dialog that a 2xx to an INVITE of this UA belongs to, and whether it is new.
    pub(super) fn dialog_of_success(&mut self, line: usize, response: &Response) -> (usize, bool) {
        let headers = &response.headers;
        let (call_id, remote_tag) = (first(headers, "Call-ID").to_owned(), to_tag(headers));
        let local_tag = param(first(headers, "From"), "tag").unwrap_or("").to_owned();
        let is_it = |dialog: &Dialog| {
            dialog.call_id == call_id && dialog.remote_tag == remote_tag && dialog.local_tag == local_tag
        };
        if let Some(known) = self.dialogs.iter().position(is_it) {
            return (known, false);
        }
        let mut route = elements(headers, "Record-Route");
        route.reverse();
        self.dialogs.push(Dialog {
            call_id,
            local_tag,
            remote_tag,
            remote_target: uri_of(first(headers, "Contact")).to_owned(),
            route,
            is_caller: true,
            is_over: false,
            is_acknowledged: true,
            bye: None,
            reinvite: None,
            local_uri: uri_of(first(headers, "From")).to_owned(),
            remote_uri: uri_of(first(headers, "To")).to_owned(),
            line,
            local_cseq: cseq(headers).0,
            acks: Vec::new(),
        });
        (self.dialogs.len() - 1, true)
    }

    /// The dialog that this UA makes by answering an INVITE with 2xx.
    pub(super) fn dialog_of_answer(&mut self, line: usize, invite: &Request, local_tag: &str) -> usize {
        let headers = &invite.headers;
        self.dialogs.push(Dialog {
            call_id: first(headers, "Call-ID").to_owned(),
            local_tag: local_tag.to_owned(),
            remote_tag: param(first(headers, "From"), "tag").unwrap_or("").to_owned(),
            remote_target: uri_of(first(headers, "Contact")).to_owned(),
            route: elements(headers, "Record-Route"),
            is_caller: false,
            is_over: false,
            is_acknowledged: false,
            bye: None,
            reinvite: None,
            local_uri: uri_of(first(headers, "To")).to_owned(),
            remote_uri: uri_of(first(headers, "From")).to_owned(),
            line,
            local_cseq: 0,
            acks: Vec::new(),
        });
        self.dialogs.len() - 1
    }

    /// The dialog that a request belongs to (§12.2.2).
    pub(super) fn dialog_of_request(&self, request: &Request) -> Option<usize> {
        let headers = &request.headers;
        let (call_id, local_tag) = (first(headers, "Call-ID"), to_tag(headers));
        let remote_tag = param(first(headers, "From"), "tag").unwrap_or("");
        self.dialogs.iter().position(|dialog| {
            dialog.call_id == call_id && dialog.local_tag == local_tag && dialog.remote_tag == remote_tag
        })
    }

    /// Acknowledges a 2xx (§13.2.2.4); a repeated one with the same bytes.
    pub(super) fn acknowledge(&mut self, number: usize, cseq: u32) {
        let Some(dialog) = self.dialogs.get(number) else { return };
        let known = dialog.acks.iter().find(|(own, _)| *own == cseq).map(|(_, text)| text.clone());
        let line = self.line_of(number);
        let text = known.unwrap_or_else(|| {
            let branch = self.fresh_branch();
            let text = self.inside(number, Method::Ack, cseq, &branch, line);
            if let Some(dialog) = self.dialogs.get_mut(number) {
                dialog.acks.push((cseq, text.clone()));
            }
            text
        });
        self.say(line, text);
    }

    /// Ends a dialog (§15.1.1).
    pub fn hang_up(&mut self, number: usize) {
        self.send_inside(number, Method::Bye, Purpose::Bye(number));
        if let Some(dialog) = self.dialogs.get_mut(number) {
            dialog.is_over = true;
        }
    }

    /// Sends a re-INVITE (§14.1).
    pub fn reinvite(&mut self, number: usize) {
        if let Some(dialog) = self.dialogs.get_mut(number) {
            dialog.reinvite = None;
        }
        self.send_inside(number, Method::Invite, Purpose::Reinvite(number));
    }

    fn send_inside(&mut self, number: usize, method: Method, purpose: Purpose) {
        let Some(dialog) = self.dialogs.get_mut(number) else { return };
        dialog.local_cseq += 1;
        let cseq = dialog.local_cseq;
        let branch = self.fresh_branch();
        let line = self.line_of(number);
        let text = self.inside(number, method, cseq, &branch, line);
        self.start_client(line, branch, method, cseq, text, purpose);
    }

    /// §12.2.1.1: a request inside the dialog goes where its first route says.
    fn line_of(&self, number: usize) -> usize {
        let Some(dialog) = self.dialogs.get(number) else { return 0 };
        dialog.route.first().map_or(dialog.line, |route| self.line_to(uri_of(route), dialog.line))
    }

    /// §12.2.1.1. Every proxy of the cluster is a loose router.
    fn inside(&self, number: usize, method: Method, cseq: u32, branch: &str, line: usize) -> String {
        let Some(dialog) = self.dialogs.get(number) else { return String::new() };
        let mut headers = vec![
            header("Via", self.via(line, branch)),
            header("Max-Forwards", "70"),
            header("From", format!("<{}>;tag={}", dialog.local_uri, dialog.local_tag)),
            header("To", format!("<{}>;tag={}", dialog.remote_uri, dialog.remote_tag)),
            header("Call-ID", dialog.call_id.clone()),
            header("CSeq", format!("{cseq} {method}")),
        ];
        headers.extend(dialog.route.iter().map(|route| header("Route", route.clone())));
        if method == Method::Invite {
            headers.push(header("Contact", format!("<{}>", self.target())));
        }
        headers.push(header("Content-Length", "0"));
        request(method, &dialog.remote_target, headers)
    }

    pub(super) fn on_bye_final(&mut self, number: usize, status: u16) {
        if let Some(dialog) = self.dialogs.get_mut(number) {
            dialog.bye = Some(status);
        }
    }

    pub(super) fn on_reinvite_final(&mut self, number: usize, status: u16) {
        if let Some(dialog) = self.dialogs.get_mut(number) {
            dialog.reinvite = Some(status);
        }
    }
}
