//! Who must prove what, RFC 3261 §22 with RFC 7616 and RFC 8760.
//!
//! The registrar challenges with 401, the proxy with 407, SHA-256 before MD5 (RFC 8760 §2.4). A user proves to be
//! the owner of the address-of-record in To (REGISTER) or From (every other request) and of no other. An unknown
//! user, a wrong password and somebody else's address look alike: a new challenge.

use bytes::Bytes;
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

/// The first half: does the request bring credentials that are worth a look into the directory?
///
/// # Errors
///
/// The challenge, when it doesn't.
pub fn claim(
    request: &Request,
    role: Role,
    owner: &Aor,
    nonces: &mut Nonces,
    now: u64,
    random: u64,
) -> Result<User, Reject> {
    let realm = owner.domain();
    let Some(credentials) = find(request, role, realm) else {
        return Err(challenge(role, realm, nonces, now, random, false));
    };
    match nonces.check(credentials.nonce, credentials.nc, now) {
        Freshness::Fresh => {}
        Freshness::Stale => return Err(challenge(role, realm, nonces, now, random, true)),
        Freshness::Foreign => return Err(challenge(role, realm, nonces, now, random, false)),
    }
    Ok(User { name: credentials.username.into_owned(), realm: realm.to_owned() })
}

/// The second half: does the answer fit the password, and the user the address?
///
/// Both are always computed, for an unknown user with a password that nobody has, so that the answer's time says
/// nothing either.
pub fn proves(request: &Request, role: Role, owner: &Aor, known: Option<&Credentials>) -> bool {
    let Some(credentials) = find(request, role, owner.domain()) else { return false };
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
pub fn challenge(role: Role, realm: &str, nonces: &Nonces, now: u64, random: u64, stale: bool) -> Reject {
    let nonce = nonces.make(now, random);
    let (status, name) = match role {
        Role::Registrar => (401, Name::WwwAuthenticate),
        Role::Proxy => (407, Name::ProxyAuthenticate),
    };
    let mut reject = Reject::new(StatusCode::new(status));
    for algorithm in [Algorithm::Sha256, Algorithm::Md5] {
        let value: Bytes = digest::challenge(algorithm, realm, &nonce, stale);
        reject = reject.with(name, value);
    }
    reject
}

/// The readable credentials for our realm; several may stand in a request (§22.3).
fn find<'a>(request: &'a Request, role: Role, realm: &str) -> Option<digest::Credentials<'a>> {
    let name = match role {
        Role::Registrar => Name::Authorization,
        Role::Proxy => Name::ProxyAuthorization,
    };
    request
        .headers
        .lines(name)
        .filter_map(|line| digest::Credentials::parse(line).ok())
        .find(|credentials| credentials.realm == realm)
}
