use super::*;

fn request(lines: &[(&'static str, &'static str)]) -> Request {
    let mut request = Request::new(Method::Register, "sip:example.com");
    for (name, value) in lines {
        request.headers.append_named(name, *value);
    }
    request
}

#[test]
fn tags_are_header_parameters() {
    let register = request(&[("From", "sip:a@b;tag=1"), ("To", "<sip:a@b;tag=9>")]);
    assert_eq!(register.from_tag(), Some("1"));
    assert_eq!(register.to_tag(), None);
}

#[test]
fn max_forwards_is_0_to_255() {
    assert_eq!(request(&[]).max_forwards(), Ok(None));
    assert_eq!(request(&[("Max-Forwards", "0")]).max_forwards(), Ok(Some(0)));
    assert_eq!(request(&[("Max-Forwards", "255")]).max_forwards(), Ok(Some(255)));
    for wrong in ["256", "-1", "", "7x"] {
        assert!(request(&[("Max-Forwards", wrong)]).max_forwards().is_err(), "{wrong}");
    }
}

#[test]
fn expires_is_seconds() {
    assert_eq!(request(&[]).expires(), None);
    assert_eq!(request(&[("Expires", "3600")]).expires(), Some(3600));
    assert_eq!(request(&[("Expires", "99999999999999999999")]).expires(), Some(u32::MAX));
    assert_eq!(request(&[("Expires", "soon")]).expires(), None);
}

#[test]
fn contacts_of_several_lines_are_one_list() {
    assert!(matches!(request(&[]).contacts(), Ok(Contacts::None)));
    assert!(matches!(request(&[("m", "*")]).contacts(), Ok(Contacts::Star)));
    assert!(request(&[("Contact", "*"), ("m", "<sip:a@b>")]).contacts().is_err());
    let two = request(&[("Contact", "<sip:a@b>, <sip:c@d>"), ("m", "sip:e@f")]);
    assert!(matches!(two.contacts(), Ok(Contacts::List(list)) if list.len() == 3));
}

#[test]
fn the_top_route_is_the_first_of_all() {
    assert!(request(&[]).top_route().is_none());
    let routed = request(&[("Route", "<sip:p1;lr>,<sip:p2;lr>"), ("Route", "<sip:p3;lr>")]);
    assert_eq!(routed.top_route().unwrap().unwrap().uri, "sip:p1;lr");
}

#[test]
fn what_is_missing_is_an_error_or_nothing() {
    let empty = request(&[]);
    assert!(empty.top_via().is_err());
    assert!(empty.cseq().is_err());
    assert!(empty.from().is_err());
    assert_eq!(empty.call_id(), b"");
    assert!(Response::new(StatusCode::OK).top_via().is_none());
}
