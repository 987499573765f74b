//! The settings of a core: the variables `CORE_…`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use node::config::{ConfigError, Secret, Span, host_name};
use registrar::Policy;
use sip::digest::Algorithm;
use sip::{Aor, Method};

use crate::database::DatabaseUrl;
use crate::domains;
use crate::keys::ClusterKeys;
use crate::routes::{Route, Routes};
use crate::settings::{Challenged, Settings};

/// Prefix of the variables.
pub const PREFIX: &str = "CORE_";

node::settings! {
    /// Settings of a core.
    pub struct Config {
        /// Unique name of this core.
        name: String = host_name() => "host name",
        /// UDP address on which edges reach this core over QUIC.
        link_listen: SocketAddr = SocketAddr::from(([0, 0, 0, 0], 7443)),
        /// PEM file with the certificates of the cluster CA.
        link_ca: Option<PathBuf> = None => "development certificates, loopback only",
        /// PEM file with this node's certificate.
        link_cert: Option<PathBuf> = None => "as above",
        /// PEM file with the private key of the certificate.
        link_key: Option<PathBuf> = None => "as above",
        /// The location service: `sqlite:PATH`, one file that all cores of a host share; or `postgres://…` or `mysql://…` (MariaDB), one URL for each node of the database, the preferred one first.
        database_url: DatabaseUrl = DatabaseUrl::default(),
        /// How many addresses, and users, a core remembers for the calls that go on while the database is away; 0 for none.
        last_known: usize = 100_000,
        /// How long it remembers them after it has last seen them in the database.
        last_known_age: Span = Span::from_secs(3600),
        /// Domains served, besides those that are added while cores run (`domain add`).
        domains: Vec<String> = vec!["localhost".to_owned()],
        /// Keys of nonces, signed branches and temporary GRUUs, the same on all cores: `current[,previous]`, base64 of at least 32 bytes each.
        cluster_keys: Secret = Secret::default() => "random, with a warning: other cores do not know this core's nonces",
        /// How long a nonce can be used.
        auth_nonce_lifetime: Span = Span::from_secs(300),
        /// Digest algorithms offered, the preferred one first: `SHA-256`, `MD5`.
        auth_algorithms: Vec<DigestAlgorithm> = vec![DigestAlgorithm(Algorithm::Sha256), DigestAlgorithm(Algorithm::Md5)],
        /// Methods whose requests from users of our domains are challenged (407): names, `all`, or `none`. REGISTER always is.
        auth_methods: Vec<AuthMethods> = vec![AuthMethods::All],
        /// Ways out of the cluster, `PATTERN=URI`. For users of ours that are nobody's: `0*=sip:gw.example.net;transport=tcp` (begins with),
        /// `100=sip:pbx.example.net` (this one); the longest pattern wins, and a `*` in the URI's user part is what the pattern's has
        /// matched: `0*=sip:+49*@gw.example.net`. For another domain: `@example.org=sip:192.0.2.7` (next hop).
        routes: Vec<Route> = Vec::new() => "other domains by the DNS",
        /// Shortest expiry of a binding; less is refused with 423.
        register_min_expires: Span = Span::from_secs(60),
        /// Expiry of a binding whose REGISTER asks for none.
        register_default_expires: Span = Span::from_secs(3600),
        /// Longest expiry of a binding; more is shortened.
        register_max_expires: Span = Span::from_secs(7200),
        /// Largest number of contacts of one address.
        register_max_contacts: usize = 10,
        /// What Service-Route (RFC 3608) tells a UA about the way of its requests: `off`, or `edge`, the one that it registered through.
        service_route: ServiceRoute = ServiceRoute::Off,
        /// Users, `name@domain`, who may subscribe to the registration state (RFC 3680) of everybody: applications. Everybody may subscribe to his own.
        reg_watchers: Vec<Watching> = Vec::new() => "none",
        /// Whether every change of a binding goes into the feed at `/v1/changes`; the same on all cores. Costs a row per REGISTER.
        change_feed: bool = false,
        /// How long the feed keeps a change. A consumer that was away for longer takes a new snapshot.
        change_feed_retention: Span = Span::from_secs(86_400),
        /// Messages that may wait for the engine; beyond it requests are answered with 503.
        queue: usize = 8_192,
        /// Threads: 1 runs everything on one, more share the work by Call-ID.
        workers: usize = 1,
        /// How long a stopping core finishes what has begun.
        drain_grace: Span = Span::from_secs(20),
        /// Address of `/health`, `/ready`, `/metrics` and the API under `/v1/`.
        admin: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 9470)),
        /// Bearer tokens that open the API: `current[,previous]`.
        admin_token: Secret = Secret::default() => "none: the API is closed",
        /// PEM file with the certificate of the administration address, with its chain.
        admin_tls_cert: Option<PathBuf> = None => "no TLS",
        /// PEM file with the private key of that certificate.
        admin_tls_key: Option<PathBuf> = None => "as above",
    }
}

