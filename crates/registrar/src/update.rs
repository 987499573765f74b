//! A REGISTER read and checked, RFC 3261 §10.2 and §10.3 steps 1, 2, 5 and 6, with RFC 3327 §5.3, RFC 5626 §6 and RFC 5627 §5.1.
//!
//! What comes out is valid in itself; whether it fits the record is the business of [`crate::apply`].

use sip::{Aor, Contact, Contacts, Host, Name, NameAddr, Reject, Request, StatusCode, Uri};

use crate::{BindingKey, Policy, gruu, outbound};

/// What a REGISTER asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// No Contact: the current bindings are wanted, nothing changes.
    Query,
    /// `Contact: *` with `Expires: 0`.
    RemoveAll {
        /// Call-ID of the request.
        call_id: String,
        /// CSeq number of the request.
        cseq: u32,
    },
    /// Contacts to add, refresh or remove, all or none of them.
    Set(Set),
}

/// The contacts of a REGISTER and what they have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Call-ID of the request.
    pub call_id: String,
    /// CSeq number of the request.
    pub cseq: u32,
    /// Elements of Path byte for byte, top to bottom.
    pub path: Vec<String>,
    /// User-Agent, or empty.
    pub user_agent: String,
    /// In the order of the request; no two with the same key.
    pub contacts: Vec<Wanted>,
}

/// One contact of a REGISTER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The URI as written.
    pub contact: String,
    /// Header parameters as written, without `expires` and `q`.
    pub params: String,
    /// Preference in thousandths.
    pub q: u16,
    /// The interval that is granted, in seconds; 0 removes the binding.
    pub expires: u32,
    /// Instance-id in its canonical form.
    pub instance: Option<String>,
    /// Only where Outbound applies.
    pub reg_id: Option<u32>,
}

impl Wanted {
    /// What this contact is compared by.
    pub fn key(&self) -> BindingKey {
        BindingKey::of(&self.contact, self.instance.as_deref(), self.reg_id)
    }

    /// True if this contact means the binding of that contact URI, instance and reg-id.
    ///
    /// RFC 5626 §6: with Outbound the instance and reg-id decide and the URI does not count; otherwise RFC 3261
    /// §19.1.4 does. A binding of the one kind never is one of the other.
    pub(crate) fn means(&self, contact: &str, instance: Option<&str>, reg_id: Option<u32>) -> bool {
        if self.reg_id.is_some() || reg_id.is_some() {
            return self.reg_id == reg_id && self.instance.as_deref() == instance;
        }
        let uris = (Uri::parse(self.contact.as_bytes()), Uri::parse(contact.as_bytes()));
        self.contact == contact || matches!(uris, (Ok(wanted), Ok(other)) if wanted.equivalent(&other))
    }
}

/// RFC 3261 §10.3 steps 1 and 5: whose bindings the request is about.
///
/// `serves` says which domains are ours; the names it sees are in lower case. All of them are one registrar's: an address
/// in one is valid for a Request-URI with another, which is how a UA says it that knows its registrar by another name.
///
/// # Errors
/// 404 when the Request-URI or the To names a domain that is not ours, 400 when the To is no address-of-record.
pub fn address_of_record(request: &Request, serves: impl Fn(&str) -> bool) -> Result<Aor, Reject> {
    let uri = request.request_uri()?;
    if !uri.is_sip() || !serves(&domain(&uri)) {
        return Err(Reject::new(NOT_FOUND));
    }
    let aor = Aor::of(&request.to()?.parsed_uri()?)?;
    if !serves(aor.domain()) {
        return Err(Reject::new(NOT_FOUND));
    }
    Ok(aor)
}

