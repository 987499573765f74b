//! Small typed header values: CSeq (RFC 3261 §20.16), Contact (§20.10), delta-seconds, Max-Forwards (§20.22).

use crate::{
    Method, NameAddr, ParseError,
    lex::{Cursor, text, trim},
};

/// CSeq: a number below 2³¹ and the method (§8.1.1.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// Orders the requests of a dialog or registration.
    pub number: u32,
    /// The method of the request.
    pub method: Method,
}

/// The Contact header fields of a message (§20.10).
#[derive(Debug, Clone)]
pub enum Contacts<'a> {
    /// No Contact: a query, when in a REGISTER (§10.2.3).
    None,
    /// `*`: all bindings (§10.2.2).
    Star,
    /// The elements in order over all lines.
    List(Vec<Contact<'a>>),
}

/// One Contact with what a registrar reads from it.
#[derive(Debug, Clone, Copy)]
pub struct Contact<'a> {
    /// The address.
    pub addr: NameAddr<'a>,
    /// The whole element as written.
    pub text: &'a [u8],
}

impl CSeq {
    /// `314159 INVITE`; leading zeros are legal, 2³¹ and more is not.
    pub fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let wrong = ParseError::new("CSeq");
        let mut cursor = Cursor::new(text(value, "CSeq")?);
        let number = digits(cursor.take_while(|byte| byte.is_ascii_digit())).ok_or(wrong.clone())?;
        let before = cursor.rest().len();
        cursor.lws();
        if number >= 1 << 31 || cursor.rest().len() == before {
            return Err(wrong);
        }
        let method = Method::parse(cursor.rest().as_bytes()).ok_or(wrong)?;
        Ok(Self { number, method })
    }
}

impl<'a> Contacts<'a> {
    /// From the comma-separated elements of all Contact lines. `*` beside anything else is refused (§10.3 step 6).
    pub fn parse(elements: impl Iterator<Item = &'a [u8]>) -> Result<Self, ParseError> {
        let mut list = Vec::new();
        let mut star = false;
        for element in elements {
            if trim(element) == b"*" {
                star = true;
            } else {
                list.push(Contact::parse(element)?);
            }
            if star && (!list.is_empty() || trim(element) != b"*") {
                return Err(ParseError::new("Contact"));
            }
        }
        Ok(match (star, list.is_empty()) {
            (true, _) => Self::Star,
            (false, true) => Self::None,
            (false, false) => Self::List(list),
        })
    }
}

impl<'a> Contact<'a> {
    /// One element, which is not `*`.
    pub fn parse(element: &'a [u8]) -> Result<Self, ParseError> {
        let text = trim(element);
        let addr = NameAddr::parse(text).map_err(|_| ParseError::new("Contact"))?;
        Ok(Self { addr, text })
    }

    /// The `expires` parameter in seconds. One that cannot be read counts as 3600 (§20.10), one that is too large
    /// as `u32::MAX`.
    pub fn expires(&self) -> Option<u32> {
        let value = self.addr.params.get("expires")?;
        Some(value.and_then(digits).unwrap_or(3600))
    }

    /// `q` in thousandths (§25.1 qvalue); 1000 when it is absent or cannot be read.
    pub fn q(&self) -> u16 {
        self.addr.params.value("q").and_then(qvalue).unwrap_or(1000)
    }

    /// `+sip.instance` without its quotes and `<>` (RFC 5626 §4.1).
    pub fn instance(&self) -> Option<&'a str> {
        let value = self.addr.params.value("+sip.instance")?;
        let bare = value.strip_prefix('<').and_then(|it| it.strip_suffix('>')).unwrap_or(value);
        (!bare.is_empty()).then_some(bare)
    }

    /// `reg-id`, 1 to 2³¹-1 (RFC 5626 §4.2).
    pub fn reg_id(&self) -> Option<u32> {
        let id = self.addr.params.value("reg-id").and_then(digits)?;
        (1..1 << 31).contains(&id).then_some(id)
    }
}

/// delta-seconds as in Expires: 1*DIGIT, saturating; `None` for anything else (§20.19).
pub(crate) fn delta_seconds(value: &[u8]) -> Option<u32> {
    digits(std::str::from_utf8(trim(value)).ok()?)
}

