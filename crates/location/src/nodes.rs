//! The nodes of a clustered database: which one is used, and what a statement that failed means for it.
//!
//! A driver knows one host. So every URL is a node with connections of its own, and a watcher asks each node every
//! second whether it takes writes. Statements go to one node at a time: the first of the list that does. A statement
//! that a node refuses, loses or does not answer in time is repeated on whichever node is chosen then.
//!
//! Two nodes may both say that they take writes: a PostgreSQL primary that was cut off while another one was promoted
//! does not know it. It belongs to an older [`term`](Standing::Writable), and no node of an older term than the newest
//! one ever seen is chosen again.
//!
//! A node that vanished a moment ago is likely to be replaced in a moment, so statements wait; when none was found for
//! [`GAP`], the database is down and every statement fails at once.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Connection;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{Error, NodeState, NodeStatus};

use self::board::{Board, Choice};

mod board;

/// What differs between the kinds of clusters.
pub(crate) trait Dialect: Send + Sync + 'static {
    /// A connection to one node.
    type Connection: Connection;
    /// How to connect; may hold a password.
    type Options: Send + Sync + 'static;

    /// A connection whose session is set up.
    fn connect(options: &Self::Options)
    -> impl Future<Output = Result<Self::Connection, sqlx::Error>> + Send;

    /// Asks a node how it stands.
    fn probe(connection: &mut Self::Connection)
    -> impl Future<Output = Result<Standing, sqlx::Error>> + Send;

    /// What an error means.
    fn fault(error: &sqlx::Error) -> Fault;
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It takes writes.
    Writable {
        /// Grows whenever another node takes over.
        term: u32,
        /// Another node that takes writes is the better choice.
        is_busy: bool,
    },
    /// It is well, and does not: another one does.
    Standby,
    /// It does not, and why.
    Unfit(String),
}

/// What an error of a statement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Another transaction was in the way and this one is undone: the same again may succeed.
    Conflict,
    /// The node is no good, and what became of the statement is not known.
    Node,
    /// The statement fails on every node.
    Fatal,
}

impl Fault {
    /// What an error means that the database has not sent.
    pub(crate) fn of_driver(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => Self::Node,
            _ => Self::Fatal,
        }
    }
}

/// The nodes of one database.
pub(crate) struct Nodes<D: Dialect> {
    shared: Arc<Shared<D>>,
    /// Ends with the nodes.
    _watchers: JoinSet<()>,
}

struct Shared<D: Dialect> {
    nodes: Vec<Node<D>>,
    board: Mutex<Board>,
    choice: watch::Sender<Choice>,
    jitter: AtomicU64,
}

struct Node<D: Dialect> {
    name: String,
    options: D::Options,
    idle: Mutex<Vec<D::Connection>>,
    slots: Semaphore,
    /// Somebody wants to know at once.
    look: Notify,
}

impl<D: Dialect> Nodes<D> {
    /// Begins to watch these nodes. Connects to none of them yet.
    pub(crate) fn new(nodes: Vec<(String, D::Options)>) -> Self {
        let node = |(name, options)| Node {
            name,
            options,
            idle: Mutex::default(),
            slots: Semaphore::new(MAX_CONNECTIONS),
            look: Notify::new(),
        };
        let nodes: Vec<_> = nodes.into_iter().map(node).collect();
        let shared = Arc::new(Shared {
            board: Mutex::new(Board::new(nodes.len())),
            choice: watch::Sender::new(Choice::Gap),
            jitter: AtomicU64::new(u64::from(std::process::id())),
            nodes,
        });
        let mut watchers = JoinSet::new();
        for index in 0..shared.nodes.len() {
            watchers.spawn(Arc::clone(&shared).watch(index));
        }
        watchers.spawn(Arc::clone(&shared).watch_gaps());
        Self { shared, _watchers: watchers }
    }

