//! The cluster that the scenarios of one program share: three edges, two cores, processes all of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio::runtime::Runtime;

use super::wire::Access;
use super::{ELSEWHERE, Phone, Transport};
use crate::cluster::{Binaries, Cluster, DOMAIN, Plan, Problem};

/// The password of everybody.
pub const PASSWORD: &str = "open sesame";

/// A running cluster with many users, of whom every scenario takes its own.
#[derive(Debug)]
pub struct Exchange {
    /// The cluster.
    pub cluster: Cluster,
    next: AtomicU32,
    _runtime: Runtime,
}

/// Users there are: more than all scenarios together take.
const USERS: u32 = 400;
/// How long a nonce is good: short, so that a scenario can see it grow stale.
const NONCE_LIFETIME: &str = "5s";

/// Runs a script. Scenarios that run at the same time share the cluster; the last one ends it.
///
/// # Panics
///
/// There is no cluster, or the script says so.
pub fn scenario(script: impl AsyncFnOnce(&Exchange)) {
    let exchange = shared().unwrap_or_else(|problem| panic!("{problem}"));
    let runtime = node::runtime::build(1).expect("a runtime");
    runtime.block_on(script(&exchange));
}

fn shared() -> Result<Arc<Exchange>, Problem> {
    static SHARED: Mutex<Weak<Exchange>> = Mutex::new(Weak::new());
    // A scenario that failed has not touched it.
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(exchange) = shared.upgrade() {
        return Ok(exchange);
    }
    let exchange = Arc::new(Exchange::start()?);
    *shared = Arc::downgrade(&exchange);
    Ok(exchange)
}

impl Exchange {
    fn start() -> Result<Self, Problem> {
        static BINARIES: OnceLock<Binaries> = OnceLock::new();
        let binaries = match BINARIES.get() {
            Some(known) => known.clone(),
            None => BINARIES.get_or_init(|| Binaries::build().expect("the nodes can be built")).clone(),
        };
        let runtime = node::runtime::build(1)?;
        let settings = vec![
            ("CORE_AUTH_NONCE_LIFETIME".to_owned(), NONCE_LIFETIME.to_owned()),
            // Whoever comes to the third edge is a proxy that is believed.
            ("ep3/EDGE_TRUSTED_PEERS".to_owned(), "127.0.0.0/8".to_owned()),
        ];
        let plan = Plan { edges: 3, every_transport: true, settings, ..Plan::default() };
        let cluster = runtime.block_on(async {
            let cluster = Cluster::start(&plan, &binaries).await?;
            let users: Vec<String> = (0..USERS).map(|number| format!("u{number}")).collect();
            cluster.add_users(users.iter().map(|user| (user.as_str(), PASSWORD))).await?;
            Ok::<_, Problem>(cluster)
        })?;
        Ok(Self { cluster, next: AtomicU32::new(0), _runtime: runtime })
    }

    /// The SIP address of an edge; the first one is 1.
    ///
    /// # Panics
    ///
    /// There is no such edge.
    pub fn edge(&self, number: usize) -> SocketAddr {
        self.cluster.edges.get(number - 1).expect("three edges").sip()
    }

    /// Where a phone of this transport connects to.
    fn access(&self, number: usize, transport: Transport) -> Access {
        let edge = self.cluster.edges.get(number - 1).expect("three edges");
        let more = edge.more.expect("every transport is planned");
        let address = match transport {
            Transport::Udp | Transport::Tcp => edge.sip(),
            Transport::Tls => more.tls,
            Transport::Wss => more.wss,
            Transport::Ws => more.ws,
        };
        Access { address, authority: self.cluster.certificate("ca.pem") }
    }

    /// The phone of a user who has none yet, not registered.
    pub async fn phone(&self, edge: usize, transport: Transport) -> Phone {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % USERS;
        self.open(&format!("u{number}"), DOMAIN, edge, transport).await
    }

    /// The same, registered.
    pub async fn registered(&self, edge: usize, transport: Transport) -> Phone {
        let mut phone = self.phone(edge, transport).await;
        phone.register().await;
        phone
    }

    /// One more phone of that user, not registered.
    pub async fn another(&self, phone: &Phone, edge: usize, transport: Transport) -> Phone {
        self.open(&phone.user, DOMAIN, edge, transport).await
    }

    /// The phone of somebody who is no user of the cluster.
    pub async fn outsider(&self, edge: usize, transport: Transport) -> Phone {
        self.open("alice", ELSEWHERE, edge, transport).await
    }

    async fn open(&self, user: &str, domain: &'static str, edge: usize, transport: Transport) -> Phone {
        Phone::open(user, domain, transport, &self.access(edge, transport), mark(user)).await
    }
}

impl Phone {
    /// A phone of `user` in the clusters' domain, before whatever listens there; `authority` is a PEM file of whom it believes.
    pub async fn before(user: &str, transport: Transport, address: SocketAddr, authority: PathBuf) -> Self {
        let access = Access { address, authority };
        Self::open(user, DOMAIN, transport, &access, mark(user)).await
    }
}

fn mark(user: &str) -> String {
    static MARKS: AtomicU32 = AtomicU32::new(0);
    format!("{user}p{}", MARKS.fetch_add(1, Ordering::Relaxed))
}
