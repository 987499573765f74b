//! Group commit: what is asked while a statement is on its way goes together with the next one.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::common::{NOW, aor, binding, credentials, save, user};
use location::{
    Answer, Credentials, Directory, Error, Full, Handle, Limits, LocationStore, Memory, Operation, Page,
    Query, Save, Saved, Service, User,
};
use registrar::{Binding, Record, UnixTime};
use sip::Aor;
use tokio::sync::{Semaphore, mpsc};

/// A store whose statements wait until the test lets them pass, and which remembers the size of each.
struct Gated {
    memory: Memory,
    reads: Semaphore,
    saves: Semaphore,
    sizes: Mutex<Vec<(Operation, usize)>>,
}

impl Gated {
    fn new(reads: usize, saves: usize) -> Arc<Self> {
        let (reads, saves) = (Semaphore::new(reads), Semaphore::new(saves));
        Arc::new(Self { memory: Memory::default(), reads, saves, sizes: Mutex::default() })
    }

    fn sizes(&self) -> Vec<(Operation, usize)> {
        self.sizes.lock().unwrap().clone()
    }

    fn note(&self, operation: Operation, size: usize) {
        self.sizes.lock().unwrap().push((operation, size));
    }
}

impl LocationStore for Gated {
    async fn load(&self, aors: &[Aor]) -> Result<Vec<Record>, Error> {
        self.note(Operation::Load, aors.len());
        self.reads.acquire().await.unwrap().forget();
        self.memory.load(aors).await
    }

    async fn save(&self, saves: &[Save]) -> Result<Vec<Saved>, Error> {
        self.note(Operation::Save, saves.len());
        self.saves.acquire().await.unwrap().forget();
        self.memory.save(saves).await
    }

    fn sweep(&self, now: UnixTime, limit: u32) -> impl Future<Output = Result<u64, Error>> + Send {
        self.memory.sweep(now, limit)
    }

    fn due(
        &self,
        now: UnixTime,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(Aor, Record)>, Error>> + Send {
        self.memory.due(now, limit)
    }

    fn flows_of(
        &self,
        edge: &str,
        now: UnixTime,
        after: Option<&Aor>,
        limit: u32,
    ) -> impl Future<Output = Result<Page<(Aor, Binding)>, Error>> + Send {
        self.memory.flows_of(edge, now, after, limit)
    }

    fn list(
        &self,
        after: Option<&Aor>,
        limit: u32,
    ) -> impl Future<Output = Result<Page<(Aor, Record)>, Error>> + Send {
        self.memory.list(after, limit)
    }
}

impl Directory for Gated {
    fn credentials(
        &self,
        users: &[User],
    ) -> impl Future<Output = Result<Vec<Option<Credentials>>, Error>> + Send {
        self.memory.credentials(users)
    }

    fn put(&self, user: &User, credentials: &Credentials) -> impl Future<Output = Result<(), Error>> + Send {
        self.memory.put(user, credentials)
    }

    fn remove_user(&self, user: &User) -> impl Future<Output = Result<bool, Error>> + Send {
        self.memory.remove_user(user)
    }

    fn users(
        &self,
        after: Option<&User>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<User>, Error>> + Send {
        self.memory.users(after, limit)
    }

    fn domains(&self) -> impl Future<Output = Result<Vec<String>, Error>> + Send {
        self.memory.domains()
    }

    fn has_domain(&self, name: &str) -> impl Future<Output = Result<bool, Error>> + Send {
        self.memory.has_domain(name)
    }

    fn put_domain(&self, name: &str) -> impl Future<Output = Result<bool, Error>> + Send {
        self.memory.put_domain(name)
    }

    fn remove_domain(&self, name: &str) -> impl Future<Output = Result<bool, Error>> + Send {
        self.memory.remove_domain(name)
    }
}

/// A running service and its answers.
struct Asked {
    handle: Handle,
    answers: mpsc::UnboundedReceiver<(u64, Answer)>,
    observed: Arc<Mutex<Vec<(Operation, usize)>>>,
}

impl Asked {
    fn of<S: LocationStore + Directory>(store: &Arc<S>, limits: Limits) -> Self {
        let (sender, answers) = mpsc::unbounded_channel();
        let observed = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&observed);
        let service = Service {
            store: Arc::clone(store),
            limits,
            now: frozen,
            answer: move |id, answer| sender.send((id, answer)).unwrap(),
            observe: move |operation, _took, count| seen.lock().unwrap().push((operation, count)),
        };
        Self { handle: service.start(), answers, observed }
    }

    fn ask(&self, id: u64, query: Query) {
        self.handle.ask(id, query).unwrap();
    }

    async fn next(&mut self) -> (u64, Answer) {
        self.answers.recv().await.unwrap()
    }

