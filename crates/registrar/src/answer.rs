//! The 200 to a REGISTER, RFC 3261 §10.3 step 8, RFC 3327 §5.3, RFC 5626 §6, RFC 5627 §5.2.
//!
//! Record-Route of the request means nothing here and is not copied. Service-Route (RFC 3608) is the business of whoever
//! knows the way that the request has come.

use std::fmt::Write;

use sip::{Aor, Contacts, Name, Request, Response, StatusCode};

use crate::{Binding, Record, UnixTime, gruu, outbound};

/// The response that lists every live binding of `record`, which is the record of `aor` *after* the request.
///
/// `mint` makes the token of a new temporary GRUU for an instance and its epoch. It is asked once for each instance,
/// and only when the UA supports GRUUs. RFC 5627 §5.2 wants no `gruu` in Supported.
pub fn ok(
    request: &Request,
    record: &Record,
    aor: &Aor,
    mut mint: impl FnMut(&str, u64) -> String,
    to_tag: &str,
    now: UnixTime,
) -> Response {
    let mut response = Response::to(request, StatusCode::OK, Some(to_tag));
    let headers = &mut response.headers;
    let knows_gruus = request.headers.has_token(Name::Supported, gruu::OPTION);
    let mut temporary: Vec<(&str, String)> = Vec::new();
    for binding in record.live(now) {
        let mut value = contact(binding, now);
        if let Some(instance) = binding.instance.as_deref().filter(|_| knows_gruus) {
            if temporary.iter().all(|(known, _)| *known != instance) {
                let token = mint(instance, binding.gruu_epoch);
                temporary.push((instance, gruu::temporary(aor, &token)));
            }
            let newest = temporary.iter().find(|(known, _)| *known == instance);
            let newest = newest.map_or("", |(_, newest)| newest);
            write!(value, ";pub-gruu=\"{}\";temp-gruu=\"{newest}\"", gruu::public(aor, instance))
                .expect("a string takes whatever is written to it");
        }
        headers.append(Name::Contact, value);
    }
    // RFC 3327 §5.3: shown to a UA that knows what it is; the others still get the calls that follow it.
    if request.headers.has_token(Name::Supported, "path") {
        headers.copy(&request.headers, Name::Path);
    }
    if made_by_outbound(request) {
        headers.append(Name::Require, outbound::OPTION);
    }
    headers.append(Name::Supported, "path, outbound");
    headers.append(Name::Date, now.date().to_string());
    response
}

/// `<uri>;params;q=0.5;expires=17`, which the UA finds its own contact in.
fn contact(binding: &Binding, now: UnixTime) -> String {
    let mut value = String::with_capacity(binding.contact.len() + binding.params.len() + 32);
    value.push('<');
    value.push_str(&binding.contact);
    value.push('>');
    value.push_str(&binding.params);
    let written = if binding.q < 1000 {
        let thousandths = format!("{:03}", binding.q);
        let digits = thousandths.trim_end_matches('0');
        write!(value, ";q=0{}{digits}", if digits.is_empty() { "" } else { "." })
    } else {
        Ok(())
    };
    written
        .and_then(|()| write!(value, ";expires={}", binding.expires_at.remaining(now)))
        .expect("a string takes whatever is written to it");
    value
}