impl Config {
    /// Reads `CORE_CLUSTER_KEYS`; without it a random key from `seed`.
    ///
    /// # Errors
    ///
    /// A key that is not base64 or too short.
    pub fn keys(&self, seed: [u8; 32]) -> Result<ClusterKeys, ConfigError> {
        if self.cluster_keys.is_empty() {
            return Ok(ClusterKeys::random(seed));
        }
        ClusterKeys::parse(self.cluster_keys.expose().split(','))
            .map_err(|problem| ConfigError::new(format!("{PREFIX}CLUSTER_KEYS"), problem))
    }

    /// What no single field can check.
    ///
    /// # Errors
    ///
    /// Names the variable.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |name: &str, problem: &str| Err(ConfigError::new(format!("{PREFIX}{name}"), problem));
        if self.name.is_empty()
            || !self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        {
            return wrong("NAME", "it stands in Via headers: letters, digits, dots and hyphens only");
        }
        if self.named_domains().next().is_none() {
            return wrong("DOMAINS", "at least one domain is needed");
        }
        if let Some(why) = self.named_domains().find_map(|text| domains::name(text).err()) {
            return wrong("DOMAINS", why);
        }
        if self.auth_methods.is_empty()
            || self.auth_methods.len() > 1
                && self.auth_methods.iter().any(|it| !matches!(it, AuthMethods::Method(_)))
        {
            return wrong("AUTH_METHODS", "names of methods are expected, or `all`, or `none`");
        }
        if self.auth_algorithms.is_empty() {
            return wrong("AUTH_ALGORITHMS", "at least one algorithm is needed");
        }
        let (min, default, max) = (
            self.register_min_expires.secs(),
            self.register_default_expires.secs(),
            self.register_max_expires.secs(),
        );
        if min > default {
            return wrong("REGISTER_DEFAULT_EXPIRES", "it is shorter than CORE_REGISTER_MIN_EXPIRES");
        }
        if default > max {
            return wrong("REGISTER_MAX_EXPIRES", "it is shorter than CORE_REGISTER_DEFAULT_EXPIRES");
        }
        if max > u64::from(u32::MAX / 2) {
            return wrong("REGISTER_MAX_EXPIRES", "it is longer than SIP can say");
        }
        if self.admin_tls_cert.is_some() != self.admin_tls_key.is_some() {
            let name = if self.admin_tls_key.is_none() { "ADMIN_TLS_KEY" } else { "ADMIN_TLS_CERT" };
            return wrong(name, "a certificate needs its key, and a key its certificate");
        }
        if self.change_feed_retention.secs() < 60 {
            return wrong("CHANGE_FEED_RETENTION", "readers need a minute at least to read what is kept");
        }
        if self.register_max_contacts == 0 {
            return wrong("REGISTER_MAX_CONTACTS", "at least one contact is needed");
        }
        self.check_routes()?;
        self.keys([0; 32]).map(drop)
    }

    /// The domains that are served whatever the database says, as an address-of-record has them.
    pub fn domains(&self) -> BTreeSet<String> {
        self.named_domains().filter_map(|text| domains::name(text).ok()).collect()
    }

    fn named_domains(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    fn challenged(&self) -> Challenged {
        let methods = self.auth_methods.iter().filter_map(|it| match it {
            AuthMethods::Method(method) => Some(method.clone()),
            AuthMethods::All | AuthMethods::None => None,
        });
        match self.auth_methods[..] {
            [AuthMethods::All] => Challenged::All,
            _ => Challenged::Only(methods.collect()),
        }
    }

    /// Two routes for the same, or one for a domain that is served here.
    fn check_routes(&self) -> Result<(), ConfigError> {
        let wrong = |problem: String| ConfigError::new(format!("{PREFIX}ROUTES"), problem);
        let own = self.domains();
        let mut foreign = self.routes.iter().filter_map(Route::domain);
        if let Some(domain) =
            foreign.find(|domain| domains::name(domain).is_ok_and(|name| own.contains(&name)))
        {
            return Err(wrong(format!("`@{domain}` is one of CORE_DOMAINS")));
        }
        Routes::new(&self.routes).map(drop).map_err(wrong)
    }

    /// What the engine is told.
    pub(crate) fn settings(&self, keys: ClusterKeys) -> Settings {
        let seconds = |span: Span| u32::try_from(span.secs()).unwrap_or(u32::MAX);
        Settings {
            name: self.name.clone(),
            domains: self.domains(),
            keys,
            nonce_lifetime: self.auth_nonce_lifetime.secs(),
            algorithms: self.auth_algorithms.iter().map(|algorithm| algorithm.0).collect(),
            challenged: self.challenged(),
            policy: Policy {
                min_expires: seconds(self.register_min_expires),
                default_expires: seconds(self.register_default_expires),
                max_expires: seconds(self.register_max_expires),
                max_contacts: self.register_max_contacts,
            },
            service_route: self.service_route == ServiceRoute::Edge,
            change_feed: self.change_feed,
            reg_watchers: self.reg_watchers.iter().map(|watching| watching.0.clone()).collect(),
            routes: Routes::new(&self.routes).unwrap_or_default(),
        }
    }
}

/// A digest algorithm by its name in RFC 7616.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigestAlgorithm(pub Algorithm);