/// RFC 3261 §10.3 step 6: what the request asks for.
///
/// # Errors
/// 400 for an invalid list of contacts or Path, 423 for an interval
/// that is too brief, 403 for more contacts than an address-of-record may have or one that leads back to it, 439 when the UA wants Outbound and
/// its first hop does not offer it.
pub fn read(request: &Request, policy: &Policy) -> Result<Update, Reject> {
    let call_id = text(request.call_id(), "Call-ID")?;
    let cseq = request.cseq()?.number;
    let contacts = match request.contacts()? {
        Contacts::None => return Ok(Update::Query),
        Contacts::Star if request.expires() == Some(0) => return Ok(Update::RemoveAll { call_id, cseq }),
        // §10.3 step 6: a star with any other expiration, or with none, is an invalid request.
        Contacts::Star => return Err(Reject::new(BAD_REQUEST).because("Contact * Needs Expires 0")),
        Contacts::List(contacts) => contacts,
    };
    // A request may replace every binding by another one, not more. This also bounds the pairwise comparison below.
    if contacts.len() > policy.max_contacts.saturating_mul(2) {
        return Err(too_many_contacts());
    }
    let has_outbound = outbound_applies(request, &contacts)?;
    let contacts =
        contacts.iter().map(|c| wanted(c, request, policy, has_outbound)).collect::<Result<Vec<_>, _>>()?;
    check_together(&contacts)?;
    check_instances(request, &contacts)?;
    Ok(Update::Set(Set { call_id, cseq, path: path(request)?, user_agent: user_agent(request), contacts }))
}

/// The answer to one contact more than an address-of-record may have.
pub(crate) fn too_many_contacts() -> Reject {
    Reject::new(StatusCode::new(403)).because("Too Many Contacts")
}

/// The host of a Request-URI as an [`Aor`] writes it.
fn domain(uri: &Uri<'_>) -> String {
    match uri.host {
        Host::Name(name) => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
        Host::V4(address) => address.to_string(),
        Host::V6(address) => format!("[{address}]"),
    }
}

/// RFC 3261 §10.3 step 2, §8.2.2.3: every extension in Require has to be understood.
///
/// # Errors
/// 420 that lists those which are not.
pub fn check_require(request: &Request) -> Result<(), Reject> {
    require(request, &UNDERSTOOD)
}

/// §10.3 step 2, §8.2.2.3: every extension in Require has to be understood.
pub(crate) fn require(request: &Request, known: &[&str]) -> Result<(), Reject> {
    let understood = |tag: &[u8]| known.iter().any(|known| tag.eq_ignore_ascii_case(known.as_bytes()));
    let mut unsupported = Vec::new();
    for tag in request.headers.values(Name::Require).filter(|tag| !understood(tag)) {
        if !unsupported.is_empty() {
            unsupported.extend_from_slice(b", ");
        }
        unsupported.extend_from_slice(tag);
    }
    if unsupported.is_empty() {
        return Ok(());
    }
    Err(Reject::new(StatusCode::new(420)).with(Name::Unsupported, unsupported))
}

