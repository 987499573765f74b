//! REGISTER, RFC 3261 §10.2 and RFC 5626 §4.2.

use rsip::{Headers, Method};

use super::client::Purpose;
use super::message::{elements, first, header, request};
use super::{Algorithm, Challenge, Profile, Ua};

/// What a REGISTER says about contacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contacts {
    /// The UA's own.
    Own,
    /// None: a query.
    None,
    /// `*`.
    Star,
    /// These header values.
    List(Vec<String>),
}

/// One REGISTER as a test wants it.
#[derive(Debug, Clone)]
pub struct Register {
    /// The line that it leaves on.
    pub line: usize,
    /// The Expires header.
    pub expires: Option<u32>,
    /// Contacts.
    pub contacts: Contacts,
    /// Preference in the own Contact.
    pub q: Option<&'static str>,
    /// Flow number in the own Contact (RFC 5626 §4.2.1); needs an instance.
    pub reg_id: Option<u32>,
    /// Another To, to meddle with somebody else's bindings.
    pub to: Option<String>,
    /// Another From, as a third party has it.
    pub from: Option<String>,
    /// Another password than the right one.
    pub password: Option<String>,
    /// Another user in the credentials.
    pub username: Option<String>,
    /// This CSeq number instead of the next one, with the Call-ID of the line's registration.
    pub cseq: Option<u32>,
    /// Whole header lines to add.
    pub extra: Vec<(String, String)>,
    /// Whether the UA shows credentials for a nonce that it knows from before.
    pub preemptive: bool,
}

impl Register {
    /// An ordinary one.
    pub fn on(line: usize) -> Self {
        Self {
            line,
            expires: Some(3_600),
            contacts: Contacts::Own,
            q: None,
            reg_id: None,
            to: None,
            from: None,
            password: None,
            username: None,
            cseq: None,
            extra: Vec::new(),
            preemptive: true,
        }
    }
}

/// A registration: one Call-ID, one line.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Its Call-ID.
    pub call_id: String,
    /// The final of the last REGISTER, challenges that were answered left out; 408 when nobody answered.
    pub status: Option<u16>,
    /// Every final in the order of arrival, challenges included.
    pub statuses: Vec<u16>,
    /// Contacts in the last 200.
    pub contacts: Vec<String>,
    /// Path in the last 200.
    pub path: Vec<String>,
    /// The headers of the last final.
    pub headers: Headers,
    wanted: Register,
    cseq: u32,
    from_tag: String,
    attempts: u32,
}

impl Ua {
    /// Sends a REGISTER; gives the number of the registration.
    pub fn register(&mut self, wanted: Register) -> usize {
        let line = wanted.line;
        let known = self.registrations.iter().position(|registration| registration.wanted.line == line);
        let number = known.unwrap_or_else(|| {
            let call_id = format!("reg{}-{}", self.fresh(), self.profile.host);
            let from_tag = self.fresh_tag();
            self.registrations.push(Registration {
                call_id,
                status: None,
                statuses: Vec::new(),
                contacts: Vec::new(),
                path: Vec::new(),
                headers: Headers::default(),
                wanted: wanted.clone(),
                cseq: 0,
                from_tag,
                attempts: 0,
            });
            self.registrations.len() - 1
        });
        if let Some(registration) = self.registrations.get_mut(number) {
            registration.status = None;
            registration.attempts = 0;
            if let Some(cseq) = wanted.cseq {
                registration.cseq = cseq - 1;
            }
            registration.wanted = wanted;
        }
        self.send_register(number);
        number
    }

    /// Goes on with a registration, its Call-ID and all, over the line that is wanted now.
    pub fn move_registration(&mut self, number: usize, wanted: Register) {
        if let Some(registration) = self.registrations.get_mut(number) {
            registration.status = None;
            registration.attempts = 0;
            registration.wanted = wanted;
        }
        self.send_register(number);
    }

