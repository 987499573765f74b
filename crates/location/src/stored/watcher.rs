//! Watchers (RFC 6665) as JSON, the column beside the bindings.

use std::borrow::Cow;

use registrar::UnixTime;
use registrar::watcher::{ContactEvent, Notice, Watcher};
use serde::{Deserialize, Serialize};

/// The watchers as JSON text.
pub(crate) fn encode(watchers: &[Watcher]) -> String {
    if watchers.is_empty() {
        return super::NOTHING.to_owned();
    }
    let stored: Vec<_> = watchers.iter().map(Stored::of).collect();
    serde_json::to_string(&stored).expect("strings and numbers always have a JSON form")
}

/// The watchers of JSON text.
pub(crate) fn decode(text: &str) -> Result<Vec<Watcher>, serde_json::Error> {
    if text == super::NOTHING {
        return Ok(Vec::new());
    }
    let stored: Vec<Stored<'_>> = serde_json::from_str(text)?;
    Ok(stored.into_iter().map(Stored::into_watcher).collect())
}

/// A [`Watcher`] in JSON.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Stored<'a> {
    #[serde(borrow)]
    call_id: Cow<'a, str>,
    #[serde(borrow)]
    local_tag: Cow<'a, str>,
    #[serde(borrow)]
    remote_tag: Cow<'a, str>,
    #[serde(borrow)]
    local: Cow<'a, str>,
    #[serde(borrow)]
    remote: Cow<'a, str>,
    #[serde(borrow)]
    target: Cow<'a, str>,
    route: Cow<'a, [String]>,
    cseq: u32,
    remote_cseq: u32,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    event_id: Option<Cow<'a, str>>,
    version: u32,
    expires_at: u64,
    updated_at: u64,
    notified_at: u64,
    #[serde(borrow)]
    subscriber: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    notices: Vec<StoredNotice<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_behind: bool,
}

/// A [`Notice`] in JSON.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct StoredNotice<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    binding: super::Stored<'a>,
}

impl<'a> Stored<'a> {
    fn of(watcher: &'a Watcher) -> Self {
        let notice = |notice: &'a Notice| StoredNotice {
            event: Cow::Borrowed(notice.event.as_str()),
            binding: super::Stored::of(&notice.binding),
        };
        Self {
            call_id: Cow::Borrowed(&watcher.call_id),
            local_tag: Cow::Borrowed(&watcher.local_tag),
            remote_tag: Cow::Borrowed(&watcher.remote_tag),
            local: Cow::Borrowed(&watcher.local),
            remote: Cow::Borrowed(&watcher.remote),
            target: Cow::Borrowed(&watcher.target),
            route: Cow::Borrowed(&watcher.route),
            cseq: watcher.cseq,
            remote_cseq: watcher.remote_cseq,
            event_id: watcher.event_id.as_deref().map(Cow::Borrowed),
            version: watcher.version,
            expires_at: watcher.expires_at.0,
            updated_at: watcher.updated_at.0,
            notified_at: watcher.notified_at.0,
            subscriber: Cow::Borrowed(&watcher.subscriber),
            notices: watcher.notices.iter().map(notice).collect(),
            is_behind: watcher.is_behind,
        }
    }

    /// An event of a version to come is none of ours: the full state says what it has led to.
    fn into_watcher(self) -> Watcher {
        let count = self.notices.len();
        let notice = |notice: StoredNotice<'_>| {
            let event = ContactEvent::parse(&notice.event)?;
            Some(Notice { event, binding: notice.binding.into_binding() })
        };
        let notices: Vec<_> = self.notices.into_iter().filter_map(notice).collect();
        Watcher {
            call_id: self.call_id.into_owned(),
            local_tag: self.local_tag.into_owned(),
            remote_tag: self.remote_tag.into_owned(),
            local: self.local.into_owned(),
            remote: self.remote.into_owned(),
            target: self.target.into_owned(),
            route: self.route.into_owned(),
            cseq: self.cseq,
            remote_cseq: self.remote_cseq,
            event_id: self.event_id.map(Cow::into_owned),
            version: self.version,
            expires_at: UnixTime(self.expires_at),
            updated_at: UnixTime(self.updated_at),
            notified_at: UnixTime(self.notified_at),
            subscriber: self.subscriber.into_owned(),
            is_behind: self.is_behind || notices.len() < count,
            notices,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watcher() -> Watcher {
        Watcher {
            call_id: "c\"\u{e9}".to_owned(),
            local_tag: "l".to_owned(),
            remote_tag: "r".to_owned(),
            local: "<sip:alice@example.com>".to_owned(),
            remote: "\"A\" <sip:app@example.com>".to_owned(),
            target: "sip:app@192.0.2.1".to_owned(),
            route: vec!["<sip:2@b;lr>".to_owned(), "<sip:1@a;lr>".to_owned()],
            cseq: 3,
            remote_cseq: u32::MAX,
            event_id: Some("7".to_owned()),
            version: 2,
            expires_at: UnixTime(100),
            updated_at: UnixTime(10),
            notified_at: UnixTime(20),
            subscriber: "sip:app@example.com".to_owned(),
            notices: vec![Notice {
                event: ContactEvent::Deactivated,
                binding: crate::stored::tests::binding("edge-a", 1, 2),
            }],
            is_behind: true,
        }
    }

    #[test]
    fn json_brings_back_every_field() {
        let watchers = [watcher(), Watcher { is_behind: false, ..Watcher::default() }];
        assert_eq!(decode(&encode(&watchers)).unwrap(), watchers);
        assert_eq!(encode(&[]), "[]");
        assert_eq!(decode("[]").unwrap(), []);
    }

    #[test]
    fn json_of_other_versions_is_read() {
        let text =
            r#"[{"call_id":"c","notices":[{"event":"moved","binding":{"contact":"sip:a@b"}}],"later":1}]"#;
        let found = decode(text).unwrap();
        assert_eq!((found[0].call_id.as_str(), found[0].notices.len()), ("c", 0));
        assert!(found[0].is_behind, "an event that is not known here is not lost");
        assert!(decode("{").is_err());
    }
}