    async fn answers(&mut self, count: usize) -> BTreeMap<u64, Answer> {
        let mut answers = BTreeMap::new();
        for _ in 0..count {
            let (id, answer) = self.next().await;
            assert!(answers.insert(id, answer).is_none(), "{id} was answered twice");
        }
        answers
    }
}

/// A clock that stands: these tests do not look at durations.
#[expect(clippy::disallowed_methods, reason = "there is no other way to an instant")]
fn frozen() -> Instant {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    *FIRST.get_or_init(Instant::now)
}

fn load(name: &str) -> Query {
    Query::Load { aor: aor(name), user: None }
}

fn one_reader() -> Limits {
    Limits { readers: 1, ..Limits::default() }
}

/// Lets every task run until all of them wait for the test.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_lone_question_goes_at_once() {
    let store = Gated::new(9, 9);
    store.memory.put_user(user("alice"), credentials("1"));
    let mut asked = Asked::of(&store, Limits::default());
    asked.ask(1, Query::Save(save("alice", 0, vec![binding("sip:a@192.0.2.1", "edge", NOW)])));
    let (id, saved) = asked.next().await;
    let record = store.memory.record(&aor("alice"));
    assert_eq!((id, saved), (1, Answer::Saved { version: record.version }));
    asked.ask(2, Query::Load { aor: aor("alice"), user: Some(user("alice")) });
    let loaded = Answer::Loaded { record, credentials: Some(Some(credentials("1"))), is_last_known: false };
    assert_eq!(asked.next().await, (2, loaded));
    asked.ask(3, Query::Credentials(user("bob")));
    assert_eq!(asked.next().await, (3, Answer::Credentials(None)));
    asked.ask(4, Query::Load { aor: aor("bob"), user: Some(user("bob")) });
    assert_eq!(
        asked.next().await,
        (4, Answer::Loaded { record: Record::default(), credentials: Some(None), is_last_known: false })
    );
}

#[tokio::test]
async fn what_gathers_meanwhile_goes_together() {
    let store = Gated::new(0, 0);
    let mut asked = Asked::of(&store, one_reader());
    asked.ask(0, load("first"));
    asked.ask(100, Query::Save(save("first", 0, vec![])));
    settle().await;
    for n in 1..=5 {
        // The same record twice: asked for once, answered twice.
        asked.ask(
            n,
            load(if n == 5 { "u4" } else { ["u1", "u2", "u3", "u4"][usize::try_from(n - 1).unwrap()] }),
        );
        asked.ask(100 + n, Query::Save(save(&format!("u{n}"), 0, vec![])));
    }
    store.reads.add_permits(2);
    store.saves.add_permits(2);
    assert_eq!(asked.answers(12).await.len(), 12);
    let mut sizes = store.sizes();
    sizes.sort_by_key(|(operation, size)| (*operation == Operation::Save, *size));
    let expected = [(Operation::Load, 1), (Operation::Load, 4), (Operation::Save, 1), (Operation::Save, 5)];
    assert_eq!(sizes, expected);
    let mut observed = asked.observed.lock().unwrap().clone();
    observed.sort_by_key(|(operation, count)| (*operation == Operation::Save, *count));
    let questions = [(Operation::Load, 1), (Operation::Load, 5), (Operation::Save, 1), (Operation::Save, 5)];
    assert_eq!(observed, questions);
}

#[tokio::test]
async fn a_lookup_does_not_wait_for_a_commit() {
    let store = Gated::new(9, 0);
    let mut asked = Asked::of(&store, Limits::default());
    asked.ask(1, Query::Save(save("alice", 0, vec![])));
    settle().await;
    asked.ask(2, load("alice"));
    assert_eq!(asked.next().await.0, 2);
    store.saves.add_permits(1);
    assert_eq!(asked.next().await.0, 1);
}