/// RFC 5626 §6: the UA said `outbound` and one of its contacts was bound by instance and reg-id.
fn made_by_outbound(request: &Request) -> bool {
    if !outbound::ua_supports_it(request) || !outbound::first_hop_supports_it(request) {
        return false;
    }
    match request.contacts() {
        Ok(Contacts::List(contacts)) => {
            contacts.iter().any(|contact| contact.instance().is_some() && contact.reg_id().is_some())
        }
        Ok(Contacts::None | Contacts::Star) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{NOW, apply, binding, register, request};

    fn answer(request: &Request, record: &Record) -> Response {
        let aor = Aor::parse("alice@example.com").unwrap();
        ok(request, record, &aor, |instance, epoch| format!("{}-{epoch}", instance.len()), "tag", NOW)
    }

    fn lines(response: &Response, name: Name) -> Vec<String> {
        response.headers.lines(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    #[test]
    fn lists_every_live_binding_with_its_remaining_time() {
        let mut preferred = binding("sip:a@192.0.2.4;transport=tcp");
        preferred.params = ";+sip.instance=\"<urn:uuid:0>\"".to_owned();
        preferred.q = 700;
        preferred.expires_at = NOW.after(17);
        let mut last_resort = binding("tel:+15551234");
        last_resort.q = 0;
        let mut over = binding("sip:a@192.0.2.9");
        over.expires_at = NOW;
        let record = Record { version: 7, bindings: vec![preferred, last_resort, over], ..Record::default() };

        let response = answer(&request(""), &record);

        assert_eq!(response.status, StatusCode::OK);
        assert_eq!(response.to_tag(), Some("tag"));
        assert_eq!(
            lines(&response, Name::Contact),
            [
                "<sip:a@192.0.2.4;transport=tcp>;+sip.instance=\"<urn:uuid:0>\";q=0.7;expires=17",
                "<tel:+15551234>;q=0;expires=3600",
            ]
        );
        assert_eq!(lines(&response, Name::Date), ["Mon, 12 Jan 1970 13:46:40 GMT"]);
    }

    /// RFC 3261 §10.3.
    #[test]
    fn a_record_route_is_ignored() {
        let response = answer(&request("Record-Route: <sip:p.example.net;lr>\r\n"), &Record::default());
        assert!(response.headers.get(Name::RecordRoute).is_none());
        assert!(response.headers.get(Name::ServiceRoute).is_none());
    }

    #[test]
    fn path_is_shown_to_who_knows_it() {
        let path = "Path: <sip:2@b;lr>, <sip:1@a;lr;ob>\r\nPath: <sip:0@z;lr>\r\n";
        let shown = answer(&request(&format!("Supported: path\r\n{path}")), &Record::default());
        assert_eq!(lines(&shown, Name::Path), ["<sip:2@b;lr>, <sip:1@a;lr;ob>", "<sip:0@z;lr>"]);
        let hidden = answer(&request(path), &Record::default());
        assert!(lines(&hidden, Name::Path).is_empty());
    }

    #[test]
    fn requires_outbound_only_when_it_was_applied() {
        let contact = "Contact: <sip:a@192.0.2.4>;reg-id=1;+sip.instance=\"<urn:uuid:0>\"\r\n";
        let edge = "Via: SIP/2.0/TLS e;branch=z9hG4bKe\r\nPath: <sip:t@edge;lr;ob>\r\n";
        for (headers, is_required) in [
            (format!("Supported: path, outbound\r\n{edge}{contact}"), true),
            (format!("Supported: path\r\n{edge}{contact}"), false),
            (format!("Supported: outbound\r\n{edge}Contact: <sip:a@192.0.2.4>\r\n"), false),
            (format!("Supported: outbound\r\n{edge}Contact: <sip:a@192.0.2.4>;reg-id=1\r\n"), false),
            (format!("Supported: outbound\r\n{edge}"), false),
        ] {
            let request = register("call", 1, &headers);
            let record = apply(&Record::default(), &request, NOW).unwrap().record;
            let response = answer(&request, &record);
            assert_eq!(response.headers.has_token(Name::Require, "outbound"), is_required, "{headers}");
        }
    }

    #[test]
    fn gruus_are_shown_to_who_supports_them() {
        let instance = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
        let contact = |port, reg_id| {
            format!("Contact: <sip:a@192.0.2.4:{port}>;+sip.instance=\"<{instance}>\";reg-id={reg_id}\r\n")
        };
        let first = apply(&Record::default(), &register("one", 1, &contact(1, 1)), NOW).unwrap().record;
        let record = apply(&first, &register("two", 1, &contact(2, 2)), NOW).unwrap().record;
        let epoch = record.bindings[0].gruu_epoch;

        let shown = lines(&answer(&request("Supported: gruu\r\n"), &record), Name::Contact);
        assert_eq!(shown.len(), 2);
        for line in shown {
            assert!(line.contains(&format!(";pub-gruu=\"sip:alice@example.com;gr={instance}\"")), "{line}");
            let temporary = format!(";temp-gruu=\"sip:tgruu.{}-{epoch}@example.com;gr\"", instance.len());
            assert!(line.contains(&temporary), "{line}");
        }
        let response = answer(&request("Supported: path\r\n"), &record);
        assert!(lines(&response, Name::Contact).iter().all(|line| !line.contains("gruu")));
    }
}
