//! A seeded network, pure: it says when a message arrives, how often, and whether at all.
//!
//! Datagrams between UAs and edges are delayed, lost, repeated and, because each has its own delay, reordered. Streams
//! and link frames are reliable and ordered per connection or lane; what cuts or kills them is the simulation's business.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Seeded chance.
#[derive(Debug, Clone)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// Two purposes with one seed draw different numbers.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&purpose.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// An index into a list of that length.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// True in that many of a thousand cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1_000) < u64::from(per_mille)
    }

    /// A time between two.
    pub fn between(&mut self, (least, most): (Duration, Duration)) -> Duration {
        let span = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(0);
        least + Duration::from_micros(self.below(span + 1))
    }

    /// The seed of something else.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        seed
    }
}

/// What the network is like.
#[derive(Debug, Clone)]
pub struct Weather {
    /// Datagrams lost, of a thousand.
    pub loss: u32,
    /// Datagrams that arrive twice, of a thousand.
    pub duplication: u32,
    /// Delay between UA and edge; the wider, the more is reordered.
    pub delay: (Duration, Duration),
    /// Delay of a link frame.
    pub link_delay: (Duration, Duration),
    /// Frames that a link refuses because its queue is full, of a thousand.
    pub refusal: u32,
    /// Time until the loss of a link is known.
    pub detection: (Duration, Duration),
    /// Time that the store takes.
    pub store_delay: (Duration, Duration),
}

impl Weather {
    /// Nothing is lost and nothing is slow.
    pub fn fair() -> Self {
        let ms = |least, most| (Duration::from_millis(least), Duration::from_millis(most));
        Self {
            loss: 0,
            duplication: 0,
            delay: ms(5, 5),
            link_delay: ms(1, 1),
            refusal: 0,
            detection: ms(300, 1_000),
            store_delay: ms(2, 2),
        }
    }

    /// Everything varies, and some of it goes wrong.
    pub fn foul(dice: &mut Dice) -> Self {
        let ms = |least, most| (Duration::from_millis(least), Duration::from_millis(most));
        let pick = |dice: &mut Dice, list: &[u32]| list.get(dice.index(list.len())).copied().unwrap_or(0);
        Self {
            loss: pick(dice, &[0, 0, 10, 50, 100, 200]),
            duplication: pick(dice, &[0, 0, 20, 100]),
            delay: ms(1, u64::from(pick(dice, &[2, 20, 80, 300]))),
            link_delay: ms(1, u64::from(pick(dice, &[1, 5, 30]))),
            refusal: 0,
            detection: ms(300, 1_000),
            store_delay: ms(1, u64::from(pick(dice, &[2, 20, 200]))),
        }
    }
}

/// Something that keeps its messages in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// A stream between a UA and an edge, by connection number and direction.
    Stream(u64, bool),
    /// One lane of a link: edge, core, lane, direction, and which of the links between the two.
    Lane(usize, usize, u64, bool, u64),
}

/// The network.
#[derive(Debug)]
pub struct Network {
    /// What it is like now.
    pub weather: Weather,
    dice: Dice,
    last: BTreeMap<Channel, Duration>,
    cuts: BTreeSet<(usize, usize)>,
}

impl Network {
    /// A network with its own dice.
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self { weather, dice: Dice::new(seed, 1), last: BTreeMap::new(), cuts: BTreeSet::new() }
    }

    /// The delays after which a datagram between a UA and an edge arrives: none, one or two.
    pub fn datagram(&mut self, ua: usize, edge: usize) -> Vec<Duration> {
        if self.cuts.contains(&(ua, edge)) || self.dice.chance(self.weather.loss) {
            return Vec::new();
        }
        let copies = if self.dice.chance(self.weather.duplication) { 2 } else { 1 };
        (0..copies).map(|_| self.dice.between(self.weather.delay)).collect()
    }

    /// When what is sent at `now` arrives: not before what was sent earlier.
    pub fn ordered(&mut self, channel: Channel, now: Duration) -> Duration {
        let delay = match channel {
            Channel::Stream(..) => self.weather.delay,
            Channel::Lane(..) => self.weather.link_delay,
        };
        let earliest = self.last.get(&channel).copied().unwrap_or_default();
        let at = (now + self.dice.between(delay)).max(earliest);
        self.last.insert(channel, at);
        at
    }

    /// Whether a link's queue is full for the next frame.
    pub fn refuses(&mut self) -> bool {
        self.weather.refusal > 0 && self.dice.chance(self.weather.refusal)
    }

    /// Time until a lost link is noticed.
    pub fn detection(&mut self) -> Duration {
        self.dice.between(self.weather.detection)
    }

    /// Time that one question to the store takes.
    pub fn store(&mut self) -> Duration {
        self.dice.between(self.weather.store_delay)
    }

    /// Time for a connection to come up.
    pub fn connection(&mut self) -> Duration {
        self.dice.between(self.weather.link_delay) * 3
    }

    /// Nothing passes between a UA and an edge from now on.
    pub fn cut(&mut self, ua: usize, edge: usize) {
        self.cuts.insert((ua, edge));
    }

    /// It passes again.
    pub fn heal(&mut self, ua: usize, edge: usize) {
        self.cuts.remove(&(ua, edge));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_weather() {
        let draw = || {
            let mut dice = Dice::new(7, 0);
            let mut network = Network::new(7, Weather::foul(&mut dice));
            (0..50).map(|_| network.datagram(0, 0)).collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
    }

    #[test]
    fn a_channel_keeps_its_order() {
        let mut weather = Weather::fair();
        weather.link_delay = (Duration::ZERO, Duration::from_secs(1));
        let mut network = Network::new(1, weather);
        let lane = Channel::Lane(0, 0, 0, true, 0);
        let times: Vec<_> = (0..100).map(|n| network.ordered(lane, Duration::from_millis(n))).collect();
        assert!(times.is_sorted());
    }

    #[test]
    fn what_is_cut_passes_nothing() {
        let mut network = Network::new(1, Weather::fair());
        network.cut(1, 2);
        assert!(network.datagram(1, 2).is_empty());
        assert_eq!(network.datagram(1, 1).len(), 1);
        network.heal(1, 2);
        assert_eq!(network.datagram(1, 2).len(), 1);
    }
}
