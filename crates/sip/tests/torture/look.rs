//! What has to be read from the messages that the parser accepts. Each function holds for our message and for the
//! original of the same name.

use std::net::{IpAddr, Ipv4Addr};

use sip::{
    Aor, Contact, Contacts, Host, Message, Method, Name, Request, Response, Scheme, Transport, Uri, Via,
    digest::Credentials,
};

fn request(message: &Message) -> &Request {
    match message {
        Message::Request(request) => request,
        Message::Response(_) => panic!("is a request"),
    }
}

fn response(message: &Message) -> &Response {
    match message {
        Message::Response(response) => response,
        Message::Request(_) => panic!("is a response"),
    }
}

fn vias(message: &Message) -> Vec<Via<'_>> {
    message.headers().values(Name::Via).map(|value| Via::parse(value).unwrap()).collect()
}

fn contacts(message: &Message) -> Vec<Contact<'_>> {
    match request(message).contacts().unwrap() {
        Contacts::List(list) => list,
        Contacts::None | Contacts::Star => panic!("has contacts"),
    }
}

fn uri(message: &Message) -> Uri<'_> {
    request(message).request_uri().unwrap()
}

fn to_aor(message: &Message) -> Aor {
    Aor::of(&request(message).to().unwrap().parsed_uri().unwrap()).unwrap()
}

fn is_sdp(body: &[u8]) -> bool {
    body.starts_with(b"v=0\r\n") && body.ends_with(b"\r\n")
}

