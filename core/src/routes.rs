//! The operator's routes, `CORE_ROUTES`: which requests leave the cluster by which way.
//!
//! A route is `PATTERN=URI`:
//!
//! | pattern | whom it is for | what the URI is |
//! |---|---|---|
//! | `0*` | users of our domains that begin with `0` | the gateway: the request goes to the dialled user there |
//! | `100` | this user of our domains | as above |
//! | `@example.net` | the domain of somebody else | the next hop: the request keeps its Request-URI and gets a Route (RFC 3261 §16.6 step 6) |
//!
//! Of several patterns an exact one wins, else the longest. A user part in the URI takes the place of the dialled user; a `*` in
//! it stands for what the `*` of the pattern has matched: `0*=sip:+49*@gw.example.net` makes `+4989…` of `089…`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use sip::{Scheme, Uri};

/// One route as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pattern: Pattern,
    uri: String,
}

/// Whom a route is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Pattern {
    /// A user of one of our domains.
    User(String),
    /// All users of our domains that begin like this.
    Prefix(String),
    /// A domain that is not ours.
    Domain(String),
}

/// All routes, ready for use.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    users: BTreeMap<String, String>,
    /// The longest prefix first.
    prefixes: Vec<(String, String)>,
    /// Route values by domain.
    domains: BTreeMap<String, Bytes>,
}

impl Route {
    /// The domain that the route leads out of the DNS's way to, if it is one for a domain.
    pub fn domain(&self) -> Option<&str> {
        match &self.pattern {
            Pattern::Domain(domain) => Some(domain),
            Pattern::User(_) | Pattern::Prefix(_) => None,
        }
    }
}

impl Routes {
    /// # Errors
    ///
    /// The pattern that stands there twice.
    pub fn new(routes: &[Route]) -> Result<Self, String> {
        let mut all = Self::default();
        for route in routes {
            let uri = route.uri.clone();
            let twice = match &route.pattern {
                Pattern::User(user) => all.users.insert(user.clone(), uri).is_some(),
                Pattern::Prefix(prefix) => {
                    let twice = all.prefixes.iter().any(|(other, _)| other == prefix);
                    all.prefixes.push((prefix.clone(), uri));
                    twice
                }
                Pattern::Domain(domain) => {
                    let lr = if Uri::parse(uri.as_bytes()).is_ok_and(|uri| uri.is_loose_router()) {
                        ""
                    } else {
                        ";lr"
                    };
                    all.domains.insert(domain.clone(), format!("<{uri}{lr}>").into()).is_some()
                }
            };
            if twice {
                return Err(format!("there are two routes for `{}`", route.pattern));
            }
        }
        all.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(all)
    }

    /// The Request-URI for a user of ours that nobody has registered and nobody is: at a gateway.
    pub fn of_user(&self, user: &str) -> Option<Bytes> {
        let (uri, rest) = match self.users.get(user) {
            Some(uri) => (uri, ""),
            None => {
                self.prefixes.iter().find_map(|(prefix, uri)| Some((uri, user.strip_prefix(&**prefix)?)))?
            }
        };
        let (scheme, there) = uri.split_once(':')?;
        let there = match there.split_once('@') {
            None => format!("{user}@{there}"),
            Some((user, host)) => format!("{}@{host}", user.replacen('*', rest, 1)),
        };
        Some(format!("{scheme}:{there}").into())
    }

    /// The Route value for a foreign domain, if the operator says where it is.
    pub fn of_domain(&self, domain: &str) -> Option<Bytes> {
        self.domains.get(&domain.trim_end_matches('.').to_ascii_lowercase()).cloned()
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let wrong = |why: &str| format!("`{text}`: {why}");
        let (pattern, uri) = text
            .split_once('=')
            .ok_or_else(|| wrong("PATTERN=URI is expected, as in 0*=sip:gw.example.net"))?;
        let pattern: Pattern = pattern.trim().parse().map_err(|why: &str| wrong(why))?;
        let uri = uri.trim();
        let parsed = Uri::parse(uri.as_bytes()).map_err(|_| wrong("what follows the = is no URI"))?;
        check(&pattern, &parsed).map_err(wrong)?;
        Ok(Self { pattern, uri: uri.to_owned() })
    }
}

