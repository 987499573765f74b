//! Readers of the feed that are cut off and go on, while two cores write and give positions.

use super::*;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((bits ^ (bits >> 31)) % sides as u64).unwrap()
    }
}

const WRITERS: usize = 4;
const SAVES: usize = 30;
const USERS: usize = 5;

/// One core that registers, refreshes and removes what is there, and the versions and counts of what it has stored.
async fn write<S: LocationStore>(store: Arc<S>, seed: u64) -> Vec<(Aor, u64, usize)> {
    let mut dice = Dice(seed);
    let mut stored = Vec::new();
    while stored.len() < SAVES {
        let user = format!("u{}", dice.roll(USERS));
        let before = loaded(&*store, &user).await;
        let mut bindings = before.bindings.clone();
        let n = dice.roll(4);
        match bindings.iter().position(|own| own.key() == contact(n).key()) {
            Some(at) if dice.roll(3) == 0 => drop(bindings.remove(at)),
            Some(at) => bindings[at].cseq += 1,
            None => bindings.push(contact(n)),
        }
        let save = step(&user, &before, bindings, NOW);
        let count = save.changes.len();
        if let Saved::Version(version) = store.save(&[save]).await.unwrap()[0] {
            stored.push((aor(&user), version, count));
        }
    }
    stored
}

/// From a position on, or as a newcomer: reads until `busy` is 0 and everything is read; now and then it is cut off, and goes on from a position of before.
async fn follow<S: LocationStore + ChangeFeed>(
    store: Arc<S>,
    begin: Option<u64>,
    busy: Arc<AtomicUsize>,
    seed: u64,
) -> (Vec<Change>, Copy) {
    let mut dice = Dice(seed);
    let (begin, mut copy) = match begin {
        Some(begin) => (begin, Copy::default()),
        // First the position, then the snapshot.
        None => {
            let head = store.head().await.unwrap();
            (head, Copy::of(&store.list(None, 1_000).await.unwrap().items))
        }
    };
    let (mut at, mut acknowledged, mut seen) = (begin, begin, Vec::new());
    loop {
        let is_last = busy.load(Ordering::SeqCst) == 0;
        let limit = u32::try_from(1 + dice.roll(20)).unwrap();
        let found = store.changes(at, limit).await.unwrap().expect("nothing is ever missing");
        for (change, position) in found.iter().zip(at + 1..) {
            assert_eq!(change.position, position);
        }
        copy.apply(&found);
        at = found.last().map_or(at, |it| it.position);
        let is_empty = found.is_empty();
        seen.extend(found);
        match dice.roll(8) {
            0 => at = acknowledged,
            1 => acknowledged = at,
            _ if is_last && is_empty && at == store.head().await.unwrap() => return (seen, copy),
            _ => tokio::task::yield_now().await,
        }
    }
}

/// One core that gives positions until nobody writes and none is left to give.
async fn give<S: ChangeFeed>(store: Arc<S>, writing: Arc<AtomicUsize>, giving: Arc<AtomicUsize>, seed: u64) {
    let mut dice = Dice(seed);
    loop {
        let is_last = writing.load(Ordering::SeqCst) == 0;
        let limit = u32::try_from(1 + dice.roll(9)).unwrap();
        let is_empty = store.sequence(limit).await.unwrap().count == 0;
        if is_last && is_empty && store.sequence(1).await.unwrap().count == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    giving.fetch_sub(1, Ordering::SeqCst);
}

/// As [`every_change_is_read_in_order`], within a minute: who waits for what never comes does not end by himself.
async fn every_change_is_read<S: LocationStore + ChangeFeed>(stores: [Arc<S>; 2], seed: u64) {
    let read = every_change_is_read_in_order(stores, seed);
    tokio::time::timeout(Duration::from_secs(60), read).await.expect("everything is read");
}

/// Two cores that write and give positions at once; readers who are cut off, and one who comes late.
async fn every_change_is_read_in_order<S: LocationStore + ChangeFeed>(stores: [Arc<S>; 2], seed: u64) {
    let first = begun(&*stores[0]).await;
    let (writing, giving) = (Arc::new(AtomicUsize::new(WRITERS)), Arc::new(AtomicUsize::new(2)));
    let core = |n: usize| Arc::clone(&stores[n % 2]);
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let (store, writing) = (core(n), Arc::clone(&writing));
            tokio::spawn(async move {
                let stored = write(store, seed.wrapping_mul(31).wrapping_add(n as u64)).await;
                writing.fetch_sub(1, Ordering::SeqCst);
                stored
            })
        })
        .collect();
    for n in 0..2 {
        tokio::spawn(give(core(n), Arc::clone(&writing), Arc::clone(&giving), seed + 7 + n as u64));
    }
    let early = tokio::spawn(follow(core(0), Some(first), Arc::clone(&giving), seed + 3));
    let late = {
        let (store, writing, giving) = (core(1), Arc::clone(&writing), Arc::clone(&giving));
        tokio::spawn(async move {
            while store.head().await.unwrap() < 40 && writing.load(Ordering::SeqCst) > 0 {
                tokio::task::yield_now().await;
            }
            follow(store, None, giving, seed + 4).await
        })
    };
    // Two that do the same to the same version may both be told that it is done.
    let mut stored = BTreeSet::new();
    for writer in writers {
        stored.extend(writer.await.unwrap());
    }
    for (is_early, reader) in [(true, early), (false, late)] {
        let (seen, copy) = reader.await.unwrap();
        let by_position: BTreeMap<_, _> = seen.iter().map(|it| (it.position, it)).collect();
        let mut newest = BTreeMap::new();
        for change in by_position.values() {
            let before = newest.insert(&change.aor, change.version);
            assert!(before.is_none_or(|before| before <= change.version), "seed {seed}: {change:?} late");
        }
        let records = stores[0].list(None, 1_000).await.unwrap().items;
        assert_eq!(copy, Copy::of(&records), "seed {seed}");
        if is_early {
            for (aor, version, count) in &stored {
                let found = by_position.values().filter(|it| it.aor == *aor && it.version == *version);
                assert_eq!(found.count(), *count, "seed {seed}: {aor} {version}");
            }
            let all: usize = stored.iter().map(|(.., count)| count).sum();
            assert_eq!(by_position.len(), all, "seed {seed}");
        }
    }
}

/// Random, and repeatable as far as the scheduler lets it.
fn seed() -> u64 {
    let given = std::env::var("SIM_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_read_in_order_in_memory() {
    let store = Arc::new(common::memory());
    every_change_is_read([Arc::clone(&store), store], seed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_read_in_order_from_sqlite() {
    for round in 0..3 {
        let (one, folder) = common::sqlite().await;
        let two = open(folder.path()).await;
        every_change_is_read([Arc::new(one), Arc::new(two)], seed() + round).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_read_in_order_from_clusters() {
    for variable in [POSTGRES, MARIADB] {
        for round in 0..3 {
            let Some((cluster, one)) = Cluster::new(variable).await else { continue };
            let two = location::Database::open(&cluster.from(1)).await.unwrap();
            every_change_is_read([Arc::new(one), Arc::new(two)], seed() + round).await;
        }
    }
}
