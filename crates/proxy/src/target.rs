//! The target set, RFC 3261 §16.5, with the rules of RFC 5626 §7 for targets that are one UA.

use bytes::Bytes;
use sip::Uri;
use smallvec::SmallVec;

/// Where a request may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The Request-URI of its copy.
    pub uri: Bytes,
    /// This target's own route set (its Path vector), top first, each value as stored (RFC 3327 §5.4).
    pub route: Vec<Bytes>,
    /// Preference in thousandths; higher goes first.
    pub q: u16,
    /// Targets with an equal instance are alternatives of one UA: tried one at a time, in order.
    pub instance: Option<Bytes>,
    /// The caller's mark, given back with [`crate::context::Action::Forward`].
    pub tag: u64,
}

impl Target {
    /// A target without route, instance or preference: the request goes to `uri`.
    pub fn new(uri: impl Into<Bytes>, tag: u64) -> Self {
        Self { uri: uri.into(), route: Vec::new(), q: 1000, instance: None, tag }
    }

    /// §16.5: a target can only be in the set once. The same URI by another route is another target: two
    /// phones behind two NATs may well call themselves the same.
    fn is_same(&self, other: &Self) -> bool {
        let equivalent = || match (Uri::parse(&self.uri), Uri::parse(&other.uri)) {
            (Ok(one), Ok(two)) => one.equivalent(&two),
            _ => false,
        };
        self.route == other.route && (self.uri == other.uri || equivalent())
    }
}

/// Targets in the order of their trial: groups of falling q, one after another; in a group every UA at once;
/// of a UA one target at a time, the others in reserve.
#[derive(Debug, Clone, Default)]
pub struct TargetSet {
    /// By falling q; equal q in the order of arrival.
    candidates: SmallVec<[Candidate; 1]>,
}

/// One UA: the target to try and those that may replace it.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) target: Target,
    /// Next alternative first.
    pub(crate) reserves: Vec<Target>,
}

impl TargetSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A set of one.
    pub fn one(target: Target) -> Self {
        let mut set = Self::new();
        set.push(target);
        set
    }

    /// Adds a target; false when it was in the set already (§16.5). A UA has the rank of its most preferred
    /// target.
    pub fn push(&mut self, target: Target) -> bool {
        let own = self
            .candidates
            .iter()
            .position(|candidate| target.instance.is_some() && candidate.target.instance == target.instance);
        if self
            .candidates
            .iter()
            .enumerate()
            .any(|(at, candidate)| Some(at) != own && candidate.holds(&target))
        {
            return false;
        }
        let candidate = match own {
            None => Candidate { target, reserves: Vec::new() },
            Some(at) if self.candidates[at].target.q >= target.q => {
                self.candidates[at].add_reserve(target);
                return true;
            }
            Some(at) => {
                let mut candidate = self.candidates.remove(at);
                candidate.reserves.insert(0, std::mem::replace(&mut candidate.target, target));
                candidate
            }
        };
        let at = self.candidates.partition_point(|other| other.target.q >= candidate.target.q);
        self.candidates.insert(at, candidate);
        true
    }

    /// True when nothing is left to try.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Size of the largest group: how many branches may be alive at once.
    pub(crate) fn widest(&self) -> usize {
        self.candidates.chunk_by(|one, next| one.target.q == next.target.q).map(<[_]>::len).max().unwrap_or(0)
    }

    /// Takes the group of the highest q out of the set.
    pub(crate) fn next_group(&mut self) -> SmallVec<[Candidate; 1]> {
        let size =
            self.candidates.chunk_by(|one, next| one.target.q == next.target.q).next().map_or(0, <[_]>::len);
        if size == self.candidates.len() {
            return std::mem::take(&mut self.candidates);
        }
        self.candidates.drain(..size).collect()
    }
}

impl FromIterator<Target> for TargetSet {
    fn from_iter<I: IntoIterator<Item = Target>>(targets: I) -> Self {
        let mut set = Self::new();
        for target in targets {
            set.push(target);
        }
        set
    }
}

impl Candidate {
    fn holds(&self, target: &Target) -> bool {
        self.target.is_same(target) || self.reserves.iter().any(|reserve| reserve.is_same(target))
    }

    fn add_reserve(&mut self, target: Target) {
        let at = self.reserves.partition_point(|other| other.q >= target.q);
        self.reserves.insert(at, target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(tag: u64, q: u16, instance: Option<&'static str>) -> Target {
        let instance = instance.map(Bytes::from);
        Target { q, instance, ..Target::new(format!("sip:{tag}@192.0.2.1"), tag) }
    }

    /// Tags of each group in order, reserves after a slash.
    fn groups(mut set: TargetSet) -> Vec<Vec<Vec<u64>>> {
        let mut groups = Vec::new();
        while !set.is_empty() {
            let group = set.next_group();
            let tags = |c: &Candidate| std::iter::once(&c.target).chain(&c.reserves).map(|t| t.tag).collect();
            groups.push(group.iter().map(tags).collect());
        }
        groups
    }

    #[test]
    fn groups_come_in_falling_q_and_keep_the_order_of_arrival() {
        let set = [target(1, 500, None), target(2, 1000, None), target(3, 500, None), target(4, 700, None)];
        assert_eq!(groups(set.into_iter().collect()), [vec![vec![2]], vec![vec![4]], vec![vec![1], vec![3]]]);
    }

    #[test]
    fn an_instance_is_in_the_set_once_with_its_best_q() {
        let set = [
            target(1, 500, Some("a")),
            target(2, 600, None),
            target(3, 900, Some("a")),
            target(4, 500, Some("a")),
        ];
        assert_eq!(groups(set.into_iter().collect()), [vec![vec![3, 1, 4]], vec![vec![2]]]);
    }

    #[test]
    fn a_target_is_in_the_set_once() {
        let mut set = TargetSet::one(Target::new("sip:bob@192.0.2.1", 1));
        assert!(!set.push(Target::new("sip:bob@192.0.2.1", 2)));
        assert!(!set.push(Target::new("SIP:bob@192.0.2.1", 3)), "equal by RFC 3261 §19.1.4");
        let other_route =
            Target { route: vec![Bytes::from("<sip:e2;lr>")], ..Target::new("sip:bob@192.0.2.1", 4) };
        assert!(set.push(other_route), "another way is another target");
        assert_eq!(groups(set), [vec![vec![1], vec![4]]]);
    }

    #[test]
    fn widest_is_the_largest_group() {
        let set: TargetSet =
            [target(1, 5, None), target(2, 9, None), target(3, 5, None)].into_iter().collect();
        assert_eq!(set.widest(), 2);
        assert_eq!(TargetSet::new().widest(), 0);
    }
}