/// RFC 5626 §6: whether a `reg-id` of this request counts.
fn outbound_applies(request: &Request, contacts: &[Contact<'_>]) -> Result<bool, Reject> {
    if contacts.iter().all(|contact| contact.reg_id().is_none()) {
        return Ok(false);
    }
    if outbound::first_hop_supports_it(request) {
        return Ok(true);
    }
    if outbound::ua_supports_it(request) {
        return Err(Reject::new(StatusCode::new(439)));
    }
    Ok(false)
}

fn wanted(
    contact: &Contact<'_>,
    request: &Request,
    policy: &Policy,
    has_outbound: bool,
) -> Result<Wanted, Reject> {
    contact.addr.parsed_uri()?;
    let instance = contact.instance().map(outbound::canonical_instance);
    // RFC 5626 §6: a reg-id without an instance-id is ignored.
    let reg_id = contact.reg_id().filter(|_| has_outbound && instance.is_some());
    Ok(Wanted {
        contact: contact.addr.uri.to_owned(),
        params: kept_params(contact.addr.params.as_str()),
        q: contact.q().min(1000),
        expires: granted(contact.expires().or_else(|| request.expires()), policy)?,
        instance,
        reg_id,
    })
}

/// §10.3 step 7: the interval that is granted for the one that was asked for.
fn granted(asked: Option<u32>, policy: &Policy) -> Result<u32, Reject> {
    let asked = asked.unwrap_or(policy.default_expires);
    if asked > 0 && asked < policy.min_expires && asked < HOUR {
        return Err(Reject::new(StatusCode::new(423)).with(Name::MinExpires, policy.min_expires.to_string()));
    }
    Ok(asked.min(policy.max_expires))
}

/// RFC 5627 §5.1: what has an instance-id gets a GRUU, and must not lead back to it.
fn check_instances(request: &Request, contacts: &[Wanted]) -> Result<(), Reject> {
    let named = contacts.iter().filter(|contact| contact.instance.is_some() && contact.expires > 0);
    for contact in named {
        let aor = Aor::of(&request.to()?.parsed_uri()?)?;
        gruu::check_contact(&Uri::parse(contact.contact.as_bytes())?, &aor)?;
    }
    Ok(())
}

fn check_together(contacts: &[Wanted]) -> Result<(), Reject> {
    let kept = contacts.iter().filter(|contact| contact.expires > 0);
    // RFC 5626 §6: a flow can carry one contact only.
    if kept.clone().any(|contact| contact.reg_id.is_some()) && kept.count() > 1 {
        return Err(Reject::new(BAD_REQUEST).because("More Than One Contact With reg-id"));
    }
    // Two values for one binding cannot both hold, and §10.3 step 7 gives none of them the precedence.
    for (index, contact) in contacts.iter().enumerate() {
        let mut rest = contacts.iter().skip(index + 1);
        if rest.any(|other| contact.means(&other.contact, other.instance.as_deref(), other.reg_id)) {
            return Err(Reject::new(BAD_REQUEST).because("Contact Given Twice"));
        }
    }
    Ok(())
}

/// RFC 3327 §5.3: the path vector in its order, not a byte changed. An element that no Route could be made of is
/// refused now, because every later call would fail on it.
fn path(request: &Request) -> Result<Vec<String>, Reject> {
    request
        .headers
        .values(Name::Path)
        .map(|element| {
            NameAddr::parse(element)?.parsed_uri()?;
            text(element, "Path")
        })
        .collect()
}

fn user_agent(request: &Request) -> String {
    let line = request.headers.get(Name::UserAgent).unwrap_or_default();
    String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).take(USER_AGENT_LENGTH).collect()
}

pub(crate) fn text(bytes: &[u8], what: &'static str) -> Result<String, Reject> {
    let text = std::str::from_utf8(bytes).map_err(|_| sip::ParseError { what, status: BAD_REQUEST })?;
    Ok(text.to_owned())
}

/// The parameters without those that the registrar writes itself; on one line. RFC 5627 §5.1: a UA cannot suggest a
/// GRUU.
fn kept_params(written: &str) -> String {
    let mut kept = String::with_capacity(written.len());
    for param in split_params(written) {
        let name = param.split('=').next().unwrap_or_default().trim();
        if name.is_empty() || WRITTEN_HERE.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            continue;
        }
        kept.push(';');
        kept.extend(param.chars().filter(|c| !matches!(c, '\r' | '\n')));
    }
    kept
}

/// Splits at every `;` that is not inside a quoted string.
pub(crate) fn split_params(written: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    written
        .split(move |c| {
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' if is_quoted => is_escaped = true,
                '"' => is_quoted = !is_quoted,
                ';' => return !is_quoted,
                _ => {}
            }
            false
        })
        .map(str::trim)
}

const BAD_REQUEST: StatusCode = StatusCode::new(400);
const NOT_FOUND: StatusCode = StatusCode::new(404);
/// Option tags that a REGISTER may require of this registrar.
const UNDERSTOOD: [&str; 3] = ["path", outbound::OPTION, gruu::OPTION];
/// Contact parameters of which the request's value is read, or ignored, but not kept.
const WRITTEN_HERE: [&str; 4] = ["expires", "q", "pub-gruu", "temp-gruu"];
const HOUR: u32 = 3_600;
/// Characters of a User-Agent that are kept: enough to tell models and versions apart.
const USER_AGENT_LENGTH: usize = 128;

#[cfg(test)]
mod tests;
