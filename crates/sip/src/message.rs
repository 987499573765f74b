//! Requests and responses, RFC 3261 §7.1 and §7.2.

use bytes::Bytes;

use crate::{
    CSeq, Contacts, Headers, Method, Name, NameAddr, ParseError, StatusCode, Uri, Via, typed, write,
};

/// A request or a response. What [`parse::message`](crate::parse::message) returns has a readable top Via, From, To,
/// Call-ID and CSeq.
#[derive(Debug, Clone)]
pub enum Message {
    /// §7.1
    Request(Request),
    /// §7.2
    Response(Response),
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// §7.1
    pub method: Method,
    /// Request-URI as written.
    pub uri: Bytes,
    /// §7.3
    pub headers: Headers,
    /// §7.4
    pub body: Bytes,
}

/// A response.
#[derive(Debug, Clone)]
pub struct Response {
    /// §7.2
    pub status: StatusCode,
    /// The phrase as written; may be empty, may be any bytes.
    pub reason: Bytes,
    /// §7.3
    pub headers: Headers,
    /// §7.4
    pub body: Bytes,
}

impl Message {
    /// Headers of either.
    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => &request.headers,
            Self::Response(response) => &response.headers,
        }
    }

    /// Headers of either.
    pub fn headers_mut(&mut self) -> &mut Headers {
        match self {
            Self::Request(request) => &mut request.headers,
            Self::Response(response) => &mut response.headers,
        }
    }

    /// Call-ID; empty when missing.
    pub fn call_id(&self) -> &[u8] {
        call_id(self.headers())
    }

    /// Bytes to send. Untouched lines leave as they came.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Request(request) => request.encode(),
            Self::Response(response) => response.encode(),
        }
    }
}

impl From<Request> for Message {
    fn from(request: Request) -> Self {
        Self::Request(request)
    }
}

impl From<Response> for Message {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

impl Request {
    /// Empty but for the start line; the caller adds headers. [`Self::encode`] adds the Content-Length.
    pub fn new(method: Method, uri: impl Into<Bytes>) -> Self {
        Self { method, uri: uri.into(), headers: Headers::default(), body: Bytes::new() }
    }

    /// Bytes to send. Untouched lines leave as they came. A missing or wrong Content-Length is put right.
    pub fn encode(&self) -> Bytes {
        write::request(self)
    }

    /// Request-URI.
    pub fn request_uri(&self) -> Result<Uri<'_>, ParseError> {
        Uri::parse(&self.uri)
    }

    /// Call-ID; empty when missing.
    pub fn call_id(&self) -> &[u8] {
        call_id(&self.headers)
    }

    /// CSeq (§20.16), its number below 2³¹ (§8.1.1.5).
    pub fn cseq(&self) -> Result<CSeq, ParseError> {
        cseq(&self.headers)
    }

    /// The first Via element (§20.42).
    pub fn top_via(&self) -> Result<Via<'_>, ParseError> {
        Via::parse(self.headers.top(Name::Via).ok_or(ParseError::new("Via"))?)
    }

    /// From (§20.20).
    pub fn from(&self) -> Result<NameAddr<'_>, ParseError> {
        NameAddr::parse(self.headers.get(Name::From).ok_or(ParseError::new("From"))?)
    }

    /// To (§20.39).
    pub fn to(&self) -> Result<NameAddr<'_>, ParseError> {
        NameAddr::parse(self.headers.get(Name::To).ok_or(ParseError::new("To"))?)
    }

    /// Tag of To; `None` outside a dialog.
    pub fn to_tag(&self) -> Option<&str> {
        self.to().ok().and_then(|to| to.tag())
    }

    /// Tag of From; `None` from an RFC 2543 client.
    pub fn from_tag(&self) -> Option<&str> {
        self.from().ok().and_then(|from| from.tag())
    }

    /// `None` when absent, an error when not 0..=255 (RFC 3261 §20.22).
    pub fn max_forwards(&self) -> Result<Option<u8>, ParseError> {
        let Some(value) = self.headers.get(Name::MaxForwards) else { return Ok(None) };
        typed::max_forwards(value).map(Some)
    }

    /// Top element of Route (§20.34).
    pub fn top_route(&self) -> Option<Result<NameAddr<'_>, ParseError>> {
        self.headers.top(Name::Route).map(NameAddr::parse)
    }

    /// Contact header fields: none, `*`, or a list (§20.10).
    pub fn contacts(&self) -> Result<Contacts<'_>, ParseError> {
        Contacts::parse(self.headers.values(Name::Contact))
    }

    /// Expires header in seconds, if present and readable (§20.19; too large = `u32::MAX`).
    pub fn expires(&self) -> Option<u32> {
        typed::delta_seconds(self.headers.get(Name::Expires)?)
    }
}

impl Response {
    /// Empty but for the start line, with the registered phrase.
    pub fn new(status: StatusCode) -> Self {
        let reason = Bytes::from_static(status.reason().as_bytes());
        Self { status, reason, headers: Headers::default(), body: Bytes::new() }
    }

    /// Bytes to send. Untouched lines leave as they came. A missing or wrong Content-Length is put right.
    pub fn encode(&self) -> Bytes {
        write::response(self)
    }

    /// Call-ID; empty when missing.
    pub fn call_id(&self) -> &[u8] {
        call_id(&self.headers)
    }

    /// CSeq (§20.16) of the request that this answers.
    pub fn cseq(&self) -> Result<CSeq, ParseError> {
        cseq(&self.headers)
    }

    /// The first Via element; `None` when there is no Via left.
    pub fn top_via(&self) -> Option<Result<Via<'_>, ParseError>> {
        self.headers.top(Name::Via).map(Via::parse)
    }

    /// Tag of To.
    pub fn to_tag(&self) -> Option<&str> {
        self.headers.get(Name::To).and_then(|to| NameAddr::parse(to).ok()).and_then(|to| to.tag())
    }

    /// Contact header fields: none, `*`, or a list (§20.10).
    pub fn contacts(&self) -> Result<Contacts<'_>, ParseError> {
        Contacts::parse(self.headers.values(Name::Contact))
    }
}

/// Reads CSeq.
pub(crate) fn cseq(headers: &Headers) -> Result<CSeq, ParseError> {
    CSeq::parse(headers.get(Name::CSeq).ok_or(ParseError::new("CSeq"))?)
}

fn call_id(headers: &Headers) -> &[u8] {
    headers.get(Name::CallId).unwrap_or_default()
}

#[cfg(test)]
mod tests;
