//! The order in which the servers of a service are tried, RFC 2782 "Usage rules".

use super::records::Srv;

/// Seeded chance: SplitMix64. The seed comes from the caller, so that a choice can be repeated.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Equal seeds draw equal numbers.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to `most`, both included.
    pub fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^= value >> 31;
        most.checked_add(1).map_or(value, |bound| value % bound)
    }
}

/// Arranges the records: by priority, within a priority at random by weight. The order in which the DNS has given them does not
/// matter.
pub fn in_order(mut records: Vec<Srv>, chance: &mut Chance) -> Vec<Srv> {
    // "placing those with weight 0 at the beginning of the list"
    records.sort_unstable_by(|a, b| {
        (a.priority, a.weight != 0).cmp(&(b.priority, b.weight != 0)).then_with(|| a.cmp(b))
    });
    let mut ordered = Vec::with_capacity(records.len());
    for group in records.chunk_by(|a, b| a.priority == b.priority) {
        let mut left = group.to_vec();
        while !left.is_empty() {
            ordered.push(left.remove(pick(&left, chance)));
        }
    }
    ordered
}

/// "Choose a uniform random number between 0 and the sum computed (inclusive), and select the RR whose running sum value is the
/// first in the selected order which is greater than or equal to the random number selected."
fn pick(left: &[Srv], chance: &mut Chance) -> usize {
    let sum = left.iter().map(|record| u64::from(record.weight)).sum();
    let drawn = chance.up_to(sum);
    let mut running = 0;
    left.iter()
        .position(|record| {
            running += u64::from(record.weight);
            running >= drawn
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv { priority, weight, port: 5060, target: target.to_owned() }
    }

    /// How often each target comes first in 10 000 draws.
    fn first(records: &[Srv]) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for seed in 0..10_000 {
            let ordered = in_order(records.to_vec(), &mut Chance::new(seed));
            *counts.entry(ordered[0].target.clone()).or_insert(0) += 1;
        }
        counts
    }

    /// RFC 2782, the example: three quarters of the requests to the faster server.
    #[test]
    fn weights_share_a_priority() {
        let counts = first(&[srv(0, 1, "old-slow-box"), srv(0, 3, "new-fast-box"), srv(1, 60_000, "backup")]);
        // With the sum included among the numbers drawn, a weight w of a sum s has (w+1)/(s+1) when it stands first and w/(s+1)
        // when not: new-fast-box, which sorts before, 4/5 or, behind, 3/5.
        let fast = counts["new-fast-box"];
        assert!((5_800..8_200).contains(&fast), "{counts:?}");
        assert!(!counts.contains_key("backup"), "a higher priority number waits");
    }

    #[test]
    fn large_weights_are_kept_exactly() {
        let counts = first(&[srv(0, 1_000, "a"), srv(0, 3_000, "b")]);
        assert!((2_300..2_700).contains(&counts["a"]), "{counts:?}");
    }

    /// RFC 2782: "In the presence of records containing weights greater than 0, records with weight 0 should have a very small
    /// chance of being selected."
    #[test]
    fn a_weight_of_zero_is_seldom_and_not_never() {
        let counts = first(&[srv(0, 0, "zero"), srv(0, 99, "rest")]);
        let zero = counts["zero"];
        assert!((50..200).contains(&zero), "one in a hundred: {counts:?}");
    }

    proptest! {
        #[test]
        fn every_record_is_there_once_by_priority(
            records in prop::collection::vec((0_u16..4, 0_u16..5, "[a-d]"), 0..12),
            seed in any::<u64>(),
        ) {
            let records: Vec<Srv> = records.iter().map(|(p, w, t)| srv(*p, *w, t)).collect();
            let ordered = in_order(records.clone(), &mut Chance::new(seed));
            prop_assert!(ordered.is_sorted_by_key(|record| record.priority));
            let (mut before, mut after) = (records.clone(), ordered.clone());
            before.sort();
            after.sort();
            prop_assert_eq!(before, after);
            let mut shuffled = records;
            shuffled.reverse();
            prop_assert_eq!(in_order(shuffled, &mut Chance::new(seed)), ordered, "the order of the answer is no input");
        }
    }
}
