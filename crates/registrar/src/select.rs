//! Which bindings a request may be sent to, and in which order: RFC 3261 §16.5, RFC 5626 §7.

use std::cmp::Reverse;

use sip::Uri;

use crate::{Binding, Record, UnixTime};

/// A binding that a request may be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Contact, Path vector and q.
    pub binding: &'a Binding,
    /// Candidates with the same instance are ways to one UA: at most one of them at a time, the next one only after
    /// a 430 or a 408 (RFC 5626 §7). `None`: a UA of its own.
    pub instance: Option<&'a str>,
}

/// Live bindings in falling q; with equal q, and so among the flows of one instance, the newest first.
pub fn candidates(record: &Record, now: UnixTime) -> Vec<Candidate<'_>> {
    let mut found: Vec<_> = record
        .live(now)
        .map(|binding| Candidate { binding, instance: binding.instance.as_deref() })
        .collect();
    found.sort_by_key(|candidate| Reverse((candidate.binding.q, candidate.binding.updated_at)));
    found
}

/// The live binding that a request to `uri` means: the one with an equivalent contact (RFC 3261 §19.1.4), the newest
/// when the UA has bound it over several flows.
pub fn by_contact<'a>(record: &'a Record, uri: &Uri<'_>, now: UnixTime) -> Option<&'a Binding> {
    record.live(now).filter(|binding| binding.reaches(uri)).max_by_key(|binding| binding.updated_at)
}

/// Every way to a UA instance, what a GRUU stands for. The most recently refreshed first, whatever its q (RFC 5627 §6.1).
pub fn of_instance<'a>(record: &'a Record, instance: &str, now: UnixTime) -> Vec<Candidate<'a>> {
    let mut found = candidates(record, now);
    found.retain(|candidate| candidate.instance == Some(instance));
    found.sort_by_key(|candidate| Reverse(candidate.binding.updated_at));
    found
}

/// Every way to the UA that has registered this contact: all flows of its instance, or the one binding.
pub fn of_contact<'a>(record: &'a Record, uri: &Uri<'_>, now: UnixTime) -> Vec<Candidate<'a>> {
    match by_contact(record, uri, now) {
        Some(Binding { instance: Some(instance), .. }) => of_instance(record, instance, now),
        Some(binding) => vec![Candidate { binding, instance: None }],
        None => Vec::new(),
    }
}

/// The newest live binding of a UA instance.
pub fn by_instance<'a>(record: &'a Record, instance: &str, now: UnixTime) -> Option<&'a Binding> {
    let is_its = |binding: &&Binding| binding.instance.as_deref() == Some(instance);
    record.live(now).filter(is_its).max_by_key(|binding| binding.updated_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{NOW, binding};

    fn record() -> Record {
        let flow = |contact: &str, reg_id, updated| Binding {
            instance: Some("urn:uuid:1".to_owned()),
            reg_id: Some(reg_id),
            updated_at: UnixTime(updated),
            ..binding(contact)
        };
        Record {
            version: 1,
            bindings: vec![
                Binding { q: 500, ..binding("sip:low@192.0.2.1") },
                flow("sip:a@192.0.2.2", 1, 100),
                Binding { expires_at: NOW, ..binding("sip:over@192.0.2.3") },
                flow("sip:a@192.0.2.2", 2, 200),
                Binding { updated_at: UnixTime(150), ..binding("sip:b@192.0.2.4") },
            ],
            watchers: Vec::new(),
        }
    }

    #[test]
    fn falling_q_then_newest() {
        let record = record();
        let order: Vec<_> = candidates(&record, NOW)
            .iter()
            .map(|c| (c.binding.contact.as_str(), c.binding.reg_id, c.instance))
            .collect();
        assert_eq!(
            order,
            [
                ("sip:a@192.0.2.2", Some(2), Some("urn:uuid:1")),
                ("sip:b@192.0.2.4", None, None),
                ("sip:a@192.0.2.2", Some(1), Some("urn:uuid:1")),
                ("sip:low@192.0.2.1", None, None),
            ]
        );
    }

    #[test]
    fn finds_the_newest_flow_of_a_contact_or_an_instance() {
        let record = record();
        let uri = |text: &'static str| Uri::parse(text.as_bytes()).unwrap();
        assert_eq!(by_contact(&record, &uri("sip:a@192.0.2.2;x=1"), NOW).unwrap().reg_id, Some(2));
        assert_eq!(by_contact(&record, &uri("sip:A@192.0.2.2"), NOW), None);
        assert_eq!(by_contact(&record, &uri("sip:over@192.0.2.3"), NOW), None);
        assert_eq!(by_instance(&record, "urn:uuid:1", NOW).unwrap().reg_id, Some(2));
        assert_eq!(by_instance(&record, "urn:uuid:2", NOW), None);
    }

    #[test]
    fn of_an_instance_the_most_recently_refreshed_contact_is_first() {
        let mut record = record();
        record.bindings[3].q = 100;
        let order: Vec<_> =
            of_instance(&record, "urn:uuid:1", NOW).iter().map(|found| found.binding.reg_id).collect();
        assert_eq!(order, [Some(2), Some(1)]);
    }

    #[test]
    fn a_contact_leads_to_every_flow_of_its_instance() {
        let record = record();
        let flows = |text: &'static str| -> Vec<_> {
            let uri = Uri::parse(text.as_bytes()).unwrap();
            of_contact(&record, &uri, NOW).iter().map(|found| found.binding.reg_id).collect()
        };
        assert_eq!(flows("sip:a@192.0.2.2"), [Some(2), Some(1)]);
        assert_eq!(flows("sip:b@192.0.2.4"), [None]);
        assert!(flows("sip:over@192.0.2.3").is_empty());
        assert_eq!(of_instance(&record, "urn:uuid:1", NOW).len(), 2);
        assert!(of_instance(&record, "urn:uuid:2", NOW).is_empty());
    }
}
