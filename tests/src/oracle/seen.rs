//! What the oracle reads in a message: by lines and splits, so that it shares no code with anybody it judges.

/// A message as the oracle sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Method of a request; of a response the method in CSeq.
    pub method: String,
    /// Request-URI; empty for a response.
    pub uri: String,
    /// Status; 0 for a request.
    pub status: u16,
    /// Every Via, top first.
    pub vias: Vec<String>,
    /// Every Route, top first.
    pub routes: Vec<String>,
    /// Max-Forwards.
    pub max_forwards: Option<u32>,
    /// Call-ID.
    pub call_id: String,
    /// CSeq number.
    pub cseq: u32,
    /// Tag of From.
    pub from_tag: String,
    /// Tag of To; empty when there is none.
    pub to_tag: String,
    /// URI of To.
    pub to: String,
    /// Every Contact.
    pub contacts: Vec<String>,
}

impl Seen {
    /// Reads a message.
    pub fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let head = text.split_once("\r\n\r\n").map_or(&*text, |(head, _)| head);
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or("").split(' ');
        let (first, second) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let mut seen = Self::default();
        if first == "SIP/2.0" {
            seen.status = second.parse().unwrap_or(0);
        } else {
            first.clone_into(&mut seen.method);
            second.clone_into(&mut seen.uri);
        }
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            seen.take(&name.trim().to_ascii_lowercase(), value.trim());
        }
        seen
    }

    fn take(&mut self, name: &str, value: &str) {
        match name {
            "via" | "v" => self.vias.push(value.to_owned()),
            "route" => self.routes.extend(value.split(", ").map(str::to_owned)),
            "max-forwards" => self.max_forwards = value.parse().ok(),
            "call-id" | "i" => value.clone_into(&mut self.call_id),
            "cseq" => {
                let (number, method) = value.split_once(' ').unwrap_or((value, ""));
                self.cseq = number.parse().unwrap_or(0);
                if self.status > 0 {
                    method.clone_into(&mut self.method);
                }
            }
            "from" | "f" => self.from_tag = tag(value),
            "to" | "t" => {
                self.to_tag = tag(value);
                self.to = inner(value);
            }
            "contact" | "m" => self.contacts.push(value.to_owned()),
            _ => {}
        }
    }

    /// True for a request.
    pub fn is_request(&self) -> bool {
        self.status == 0
    }

    /// True for a response that ends its transaction.
    pub fn is_final(&self) -> bool {
        self.status >= 200
    }

    /// Branch of the Via at this depth, 0 being the top one.
    pub fn branch(&self, depth: usize) -> &str {
        self.vias.get(depth).map_or("", |via| branch(via))
    }
}

/// The branch of a Via.
pub(crate) fn branch(via: &str) -> &str {
    via.split(';').skip(1).find_map(|param| param.trim().strip_prefix("branch=")).unwrap_or("")
}

/// A Via without what a receiver adds to it (RFC 3261 §18.2.1, RFC 3581 §4).
pub(crate) fn as_sent(via: &str) -> String {
    let added = |param: &&str| {
        let name = param.split('=').next().unwrap_or("").trim();
        name != "received" && name != "rport"
    };
    via.split(';').filter(added).collect::<Vec<_>>().join(";")
}

/// What stands between the angle brackets.
pub(crate) fn inner(value: &str) -> String {
    let inner = value.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(|| value.split(';').next().unwrap_or(value).to_owned(), |(uri, _)| uri.to_owned())
}

fn tag(value: &str) -> String {
    let params = value.rsplit_once('>').map_or(value, |(_, params)| params);
    params.split(';').find_map(|param| param.trim().strip_prefix("tag=")).unwrap_or("").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_matters() {
        let seen = Seen::of(
            b"INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/TLS e;branch=z9hG4bKe.1\r\nVia: SIP/2.0/UDP u;rport=5;branch=z9hG4bKu\r\n\
              Route: <sip:t@e;lr>\r\nMax-Forwards: 68\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h;tag=no>\r\nCall-ID: c\r\nCSeq: 3 INVITE\r\n\r\n",
        );
        assert!(seen.is_request() && seen.method == "INVITE" && seen.uri == "sip:b@h");
        assert_eq!((seen.branch(0), seen.branch(1)), ("z9hG4bKe.1", "z9hG4bKu"));
        assert_eq!((seen.max_forwards, seen.cseq, &*seen.from_tag, &*seen.to_tag), (Some(68), 3, "1", ""));
        assert_eq!(as_sent(&seen.vias[1]), "SIP/2.0/UDP u;branch=z9hG4bKu");
        assert_eq!(seen.to, "sip:b@h;tag=no");
    }

    #[test]
    fn a_response_has_the_method_of_its_cseq() {
        let seen = Seen::of(b"SIP/2.0 180 Ringing\r\nCSeq: 3 INVITE\r\nTo: <sip:b@h>;tag=x\r\n\r\n");
        assert_eq!((seen.status, &*seen.method, &*seen.to_tag), (180, "INVITE", "x"));
        assert!(!seen.is_request() && !seen.is_final());
    }
}
