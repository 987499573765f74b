//! A message as lines of bytes: what a script says is what leaves, and what has come stays as it came. It may be wrong in
//! any way, since nothing here knows more of RFC 3261 §7 than where a line ends and what the compact names stand for.

use std::fmt;

use crate::ua::message::uri_of;

/// Start line, header lines (folded ones with their continuation), body.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    start: String,
    lines: Vec<Vec<u8>>,
    body: Vec<u8>,
}

/// Compact names, RFC 3261 §7.3.3 and the IANA registry.
const COMPACT: [(&str, &str); 13] = [
    ("b", "referred-by"),
    ("c", "content-type"),
    ("e", "content-encoding"),
    ("f", "from"),
    ("i", "call-id"),
    ("k", "supported"),
    ("l", "content-length"),
    ("m", "contact"),
    ("o", "event"),
    ("r", "refer-to"),
    ("s", "subject"),
    ("t", "to"),
    ("v", "via"),
];

/// The lines that a proxy may touch: RFC 3261 §16.6 steps 2 to 8, RFC 3327 §5.2, RFC 5393 §5.3.3.
const TOUCHED: [&str; 6] = ["via", "route", "record-route", "max-forwards", "max-breadth", "path"];

impl Message {
    /// A request without any header line.
    pub fn request(method: &str, uri: &str) -> Self {
        Self { start: format!("{method} {uri} SIP/2.0"), lines: Vec::new(), body: Vec::new() }
    }

    /// The response to a request: RFC 3261 §8.2.6.2, with the Record-Route of §12.1.1.
    pub fn response(request: &Self, status: u16, phrase: &str, tag: &str) -> Self {
        let copied = ["via", "from", "to", "call-id", "cseq", "record-route"];
        let mut response =
            Self { start: format!("SIP/2.0 {status} {phrase}"), lines: Vec::new(), body: Vec::new() };
        for line in &request.lines {
            let name = name(line);
            if !copied.contains(&&*name) || (name == "record-route" && status >= 300) {
                continue;
            }
            let mut line = line.clone();
            if name == "to" && request.tag("To").is_empty() && status > 100 {
                line.extend_from_slice(format!(";tag={tag}").as_bytes());
            }
            response.lines.push(line);
        }
        response.with("Content-Length", "0")
    }

