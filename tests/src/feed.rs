//! Somebody who follows the change feed of a cluster, is cut off at random, and goes on at another core from where he was,
//! or a little before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use crate::cluster::{DOMAIN, Problem, poll};
use crate::database::Ledger;

/// The administration sockets of the cores, and the token of all of them.
#[derive(Debug, Clone)]
pub struct Admins {
    /// Where.
    pub cores: Vec<SocketAddr>,
    /// `CORE_ADMIN_TOKEN`
    pub token: String,
}

/// Contacts by address and key.
pub type Contacts = BTreeMap<(String, String), Value>;

/// Following, in the background.
#[derive(Debug)]
pub struct Follower {
    admins: Admins,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What was read.
#[derive(Debug, Default, Clone)]
pub struct Followed {
    /// Every change by its position.
    pub changes: BTreeMap<u64, Value>,
    /// What the contacts are after them.
    pub contacts: Contacts,
    /// How often the connection was cut.
    pub cuts: u32,
    /// What must never happen.
    pub wrong: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    has_begun: AtomicBool,
    followed: Mutex<Followed>,
}

/// A core that says nothing for so long is given up. Less than the time between two heartbeats: another core is as good.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(20);
/// Most lines read from one connection, and how far a reader goes back.
const LINES: u64 = 60;
const BACK: u64 = 5;

impl Admins {
    /// An answer as far as its body, which may go on.
    async fn open(&self, core: usize, path: &str) -> Option<(u16, BufReader<TcpStream>)> {
        let address = self.cores.get(core % self.cores.len())?;
        let mut stream = TcpStream::connect(address).await.ok()?;
        // HTTP/1.0 has no chunks: what comes is what was written.
        let request = format!("GET {path} HTTP/1.0\r\nAuthorization: Bearer {}\r\n\r\n", self.token);
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut reader = BufReader::new(stream);
        let mut status = None;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).await.ok()?;
            if status.is_none() {
                status = line.split(' ').nth(1)?.parse().ok();
            }
            if line.trim_end().is_empty() {
                return Some((status?, reader));
            }
        }
    }

    /// Status and body of a page of any core that answers.
    pub async fn page(&self, path: &str) -> Option<(u16, String)> {
        for core in 0..self.cores.len() {
            let page = async {
                let (status, mut reader) = self.open(core, path).await?;
                let mut body = String::new();
                reader.read_to_string(&mut body).await.ok()?;
                Some((status, body))
            };
            if let Ok(Some(page)) = timeout(PATIENCE, page).await {
                return Some(page);
            }
        }
        None
    }

    /// The contacts as a snapshot shows them, and its position.
    pub async fn snapshot(&self) -> Option<(Contacts, u64)> {
        let (status, body) = self.page("/v1/changes?snapshot=true&follow=false").await?;
        let mut followed = Followed::default();
        let mut position = None;
        for line in body.lines().filter(|_| status == 200) {
            position = followed.take(&serde_json::from_str(line).ok()?);
        }
        Some((followed.contacts, position?))
    }
}

impl Follower {
    /// Begins as a newcomer.
    pub fn start(admins: Admins, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let reader = Reader {
            admins: admins.clone(),
            shared: Arc::clone(&shared),
            dice: ChaCha8Rng::seed_from_u64(seed),
            at: None,
        };
        Self { admins, shared, task: tokio::spawn(reader.work()) }
    }

    /// Waits until the first snapshot is complete.
    ///
    /// # Errors
    ///
    /// It is not within `limit`.
    pub async fn begun(&self, limit: Duration) -> Result<(), Problem> {
        let has_begun = async || self.shared.has_begun.load(Ordering::Relaxed).then_some(());
        poll(limit, has_begun).await.ok_or_else(|| Problem::new("the change feed cannot be followed"))
    }

    /// Waits until everything that was acknowledged was read, if he has followed `from_the_begin`, and the contacts are
    /// those of the database.
    ///
    /// # Errors
    ///
    /// They are not within `limit`, or something was read that must not be.
    pub async fn finish(
        self,
        ledger: &Ledger,
        from_the_begin: bool,
        limit: Duration,
    ) -> Result<Followed, Problem> {
        let is_done = async || {
            let truth = self.admins.snapshot().await?.0;
            let followed = self.shared.followed();
            let is_complete = !from_the_begin || followed.missing(ledger).is_empty();
            (is_complete && followed.contacts == truth).then_some(())
        };
        let done = poll(limit, is_done).await;
        self.shared.is_over.store(true, Ordering::Relaxed);
        let _ = self.task.await;
        let followed = self.shared.followed().clone();
        if !followed.wrong.is_empty() {
            return Err(Problem::new(followed.wrong.join("\n")));
        }
        let missing = followed.missing(ledger);
        done.map(|()| followed).ok_or_else(|| Problem::new(format!("not all is read: {missing:?}")))
    }
}

