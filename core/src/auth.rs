//! Who must prove what, RFC 3261 §22 with RFC 7616 and RFC 8760.
//!
//! The registrar challenges with 401, the proxy with 407 and a realm that is the domain (§22.1), the preferred algorithm first
//! (RFC 7616 §3.7 and §3.8, RFC 8760 §2.3), by Digest alone (RFC 8760 §2.6). A user proves to
//! be the owner of the address-of-record in To (REGISTER) or From (every other request) and of no other:
//!
//! | what the request shows | answer |
//! |---|---|
//! | nothing for our realm, nothing that is offered, or a nonce that is not ours | challenge |
//! | a nonce that is too old, or a count that was seen | challenge with `stale=true` (RFC 7616 §3.3) |
//! | credentials that cannot be read, or for another resource | 400 (RFC 7616 §3.4, §3.4.6) |
//! | an unknown user or a wrong password | challenge |
//! | the password of one user, the address of another | 403 (RFC 3261 §10.3 step 4) |
//!
//! An unknown user is a wrong password: same answer, same headers, same questions to the store, and the same digests
//! are computed, over a password that nobody has. What the 403 says is told to him only who knows a password, and it
//! is the same whether the other address exists or not.

use std::collections::BTreeSet;

use bytes::Bytes;
use location::{Credentials, User};
use sip::digest::{self, Algorithm, Unusable, Why};
use sip::{Aor, Host, Name, Reject, Request, StatusCode, Uri};

use crate::nonce::{Freshness, Nonces};

/// Which of the two challenges of §22.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// 401, `WWW-Authenticate`, `Authorization` (§22.2).
    Registrar,
    /// 407, `Proxy-Authenticate`, `Proxy-Authorization` (§22.3).
    Proxy,
}

/// What a challenge is made of besides the realm.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The wall clock, seconds since the epoch.
    pub unix: u64,
    /// Makes two nonces of one second different.
    pub random: u64,
}

/// Credentials that are worth a look into the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose they claim to be.
    pub user: User,
    /// Which of the lines they are.
    line: usize,
}

/// Credentials that have proven to be right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// Value of Authentication-Info for the answer, when the next nonce is due (RFC 7616 §3.5).
    pub info: Option<Bytes>,
}

/// Challenges and judges; keeps nothing but the counts of nonces.
#[derive(Debug)]
pub struct Auth {
    nonces: Nonces,
    /// What is offered and accepted, the preferred one first.
    algorithms: Vec<Algorithm>,
    /// Ours, lower case.
    domains: BTreeSet<String>,
    verifications: u64,
}

/// Most lines of credentials for our realm that are looked at.
const MAX_LINES: usize = 8;