/// What a URI of a route cannot be.
fn check(pattern: &Pattern, uri: &Uri<'_>) -> Result<(), &'static str> {
    if !uri.is_sip() {
        return Err("a sip: or sips: URI is expected");
    }
    if !uri.headers.is_empty() || uri.password.is_some() {
        return Err("the URI has headers or a password");
    }
    let transport = uri.param("transport").map(|token| token.unwrap_or_default().to_ascii_lowercase());
    match transport.as_deref() {
        None | Some("tcp" | "tls") => {}
        Some("udp") if uri.scheme == Scheme::Sip => {}
        Some(_) => return Err("its transport is none of udp, tcp and tls, or does not fit sips:"),
    }
    match (pattern, uri.user) {
        (Pattern::Domain(_), Some(_)) => Err("the next hop of a domain has no user part"),
        (Pattern::User(_), Some(user)) if user.contains('*') => {
            Err("only a pattern with * lets the URI have one")
        }
        (Pattern::Prefix(_), Some(user)) if user.matches('*').count() > 1 => {
            Err("its user part has more than one *")
        }
        (Pattern::Domain(_) | Pattern::User(_) | Pattern::Prefix(_), _) => Ok(()),
    }
}

impl FromStr for Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_user =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!~+#&$".contains(&b));
        if let Some(domain) = text.strip_prefix('@') {
            return match domain.is_empty()
                || !domain.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            {
                true => Err("a domain is expected after the @"),
                false => Ok(Self::Domain(domain.trim_end_matches('.').to_ascii_lowercase())),
            };
        }
        match text.strip_suffix('*') {
            Some(prefix) if is_user(prefix) => Ok(Self::Prefix(prefix.to_owned())),
            None if !text.is_empty() && is_user(text) => Ok(Self::User(text.to_owned())),
            Some(_) | None => Err("a pattern is a user, the beginning of one and a *, or @ and a domain"),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => f.write_str(user),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Domain(domain) => write!(f, "@{domain}"),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pattern, self.uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(text: &str) -> Routes {
        let routes: Vec<Route> = text.split(',').map(|route| route.parse().unwrap()).collect();
        Routes::new(&routes).unwrap()
    }

    fn of(routes: &Routes, user: &str) -> Option<String> {
        routes.of_user(user).map(|uri| String::from_utf8(uri.to_vec()).unwrap())
    }

    #[test]
    fn an_exact_pattern_wins_and_then_the_longest() {
        let routes = routes(
            "*=sip:else.example.net,0*=sip:pbx.example.net;transport=tcp,00*=sip:abroad.example.net,\
             +49*=sip:gw.example.org:5080,0800=sips:free.example.net",
        );
        for (user, uri) in [
            ("089123", "sip:089123@pbx.example.net;transport=tcp"),
            ("0041", "sip:0041@abroad.example.net"),
            ("+4989", "sip:+4989@gw.example.org:5080"),
            ("0800", "sips:0800@free.example.net"),
            ("08001", "sip:08001@pbx.example.net;transport=tcp"),
            ("carol", "sip:carol@else.example.net"),
        ] {
            assert_eq!(of(&routes, user).as_deref(), Some(uri));
        }
        assert_eq!(of(&self::routes("0*=sip:gw.example.net"), "1"), None);
    }

    #[test]
    fn a_star_in_the_uri_is_what_the_star_has_matched() {
        let routes = routes(
            "0*=sip:+49*@gw.example.net:5070,9*=sip:*@pbx.example.net,8*=sip:operator@pbx.example.net",
        );
        assert_eq!(of(&routes, "089123").unwrap(), "sip:+4989123@gw.example.net:5070");
        assert_eq!(of(&routes, "9100").unwrap(), "sip:100@pbx.example.net");
        assert_eq!(of(&routes, "8100").unwrap(), "sip:operator@pbx.example.net");
    }

    #[test]
    fn a_domain_has_a_next_hop() {
        let routes = routes("@Example.NET=sip:192.0.2.7:5070;transport=tcp,@example.org=sip:192.0.2.8;lr");
        assert_eq!(routes.of_domain("example.net").unwrap(), "<sip:192.0.2.7:5070;transport=tcp;lr>");
        assert_eq!(routes.of_domain("EXAMPLE.ORG.").unwrap(), "<sip:192.0.2.8;lr>");
        assert_eq!(routes.of_domain("example.com"), None);
        assert_eq!(of(&routes, "example.net"), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("sip:gw.example.net", "PATTERN=URI"),
            ("0*", "PATTERN=URI"),
            ("=sip:gw.example.net", "a pattern is"),
            ("0*1=sip:gw.example.net", "a pattern is"),
            ("a b=sip:gw.example.net", "a pattern is"),
            ("@=sip:gw.example.net", "after the @"),
            ("0*=gw.example.net", "no URI"),
            ("0*=tel:+49", "sip: or sips:"),
            ("0*=sip:", "no URI"),
            ("0*=sip:gw.example.net;transport=sctp", "transport"),
            ("0*=sips:gw.example.net;transport=udp", "transport"),
            ("0*=sip:gw.example.net?Subject=x", "headers"),
            ("0*=sip:**@gw.example.net", "more than one"),
            ("100=sip:*@gw.example.net", "pattern with *"),
            ("@example.net=sip:bob@192.0.2.7", "no user part"),
        ] {
            let problem = text.parse::<Route>().unwrap_err();
            assert!(problem.contains(why) && problem.contains(text), "{problem}");
        }
        let two: Vec<Route> = ["0*=sip:a", "0*=sip:b"].iter().map(|text| text.parse().unwrap()).collect();
        assert!(Routes::new(&two).unwrap_err().contains("`0*`"));
    }

    #[test]
    fn a_route_is_shown_as_it_is_written() {
        for text in ["0*=sip:gw.example.net;transport=tcp", "100=sip:a@b", "@example.net=sip:192.0.2.1"] {
            assert_eq!(text.parse::<Route>().unwrap().to_string(), text);
        }
    }
}