#[tokio::test]
async fn of_two_saves_of_one_version_the_first_wins() {
    let store = Gated::new(0, 0);
    let mut asked = Asked::of(&store, Limits::default());
    asked.ask(0, Query::Save(save("other", 0, vec![])));
    settle().await;
    asked.ask(1, Query::Save(save("alice", 0, vec![binding("sip:1@192.0.2.1", "edge", NOW)])));
    asked.ask(2, Query::Save(save("alice", 0, vec![binding("sip:2@192.0.2.1", "edge", NOW)])));
    store.saves.add_permits(2);
    let answers = asked.answers(3).await;
    assert!(matches!(answers[&1], Answer::Saved { .. }));
    assert_eq!(answers[&2], Answer::Conflict);
    assert_eq!(store.memory.record(&aor("alice")).bindings[0].contact, "sip:1@192.0.2.1");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_unavailable() {
    let store = Gated::new(0, 0);
    let mut asked = Asked::of(&store, Limits { timeout: Duration::from_secs(2), ..Limits::default() });
    asked.ask(1, load("alice"));
    asked.ask(2, Query::Save(save("alice", 0, vec![])));
    let answers = asked.answers(2).await;
    assert_eq!(answers.values().collect::<Vec<_>>(), [&Answer::Unavailable, &Answer::Unavailable]);
    // It goes on when the store does.
    store.reads.add_permits(1);
    asked.ask(3, load("alice"));
    assert!(matches!(asked.next().await, (3, Answer::Loaded { .. })));
}

fn lookup(name: &str) -> Query {
    Query::Lookup { aor: aor(name), user: Some(user(name)) }
}

#[tokio::test(start_paused = true)]
async fn calls_go_on_from_what_was_known_last() {
    let store = Gated::new(3, 2);
    for name in ["alice", "bob", "carol"] {
        store.memory.put_user(user(name), credentials("1"));
    }
    let mut asked = Asked::of(&store, Limits::default());
    let version = |answer: Answer| match answer {
        Answer::Saved { version } => version,
        other => panic!("{other:?}"),
    };
    asked.ask(1, Query::Save(save("alice", 0, vec![binding("sip:a@192.0.2.1", "edge", NOW)])));
    let alice = version(asked.next().await.1);
    asked.ask(2, Query::Save(save("bob", 0, vec![])));
    version(asked.next().await.1);
    for (id, name) in [(3, "alice"), (4, "bob"), (5, "dora")] {
        asked.ask(id, lookup(name));
        assert!(matches!(asked.next().await.1, Answer::Loaded { is_last_known: false, .. }), "{name}");
    }

    // From here on the store is silent. What changes something is not answered from memory, nor who was never seen, nor
    // who was not registered or not there when he was.
    asked.ask(10, lookup("alice"));
    asked.ask(11, load("alice"));
    asked.ask(12, lookup("bob"));
    asked.ask(13, lookup("carol"));
    asked.ask(14, Query::Credentials(user("alice")));
    asked.ask(15, Query::Credentials(user("dora")));
    let mut answers = asked.answers(6).await;
    let Some(Answer::Loaded { record, credentials: proof, is_last_known: true }) = answers.remove(&10) else {
        panic!("{answers:?}")
    };
    assert_eq!((record.version, record.bindings.len()), (alice, 1));
    assert_eq!(proof, Some(Some(credentials("1"))));
    assert_eq!(answers.remove(&14), Some(Answer::Credentials(Some(credentials("1")))));
    assert_eq!(answers.len(), 4);
    assert!(answers.values().all(|answer| *answer == Answer::Unavailable), "{answers:?}");
    assert!(asked.observed.lock().unwrap().contains(&(Operation::Remember, 2)));
}

#[tokio::test(start_paused = true)]
async fn a_call_does_not_wait_long_for_a_store_that_is_slow() {
    let store = Gated::new(1, 1);
    let limits = Limits { patience: Duration::from_secs(1), timeout: Duration::from_secs(9), ..one_reader() };
    let mut asked = Asked::of(&store, limits);
    asked.ask(1, Query::Save(save("alice", 0, vec![binding("sip:a@192.0.2.1", "edge", NOW)])));
    asked.next().await;
    asked.ask(2, Query::Lookup { aor: aor("alice"), user: None });
    asked.next().await;
    asked.ask(3, load("alice"));
    settle().await;
    asked.ask(4, load("alice"));
    asked.ask(5, Query::Lookup { aor: aor("alice"), user: None });
    store.reads.add_permits(1);
    assert!(matches!(asked.next().await, (3, Answer::Loaded { is_last_known: false, .. })));
    assert!(matches!(asked.next().await, (5, Answer::Loaded { is_last_known: true, .. })));
    // A REGISTER waits for the node that takes over.
    store.reads.add_permits(1);
    assert!(matches!(asked.next().await, (4, Answer::Loaded { is_last_known: false, .. })));
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let store = Gated::new(0, 0);
    let mut asked = Asked::of(&store, Limits { queue: 2, ..one_reader() });
    asked.ask(1, load("alice"));
    settle().await;
    asked.ask(2, load("alice"));
    asked.ask(3, load("alice"));
    assert_eq!(asked.handle.ask(4, load("alice")), Err(Full));
    // The other queue has its own limit.
    asked.ask(5, Query::Save(save("alice", 0, vec![])));
    store.reads.add_permits(2);
    store.saves.add_permits(1);
    assert_eq!(asked.answers(4).await.into_keys().collect::<Vec<_>>(), [1, 2, 3, 5]);
}

#[tokio::test]
async fn what_was_asked_is_answered_after_the_last_handle_is_gone() {
    let store = Gated::new(9, 9);
    let Asked { handle, mut answers, .. } = Asked::of(&store, Limits::default());
    handle.ask(1, load("alice")).unwrap();
    handle.ask(2, Query::Save(save("alice", 0, vec![]))).unwrap();
    drop(handle);
    let mut ids = Vec::new();
    while let Some((id, _)) = answers.recv().await {
        ids.push(id);
    }
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
}
