//! As much of RFC 3261 §7 as a phone in a lab needs to read: start line, headers as text.

/// A message that a phone got. It trusts its cluster: what is missing reads as empty.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    start: String,
    headers: Vec<(String, String)>,
}

impl Message {
    /// Reads a datagram; `None` when it is none of a SIP message (a keep-alive).
    pub(crate) fn read(datagram: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(datagram).ok()?;
        let (head, _) = text.split_once("\r\n\r\n")?;
        let (start, rest) = head.split_once("\r\n")?;
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        Some(Self { start: start.to_owned(), headers: rest.split("\r\n").filter_map(header).collect() })
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> Option<&str> {
        if self.status().is_some() { None } else { self.start.split(' ').next() }
    }

    /// The start line without the version: `INVITE sip:…` or `200 OK`.
    pub(crate) fn start(&self) -> &str {
        self.start.trim_start_matches("SIP/2.0 ").trim_end_matches(" SIP/2.0")
    }

    /// The first header of that name.
    pub(crate) fn get(&self, name: &'static str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// Every line of that name.
    pub(crate) fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The values of a list header over all its lines, for values without commas of their own.
    pub(crate) fn list(&self, name: &'static str) -> Vec<&str> {
        self.all(name).flat_map(|line| line.split(',')).map(str::trim).collect()
    }

    /// The URI in `<>` of a header.
    pub(crate) fn uri(&self, name: &'static str) -> &str {
        between(self.get(name), "<", ">").unwrap_or_default()
    }

    /// The tag of To.
    pub(crate) fn to_tag(&self) -> &str {
        self.get("To").split_once(";tag=").map_or("", |(_, tag)| tag)
    }
}

/// What stands between two marks.
pub(crate) fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inner, _)| inner)
}