    /// One statement's way to a node that takes it.
    pub(crate) fn attempts(&self) -> Attempts<'_, D> {
        let choice = self.shared.choice.subscribe();
        Attempts { shared: &self.shared, choice, left: MAX_ATTEMPTS, is_in_doubt: false }
    }

    pub(crate) fn status(&self) -> Vec<NodeStatus> {
        let choice = *self.shared.choice.borrow();
        let board = self.shared.board();
        let states = self.shared.nodes.iter().zip(board.standings()).enumerate();
        states
            .map(|(index, (node, standing))| NodeStatus {
                name: node.name.clone(),
                state: match standing {
                    Some(Standing::Writable { .. }) if choice == Choice::Node(index) => NodeState::InUse,
                    Some(Standing::Writable { .. }) => NodeState::Ready,
                    Some(Standing::Standby | Standing::Unfit(_)) | None => NodeState::Unfit,
                },
            })
            .collect()
    }
}

impl<D: Dialect> Shared<D> {
    /// Keeps asking one node.
    async fn watch(self: Arc<Self>, index: usize) {
        let Some(node) = self.nodes.get(index) else { return };
        let mut connection = None;
        let mut tick = interval(PROBE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = node.look.notified() => {}
            }
            let standing = match timeout(PROBE_LIMIT, probe::<D>(&node.options, &mut connection)).await {
                Ok(Ok(standing)) => standing,
                Ok(Err(error)) => Standing::Unfit(error.to_string()),
                Err(_) => Standing::Unfit(format!("no answer within {PROBE_LIMIT:?}")),
            };
            if matches!(standing, Standing::Unfit(_)) {
                // A connection that was given up in the middle of an answer is of no use.
                connection = None;
            }
            self.note(index, standing);
        }
    }

    /// Turns a gap that lasts into an outage.
    async fn watch_gaps(self: Arc<Self>) {
        let mut choice = self.choice.subscribe();
        loop {
            let is_gap = *choice.borrow_and_update() == Choice::Gap;
            let limit = if is_gap { GAP } else { Duration::MAX };
            if timeout(limit, choice.changed()).await.is_err() {
                let ends = self.choice.send_if_modified(|choice| {
                    let ends = *choice == Choice::Gap;
                    if ends {
                        *choice = Choice::Out;
                    }
                    ends
                });
                if ends {
                    tracing::error!(error = %self.down(), "the database is down");
                }
            }
        }
    }

    /// What is known of a node has changed, perhaps.
    fn note(&self, index: usize, standing: Standing) {
        let Some(node) = self.nodes.get(index) else { return };
        let mut board = self.board();
        match &standing {
            Standing::Unfit(why) if !board.is_unfit(index) => {
                tracing::warn!(node = node.name, why, "a database node cannot be used");
            }
            Standing::Writable { .. } | Standing::Standby if board.is_unfit(index) => {
                tracing::info!(node = node.name, "a database node is well again");
            }
            Standing::Writable { .. } | Standing::Standby | Standing::Unfit(_) => {}
        }
        if !matches!(standing, Standing::Writable { .. }) {
            node.idle().clear();
        }
        let last = board.last();
        let chosen = board.note(index, standing);
        if let Some(next) = chosen.filter(|next| last.is_some_and(|last| last != *next)) {
            tracing::info!(
                node = self.nodes.get(next).map(|node| &*node.name),
                "another database node is used"
            );
        }
        self.choice.send_if_modified(|choice| match (chosen, *choice) {
            (Some(next), Choice::Node(now)) if next == now => false,
            (None, Choice::Gap | Choice::Out) => false,
            (Some(next), _) => {
                *choice = Choice::Node(next);
                true
            }
            (None, Choice::Node(_)) => {
                *choice = Choice::Gap;
                true
            }
        });
    }

    /// A statement has found a node to be no good. The watcher may find otherwise at once.
    fn suspect(&self, index: usize, why: String) {
        self.note(index, Standing::Unfit(why));
        if let Some(node) = self.nodes.get(index) {
            node.look.notify_one();
        }
    }

    /// Why no node is used.
    fn down(&self) -> Error {
        let board = self.board();
        let states = self.nodes.iter().zip(board.standings());
        let reasons = states.map(|(node, standing)| match standing {
            Some(Standing::Unfit(why)) => format!("{}: {why}", node.name),
            Some(Standing::Writable { .. }) => format!("{}: another one has taken over", node.name),
            Some(Standing::Standby) => format!("{}: it is a standby", node.name),
            None => format!("{}: no answer yet", node.name),
        });
        Error::Down(reasons.collect::<Vec<_>>().join("; "))
    }

    /// Between half of `limit` and `limit`, so that many who failed together do not return together.
    fn spread(&self, limit: Duration) -> Duration {
        // The output function of SplitMix64 over a counter.
        let mut bits = self.jitter.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let share = u32::try_from(bits >> 48).unwrap_or(0);
        limit / 2 + limit / 2 * share / 0x1_0000
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Dialect> Node<D> {
    fn idle(&self) -> MutexGuard<'_, Vec<D::Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn probe<D: Dialect>(
    options: &D::Options,
    connection: &mut Option<D::Connection>,
) -> Result<Standing, sqlx::Error> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(D::connect(options).await?),
    };
    D::probe(connection).await
}