impl Shared {
    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Followed {
    /// Takes one line, and gives its position.
    fn take(&mut self, line: &Value) -> Option<u64> {
        let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (text("address"), text("key"));
        let position = line.get("position").and_then(Value::as_u64);
        match text("event").as_str() {
            "bound" | "registered" | "refreshed" | "moved" => {
                let mut contact = line.get("contact").cloned().unwrap_or_default();
                if let Some(fields) = contact.as_object_mut() {
                    // Depends on when one asks.
                    fields.remove("expires_in");
                }
                self.contacts.insert(key, contact);
            }
            "unregistered" | "expired" | "deactivated" => drop(self.contacts.remove(&key)),
            "live" | "heartbeat" => return position,
            other => self.wrong.push(format!("{other:?} in {line}")),
        }
        if let Some(position) = position
            && let Some(before) = self.changes.insert(position, line.clone())
            && before != *line
        {
            self.wrong.push(format!("once {before} and then {line}"));
        }
        position
    }

    /// REGISTERs that were answered 200 and are in no change.
    pub fn missing(&self, ledger: &Ledger) -> Vec<(String, u32)> {
        let told: BTreeSet<_> = self
            .changes
            .values()
            .filter_map(|line| {
                let cseq = u32::try_from(line.get("contact")?.get("cseq")?.as_u64()?).ok()?;
                Some((line.get("address")?.as_str()?, cseq))
            })
            .collect();
        let is_missing =
            |(user, cseq): &&(String, u32)| !told.contains(&(format!("{user}@{DOMAIN}").as_str(), *cseq));
        ledger.acknowledged.iter().filter(is_missing).cloned().collect()
    }

    /// Changes of an address that stand before one of a lower version.
    pub fn out_of_order(&self) -> Vec<&Value> {
        let mut newest = BTreeMap::new();
        let is_late = |line: &&Value| {
            let version = line.get("version").and_then(Value::as_u64);
            let before = newest.insert(line.get("address").map(Value::to_string), version);
            before.is_some_and(|before| before > version)
        };
        self.changes.values().filter(is_late).collect()
    }
}

struct Reader {
    admins: Admins,
    shared: Arc<Shared>,
    dice: ChaCha8Rng,
    at: Option<u64>,
}

impl Reader {
    async fn work(mut self) {
        let mut pause = interval(PAUSE);
        while !self.shared.is_over.load(Ordering::Relaxed) {
            pause.tick().await;
            let core = self.dice.next_u32() as usize;
            let path = match self.at {
                None => "/v1/changes".to_owned(),
                Some(at) => {
                    let back = self.dice.next_u64() % BACK;
                    // Not behind what a snapshot begins with.
                    let first = self.shared.followed().changes.keys().next().map_or(at, |first| first - 1);
                    format!("/v1/changes?after={}", at.saturating_sub(back).max(first.min(at)))
                }
            };
            let opened = timeout(PATIENCE, self.admins.open(core, &path)).await;
            match opened {
                Ok(Some((200, reader))) => self.read(reader).await,
                Ok(Some((503, _)) | None) | Err(_) => {}
                Ok(Some((status, _))) => {
                    self.shared.followed().wrong.push(format!("{status} to {path}"));
                    return;
                }
            }
        }
    }

    /// Some lines; then the connection is cut.
    async fn read(&mut self, mut reader: BufReader<TcpStream>) {
        let mut lines = self.dice.next_u64() % LINES + 1;
        let mut last = None;
        // A snapshot counts when it is complete.
        while lines > 0 || self.at.is_none() {
            let mut line = String::new();
            match timeout(PATIENCE, reader.read_line(&mut line)).await {
                Ok(Ok(_)) if line.ends_with('\n') => {}
                Ok(_) | Err(_) => break,
            }
            let Ok(line) = serde_json::from_str::<Value>(&line) else { break };
            let mut followed = self.shared.followed();
            let position = followed.take(&line);
            let is_change = line.get("event").is_some_and(|event| event != "live" && event != "heartbeat");
            if let (Some(before), Some(position), true) = (last, position, is_change)
                && position != before + 1
            {
                followed.wrong.push(format!("{position} after {before}"));
            }
            last = position.or(last);
            self.shared.has_begun.fetch_or(position.is_some(), Ordering::Relaxed);
            self.at = self.at.max(position);
            lines = lines.saturating_sub(1);
        }
        self.shared.followed().cuts += 1;
    }
}
