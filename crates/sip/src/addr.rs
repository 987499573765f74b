//! name-addr and addr-spec with header parameters: From, To, Contact, Route, Record-Route, Path (RFC 3261 §20, §25.1).

use crate::{
    Params, ParseError, Uri,
    lex::{cut, is_lws, may_be_uri, quoted_len, trim},
    params::Item,
    uri::is_scheme,
};

/// One address of a header field.
#[derive(Debug, Clone, Copy)]
pub struct NameAddr<'a> {
    /// Display name without quotes, still escaped. It may hold any bytes: old phones write Latin-1.
    pub display: &'a [u8],
    /// The URI as written, without `<>`. It is read by [`Self::parsed_uri`], so a URI that nobody looks at may be of
    /// a kind that nobody knows.
    pub uri: &'a str,
    /// Header parameters, which stand after the `>`. Without `<>` all parameters are header parameters (§20.10).
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// One element, without the comma that parts it from the next.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let value = trim(value);
        let (display, rest) = split_display(value).ok_or(WRONG)?;
        let rest = std::str::from_utf8(rest).map_err(|_| WRONG)?;
        let (uri, params) = match rest.strip_prefix('<') {
            Some(inner) => cut(inner, b'>').ok_or(WRONG)?,
            None => split_addr_spec(rest)?,
        };
        if !is_uri(uri) {
            return Err(WRONG);
        }
        // A tag is a token (§19.3): an empty one would be answered with a second one.
        let sound = |item: &Item<'_>| item.value != Some("") || !item.name.eq_ignore_ascii_case("tag");
        let params = Params::parse_if(params, sound).ok_or(WRONG)?;
        Ok(Self { display, uri, params })
    }

    /// The `tag` parameter (§19.3).
    pub fn tag(&self) -> Option<&'a str> {
        self.params.value("tag")
    }

    /// The URI, read.
    pub fn parsed_uri(&self) -> Result<Uri<'a>, ParseError> {
        Uri::parse(self.uri.as_bytes())
    }
}

/// The display name, and what follows it from `<` or the scheme on.
fn split_display(value: &[u8]) -> Option<(&[u8], &[u8])> {
    if value.first() == Some(&b'"') {
        let (quoted, rest) = value.split_at_checked(quoted_len(value)?)?;
        let rest = trim(rest);
        let display = quoted.get(1..quoted.len().checked_sub(1)?)?;
        return rest.starts_with(b"<").then_some((display, rest));
    }
    // Whichever comes first tells the two forms apart: a scheme ends in a colon, which no unquoted name contains.
    let at = value.iter().position(|byte| matches!(byte, b'<' | b':' | b';' | b',' | b'"'))?;
    match value.split_at_checked(at)? {
        (display, rest @ [b'<', ..]) => Some((trim(display), rest)),
        (_, [b':', ..]) => Some((b"", value)),
        _ => None,
    }
}

/// §20: a URI with a comma, a question mark or a semicolon stands in `<>`; without them the semicolon ends it.
fn split_addr_spec(text: &str) -> Result<(&str, &str), ParseError> {
    let end = text.bytes().position(|byte| byte == b';' || is_lws(byte)).unwrap_or(text.len());
    let (uri, params) = text.split_at_checked(end).ok_or(WRONG)?;
    if uri.contains([',', '?']) { Err(WRONG) } else { Ok((uri, params)) }
}

/// Enough of absoluteURI to tell it from garbage.
fn is_uri(text: &str) -> bool {
    cut(text, b':').is_some_and(|(scheme, _)| is_scheme(scheme)) && may_be_uri(text)
}

const WRONG: ParseError = ParseError::new("address");

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> NameAddr<'_> {
        NameAddr::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn quoted_display_name_hides_everything() {
        let addr = parse(r#""A. \"Bell\", <x@y>;z" <sip:bell@example.com;lr>;tag=a1"#);
        assert_eq!(addr.display, br#"A. \"Bell\", <x@y>;z"#);
        assert_eq!(addr.uri, "sip:bell@example.com;lr");
        assert_eq!(addr.tag(), Some("a1"));
    }

    #[test]
    fn display_name_of_tokens() {
        let addr = parse("token1~` token2'+_ token3*%!.- <sip:mundane@example.com>");
        assert_eq!(addr.display, b"token1~` token2'+_ token3*%!.-");
        // RFC 4475 §3.1.1.6: no white space is needed before the angle bracket.
        assert_eq!(parse("caller<sip:caller@example.com>").display, b"caller");
    }

    #[test]
    fn display_name_may_be_no_utf8() {
        let addr = NameAddr::parse(b"\"caf\xe9\" <sip:a@b>").unwrap();
        assert_eq!(addr.display, b"caf\xe9");
    }

    #[test]
    fn parameters_without_brackets_belong_to_the_header() {
        let addr = parse("sip:watson@example.com;expires=5;tag=x");
        assert_eq!(addr.uri, "sip:watson@example.com");
        assert_eq!(addr.params.value("expires"), Some("5"));
        assert_eq!(addr.tag(), Some("x"));
    }

    #[test]
    fn folded_white_space_is_nothing() {
        let addr = parse("\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n");
        assert_eq!(addr.uri, "sip:vivekg@chair-dnrc.example.com");
        assert_eq!(addr.tag(), Some("1918181833n"));
        let addr =
            parse("\"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8");
        assert_eq!(addr.tag(), Some("98asjd8"));
    }

    #[test]
    fn quoted_parameter_may_contain_brackets() {
        let addr = parse("sip:a@b;x=\"<y>\";tag=1");
        assert_eq!(addr.uri, "sip:a@b");
        assert_eq!(addr.tag(), Some("1"));
        assert_eq!(
            parse("<sip:a@b>;+sip.instance=\"<urn:uuid:1>\"").params.value("+SIP.INSTANCE"),
            Some("<urn:uuid:1>")
        );
    }

    #[test]
    fn other_schemes_are_kept() {
        assert_eq!(parse("isbn:2983792873").uri, "isbn:2983792873");
        assert_eq!(parse("<http://www.example.com>;tag=3").uri, "http://www.example.com");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "*",
            "<>",
            "sip",
            "<sip:a@b",
            "\"open <sip:a@b>",
            "\"a\" sip:a@b",
            "Bell, Alexander <sip:a@b>",
            "< sip:a@b >",
            "sip:a@b?Route=%3Csip:c%3E",
            "sip:a,b@c",
            "<sip:a@b> x",
            "<sip:a@b>;tag=",
            "<sip:a@b>;;tag=1",
        ] {
            assert!(NameAddr::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