    /// Reads one whole message; `None` when it has no empty line.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let at = head_length(bytes)?;
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for line in bytes.get(..at)?.split(|byte| *byte == b'\n') {
            match lines.last_mut() {
                Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                    last.push(b'\n');
                    last.extend_from_slice(line);
                }
                _ => lines.push(line.to_vec()),
            }
        }
        for line in &mut lines {
            if line.ends_with(b"\r") {
                line.pop();
            }
        }
        let start = String::from_utf8_lossy(&lines.remove(0)).into_owned();
        Some(Self { start, lines, body: bytes.get(at + 4..)?.to_vec() })
    }

    /// As it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.start.clone().into_bytes();
        bytes.extend_from_slice(b"\r\n");
        for line in &self.lines {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The start line.
    pub fn start(&self) -> &str {
        &self.start
    }

    /// The method of a request; empty for a response.
    pub fn method(&self) -> &str {
        if self.status().is_some() { "" } else { self.start.split(' ').next().unwrap_or_default() }
    }

    /// The Request-URI.
    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// What follows the empty line.
    pub fn content(&self) -> &[u8] {
        &self.body
    }

    /// The value of the first line of this name, white space around it removed; empty when there is none.
    pub fn get(&self, name: &str) -> String {
        self.all(name).into_iter().next().unwrap_or_default()
    }

    /// The values of all lines of this name.
    pub fn all(&self, wanted: &str) -> Vec<String> {
        let wanted = wanted.to_ascii_lowercase();
        let lines = self.lines.iter().filter(|line| name(line) == wanted);
        lines
            .map(|line| {
                let text = String::from_utf8_lossy(line);
                text.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
            })
            .collect()
    }

    /// The elements of a list, over all its lines.
    pub fn list(&self, name: &str) -> Vec<String> {
        let lines = self.all(name);
        lines.iter().flat_map(|line| split(line)).filter(|element| !element.is_empty()).collect()
    }

    /// The tag of From or To; empty when there is none.
    pub fn tag(&self, name: &str) -> String {
        parameter(&self.get(name), "tag").unwrap_or_default().to_owned()
    }

    /// The URI of the first Contact.
    pub fn contact(&self) -> String {
        uri_of(&self.get("Contact")).to_owned()
    }

    /// The branch of the top Via.
    pub fn branch(&self) -> String {
        let top = self.list("Via").into_iter().next().unwrap_or_default();
        parameter(&top, "branch").unwrap_or_default().to_owned()
    }

    /// The number of the CSeq.
    pub fn number(&self) -> u32 {
        self.get("CSeq").split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// The method of the CSeq.
    pub fn cseq_method(&self) -> String {
        self.get("CSeq").split_whitespace().nth(1).unwrap_or_default().to_owned()
    }

    /// One more line at the end, as it stands here.
    #[must_use]
    pub fn line(mut self, line: impl AsRef<[u8]>) -> Self {
        self.lines.push(line.as_ref().to_vec());
        self
    }

    /// One more line on top.
    #[must_use]
    pub fn on_top(mut self, line: impl AsRef<[u8]>) -> Self {
        self.lines.insert(0, line.as_ref().to_vec());
        self
    }

    /// This value instead of whatever lines of that name there are.
    #[must_use]
    pub fn with(mut self, wanted: &str, value: &str) -> Self {
        let line = format!("{wanted}: {value}").into_bytes();
        let wanted = wanted.to_ascii_lowercase();
        match self.lines.iter().position(|line| name(line) == wanted) {
            Some(at) => {
                let mut kept = 0;
                self.lines.retain(|line| {
                    kept += 1;
                    name(line) != wanted || kept == at + 1
                });
                if let Some(slot) = self.lines.get_mut(at) {
                    *slot = line;
                }
            }
            None => self.lines.push(line),
        }
        self
    }

    /// Another value instead of the first one; the other lines of that name stay.
    #[must_use]
    pub fn with_top(mut self, wanted: &str, value: &str) -> Self {
        let line = format!("{wanted}: {value}").into_bytes();
        let wanted = wanted.to_ascii_lowercase();
        if let Some(slot) = self.lines.iter_mut().find(|line| name(line) == wanted) {
            *slot = line;
        }
        self
    }

    /// Without the lines of this name.
    #[must_use]
    pub fn without(mut self, wanted: &str) -> Self {
        let wanted = wanted.to_ascii_lowercase();
        self.lines.retain(|line| name(line) != wanted);
        self
    }

    /// Another Request-URI.
    #[must_use]
    pub fn at(mut self, uri: &str) -> Self {
        self.start = format!("{} {uri} SIP/2.0", self.method());
        self
    }

    /// A body and its length.
    #[must_use]
    pub fn body(self, bytes: impl AsRef<[u8]>) -> Self {
        let body = bytes.as_ref().to_vec();
        Self { body: body.clone(), ..self.with("Content-Length", &body.len().to_string()) }
    }

    /// The lines that no proxy may touch, in their order, for people to read.
    pub fn untouched(&self) -> Vec<String> {
        let lines = self.lines.iter().filter(|line| !TOUCHED.contains(&&*name(line)));
        lines.map(|line| line.escape_ascii().to_string()).collect()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.bytes()))
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// RFC 3261 §16.6, §16.7: what a proxy may not touch has arrived as it left, byte for byte and in its order.
///
/// # Panics
///
/// It has not.
#[track_caller]
pub fn assert_passed(sent: &Message, heard: &Message) {
    assert_eq!(heard.untouched(), sent.untouched());
    assert!(heard.content() == sent.content(), "the body, byte for byte");
    if sent.status().is_some() {
        assert_eq!(heard.start(), sent.start());
    }
}

/// A parameter behind the URI; quotes are taken off, and nothing inside of them counts.
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let mut quoted = false;
    let pieces = value.get(behind_uri(value)..)?.split(move |c| {
        quoted ^= c == '"';
        c == ';' && !quoted
    });
    pieces.skip(1).find_map(|piece| {
        let (own, value) = piece.split_once('=').unwrap_or((piece, ""));
        own.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// Where the parameters begin: behind `<…>`, or at the first semicolon.
fn behind_uri(value: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => {
                let rest = value.get(at..).unwrap_or_default();
                return rest.find('>').map_or(value.len(), |end| at + end + 1);
            }
            ';' if !quoted => return at,
            _ => {}
        }
    }
    value.len()
}

/// Where the empty line begins.
pub(super) fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n")
}