impl FromStr for DigestAlgorithm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Algorithm::parse(text).map(Self).ok_or("SHA-256 or MD5 is expected")
    }
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

node::setting!(DigestAlgorithm, Route);

/// An address-of-record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watching(pub Aor);

impl FromStr for Watching {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Aor::parse(text).map(Self).map_err(|_| "`name@domain` is expected")
    }
}

impl fmt::Display for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.0.user(), self.0.domain())
    }
}

node::setting!(Watching);

/// What a 200 to a REGISTER tells about the way of other requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceRoute {
    /// `off`: nothing.
    Off,
    /// `edge`: through the edge of the registration.
    Edge,
}

impl FromStr for ServiceRoute {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "edge" => Ok(Self::Edge),
            _ => Err("`off` or `edge` is expected"),
        }
    }
}

impl fmt::Display for ServiceRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Edge => "edge",
        })
    }
}

node::setting!(ServiceRoute);

/// Part of the list of methods that are challenged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthMethods {
    /// `all`
    All,
    /// `none`
    None,
    /// One of them.
    Method(Method),
}

impl FromStr for AuthMethods {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => return Ok(Self::All),
            "none" => return Ok(Self::None),
            _ => {}
        }
        match Method::parse(text.as_bytes()) {
            Some(Method::Register) => Err("REGISTER is challenged in any case"),
            Some(Method::Ack | Method::Cancel) => Err("ACK and CANCEL cannot be challenged"),
            // RFC 3261 §7.1: methods are case-sensitive; a small letter is a slip.
            Some(method) if !text.bytes().any(|byte| byte.is_ascii_lowercase()) => Ok(Self::Method(method)),
            Some(_) | None => Err("the name of a method in capitals, `all` or `none` is expected"),
        }
    }
}

impl fmt::Display for AuthMethods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::None => "none",
            Self::Method(method) => method.as_str(),
        })
    }
}

node::setting!(AuthMethods);

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config: Config = node::config::load_from(PREFIX, vars)?;
        config.check().map(|()| config)
    }

    #[test]
    fn the_defaults_can_run() {
        assert!(of(&[]).is_ok());
    }

    #[test]
    fn an_error_names_its_variable() {
        for (name, value) in [
            ("CORE_CLUSTER_KEYS", "c2hvcnQ="),
            ("CORE_DATABASE_URL", "oracle:x"),
            ("CORE_DOMAINS", " "),
            ("CORE_DOMAINS", "example.com,two words"),
            ("CORE_AUTH_ALGORITHMS", "MD4"),
            ("CORE_AUTH_METHODS", "INVITE,all"),
            ("CORE_AUTH_METHODS", "invite"),
            ("CORE_SERVICE_ROUTE", "core"),
            ("CORE_AUTH_METHODS", "INVITE,CANCEL"),
            ("CORE_REGISTER_MAX_EXPIRES", "10s"),
            ("CORE_REGISTER_MAX_CONTACTS", "0"),
            ("CORE_CHANGE_FEED_RETENTION", "59s"),
            ("CORE_REGISTER_MAX_CONTACT", "5"),
            ("CORE_REG_WATCHERS", "example.com"),
            ("CORE_NAME", "a core"),
            ("CORE_ROUTES", "0*=gw.example.net"),
            ("CORE_ROUTES", "0*=sip:a.example.net,0*=sip:b.example.net"),
            ("CORE_ROUTES", "@LOCALHOST=sip:192.0.2.1"),
            ("CORE_ADMIN", "localhost"),
        ] {
            assert_eq!(of(&[(name, value)]).unwrap_err().name, name, "{value}");
        }
    }

    #[test]
    fn domains_have_one_spelling() {
        let domains = |text| of(&[("CORE_DOMAINS", text)]).unwrap().domains().into_iter().collect::<Vec<_>>();
        assert_eq!(domains("B.example, a.example.,b.EXAMPLE"), ["a.example", "b.example"]);
        assert_eq!(domains(""), ["localhost"], "an empty variable is none");
    }

    #[test]
    fn methods_are_named_or_all_or_none() {
        let challenged = |text| of(&[("CORE_AUTH_METHODS", text)]).unwrap().challenged();
        assert_eq!(of(&[]).unwrap().challenged(), Challenged::All);
        assert_eq!(challenged("all"), Challenged::All);
        assert_eq!(challenged("none"), Challenged::NONE);
        assert_eq!(challenged("INVITE,MESSAGE"), Challenged::Only(vec![Method::Invite, Method::Message]));
    }

    #[test]
    fn a_certificate_needs_its_key() {
        assert_eq!(of(&[("CORE_ADMIN_TLS_CERT", "a.pem")]).unwrap_err().name, "CORE_ADMIN_TLS_KEY");
        assert_eq!(of(&[("CORE_ADMIN_TLS_KEY", "a.pem")]).unwrap_err().name, "CORE_ADMIN_TLS_CERT");
    }

    #[test]
    fn no_secret_is_shown() {
        let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
        let config = of(&[("CORE_CLUSTER_KEYS", key)]).unwrap();
        assert!(!node::config::check_text(PREFIX, &config).contains(key));
        assert!(!format!("{config:?}").contains(key));
    }
}
