//! What the location service costs, from ten thousand bindings to a million: `store [sqlite|postgres|galera]… [SIZE…]`.
//!
//! Starts the database, fills it, and has [`WAITING`] questions on their way at any time: registrations (a record and
//! credentials are read, then the record is saved), then lookups. Prints a line for each: questions per second, the time
//! until the answer, CPU time (user and system) of the database and of this process for one, and how many shared a round.

use std::fs;
use std::process::{ExitCode, id};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cluster_tests::cluster::Problem;
use cluster_tests::database::{Buffers, Galera, Postgres};
use location::{Answer, Credentials, Database, Directory, Limits, LocationStore, Query, Save, Service, User};
use node::clock;
use registrar::{Binding, Record, UnixTime};
use sip::Aor;
use tokio::sync::mpsc;

/// Questions on their way: as many as a busy core has.
const WAITING: u64 = 256;
/// Measured operations of each kind.
const OPERATIONS: u64 = 20_000;
/// Rows of one save while the database is filled.
const FILL: u64 = 500;
const REALM: &str = "bench.example";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("store: {problem}");
            ExitCode::from(69)
        }
    }
}

async fn run() -> Result<(), Problem> {
    let (sizes, kinds): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|argument| argument.parse::<u64>().is_ok());
    let mut sizes: Vec<u64> = sizes.iter().filter_map(|size| size.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![10_000, 100_000, 1_000_000];
    }
    println("| database | bindings | | per second | p50 | p99 | database CPU | own CPU | per round |");
    println("|---|---|---|---|---|---|---|---|---|");
    for kind in &kinds {
        match kind.as_str() {
            "sqlite" => {
                let dir = tempfile::tempdir()?;
                let url = format!("sqlite:{}", dir.path().join("store.db").display());
                measure(kind, &url, &sizes, async || Ok(())).await?;
            }
            "postgres" => {
                let postgres = Postgres::start(2, Buffers::Deployed).await?;
                // What it does by itself some seconds after so many rows are new is not what a REGISTER costs.
                let settle = async || postgres.sql(0, "signalbox", "VACUUM ANALYZE").await.map(drop);
                measure(kind, &postgres.url(0), &sizes, settle).await?;
            }
            "galera" => {
                let galera = Galera::start(3, Buffers::Deployed).await?;
                measure(kind, &galera.url(0), &sizes, async || Ok(())).await?;
            }
            _ => return Err(Problem::new(format!("{kind}: sqlite, postgres or galera expected"))),
        }
    }
    Ok(())
}

async fn measure(
    kind: &str,
    url: &str,
    sizes: &[u64],
    settle: impl AsyncFn() -> Result<(), Problem>,
) -> Result<(), Problem> {
    let failed = |error: location::Error| Problem::new(error.to_string());
    let database = Arc::new(Database::open(url).await.map_err(failed)?);
    database.migrate().await.map_err(failed)?;
    let credentials = Credentials { ha1_md5: "0".repeat(32), ha1_sha256: "0".repeat(64) };
    let users: Vec<_> = (0..OPERATIONS.min(1_000)).map(|n| (user(n), credentials.clone())).collect();
    database.put_all(&users).await.map_err(failed)?;
    let mut filled = 0;
    for &size in sizes {
        while filled < size {
            let until = (filled + FILL).min(size);
            let saves: Vec<_> = (filled..until).map(|n| save(n, 0, 0)).collect();
            database.save(&saves).await.map_err(failed)?;
            filled = until;
        }
        settle().await?;
        for is_register in [true, false] {
            let figures = Run::new(&database, size).go(is_register).await;
            let what = if is_register { "REGISTER" } else { "lookup" };
            println(&format!("| {kind} | {size} | {what} | {figures} |"));
        }
    }
    database.close().await;
    Ok(())
}

/// One measurement.
struct Run {
    size: u64,
    answers: mpsc::UnboundedReceiver<(u64, Answer)>,
    handle: location::Handle,
    rounds: Arc<Mutex<(u64, u64)>>,
    /// Of each question on its way: which record, and since when.
    asked: Vec<(u64, Instant)>,
    took: Vec<Duration>,
    random: AtomicU64,
}

impl Run {
    fn new(database: &Arc<Database>, size: u64) -> Self {
        let (sender, answers) = mpsc::unbounded_channel();
        let rounds = Arc::new(Mutex::new((0, 0)));
        let counted = Arc::clone(&rounds);
        let service = Service {
            store: Arc::clone(database),
            limits: Limits::default(),
            now: clock::now,
            answer: move |id, answer| drop(sender.send((id, answer))),
            observe: move |_, _, count| {
                let mut rounds = counted.lock().expect("nobody panics with it");
                *rounds = (rounds.0 + 1, rounds.1 + count as u64);
            },
        };
        let handle = service.start();
        Self { size, answers, handle, rounds, asked: Vec::new(), took: Vec::new(), random: AtomicU64::new(7) }
    }

