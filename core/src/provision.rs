//! What is stored of a subscriber, from whatever an operator has: a password, or the HA1 of another system (RFC 7616 §3.4.2).

use location::{Credentials, Directory, User};
use sip::Aor;
use sip::digest::{Algorithm, ha1};

/// What proves who a user is, as it comes from outside.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Proof {
    /// The password itself; the HA1s are made of it.
    pub password: Option<String>,
    /// `MD5(user:realm:password)` in hex.
    pub ha1_md5: Option<String>,
    /// `SHA-256(user:realm:password)` in hex.
    pub ha1_sha256: Option<String>,
}

impl Proof {
    /// A password.
    pub fn password(password: impl Into<String>) -> Self {
        Self { password: Some(password.into()), ..Self::default() }
    }

    /// What a row of a table holds that may have both: the HA1 is what the other system went by, and counts.
    pub fn of_row(password: Option<String>, ha1_md5: Option<String>, ha1_sha256: Option<String>) -> Self {
        let [ha1_md5, ha1_sha256] = [ha1_md5, ha1_sha256].map(|ha1| ha1.filter(|ha1| !ha1.trim().is_empty()));
        let password = password.filter(|_| ha1_md5.is_none() && ha1_sha256.is_none());
        Self { password, ha1_md5, ha1_sha256 }
    }

    /// What is stored for the user of this address. The realm is the domain, as the challenge says it.
    ///
    /// # Errors
    ///
    /// What is wrong with it; nothing secret is in the text.
    pub fn credentials(&self, aor: &Aor) -> Result<(User, Credentials), &'static str> {
        let given = |hex: &Option<String>, length: usize| match hex.as_deref() {
            None | Some("") => Ok(String::new()),
            Some(hex) if hex.len() == length && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Ok(hex.to_ascii_lowercase())
            }
            Some(_) => Err("an HA1 is 32 (MD5) or 64 (SHA-256) hexadecimal digits"),
        };
        let ha1_md5 = given(&self.ha1_md5, 32)?;
        let ha1_sha256 = given(&self.ha1_sha256, 64)?;
        let has_ha1 = !(ha1_md5.is_empty() && ha1_sha256.is_empty());
        let credentials = match self.password.as_deref().filter(|password| !password.is_empty()) {
            Some(_) if has_ha1 => return Err("a password and an HA1 exclude each other"),
            Some(password) => {
                let ha1 = |algorithm| ha1(algorithm, &aor.user_name(), aor.domain(), password);
                Credentials { ha1_md5: ha1(Algorithm::Md5), ha1_sha256: ha1(Algorithm::Sha256) }
            }
            None if has_ha1 => Credentials { ha1_md5, ha1_sha256 },
            None => return Err("the password is empty"),
        };
        Ok((User::of(aor), credentials))
    }
}

/// Users of one transaction.
pub const BATCH: usize = 1_000;

/// Writes many users; of two with one name the later counts. Stops at the first failure.
pub(crate) async fn put_all(
    directory: &impl Directory,
    users: &[(User, Credentials)],
) -> Result<(), location::Error> {
    for batch in users.chunks(BATCH) {
        directory.put_all(batch).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(proof: &Proof) -> Result<Credentials, &'static str> {
        proof.credentials(&Aor::parse("Mufasa@example.com").unwrap()).map(|(_, credentials)| credentials)
    }

    /// RFC 7616 §3.4.2: A1 is `unq(username) ":" unq(realm) ":" passwd`.
    #[test]
    fn a_password_gives_both_and_an_ha1_itself() {
        let both = of(&Proof::password("Circle of Life")).unwrap();
        assert_eq!(both.ha1_md5, ha1(Algorithm::Md5, "Mufasa", "example.com", "Circle of Life"));
        assert_eq!(both.ha1_sha256, ha1(Algorithm::Sha256, "Mufasa", "example.com", "Circle of Life"));
        let upper = Proof { ha1_md5: Some(both.ha1_md5.to_uppercase()), ..Proof::default() };
        let only = of(&upper).unwrap();
        assert_eq!((only.ha1_md5, only.ha1_sha256.as_str()), (both.ha1_md5, ""));
    }

    #[test]
    fn what_proves_nothing_is_refused() {
        for proof in [
            Proof::default(),
            Proof::password(""),
            Proof { ha1_md5: Some(String::new()), ..Proof::default() },
            Proof { ha1_md5: Some("0".repeat(31)), ..Proof::default() },
            Proof { ha1_md5: Some("g".repeat(32)), ..Proof::default() },
            Proof { ha1_sha256: Some("0".repeat(32)), ..Proof::default() },
            Proof { ha1_md5: Some("0".repeat(32)), ..Proof::password("x") },
        ] {
            assert!(of(&proof).is_err());
        }
    }
}