pub(crate) fn wsinv(message: &Message) {
    let it = request(message);
    assert!(it.max_forwards().unwrap().is_some_and(|hops| hops > 0));
    let cseq = it.cseq().unwrap();
    assert!((1..100).contains(&cseq.number) && cseq.method == Method::Invite);
    assert!(it.from().unwrap().display.ends_with(br#"\\\""#));
    assert!(it.from_tag().is_some() && it.to_tag().is_some());
    let uri = uri(message);
    assert_eq!(uri.params.iter().map(|(_, value)| value).collect::<Vec<_>>(), [None]);
    let vias = vias(message);
    assert_eq!(
        vias.iter().map(|via| via.transport).collect::<Vec<_>>(),
        [Transport::Udp, Transport::Tcp, Transport::Udp]
    );
    assert_eq!(vias.iter().map(Via::is_rfc3261).collect::<Vec<_>>(), [false, true, true]);
    assert!(matches!(vias[2].host, Host::V4(_)));
    assert!(it.top_route().unwrap().unwrap().parsed_uri().unwrap().is_loose_router());
    let contacts = contacts(message);
    assert!(contacts[0].addr.display.ends_with(br#" \"\""#));
    assert!((1..1000).contains(&contacts[0].q()));
    assert!(is_sdp(&it.body));
}

pub(crate) fn intmeth(message: &Message) {
    let it = request(message);
    assert!(matches!(it.method, Method::Extension(_)));
    assert_eq!(it.cseq().unwrap().method, it.method);
    let uri = uri(message);
    assert!(uri.user.unwrap().ends_with(",/;;*") && uri.password.unwrap().starts_with('&'));
    assert_eq!(uri.host, Host::Name("example.com"));
    assert!(it.top_via().unwrap().branch().unwrap().contains("_+`'~"));
    assert!(it.to().unwrap().display.contains(&0));
    assert_eq!(it.to().unwrap().parsed_uri().unwrap().user, uri.user);
    let from = it.from().unwrap();
    assert!(from.display.contains(&b'~') && from.tag().unwrap().contains("'+`*%!-."));
    assert!(
        from.params
            .iter()
            .any(|(name, value)| name.ends_with("''~+*_.!-%") || value.is_some_and(|v| !v.is_ascii()))
    );
    assert!(it.call_id().ends_with(br#"~)(><:\/"][?}{"#));
    assert_eq!(it.max_forwards(), Ok(Some(255)));
}

pub(crate) fn esc01(message: &Message) {
    let it = request(message);
    assert!(uri(message).user.unwrap().contains("%40"));
    assert_eq!(uri(message).host, Host::Name("example.net"));
    assert!(!to_aor(message).user().contains('%'));
    assert!(it.from().unwrap().parsed_uri().unwrap().user.unwrap().contains("%20"));
    let contacts = contacts(message);
    let contact = contacts[0].addr.parsed_uri().unwrap();
    assert!(contact.is_loose_router());
    // Nothing is unescaped twice.
    let twice = contacts[0].addr.uri.replace("%25%34%31", "A");
    assert!(!contact.equivalent(&Uri::parse(twice.as_bytes()).unwrap()));
    let once = contacts[0].addr.uri.replace("%25%34%31", "%2541");
    assert!(contact.equivalent(&Uri::parse(once.as_bytes()).unwrap()));
}

pub(crate) fn escnull(message: &Message) {
    assert!(to_aor(message).user().contains("%00"));
    let contacts = contacts(message);
    let [one, two] = &contacts[..] else { panic!("two contacts") };
    assert!(!one.addr.parsed_uri().unwrap().equivalent(&two.addr.parsed_uri().unwrap()));
}

pub(crate) fn esc02(message: &Message) {
    let it = request(message);
    assert!(matches!(it.method, Method::Extension(_)));
    assert_eq!(contacts(message).len(), 2);
    assert!(it.to().unwrap().display.starts_with(b"%"));
}

pub(crate) fn lwsdisp(message: &Message) {
    let from = request(message).from().unwrap();
    assert!(!from.display.is_empty() && from.tag().is_some());
    assert!(from.parsed_uri().unwrap().user.is_some());
}

pub(crate) fn longreq(message: &Message) {
    let it = request(message);
    assert!(vias(message).len() >= 34);
    assert!(it.call_id().len() > 100 && it.from_tag().unwrap().len() > 100);
    assert!(it.to().unwrap().display.len() > 50);
    assert_eq!(it.to().unwrap().parsed_uri().unwrap().params.iter().count(), 3);
    assert_eq!(vias(message).last().unwrap().received().map(|it| it.is_ipv4()), Some(true));
    assert!(contacts(message)[0].addr.parsed_uri().unwrap().user.unwrap().len() > 100);
}

pub(crate) fn dblreq(message: &Message) {
    let it = request(message);
    assert_eq!(it.method, Method::Register);
    assert!(it.body.is_empty());
    assert!(it.call_id().starts_with(b"dblreq."));
    assert!(!it.encode().windows(6).any(|window| window == b"INVITE"));
}

pub(crate) fn semiuri(message: &Message) {
    let uri = uri(message);
    assert!(uri.user.unwrap().contains(';') && uri.user.unwrap().contains("%40"));
    assert_eq!((uri.host, uri.params.as_str()), (Host::Name("example.com"), ""));
    assert!(message.headers().values(Name::Accept).count() >= 5);
}

pub(crate) fn transports(message: &Message) {
    let vias = vias(message);
    assert_eq!(vias.len(), 5);
    assert!(matches!(
        vias.iter().map(|via| via.transport).collect::<Vec<_>>()[..],
        [Transport::Udp, Transport::Other("SCTP"), Transport::Tls, Transport::Other(_), Transport::Tcp]
    ));
}

pub(crate) fn mpart01(message: &Message) {
    let it = request(message);
    assert!(it.body.contains(&0));
    assert_eq!(it.headers.get(Name::ContentLength), Some(it.body.len().to_string().as_bytes()));
    assert_eq!(it.top_via().unwrap().rport(), Some(None));
    assert!(!it.top_route().unwrap().unwrap().parsed_uri().unwrap().is_loose_router());
}

pub(crate) fn unreason(message: &Message) {
    let it = response(message);
    assert_eq!(it.status.code(), 200);
    assert!(it.reason.starts_with(b"= ") && !it.reason.is_ascii());
}

pub(crate) fn noreason(message: &Message) {
    let it = response(message);
    assert_eq!((it.status.code(), &it.reason[..]), (100, &b""[..]));
}

pub(crate) fn escruri(message: &Message) {
    assert!(uri(message).headers.starts_with("Route="));
}

pub(crate) fn baddate(message: &Message) {
    let date = message.headers().get(Name::Date).unwrap();
    assert!(!date.ends_with(b"GMT"));
}

pub(crate) fn regbadct(message: &Message) {
    assert_eq!(request(message).contacts().unwrap_err().status.code(), 400);
}

pub(crate) fn badbranch(message: &Message) {
    let via = request(message).top_via().unwrap();
    assert_eq!((via.branch(), via.is_rfc3261()), (Some("z9hG4bK"), false));
}

pub(crate) fn unknown_scheme(message: &Message) {
    assert!(matches!(uri(message).scheme, Scheme::Other(_)));
    assert!(!uri(message).is_sip());
}

pub(crate) fn unksm2(message: &Message) {
    let to = request(message).to().unwrap();
    assert_eq!(Aor::of(&to.parsed_uri().unwrap()).unwrap_err().status.code(), 400);
    assert!(request(message).from_tag().is_some());
    assert!(matches!(contacts(message)[0].addr.parsed_uri().unwrap().scheme, Scheme::Other(_)));
}

pub(crate) fn bext01(message: &Message) {
    let headers = message.headers();
    assert_eq!(headers.values(Name::Require).count(), 2);
    assert_eq!(headers.values(Name::ProxyRequire).count(), 2);
}

pub(crate) fn invut(message: &Message) {
    assert!(message.headers().get(Name::ContentType).unwrap().starts_with(b"application/"));
    assert!(!request(message).body.is_empty());
}

pub(crate) fn regaut01(message: &Message) {
    let value = message.headers().get(Name::Authorization).unwrap();
    assert!(Credentials::parse(value).is_err());
}

pub(crate) fn bcast(message: &Message) {
    assert_eq!(vias(message)[1].host, Host::V4(Ipv4Addr::BROADCAST));
}

pub(crate) fn zeromf(message: &Message) {
    assert_eq!(request(message).max_forwards(), Ok(Some(0)));
}

pub(crate) fn cparam01(message: &Message) {
    let contact = contacts(message)[0];
    assert!(contact.addr.params.has("unknownparam"));
    assert!(!contact.addr.parsed_uri().unwrap().params.has("unknownparam"));
}

pub(crate) fn cparam02(message: &Message) {
    let contact = contacts(message)[0];
    assert!(!contact.addr.params.has("unknownparam"));
    assert!(contact.addr.parsed_uri().unwrap().params.has("unknownparam"));
}

pub(crate) fn regescrt(message: &Message) {
    let contact = contacts(message)[0];
    assert!(contact.addr.parsed_uri().unwrap().headers.starts_with("Route=%3Csip:"));
}

pub(crate) fn sdp01(message: &Message) {
    assert!(!message.headers().has_token(Name::Accept, "application/sdp"));
    assert!(is_sdp(&request(message).body));
}

pub(crate) fn inv2543(message: &Message) {
    let it = request(message);
    assert_eq!((it.max_forwards(), it.from_tag()), (Ok(None), None));
    assert_eq!(it.top_via().unwrap().branch(), None);
    assert_eq!(it.to().unwrap().params.value("user"), Some("phone"));
    assert!(is_sdp(&it.body));
}

pub(crate) fn ipv6_good(message: &Message) {
    assert!(matches!(uri(message).host, Host::V6(_)));
    assert!(matches!(request(message).top_via().unwrap().host, Host::V6(_)));
    assert!(matches!(contacts(message)[0].addr.parsed_uri().unwrap().host, Host::V6(_)));
}

pub(crate) fn ipv6_bad(message: &Message) {
    assert_eq!(request(message).request_uri().unwrap_err().status.code(), 400);
}

pub(crate) fn port_ambiguous(message: &Message) {
    let uri = uri(message);
    assert_eq!(uri.port, None);
    assert!(matches!(uri.host, Host::V6(address) if address.segments()[7] == 0x5070));
}

pub(crate) fn port_unambiguous(message: &Message) {
    let uri = uri(message);
    assert_eq!(uri.port, Some(5070));
    assert!(matches!(uri.host, Host::V6(address) if address.segments()[7] != 0x5070));
}

pub(crate) fn via_received(message: &Message) {
    let via = request(message).top_via().unwrap();
    assert!(matches!(via.received(), Some(IpAddr::V6(address)) if address.segments()[7] == 0x255));
    assert!(via.is_rfc3261());
}

pub(crate) fn ipv6_in_sdp(message: &Message) {
    assert!(is_sdp(&request(message).body));
    assert_eq!(uri(message).user.is_some(), matches!(uri(message).host, Host::V6(_)));
}

pub(crate) fn mult_ip_in_header(message: &Message) {
    let vias = vias(message);
    assert!(matches!(
        vias.iter().map(|via| via.host).collect::<Vec<_>>()[..],
        [Host::V6(_), Host::V4(_), Host::V6(_)]
    ));
    assert_eq!(vias[0].port, Some(6050));
    assert!(matches!(vias[2].received(), Some(IpAddr::V4(_))));
}

pub(crate) fn ipv4_mapped_ipv6(message: &Message) {
    let vias = vias(message);
    let mapped = |host| matches!(host, Host::V6(address) if address.to_ipv4_mapped().is_some());
    assert!(vias.iter().all(|via| mapped(via.host)));
    assert_eq!(vias[0].port, Some(19823));
    assert!(mapped(contacts(message)[0].addr.parsed_uri().unwrap().host));
}

pub(crate) fn colons(message: &Message) {
    let Host::V6(address) = uri(message).host else { panic!("an IPv6 address") };
    assert_eq!(address.segments()[..2], [0x2001, 0xdb8]);
    assert_eq!(to_aor(message).domain(), format!("[{address}]"));
}