    fn next(&self) -> u64 {
        let bits = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let bits = (bits ^ (bits >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 29)) % self.size
    }

    fn ask(&self, id: u64, query: Query) {
        self.handle.ask(id, query).expect("the queue is longer than what waits");
    }

    fn begin(&mut self, id: u64, is_register: bool) {
        let n = self.next();
        let slot = (n, clock::now());
        let at = usize::try_from(id).unwrap_or(0);
        match self.asked.get_mut(at) {
            Some(asked) => *asked = slot,
            None => self.asked.push(slot),
        }
        let user = is_register.then(|| user(n % 1_000));
        self.ask(id, Query::Load { aor: aor(n), user });
    }

    async fn go(mut self, is_register: bool) -> String {
        let (cpu, own, began) = (cpu_of_others(), cpu_of(id()), clock::now());
        for id in 0..WAITING {
            self.begin(id, is_register);
        }
        let (mut done, mut conflicts) = (0, 0);
        while done < OPERATIONS {
            let Some((id, answer)) = self.answers.recv().await else { break };
            let at = usize::try_from(id).unwrap_or(0);
            let Some(&(n, since)) = self.asked.get(at) else { continue };
            match answer {
                Answer::Loaded { record, .. } if is_register => {
                    let save = save(n, record.version, record.bindings.first().map_or(0, |known| known.cseq));
                    self.ask(id, Query::Save(save));
                    continue;
                }
                Answer::Conflict => conflicts += 1,
                Answer::Unavailable => panic!("the database is away"),
                Answer::Loaded { .. } | Answer::Saved { .. } | Answer::Credentials(_) => {}
            }
            self.took.push(clock::now().saturating_duration_since(since));
            done += 1;
            self.begin(id, is_register);
        }
        let seconds = clock::now().saturating_duration_since(began).as_secs_f64();
        let each = |ticks: u64| ticks as f64 * 10_000.0 / done as f64;
        let (database, own) =
            (each(cpu_of_others().saturating_sub(cpu)), each(cpu_of(id()).saturating_sub(own)));
        self.took.sort_unstable();
        let part = |share: usize| self.took.get(self.took.len() * share / 100).copied().unwrap_or_default();
        let (rounds, questions) = *self.rounds.lock().expect("nobody panics with it");
        format!(
            "{:.0} | {:.1} ms | {:.1} ms | {database:.0} µs | {own:.0} µs | {:.0}{}",
            done as f64 / seconds,
            part(50).as_secs_f64() * 1e3,
            part(99).as_secs_f64() * 1e3,
            questions as f64 / rounds.max(1) as f64,
            if conflicts > 0 { format!(" ({conflicts} conflicts)") } else { String::new() },
        )
    }
}

fn aor(n: u64) -> Aor {
    Aor::parse(&format!("u{n:07}@{REALM}")).expect("it is an address")
}

fn user(n: u64) -> User {
    User { name: format!("u{n:07}"), realm: REALM.to_owned() }
}

/// The record of one phone behind an edge, as a refresh leaves it.
fn save(n: u64, expected: u64, cseq: u32) -> Save {
    let now = UnixTime(clock::unix_now().as_secs());
    let binding = Binding {
        contact: format!("sip:u{n:07}@192.0.2.1:5060;transport=udp"),
        params: format!(";+sip.instance=\"<urn:uuid:00000000-0000-4000-8000-{n:012}>\";reg-id=1"),
        q: 1_000,
        expires_at: now.after(7_200),
        call_id: format!("{n:032}"),
        cseq: cseq + 1,
        path: vec!["<sip:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw@edge-1;lr;ob>".to_owned()],
        instance: Some(format!("urn:uuid:00000000-0000-4000-8000-{n:012}")),
        reg_id: Some(1),
        gruu_epoch: 1,
        user_agent: "Phone 1.2.3".to_owned(),
        edge: "edge-1".to_owned(),
        source: "udp:192.0.2.1:5060".to_owned(),
        registered_at: if expected == 0 { now } else { UnixTime(now.0 - 1) },
        updated_at: now,
        written_by: "core-1".to_owned(),
    };
    Save {
        aor: aor(n),
        expected,
        record: Record { bindings: vec![binding], ..Record::default() },
        changes: Vec::new(),
    }
}

/// User and system time of a process in ticks of 10 ms.
fn cpu_of(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// The same of all processes that descend from this one.
fn cpu_of_others() -> u64 {
    let parent = |process: u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<_> = entries
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            Some((process, parent(process)?))
        })
        .collect();
    let mut ours = vec![id()];
    let mut at = 0;
    while let Some(&one) = ours.get(at) {
        ours.extend(all.iter().filter(|(_, parent)| *parent == one).map(|(process, _)| *process));
        at += 1;
    }
    ours.iter().skip(1).map(|process| cpu_of(*process)).sum()
}

#[expect(clippy::print_stdout, reason = "a table is what this program is for")]
fn println(line: &str) {
    println!("{line}");
}