    fn send_register(&mut self, number: usize) {
        let Some(registration) = self.registrations.get_mut(number) else { return };
        registration.cseq += 1;
        registration.attempts += 1;
        let Registration { call_id, wanted, cseq, from_tag, attempts, .. } = registration.clone();
        let uri = format!("sip:{}", self.profile.domain);
        let branch = self.fresh_branch();
        let aor = self.aor();
        let to = wanted.to.clone().unwrap_or_else(|| aor.clone());
        let mut headers = vec![
            header("Via", self.via(wanted.line, &branch)),
            header("Max-Forwards", "70"),
            header("From", format!("<{}>;tag={from_tag}", wanted.from.as_ref().unwrap_or(&aor))),
            header("To", format!("<{to}>")),
            header("Call-ID", call_id),
            header("CSeq", format!("{cseq} REGISTER")),
        ];
        headers.extend(self.contact_values(&wanted).into_iter().map(|value| header("Contact", value)));
        headers.extend(wanted.expires.map(|seconds| header("Expires", seconds.to_string())));
        headers.extend(wanted.extra.iter().map(|(name, value)| header(name, value.clone())));
        if self.profile.supports_path {
            let outbound = if self.profile.instance.is_some() { "path, outbound" } else { "path" };
            headers.push(header("Supported", outbound));
        }
        let username = wanted.username.as_ref().unwrap_or(&self.profile.user);
        let password = wanted.password.as_ref().unwrap_or(&self.profile.password);
        if let Some(challenge) = self.www.as_mut().filter(|_| wanted.preemptive || attempts > 1) {
            headers.push(header("Authorization", challenge.answer(username, password, "REGISTER", &uri)));
        }
        headers.push(header("Content-Length", "0"));
        let text = request(Method::Register, &uri, headers);
        self.start_client(wanted.line, branch, Method::Register, cseq, text, Purpose::Register(number));
    }

    fn contact_values(&self, wanted: &Register) -> Vec<String> {
        match &wanted.contacts {
            Contacts::None => Vec::new(),
            Contacts::Star => vec!["*".to_owned()],
            Contacts::List(values) => values.clone(),
            Contacts::Own => {
                let mut value = format!("<{}>", self.contact());
                if let Some(instance) = &self.profile.instance {
                    value.push_str(&format!(";+sip.instance=\"<{instance}>\""));
                }
                if let Some(reg_id) = wanted.reg_id {
                    value.push_str(&format!(";reg-id={reg_id}"));
                }
                if let Some(q) = wanted.q {
                    value.push_str(&format!(";q={q}"));
                }
                vec![value]
            }
        }
    }

    pub(super) fn on_register_final(&mut self, number: usize, status: u16, headers: &Headers) {
        let algorithm: Algorithm = self.profile.algorithm;
        let Some(registration) = self.registrations.get_mut(number) else { return };
        registration.statuses.push(status);
        registration.headers = headers.clone();
        if status == 401 {
            let lines = super::message::lines(headers, "WWW-Authenticate");
            let challenge = Challenge::choose(&lines, algorithm);
            // §22.1: the same credentials are not tried twice, unless only the nonce was too old.
            let again =
                registration.attempts == 1 || challenge.as_ref().is_some_and(|challenge| challenge.stale);
            if again && registration.attempts < 4 && challenge.is_some() {
                self.www = challenge;
                return self.send_register(number);
            }
            self.www = None;
        }
        registration.status = Some(status);
        let info = first(headers, "Authentication-Info");
        if let Some(challenge) = self.www.as_mut().filter(|_| !info.is_empty()) {
            let Profile { user, password, domain, .. } = &self.profile;
            challenge.renew(info, user, password, &format!("sip:{domain}"));
        }
        if status == 200 {
            registration.contacts = elements(headers, "Contact");
            registration.path = elements(headers, "Path");
            // RFC 3608 §6.1: the last 200 counts, also when it has none.
            self.service_route = elements(headers, "Service-Route");
        }
    }
}

impl Registration {
    /// Whether a REGISTER is on its way.
    pub fn is_pending(&self) -> bool {
        self.status.is_none()
    }

    /// A header of the last final.
    pub fn header(&self, name: &str) -> &str {
        first(&self.headers, name)
    }
}