/// Max-Forwards: 0 to 255, leading zeros allowed (§20.22).
pub(crate) fn max_forwards(value: &[u8]) -> Result<u8, ParseError> {
    delta_seconds(value).and_then(|hops| u8::try_from(hops).ok()).ok_or(ParseError::new("Max-Forwards"))
}

/// 1*DIGIT as a number; what is too large becomes the largest.
fn digits(text: &str) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0_u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

/// `0[.ddd]` or `1[.000]` in thousandths.
fn qvalue(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !matches!(whole, "0" | "1") {
        return None;
    }
    let padded = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    let thousandths = padded.chain(std::iter::empty()).try_fold(u16::from(whole == "1"), |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + u16::from(byte - b'0'))
    })?;
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(text: &str) -> Contact<'_> {
        Contact::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn cseq() {
        let cseq = CSeq::parse(b"0009\r\n  INVITE").unwrap();
        assert_eq!(cseq, CSeq { number: 9, method: Method::Invite });
        assert_eq!(CSeq::parse(b"2147483647 NEWMETHOD").unwrap().number, 2_147_483_647);
        for text in [
            "2147483648 INVITE",
            "36893488147419103232 REGISTER",
            "-1 INVITE",
            "1",
            "INVITE",
            "1INVITE",
            "1 IN VITE",
            "",
        ] {
            assert!(CSeq::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn contacts_are_none_star_or_a_list() {
        let parse = |elements: &[&'static str]| Contacts::parse(elements.iter().map(|it| it.as_bytes()));
        assert!(matches!(parse(&[]), Ok(Contacts::None)));
        assert!(matches!(parse(&[" * "]), Ok(Contacts::Star)));
        assert!(matches!(parse(&["<sip:a@b>", "sip:c@d"]), Ok(Contacts::List(list)) if list.len() == 2));
        assert!(parse(&["*", "<sip:a@b>"]).is_err());
        assert!(parse(&["<sip:a@b>", "*"]).is_err());
        assert!(parse(&["<sip:a@b"]).is_err());
    }

    #[test]
    fn expires_parameter() {
        assert_eq!(contact("<sip:a@b>").expires(), None);
        assert_eq!(contact("<sip:a@b>;expires=0").expires(), Some(0));
        assert_eq!(contact("<sip:a@b>;Expires=\"120\"").expires(), Some(120));
        assert_eq!(contact("<sip:a@b>;expires=soon").expires(), Some(3600));
        assert_eq!(contact("<sip:a@b>;expires").expires(), Some(3600));
        assert_eq!(contact("<sip:a@b>;expires=10000000000").expires(), Some(u32::MAX));
    }

    #[test]
    fn q_in_thousandths() {
        for (q, expected) in
            [("0.33", 330), ("1", 1000), ("0", 0), ("0.", 0), ("1.000", 1000), ("0.5", 500), ("0.001", 1)]
        {
            assert_eq!(contact(&format!("<sip:a@b>;q={q}")).q(), expected, "{q}");
        }
        for q in ["1.1", "2", "0.1234", ".5", "-1", "x"] {
            assert_eq!(contact(&format!("<sip:a@b>;q={q}")).q(), 1000, "{q}");
        }
        assert_eq!(contact("<sip:a@b>").q(), 1000);
    }

    #[test]
    fn outbound_parameters() {
        let it = contact(
            "<sip:a@b;ob>;reg-id=1;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"",
        );
        assert_eq!(it.instance(), Some("urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF"));
        assert_eq!(it.reg_id(), Some(1));
        assert_eq!(contact("<sip:a@b>;reg-id=0").reg_id(), None);
        assert_eq!(contact("<sip:a@b>;reg-id=2147483648").reg_id(), None);
        assert_eq!(contact("<sip:a@b>;reg-id=2147483647").reg_id(), Some(2_147_483_647));
        assert_eq!(contact("<sip:a@b>;+sip.instance").instance(), None);
    }

    #[test]
    fn parameters_of_the_uri_are_not_those_of_the_contact() {
        assert_eq!(contact("<sip:a@b;expires=5>").expires(), None);
        assert_eq!(contact("sip:a@b;expires=5").expires(), Some(5));
    }

    #[test]
    fn max_forwards_is_one_byte() {
        assert_eq!(max_forwards(b"0068"), Ok(68));
        assert_eq!(max_forwards(b"255"), Ok(255));
        for text in ["256", "-1", "7x", "", "300000000000"] {
            assert!(max_forwards(text.as_bytes()).is_err(), "{text}");
        }
    }
}
