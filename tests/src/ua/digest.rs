//! Digest authentication as a phone does it: RFC 7616 §3.4, RFC 8760. Its own code, so that nobody agrees with himself.

use md5::Md5;
use sha2::{Digest, Sha256};

/// What the phone can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 3261 phones.
    Md5,
    /// RFC 8760 phones.
    Sha256,
}

/// A challenge that the phone has received and goes on using.
#[derive(Debug, Clone)]
pub struct Challenge {
    /// Protection domain.
    pub realm: String,
    /// As it came.
    pub nonce: String,
    /// The one that was chosen.
    pub algorithm: Algorithm,
    /// Whether the server knows the nonce and only wants a newer one.
    pub stale: bool,
    count: u32,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn hash(self, text: &str) -> String {
        let digest = match self {
            Self::Md5 => Md5::digest(text).to_vec(),
            Self::Sha256 => Sha256::digest(text).to_vec(),
        };
        digest.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// `H(user:realm:password)`.
    pub fn ha1(self, user: &str, realm: &str, password: &str) -> String {
        self.hash(&format!("{user}:{realm}:{password}"))
    }
}

impl Challenge {
    /// The first of the challenges that the phone can answer (RFC 8760 §2.4): they come in the server's order.
    pub fn choose(lines: &[&str], algorithm: Algorithm) -> Option<Self> {
        lines
            .iter()
            .filter(|line| directive(line, "algorithm").unwrap_or("MD5") == algorithm.name())
            .find_map(|line| {
                Some(Self {
                    realm: directive(line, "realm")?.to_owned(),
                    nonce: directive(line, "nonce")?.to_owned(),
                    algorithm,
                    stale: directive(line, "stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
                    count: 0,
                })
            })
    }

    /// The credentials for one request, each with the next nonce count.
    pub fn answer(&mut self, user: &str, password: &str, method: &str, uri: &str) -> String {
        self.count += 1;
        let (realm, nonce, algorithm) = (&self.realm, &self.nonce, self.algorithm.name());
        let (count, cnonce) = (format!("{:08x}", self.count), "0a4f113b");
        let ha1 = self.algorithm.ha1(user, realm, password);
        let response = self.response(&ha1, method, uri, &count, cnonce);
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm={algorithm}, cnonce=\"{cnonce}\", qop=auth, nc={count}"
        )
    }

    /// Goes on with the nonce that an Authentication-Info names (RFC 7616 §3.5).
    ///
    /// # Panics
    ///
    /// When the server does not prove to know the password, too.
    pub fn renew(&mut self, info: &str, user: &str, password: &str, uri: &str) {
        let get = |name| directive(info, name);
        let Some(next) = get("nextnonce") else { return };
        let ha1 = self.algorithm.ha1(user, &self.realm, password);
        let (count, cnonce) = (get("nc").unwrap_or(""), get("cnonce").unwrap_or(""));
        assert_eq!((count, get("qop")), (format!("{:08x}", self.count).as_str(), Some("auth")), "{info}");
        assert_eq!(get("rspauth"), Some(self.response(&ha1, "", uri, count, cnonce).as_str()), "{info}");
        (self.nonce, self.count) = (next.to_owned(), 0);
    }

    fn response(&self, ha1: &str, method: &str, uri: &str, count: &str, cnonce: &str) -> String {
        let (ha2, nonce) = (self.algorithm.hash(&format!("{method}:{uri}")), &self.nonce);
        self.algorithm.hash(&format!("{ha1}:{nonce}:{count}:{cnonce}:auth:{ha2}"))
    }
}

fn directive<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let line = line.trim();
    let list = line.strip_prefix("Digest ").unwrap_or(line);
    list.split(',').find_map(|item| {
        let (own, value) = item.trim().split_once('=')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7616 §3.9.1.
    #[test]
    fn examples_of_rfc_7616() {
        let line = |algorithm| {
            format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\""
            )
        };
        let lines = [line("SHA-256"), line("MD5")];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, response) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let challenge = Challenge::choose(&lines, algorithm).unwrap();
            let ha1 = algorithm.ha1("Mufasa", &challenge.realm, "Circle of Life");
            assert_eq!(challenge.response(&ha1, "GET", "/dir/index.html", "00000001", cnonce), response);
        }
    }

    #[test]
    fn every_answer_counts_up() {
        let mut challenge =
            Challenge::choose(&["Digest realm=\"r\", nonce=\"n\", algorithm=MD5"], Algorithm::Md5).unwrap();
        assert!(challenge.answer("u", "p", "REGISTER", "sip:r").ends_with("nc=00000001"));
        assert!(challenge.answer("u", "p", "REGISTER", "sip:r").ends_with("nc=00000002"));
    }
}
