//! Which peer is home to a key: rendezvous hashing (highest random weight), pure.
//!
//! Every node that knows the same peers by the same names and weights chooses the same one, on every start and
//! every machine. A peer that goes away moves only the keys that it was home to; a peer whose weight shrinks gives
//! away only what it has too much.
//!
//! The score of a peer is `weight / -ln(u)` where `u` in (0, 1) is drawn from the hash of key and name: the
//! peer with the highest score wins, and each wins in proportion to its weight.

use crate::PeerId;

/// A peer that could be home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The peer.
    pub peer: PeerId,
    /// Hash of its name by [`hash`]. Computed once per peer.
    pub name: u64,
    /// What it can take in relation to the others; 0 takes nothing.
    pub weight: u32,
}

/// The home of `key`; none when nobody can take anything.
pub fn peer(key: &[u8], live: impl IntoIterator<Item = Candidate>) -> Option<PeerId> {
    let key = hash(key);
    live.into_iter()
        .filter(|candidate| candidate.weight > 0)
        .map(|candidate| (score(key, &candidate), candidate))
        .max_by(compare)
        .map(|(_, candidate)| candidate.peer)
}

/// All peers that can take `key`: its home first, then whom to try when that one fails.
pub fn ranked(key: &[u8], live: impl IntoIterator<Item = Candidate>) -> Vec<PeerId> {
    let key = hash(key);
    let mut scored: Vec<_> = live
        .into_iter()
        .filter(|candidate| candidate.weight > 0)
        .map(|candidate| (score(key, &candidate), candidate))
        .collect();
    scored.sort_unstable_by(|a, b| compare(b, a));
    scored.into_iter().map(|(_, candidate)| candidate.peer).collect()
}

/// Hash of a key or a name that is the same in every process: FNV-1a, finished by the mixer of SplitMix64.
pub fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv)
}

fn score(key: u64, candidate: &Candidate) -> f64 {
    let drawn = mix(key ^ candidate.name);
    // 52 bits and a half: never 0 and never 1, so that the logarithm is finite and negative.
    #[expect(clippy::cast_precision_loss, reason = "52 bits fit into the mantissa")]
    let u = ((drawn >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    f64::from(candidate.weight) / -u.ln()
}

/// Equal scores go to the smaller name, so that the order of `live` does not matter.
fn compare(a: &(f64, Candidate), b: &(f64, Candidate)) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then_with(|| b.1.name.cmp(&a.1.name))
}

fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(weights: &[u32]) -> Vec<Candidate> {
        weights
            .iter()
            .zip(0..)
            .map(|(weight, n)| Candidate {
                peer: PeerId(n),
                name: hash(format!("core-{n}").as_bytes()),
                weight: *weight,
            })
            .collect()
    }

    fn keys() -> impl Iterator<Item = Vec<u8>> {
        (0..10_000).map(|n| format!("{n}-a84b4c76e66710@pc33.example.com").into_bytes())
    }

    fn shares(live: &[Candidate]) -> Vec<usize> {
        let mut shares = vec![0; live.len()];
        for key in keys() {
            let home = peer(&key, live.iter().copied()).expect("somebody takes it");
            shares[home.0 as usize] += 1;
        }
        shares
    }

    #[test]
    fn a_removed_peer_moves_only_its_own_share() {
        let all = cores(&[100, 100, 100, 100]);
        let rest: Vec<_> = all.iter().copied().filter(|core| core.peer != PeerId(2)).collect();
        for key in keys() {
            let before = peer(&key, all.iter().copied());
            let after = peer(&key, rest.iter().copied());
            if before != Some(PeerId(2)) {
                assert_eq!(before, after);
            } else {
                assert_eq!(after, ranked(&key, all.iter().copied()).get(1).copied(), "moves to the second");
            }
        }
    }

    #[test]
    fn a_smaller_weight_only_gives_away() {
        let full = cores(&[100, 100, 100]);
        let part = cores(&[100, 40, 100]);
        for key in keys() {
            let (before, after) = (peer(&key, full.iter().copied()), peer(&key, part.iter().copied()));
            assert!(before == after || before == Some(PeerId(1)));
        }
    }

    #[test]
    fn shares_follow_the_weights() {
        let even = shares(&cores(&[100, 100, 100, 100]));
        assert!(even.iter().all(|share| (2_300..2_700).contains(share)), "{even:?}");
        let uneven = shares(&cores(&[100, 300]));
        assert!((2_300..2_700).contains(&uneven[0]), "{uneven:?}");
        assert_eq!(shares(&cores(&[0, 100])), [0, 10_000]);
    }

    #[test]
    fn nobody_can_take_anything() {
        assert_eq!(peer(b"a", []), None);
        assert_eq!(peer(b"a", cores(&[0, 0])), None);
        assert!(ranked(b"a", cores(&[0])).is_empty());
    }

    #[test]
    fn the_order_of_the_peers_does_not_matter() {
        let live = cores(&[100, 50, 200]);
        for key in keys() {
            let forth = ranked(&key, live.iter().copied());
            let back = ranked(&key, live.iter().rev().copied());
            assert_eq!(forth, back);
            assert_eq!(forth.first().copied(), peer(&key, live.iter().copied()));
        }
    }

    #[test]
    fn the_hash_is_the_same_for_ever() {
        // FNV-1a of the empty string is its offset basis; the mixer is the one of SplitMix64, whose first output for
        // the seed 0 is published as e220a8397b1dcdaf.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(hash(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(hash(b"a"), mix(0xaf63_dc4c_8601_ec8c));
    }
}