/// Names nodes, never how to log in.
impl<D: Dialect> fmt::Debug for Nodes<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.shared.nodes.iter().map(|node| &node.name)).finish()
    }
}

/// One statement and the nodes it was tried on. Used by [`attempt!`](crate::attempt).
pub(crate) struct Attempts<'a, D: Dialect> {
    shared: &'a Shared<D>,
    choice: watch::Receiver<Choice>,
    left: u32,
    is_in_doubt: bool,
}

/// A connection on loan. It goes back by [`Attempts::settle`] only: one that was given up is closed.
pub(crate) struct Lease<'a, D: Dialect> {
    index: usize,
    node: &'a Node<D>,
    connection: D::Connection,
    _slot: SemaphorePermit<'a>,
}

impl<D: Dialect> Lease<'_, D> {
    pub(crate) fn connection(&mut self) -> &mut D::Connection {
        &mut self.connection
    }

    fn give_back(self) {
        self.node.idle().push(self.connection);
    }
}

impl<'a, D: Dialect> Attempts<'a, D> {
    /// True when an earlier attempt may have been carried out although it was not answered.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.is_in_doubt
    }

    /// A connection to the node in use; waits as long as there may be one soon.
    pub(crate) async fn lease(&mut self) -> Result<Lease<'a, D>, Error> {
        loop {
            let choice = *self.choice.borrow_and_update();
            match choice {
                Choice::Out => return Err(self.shared.down()),
                Choice::Gap => {
                    if self.choice.changed().await.is_err() {
                        return Err(self.shared.down());
                    }
                }
                Choice::Node(index) => {
                    if let Some(lease) = self.connect(index).await? {
                        return Ok(lease);
                    }
                }
            }
        }
    }

    async fn connect(&mut self, index: usize) -> Result<Option<Lease<'a, D>>, Error> {
        let node = self.shared.nodes.get(index).ok_or_else(|| self.shared.down())?;
        let slot = node.slots.acquire().await.map_err(|_| self.shared.down())?;
        let idle = node.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => match timeout(CONNECT_LIMIT, D::connect(&node.options)).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    self.shared.suspect(index, error.to_string());
                    self.again(error.into(), NODE_PAUSE).await?;
                    return Ok(None);
                }
                Err(_) => {
                    self.shared.suspect(index, format!("no connection within {CONNECT_LIMIT:?}"));
                    self.again(Error::TimedOut(CONNECT_LIMIT), NODE_PAUSE).await?;
                    return Ok(None);
                }
            },
        };
        Ok(Some(Lease { index, node, connection, _slot: slot }))
    }

    /// The result of a statement in time.
    pub(crate) async fn within<T>(
        &self,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Option<Result<T, sqlx::Error>> {
        timeout(STATEMENT_LIMIT, statement).await.ok()
    }

    /// What a statement gave; `None` when it has to be tried again.
    pub(crate) async fn settle<T>(
        &mut self,
        lease: Lease<'a, D>,
        result: Option<Result<T, sqlx::Error>>,
    ) -> Result<Option<T>, Error> {
        let (error, why) = match result {
            Some(Ok(done)) => {
                lease.give_back();
                return Ok(Some(done));
            }
            Some(Err(error)) => match D::fault(&error) {
                Fault::Fatal => {
                    if error.as_database_error().is_some() {
                        lease.give_back();
                    }
                    return Err(error.into());
                }
                Fault::Conflict => {
                    lease.give_back();
                    let pause = CONFLICT_PAUSE * (MAX_ATTEMPTS + 1 - self.left);
                    self.again(error.into(), pause).await?;
                    return Ok(None);
                }
                Fault::Node => {
                    let why = error.to_string();
                    (error.into(), why)
                }
            },
            None => (Error::TimedOut(STATEMENT_LIMIT), format!("no answer within {STATEMENT_LIMIT:?}")),
        };
        self.is_in_doubt = true;
        let index = lease.index;
        drop(lease);
        self.shared.suspect(index, why);
        self.again(error, NODE_PAUSE).await?;
        Ok(None)
    }

    /// Waits a little before the next attempt where another transaction was in the way; fails for good otherwise.
    pub(crate) async fn again_after_conflict(&mut self, error: Error) -> Result<(), Error> {
        let is_conflict = error.of_database().is_some_and(|error| matches!(D::fault(error), Fault::Conflict));
        if is_conflict { self.again(error, CONFLICT_PAUSE).await } else { Err(error) }
    }

    /// Waits a little before the next attempt, or fails for good.
    async fn again(&mut self, error: Error, pause: Duration) -> Result<(), Error> {
        self.left -= 1;
        if self.left == 0 {
            return Err(error);
        }
        tracing::debug!(%error, "a statement is tried again");
        // A node that is chosen meanwhile need not be waited for.
        let _ = timeout(self.shared.spread(pause), self.choice.changed()).await;
        Ok(())
    }
}

