//! A refusal that is already a SIP answer.

use bytes::Bytes;

use crate::{Name, ParseError, Request, Response, StatusCode};

/// `Err` of a pure function that read a request: status and extra headers of the answer.
#[derive(Debug, Clone)]
pub struct Reject {
    /// Of the answer.
    pub status: StatusCode,
    /// Replaces the registered phrase.
    pub reason: Option<&'static str>,
    /// Added to what RFC 3261 §8.2.6.2 copies.
    pub headers: Vec<(Name, Bytes)>,
}

impl Reject {
    /// A refusal without further headers.
    pub fn new(status: StatusCode) -> Self {
        Self { status, reason: None, headers: Vec::new() }
    }

    /// With one more header line.
    #[must_use]
    pub fn with(mut self, name: Name, value: impl Into<Bytes>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With a phrase of its own.
    #[must_use]
    pub fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// The response to `request`.
    pub fn response(&self, request: &Request, to_tag: &str) -> Response {
        let mut response = Response::to(request, self.status, Some(to_tag));
        if let Some(reason) = self.reason {
            response.reason = Bytes::from_static(reason.as_bytes());
        }
        for (name, value) in &self.headers {
            response.headers.append(*name, value.clone());
        }
        response
    }
}

impl From<ParseError> for Reject {
    fn from(error: ParseError) -> Self {
        Self::new(error.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;

    #[test]
    fn status_phrase_and_headers_of_the_answer() {
        let mut register = Request::new(Method::Register, "sip:example.com");
        register.headers.append(Name::To, "<sip:a@example.com>");
        let reject = Reject::new(StatusCode::new(423)).because("Too Short").with(Name::MinExpires, "60");
        let answer = reject.response(&register, "t");
        assert_eq!(answer.reason, "Too Short");
        assert_eq!(answer.headers.get(Name::MinExpires), Some(&b"60"[..]));
        assert_eq!(answer.to_tag(), Some("t"));
    }

    #[test]
    fn a_parse_error_brings_its_status() {
        let error = ParseError::with_status("SIP-Version", StatusCode::VERSION_NOT_SUPPORTED);
        assert_eq!(Reject::from(error).status.code(), 505);
    }
}
