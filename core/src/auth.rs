//! Who must prove what, RFC 3261 §22 with RFC 7616 and RFC 8760.
//!
//! The registrar challenges with 401, the proxy with 407, the strongest algorithm first (RFC 8760 §2.4). A user proves to be
//! the owner of the address-of-record in To (REGISTER) or From (every other request) and of no other. An unknown
//! user, a wrong password and somebody else's address look alike: a new challenge.

use location::{Credentials, User};
use sip::digest::{self, Algorithm};
use sip::{Aor, Name, Reject, Request, StatusCode};

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

/// Challenges and judges; keeps nothing but the counts of nonces.
#[derive(Debug)]
pub struct Auth {
    nonces: Nonces,
    /// What is offered and accepted, the preferred one first.
    algorithms: Vec<Algorithm>,
}

impl Auth {
    /// `algorithms` in the order of the challenges.
    pub fn new(nonces: Nonces, algorithms: Vec<Algorithm>) -> Self {
        Self { nonces, algorithms }
    }

    /// The first half: does the request bring credentials that are worth a look into the directory?
    ///
    /// # Errors
    ///
    /// The challenge, when it doesn't.
    pub fn claim(&mut self, request: &Request, role: Role, owner: &Aor, at: Moment) -> Result<User, Reject> {
        let realm = owner.domain();
        let Some(credentials) = self.find(request, role, realm) else {
            return Err(self.challenge(role, realm, at, false));
        };
        let name = credentials.username.into_owned();
        match self.nonces.check(credentials.nonce, credentials.nc, at.unix) {
            Freshness::Fresh => Ok(User { name, realm: realm.to_owned() }),
            Freshness::Stale => Err(self.challenge(role, realm, at, true)),
            Freshness::Foreign => Err(self.challenge(role, realm, at, false)),
        }
    }

    /// The second half: does the answer fit the password, and the user the address?
    ///
    /// Both are always computed, for an unknown user with a password that nobody has, so that the answer's time says
    /// nothing either.
    pub fn proves(&self, request: &Request, role: Role, owner: &Aor, known: Option<&Credentials>) -> bool {
        let Some(credentials) = self.find(request, role, owner.domain()) else { return false };
        let nobody = Credentials { ha1_md5: "0".repeat(32), ha1_sha256: "0".repeat(64) };
        let known_or_nobody = known.unwrap_or(&nobody);
        let ha1 = match credentials.algorithm {
            Algorithm::Md5 => &known_or_nobody.ha1_md5,
            Algorithm::Sha256 => &known_or_nobody.ha1_sha256,
        };
        let right = credentials.verify(ha1, &request.method);
        let own = credentials.username == owner.user();
        known.is_some() & right & own
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

    /// The readable credentials for our realm by an algorithm that is offered; several may stand in a request (§22.3).
    fn find<'a>(&self, request: &'a Request, role: Role, realm: &str) -> Option<digest::Credentials<'a>> {
        let name = match role {
            Role::Registrar => Name::Authorization,
            Role::Proxy => Name::ProxyAuthorization,
        };
        request.headers.lines(name).filter_map(|line| digest::Credentials::parse(line).ok()).find(
            |credentials| credentials.realm == realm && self.algorithms.contains(&credentials.algorithm),
        )
    }
}

/// Takes the proof of the caller out of a copy: it was for this cluster and is nobody else's business (§22.3). When
/// another realm has a line as well, all of them stay.
pub fn forget(copy: &mut Request, serves: impl Fn(&str) -> bool) {
    let ours =
        |line: &[u8]| digest::Credentials::parse(line).is_ok_and(|credentials| serves(&credentials.realm));
    if copy.headers.lines(Name::ProxyAuthorization).all(ours) {
        copy.headers.remove(Name::ProxyAuthorization);
    }
}