/// The full name of a header line in lower case.
fn name(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let own = text.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
    match COMPACT.iter().find(|(short, _)| *short == own) {
        Some((_, long)) => (*long).to_owned(),
        None => own,
    }
}

/// Splits at the commas that stand neither in quotes nor in angle brackets.
fn split(line: &str) -> Vec<String> {
    let (mut quoted, mut bracketed) = (false, false);
    let pieces = line.split(move |c| {
        match c {
            '"' => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            ',' => return !quoted && !bracketed,
            _ => {}
        }
        false
    });
    pieces.map(|piece| piece.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        b"INVITE sip:b@h SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z9hG4bK1, SIP/2.0/UDP i\r\nX: a\r\n b\r\n\
        t:<sip:b@h>\r\nCSeq: 7 INVITE\r\nl: 3\r\n\r\n\x00\xff\n";

    #[test]
    fn a_message_leaves_as_it_came() {
        let message = Message::read(TEXT).unwrap();
        assert_eq!(message.bytes(), TEXT);
        assert_eq!((message.method(), message.uri(), message.number()), ("INVITE", "sip:b@h", 7));
        assert_eq!(message.list("Via").len(), 2);
        assert_eq!(message.branch(), "z9hG4bK1");
        assert_eq!(message.content(), b"\x00\xff\n");
        assert!(message.untouched().contains(&"X: a\\r\\n b".to_owned()), "{:?}", message.untouched());
    }

    #[test]
    fn lines_are_replaced_and_removed() {
        let message = Message::read(TEXT).unwrap().with("Via", "SIP/2.0/TCP j").line("X: c").with("X", "d");
        assert_eq!(message.all("via"), ["SIP/2.0/TCP j"]);
        assert_eq!(message.all("x"), ["d"]);
        assert!(message.without("X").all("x").is_empty());
    }

    #[test]
    fn parameters_are_those_behind_the_uri() {
        let value = "\"a \\\"; <x>;q=1\" <sip:a@h;q=2>;q=0.3;+x=\"<u;q=4>\";gr=\"sip:a@h;gr=u\"";
        let found = ["q", "+x", "gr", "none"].map(|name| parameter(value, name));
        assert_eq!(found, [Some("0.3"), Some("<u;q=4>"), Some("sip:a@h;gr=u"), None]);
        assert_eq!(parameter("SIP/2.0/UDP h;branch=z9hG4bK1", "branch"), Some("z9hG4bK1"));
    }

    #[test]
    fn a_response_has_what_belongs_into_it() {
        let request = Message::read(TEXT).unwrap().line("Record-Route: <sip:p;lr>");
        let ok = Message::response(&request, 200, "OK", "x");
        assert_eq!(ok.status(), Some(200));
        assert_eq!((ok.tag("To"), ok.list("Record-Route").len()), ("x".to_owned(), 1));
        assert!(Message::response(&request, 486, "Busy", "x").list("Record-Route").is_empty());
    }
}
