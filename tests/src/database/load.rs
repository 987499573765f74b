//! Phones that register again and again, and a ledger of what they were told.
//!
//! Every REGISTER of a phone has the next CSeq, which the cluster stores with the binding. So the stored CSeq tells which
//! of the phone's REGISTERs was the last one stored, and it has to be the last one that was answered 200, or a later one
//! without an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use node::clock;
use serde_json::Value;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::cluster::{DOMAIN, Problem, poll};
use crate::lab::message::Message;
use crate::ua::digest::{Algorithm, Challenge};

/// What phones were told.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Of each user the CSeq of the last REGISTER that was answered 200, and of the last one that was sent.
    pub users: BTreeMap<String, (u32, u32)>,
    /// User and CSeq of every REGISTER that was answered 200.
    pub acknowledged: BTreeSet<(String, u32)>,
    /// How often a status was given, besides the first challenge.
    pub statuses: BTreeMap<u16, u64>,
    /// REGISTERs without a final response.
    pub unanswered: u64,
    /// The longest time without a 200 to anybody.
    pub longest_gap: Duration,
    last: Option<Instant>,
}

/// Phones at work.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    phones: JoinSet<Result<(), Problem>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    acknowledged: AtomicU64,
    ledger: Mutex<Ledger>,
}

/// Between two REGISTERs of a phone, and between two transmissions of one.
const PAUSE: Duration = Duration::from_millis(50);
const RESEND: Duration = Duration::from_millis(500);
/// How long a phone waits for an answer.
const PATIENCE: Duration = Duration::from_secs(16);

impl Load {
    /// Users for [`crate::cluster::Cluster::add_users`].
    pub fn users(count: usize) -> Vec<(String, String)> {
        (0..count).map(|n| (format!("load{n}"), format!("secret{n}"))).collect()
    }

    /// Starts a phone of each user; they share the edges.
    ///
    /// # Errors
    ///
    /// No socket.
    pub async fn start(edges: &[SocketAddr], users: &[(String, String)]) -> Result<Self, Problem> {
        let shared = Arc::new(Shared::default());
        let mut phones = JoinSet::new();
        for ((user, password), edge) in users.iter().zip(edges.iter().cycle()) {
            let socket = UdpSocket::bind("127.0.0.1:0").await?;
            socket.connect(edge).await?;
            let phone = Phone {
                user: user.clone(),
                password: password.clone(),
                address: socket.local_addr()?,
                socket,
                challenge: None,
                cseq: 0,
                shared: Arc::clone(&shared),
            };
            phones.spawn(phone.work());
        }
        Ok(Self { shared, phones })
    }

    /// Waits until `count` more REGISTERs were answered 200.
    ///
    /// # Errors
    ///
    /// They are not, within `limit`.
    pub async fn more(&self, count: u64, limit: Duration) -> Result<(), Problem> {
        let acknowledged = || self.shared.acknowledged.load(Ordering::Relaxed);
        let goal = acknowledged() + count;
        let is_there = poll(limit, async || (acknowledged() >= goal).then_some(())).await;
        is_there.ok_or_else(|| {
            let ledger = self.shared.ledger();
            Problem::new(format!("not {count} more within {limit:?}: {:?}", ledger.statuses))
        })
    }

    /// Has every phone finish what it has begun, and takes the ledger.
    ///
    /// # Errors
    ///
    /// A phone that failed.
    pub async fn finish(mut self) -> Result<Ledger, Problem> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.phones.join_next().await {
            ended.map_err(|error| Problem::new(error.to_string()))??;
        }
        Ok(std::mem::take(&mut *self.shared.ledger()))
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn count(&mut self, user: &str, cseq: u32, status: Option<u16>) {
        let known = self.users.entry(user.to_owned()).or_default();
        known.1 = cseq;
        match status {
            Some(200) => {
                known.0 = cseq;
                self.acknowledged.insert((user.to_owned(), cseq));
                let now = clock::now();
                let gap = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
                self.longest_gap = self.longest_gap.max(gap);
                self.last = Some(now);
            }
            Some(_) => {}
            None => self.unanswered += 1,
        }
        if let Some(status) = status {
            *self.statuses.entry(status).or_default() += 1;
        }
    }