/// Runs one statement on the nodes until it has succeeded or failed for good: `attempt!(nodes, |connection| future)`.
/// The statement may be carried out more than once. With a third argument that names a variable, this tells whether
/// that may have happened.
macro_rules! attempt {
    ($nodes:expr, |$connection:ident| $statement:expr) => {{
        let _in_doubt;
        $crate::nodes::attempt!($nodes, |$connection| $statement, _in_doubt)
    }};
    ($nodes:expr, |$connection:ident| $statement:expr, $in_doubt:ident) => {{
        let mut attempts = $nodes.attempts();
        loop {
            let mut lease = attempts.lease().await?;
            let result = {
                let $connection = lease.connection();
                attempts.within($statement).await
            };
            if let Some(done) = attempts.settle(lease, result).await? {
                $in_doubt = attempts.is_in_doubt();
                break done;
            }
        }
    }};
}
pub(crate) use attempt;

/// How often a node is asked.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A node that takes longer is as good as dead.
const PROBE_LIMIT: Duration = Duration::from_millis(1_000);
const CONNECT_LIMIT: Duration = Duration::from_millis(1_500);
/// A node that was cut off does not refuse, it is silent.
const STATEMENT_LIMIT: Duration = Duration::from_millis(2_000);
/// How long another node may take to take over before the database counts as down.
const GAP: Duration = Duration::from_secs(6);
/// Connections to one node, besides that of its watcher.
const MAX_CONNECTIONS: usize = 8;
/// How often one statement is tried.
const MAX_ATTEMPTS: u32 = 40;
/// The first pause after a conflict with another transaction; each one is longer by as much.
const CONFLICT_PAUSE: Duration = Duration::from_millis(2);
/// Time for a watcher to have a look.
const NODE_PAUSE: Duration = Duration::from_millis(60);
