//! Service-Route, RFC 3608: the way that a UA's requests are to take, told with the 200 to its REGISTER.
//!
//! It is one entry: the edge that the UA registered through, as the UA reaches it. So the requests of a UA that looks its
//! domain up for every one of them come over the flow that its NAT, and the edge, know already. The entry has no flow
//! token: with one it would name the flow of this moment, and after a reconnection lead nowhere.
//!
//! §6.1: "the combination MUST provide valid routing". An edge takes an entry that names itself away (RFC 3261 §16.4);
//! another edge drops one that it does not know, and goes on by the Request-URI.
//!
//! Nothing is stored (§6.3 leaves that open): the same REGISTER through the same edge gets the same answer.

use sip::{Name, NameAddr, Request};

/// Which edge a REGISTER came through, as far as the edge says.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Its name.
    pub edge: String,
    /// `udp:198.51.100.1:5060`: the protocol of the flow and the address on which the UA reached it; or empty.
    pub local: String,
}

/// The value of Service-Route for a REGISTER that came by `entry`. `None` when there is no address that a UA can use.
///
/// The edge's public name stands in its Path. An edge without one writes its own, which only cores know: then it is the
/// address that the UA has found it at.
pub fn value(request: &Request, entry: &Entry) -> Option<String> {
    let path = NameAddr::parse(request.headers.top(Name::Path)?).ok()?;
    let host = path.parsed_uri().ok()?.host_port();
    let (protocol, local) = entry.local.split_once(':').unwrap_or((&entry.local, ""));
    let host = if host.eq_ignore_ascii_case(&entry.edge) { local } else { host };
    if host.is_empty() {
        return None;
    }
    let transport = match protocol {
        "tcp" => ";transport=tcp",
        "tls" => ";transport=tls",
        // RFC 7118 §5.2 knows one value for both.
        "ws" | "wss" => ";transport=ws",
        _ => "",
    };
    // §6.3: `lr` is a MUST.
    Some(format!("<sip:{host}{transport};lr>"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Method;

    fn of(path: &str, local: &str) -> Option<String> {
        let mut request = Request::new(Method::Register, "sip:example.com");
        request.headers.append(Name::Path, path.to_owned());
        value(&request, &Entry { edge: "edge-1".to_owned(), local: local.to_owned() })
    }

    #[test]
    fn it_names_the_edge_as_the_ua_reaches_it() {
        for (path, local, expected) in [
            ("<sip:t@edge-1;lr;ob>", "udp:198.51.100.1:5060", Some("<sip:198.51.100.1:5060;lr>")),
            (
                "<sip:t@EDGE-1;lr;ob>",
                "tcp:[2001:db8::1]:5070",
                Some("<sip:[2001:db8::1]:5070;transport=tcp;lr>"),
            ),
            (
                "<sip:t@sip.example.com;lr;ob>",
                "tls:10.0.0.1:5061",
                Some("<sip:sip.example.com;transport=tls;lr>"),
            ),
            (
                "<sip:t@sip.example.com:5062;lr>",
                "wss:10.0.0.1:443",
                Some("<sip:sip.example.com:5062;transport=ws;lr>"),
            ),
            // The topmost element is the edge's; others stand in front of it.
            (
                "<sip:t@edge-1;lr>, <sip:far@front.example.net;lr;ob>",
                "udp:198.51.100.1:5060",
                Some("<sip:198.51.100.1:5060;lr>"),
            ),
            ("<sip:t@edge-1;lr;ob>", "", None),
        ] {
            assert_eq!(of(path, local).as_deref(), expected, "{path} {local}");
            if let Some(value) = expected {
                let route = NameAddr::parse(value.as_bytes()).unwrap();
                assert!(route.parsed_uri().unwrap().is_loose_router(), "{value}");
            }
        }
    }

    #[test]
    fn without_a_path_there_is_none() {
        let request = Request::new(Method::Register, "sip:example.com");
        assert_eq!(value(&request, &Entry::default()), None);
    }
}