    /// Compares with the rows `sip:user@domain`, tab or `|`, JSON of the bindings, and gives what does not fit.
    pub fn missing_in(&self, rows: &str) -> Vec<String> {
        let stored: BTreeMap<&str, u64> = rows
            .lines()
            .filter_map(|row| {
                let (aor, bindings) = row.split_once(['\t', '|'])?;
                let bindings: Value = serde_json::from_str(bindings).ok()?;
                let cseq =
                    bindings.as_array()?.iter().filter_map(|binding| binding.get("cseq")?.as_u64()).max()?;
                Some((aor, cseq))
            })
            .collect();
        let problem = |(user, (acknowledged, sent)): (&String, &(u32, u32))| {
            let found = stored.get(format!("sip:{user}@{DOMAIN}").as_str()).copied().unwrap_or(0);
            let fits = (u64::from(*acknowledged)..=u64::from(*sent)).contains(&found);
            (!fits)
                .then(|| format!("{user}: {found} is stored, {acknowledged} was acknowledged, {sent} sent"))
        };
        self.users.iter().filter_map(problem).collect()
    }

    /// Statuses that nobody should have been given: the database was in trouble, and not the phones.
    pub fn wrong(&self) -> Vec<u16> {
        self.statuses.keys().copied().filter(|status| !matches!(status, 200 | 503)).collect()
    }
}

struct Phone {
    user: String,
    password: String,
    address: SocketAddr,
    socket: UdpSocket,
    challenge: Option<Challenge>,
    cseq: u32,
    shared: Arc<Shared>,
}

impl Phone {
    async fn work(mut self) -> Result<(), Problem> {
        let mut pause = interval(PAUSE);
        while !self.shared.is_over.load(Ordering::Relaxed) {
            pause.tick().await;
            self.cseq += 1;
            let status = self.register().await?;
            if status == Some(401) {
                continue;
            }
            self.shared.ledger().count(&self.user, self.cseq, status);
            if status == Some(200) {
                self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// One transaction; 401 only for a challenge that it has to answer.
    async fn register(&mut self) -> Result<Option<u16>, Problem> {
        let had_challenge = self.challenge.is_some();
        let Some(answer) = self.transact().await? else { return Ok(None) };
        let status = answer.status();
        if status != Some(401) {
            return Ok(status);
        }
        let lines: Vec<_> = answer.all("WWW-Authenticate").collect();
        let fresh = Challenge::choose(&lines, Algorithm::Md5);
        let is_expected = fresh.as_ref().is_some_and(|fresh| !had_challenge || fresh.stale);
        self.challenge = fresh;
        if is_expected {
            return Ok(status);
        }
        // Told to be a wrong password.
        self.shared.ledger().count(&self.user, self.cseq, status);
        Ok(status)
    }

    async fn transact(&mut self) -> Result<Option<Message>, Problem> {
        let Self { user, address, cseq, .. } = self;
        let uri = format!("sip:{DOMAIN}");
        let proof = self.challenge.as_mut().map_or_else(String::new, |challenge| {
            format!("Authorization: {}\r\n", challenge.answer(user, &self.password, "REGISTER", &uri))
        });
        let request = format!(
            "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{user}-{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{DOMAIN}>;tag={user}\r\nTo: <sip:{user}@{DOMAIN}>\r\n\
             Call-ID: {user}-{}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:{user}@{address}>;expires=3600\r\n\
             {proof}Content-Length: 0\r\n\r\n",
            address.port()
        );
        let wanted = format!("{cseq} REGISTER");
        let answer = async {
            let mut resend = interval(RESEND);
            let mut buffer = vec![0; 65_536];
            loop {
                tokio::select! {
                    _ = resend.tick() => {
                        self.socket.send(request.as_bytes()).await?;
                    }
                    received = self.socket.recv(&mut buffer) => {
                        let message = buffer.get(..received?).and_then(Message::read);
                        let is_final = |message: &Message| {
                            message.get("CSeq") == wanted && message.status().is_some_and(|status| status >= 200)
                        };
                        if let Some(message) = message.filter(is_final) {
                            return Ok::<_, Problem>(message);
                        }
                    }
                }
            }
        };
        timeout(PATIENCE, answer).await.ok().transpose()
    }
}
