//! What is remembered of the DNS. Pure: the time comes in.
//!
//! Fresh → (its time to live is over) stale → forgotten
//!
//! - A time to live is kept within bounds, so that neither 0 nor a year makes sense of a mistake.
//! - "There is none" is remembered for a short time (RFC 2308 §5 lets the zone say how long), and never for longer than
//!   [`Ttl::most_negative`].
//! - A failure is not remembered, so it cannot make a target disappear. On the contrary: what was found before serves a while longer
//!   (RFC 8767 §4), and the DNS is asked again after [`Ttl::retry`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::records::{Answer, Lookup, Record};

/// How long things are remembered.
#[derive(Debug, Clone, Copy)]
pub struct Ttl {
    /// Records, at least.
    pub least: Duration,
    /// Records, at most.
    pub most: Duration,
    /// "There is none", when the zone does not say how long.
    pub negative: Duration,
    /// "There is none", at most.
    pub most_negative: Duration,
    /// Records that are no longer fresh, while the DNS fails.
    pub stale: Duration,
    /// Pause before a DNS that has failed is asked again for what is known.
    pub retry: Duration,
}

impl Default for Ttl {
    fn default() -> Self {
        Self {
            least: Duration::from_secs(5),
            most: Duration::from_secs(24 * 3600),
            negative: Duration::from_secs(10),
            most_negative: Duration::from_secs(60),
            stale: Duration::from_secs(24 * 3600),
            retry: Duration::from_secs(30),
        }
    }
}

/// What the DNS has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Records, and how long they are good.
    Found(Arc<[Record]>, Duration),
    /// There is none, and how long that is good if the zone says so.
    Nothing(Option<Duration>),
}

/// The answers of the DNS by question.
#[derive(Debug)]
pub struct Cache {
    entries: BTreeMap<Lookup, Entry>,
    capacity: usize,
    ttl: Ttl,
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    fresh_until: Instant,
    keep_until: Instant,
}

impl Cache {
    /// An empty one for that many answers.
    pub fn new(capacity: usize, ttl: Ttl) -> Self {
        Self { entries: BTreeMap::new(), capacity, ttl }
    }

    /// A fresh answer.
    pub fn get(&self, lookup: &Lookup, now: Instant) -> Option<Answer> {
        self.entries.get(lookup).filter(|entry| now < entry.fresh_until).map(|entry| entry.answer.clone())
    }

    /// The DNS has answered; gives what the asker gets.
    pub fn learn(&mut self, lookup: Lookup, known: Known, now: Instant) -> Answer {
        let Ttl { least, most, negative, most_negative, stale, .. } = self.ttl;
        let (answer, fresh, keep) = match known {
            Known::Found(records, ttl) => {
                let fresh = ttl.clamp(least, most);
                (Answer::Found(records), fresh, fresh + stale)
            }
            Known::Nothing(ttl) => {
                let fresh = ttl.unwrap_or(negative).min(most_negative);
                (Answer::Nothing, fresh, fresh)
            }
        };
        self.make_room(&lookup, now);
        let entry = Entry { answer: answer.clone(), fresh_until: now + fresh, keep_until: now + keep };
        self.entries.insert(lookup, entry);
        answer
    }

    /// The DNS has failed; gives what was found before, if it is not too old.
    pub fn fail(&mut self, lookup: &Lookup, now: Instant) -> Answer {
        match self.entries.get_mut(lookup).filter(|entry| now < entry.keep_until) {
            Some(entry) if matches!(entry.answer, Answer::Found(_)) => {
                entry.fresh_until = (now + self.ttl.retry).min(entry.keep_until);
                entry.answer.clone()
            }
            Some(_) | None => Answer::Failed,
        }
    }

    /// How many answers are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nothing is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is over goes first, then what would be over first.
    fn make_room(&mut self, lookup: &Lookup, now: Instant) {
        if self.entries.len() < self.capacity || self.entries.contains_key(lookup) {
            return;
        }
        self.entries.retain(|_, entry| now < entry.keep_until);
        while self.entries.len() >= self.capacity.max(1) {
            let first = self.entries.iter().min_by_key(|(_, entry)| entry.fresh_until);
            let Some(lookup) = first.map(|(lookup, _)| lookup.clone()) else { return };
            self.entries.remove(&lookup);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do as the start")]
mod tests {
    use super::super::records::Kind;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lookup(name: &str) -> Lookup {
        Lookup { name: name.to_owned(), kind: Kind::A }
    }

    fn found(last: u8) -> Arc<[Record]> {
        Arc::new([Record::Address([192, 0, 2, last].into())])
    }

    fn cache() -> (Cache, Instant) {
        (Cache::new(3, Ttl::default()), Instant::now())
    }

    #[test]
    fn a_time_to_live_is_kept_within_bounds() {
        let (mut cache, now) = cache();
        for (given, kept) in [(0, 5), (60, 60), (10_000_000, 24 * 3600)] {
            cache.learn(lookup("a"), Known::Found(found(1), given * SECOND), now);
            assert!(cache.get(&lookup("a"), now + kept * SECOND - Duration::from_millis(1)).is_some());
            assert_eq!(cache.get(&lookup("a"), now + kept * SECOND), None, "{given}");
        }
    }

    #[test]
    fn that_there_is_none_is_soon_forgotten() {
        let (mut cache, now) = cache();
        for (given, kept) in [(None, 10), (Some(30), 30), (Some(86_400), 60), (Some(0), 0)] {
            cache.learn(lookup("a"), Known::Nothing(given.map(|given| given * SECOND)), now);
            let before = cache.get(&lookup("a"), now + (kept * SECOND).saturating_sub(SECOND));
            assert_eq!(before, (kept > 0).then_some(Answer::Nothing));
            assert_eq!(cache.get(&lookup("a"), now + kept * SECOND), None, "{given:?}");
        }
    }

    #[test]
    fn a_failure_takes_nothing_away_and_adds_nothing() {
        let (mut cache, now) = cache();
        assert_eq!(cache.fail(&lookup("a"), now), Answer::Failed);
        assert!(cache.is_empty(), "a failure is not remembered");
        cache.learn(lookup("a"), Known::Found(found(1), 60 * SECOND), now);
        let later = now + 61 * SECOND;
        assert_eq!(cache.get(&lookup("a"), later), None, "the DNS is asked");
        assert_eq!(cache.fail(&lookup("a"), later), Answer::Found(found(1)), "and fails");
        assert_eq!(cache.get(&lookup("a"), later + 29 * SECOND), Some(Answer::Found(found(1))));
        assert_eq!(cache.get(&lookup("a"), later + 30 * SECOND), None, "it is asked again");
        assert_eq!(cache.fail(&lookup("a"), now + 25 * 3600 * SECOND), Answer::Failed, "not for ever");
    }

    #[test]
    fn that_there_is_none_does_not_serve_when_the_dns_fails() {
        let (mut cache, now) = cache();
        cache.learn(lookup("a"), Known::Nothing(None), now);
        assert_eq!(cache.fail(&lookup("a"), now + 11 * SECOND), Answer::Failed);
    }

    #[test]
    fn a_full_cache_forgets_what_would_be_over_first() {
        let (mut cache, now) = cache();
        for (name, seconds) in [("a", 30), ("b", 10), ("c", 20), ("d", 40)] {
            cache.learn(lookup(name), Known::Found(found(1), seconds * SECOND), now);
        }
        assert_eq!(cache.len(), 3);
        assert_eq!(cache.get(&lookup("b"), now), None);
        assert!(cache.get(&lookup("a"), now).is_some());
    }
}