/// What stands in the place of an unknown user's HA1. No password is known to have it.
const NOBODY_MD5: &str = "00000000000000000000000000000000";
const NOBODY_SHA256: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl Auth {
    /// `algorithms` in the order of the challenges, `domains` in lower case.
    pub fn new(nonces: Nonces, algorithms: Vec<Algorithm>, domains: BTreeSet<String>) -> Self {
        Self { nonces, algorithms, domains, verifications: 0 }
    }

    /// Other domains are ours from here on, in lower case.
    pub fn serve(&mut self, domains: BTreeSet<String>) {
        self.domains = domains;
    }

    /// The first half: does the request bring credentials that are worth a look into the directory? Of several for our
    /// realm (§22.3) those with the freshest nonce count, the topmost of equals. It uses nothing up.
    ///
    /// # Errors
    ///
    /// The challenge when there are none, 400 when they are no good.
    pub fn claim(&self, request: &Request, role: Role, owner: &Aor, at: Moment) -> Result<Claim, Reject> {
        let realm = owner.domain();
        let mut best: Option<(Freshness, usize, digest::Credentials<'_>)> = None;
        let mut is_improper = false;
        for (line, found) in lines(request, role).take(MAX_LINES) {
            match found {
                Ok(found) if found.realm == realm && self.algorithms.contains(&found.algorithm) => {
                    let freshness = self.nonces.judge(found.nonce, found.nc, at.unix);
                    if best.as_ref().is_none_or(|(known, ..)| freshness > *known) {
                        best = Some((freshness, line, found));
                    }
                }
                Err(Unusable { why: Why::Improper, realm: Some(its) }) => is_improper |= its == realm,
                Ok(_) | Err(_) => {}
            }
        }
        match best {
            Some((Freshness::Fresh, line, found)) => {
                if !self.is_same_resource(found.uri, &request.request_uri()?) {
                    return Err(Reject::new(BAD_REQUEST).because("Credentials For Another URI"));
                }
                let user = User { name: found.username.into_owned(), realm: realm.to_owned() };
                Ok(Claim { user, line })
            }
            Some((Freshness::Stale, ..)) => Err(self.challenge(role, realm, at, true)),
            None if is_improper => Err(Reject::new(BAD_REQUEST).because("Malformed Credentials")),
            Some((Freshness::Foreign, ..)) | None => Err(self.challenge(role, realm, at, false)),
        }
    }

    /// The second half: does the answer fit the password, and the user the address? Uses the nonce count up.
    ///
    /// # Errors
    ///
    /// The challenge when it doesn't, 403 when the user is somebody else.
    pub fn prove(
        &mut self,
        request: &Request,
        role: Role,
        owner: &Aor,
        claim: &Claim,
        known: Option<&Credentials>,
        at: Moment,
    ) -> Result<Proof, Reject> {
        let found = lines(request, role).find(|(line, _)| *line == claim.line).and_then(|(_, it)| it.ok());
        let Some(found) = found else { return Err(self.challenge(role, owner.domain(), at, false)) };
        let ha1 = match (found.algorithm, known) {
            (Algorithm::Md5, Some(known)) => &known.ha1_md5,
            (Algorithm::Md5, None) => NOBODY_MD5,
            (Algorithm::Sha256, Some(known)) => &known.ha1_sha256,
            (Algorithm::Sha256, None) => NOBODY_SHA256,
        };
        self.verifications += 1;
        let is_right = found.verify(ha1, &request.method);
        if !(is_right & known.is_some()) {
            return Err(self.challenge(role, owner.domain(), at, false));
        }
        if self.nonces.spend(found.nonce, found.nc, at.unix) != Freshness::Fresh {
            return Err(self.challenge(role, owner.domain(), at, true));
        }
        if found.username != owner.user_name() || !speaks_for(request, role, owner) {
            return Err(Reject::new(FORBIDDEN).because("Not Your Address"));
        }
        let is_due = role == Role::Registrar && self.nonces.is_ageing(found.nonce, at.unix);
        let info = is_due.then(|| found.confirmation(ha1, &self.nonces.make(at.unix, at.random))).flatten();
        Ok(Proof { info })
    }

    /// The refusal that asks for credentials.
    pub fn challenge(&self, role: Role, realm: &str, at: Moment, stale: bool) -> Reject {
        let nonce = self.nonces.make(at.unix, at.random);
        let (status, name) = match role {
            Role::Registrar => (401, Name::WwwAuthenticate),
            Role::Proxy => (407, Name::ProxyAuthenticate),
        };
        self.algorithms.iter().fold(Reject::new(StatusCode::new(status)), |reject, algorithm| {
            reject.with(name, digest::challenge(*algorithm, realm, &nonce, stale))
        })
    }

    /// How many digests were verified so far: one for each claim, whoever made it.
    pub fn verifications(&self) -> u64 {
        self.verifications
    }

    /// RFC 7616 §3.4.6: the credentials are for the resource that the request is for. Proxies on the way may have
    /// rewritten port and parameters, sips to sip, or one of our domains to another (RFC 8760 §2.6 item 6 asks for no
    /// more than a user for whom we accept requests); the user they leave alone. An address without a user is the server that
    /// asked, as a client knows it that was configured with nothing else: the nonce says that it was us.
    fn is_same_resource(&self, shown: &str, asked: &Uri<'_>) -> bool {
        let Ok(shown) = Uri::parse(shown.as_bytes()) else { return false };
        if shown.equivalent(asked) {
            return true;
        }
        let serves = |uri: &Uri<'_>| crate::settings::serves(&self.domains, uri);
        if shown.is_sip() && shown.user.is_none() && !matches!(shown.host, Host::Name(_)) {
            return true;
        }
        shown.is_sip()
            && asked.is_sip()
            && same_user(&shown, asked)
            && (shown.host.matches(&asked.host) || serves(&shown) && serves(asked))
    }
}

fn same_user(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    match (Aor::of(a), Aor::of(b)) {
        (Ok(a), Ok(b)) => a.user() == b.user(),
        // Neither URI has a user, as that of a REGISTER.
        (Err(_), Err(_)) => true,
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    }
}

/// RFC 3261 §10.2: From is To, or it is a third party that registers. None is allowed to here.
fn speaks_for(request: &Request, role: Role, owner: &Aor) -> bool {
    let from = || Aor::of(&request.from().ok()?.parsed_uri().ok()?).ok();
    role == Role::Proxy || from().as_ref() == Some(owner)
}

/// Every line of credentials with its number.
fn lines(
    request: &Request,
    role: Role,
) -> impl Iterator<Item = (usize, Result<digest::Credentials<'_>, Unusable<'_>>)> {
    let name = match role {
        Role::Registrar => Name::Authorization,
        Role::Proxy => Name::ProxyAuthorization,
    };
    request.headers.lines(name).map(digest::Credentials::parse).enumerate()
}

/// Takes the proof of the caller out of a copy: it was for this cluster and is nobody else's business (§22.3). When
/// another realm has a line as well, all of them stay, untouched (RFC 7616 §3.6).
pub fn forget(copy: &mut Request, serves: impl Fn(&str) -> bool) {
    let ours = |line: &[u8]| {
        let realm = match digest::Credentials::parse(line) {
            Ok(found) => Some(found.realm),
            Err(unusable) => unusable.realm,
        };
        realm.is_some_and(|realm| serves(&realm))
    };
    if copy.headers.lines(Name::ProxyAuthorization).all(ours) {
        copy.headers.remove(Name::ProxyAuthorization);
    }
}

const BAD_REQUEST: StatusCode = StatusCode::new(400);
const FORBIDDEN: StatusCode = StatusCode::new(403);

#[cfg(test)]
mod tests;
