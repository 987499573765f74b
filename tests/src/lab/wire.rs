//! What went over the wire, as its senders tell it: the nodes in their logs (target `wire`), the phones themselves.

use std::time::Duration;

use serde_json::Value;

/// One message on one hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// When it left, since 1970.
    pub at: Duration,
    /// Who sent it: a node's name or a phone's address.
    pub from: String,
    /// Who gets it, likewise.
    pub to: String,
    /// Its start line without the version.
    pub start: String,
    /// Its CSeq.
    pub cseq: String,
    /// Call-ID.
    pub call_id: String,
    /// The sent-by of the top Via.
    pub via: Option<String>,
    /// The host of the top Route.
    pub route: Option<String>,
    /// The host of the top Path.
    pub path: Option<String>,
}

/// The messages of one call that `node` says to have sent, from its log in JSON.
pub fn sent_by(node: &str, log: &str, call_id: &str) -> Vec<Hop> {
    log.lines().filter_map(|line| hop(node, line)).filter(|hop| hop.call_id == call_id).collect()
}

fn hop(node: &str, line: &str) -> Option<Hop> {
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned);
    if text("target")? != "wire" {
        return None;
    }
    Some(Hop {
        at: since_1970(&text("timestamp")?)?,
        from: node.to_owned(),
        to: text("to")?,
        start: text("message")?,
        cseq: text("cseq")?,
        call_id: text("call_id")?,
        via: text("via"),
        route: text("route"),
        path: text("path"),
    })
}

/// Reads `2026-11-21T14:04:20.123456Z`, RFC 3339 in UTC.
fn since_1970(text: &str) -> Option<Duration> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.split(':');
    let (hour, minute): (u64, u64) = (time.next()?.parse().ok()?, time.next()?.parse().ok()?);
    let seconds: f64 = time.next()?.parse().ok()?;
    // The year begins in March, so that the day that some years have more is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = (365 * year + leap_days + (153 * month + 2) / 5 + day).checked_sub(MARCH_0_TO_1970)?;
    Some(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60) + Duration::from_secs_f64(seconds))
}

/// Days from the last of February of the year 0 to the first of January 1970.
const MARCH_0_TO_1970: u64 = 719_469;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_read_as_it_is_logged() {
        let read = |text| since_1970(text).unwrap();
        assert_eq!(read("1970-01-01T00:00:00.000000Z"), Duration::ZERO);
        assert_eq!(read("1970-01-02T00:00:01.500000Z"), Duration::from_millis(86_401_500));
        assert_eq!(read("2000-02-29T12:00:00Z").as_secs(), 951_825_600);
        assert_eq!(read("2026-11-21T14:04:20.25Z"), Duration::from_millis(1_795_269_860_250));
    }

    #[test]
    fn only_the_call_in_question_is_taken() {
        let log = r#"{"timestamp":"2026-11-21T14:04:20.25Z","level":"INFO","target":"edge","message":"edge is up"}
{"timestamp":"2026-11-21T14:04:20.25Z","target":"wire","to":"core1","call_id":"a","cseq":"1 BYE","message":"BYE sip:***@x"}
not JSON
{"timestamp":"2026-11-21T14:04:20.25Z","target":"wire","to":"core1","call_id":"b","cseq":"1 BYE","message":"BYE sip:***@x"}"#;
        let hops = sent_by("ep1", log, "b");
        assert_eq!(hops.len(), 1);
        assert_eq!((hops[0].from.as_str(), hops[0].to.as_str()), ("ep1", "core1"));
        assert_eq!(hops[0].route, None);
    }
}
