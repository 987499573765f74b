//! The resolver: what [`Walk`] asks for comes from the cache, or from the DNS by hickory.
//!
//! Every question is answered within [`PATIENCE`], whatever the DNS does. Hickory's own cache is off: what a time-out may do to what
//! is known, and how long anything is believed, is [`super::cache`]'s to say.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::cache::{Cache, Known, Ttl};
use super::question::Question;
use super::records::{Answer, Kind, Lookup, Naptr, Record, Srv};
use super::walk::{Families, Step, Walk};
use super::{Target, Unresolved};
use crate::stats::Counter;

/// Longest time for one round of lookups; a walk has three.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time for one server to answer, and how often it is asked.
const ATTEMPT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// Questions that may be under way. More than that is not a busy cluster but a flood or a DNS that is gone.
const UNDER_WAY: usize = 1_024;
/// Answers that are remembered.
const CAPACITY: usize = 10_000;

/// The way to the DNS. Copies share everything.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    dns: TokioResolver,
    cache: Mutex<Cache>,
    slots: Semaphore,
    families: Families,
    now: fn() -> Instant,
    stats: ResolverStats,
}

/// What a resolver has done.
#[derive(Debug, Default)]
pub struct ResolverStats {
    /// URIs resolved, or not.
    pub resolutions: Counter,
    /// URIs without a target.
    pub failures: Counter,
    /// Lookups answered from the cache.
    pub cache_hits: Counter,
    /// Lookups that went to the DNS.
    pub lookups: Counter,
    /// Of these, those that the DNS did not answer.
    pub lookup_failures: Counter,
}

/// The system says nothing usable about its name servers.
#[derive(Debug, thiserror::Error)]
#[error("the system's resolver configuration cannot be read: {0}")]
pub struct ResolverError(String);

impl Resolver {
    /// A resolver that asks these servers, over UDP and, where an answer is too large, TCP; without any, those of the system.
    ///
    /// # Errors
    ///
    /// No servers are given and the system names none.
    pub fn new(
        servers: &[SocketAddr],
        families: Families,
        now: fn() -> Instant,
    ) -> Result<Self, ResolverError> {
        let provider = TokioRuntimeProvider::default();
        let builder = if servers.is_empty() {
            TokioResolver::builder(provider).map_err(|error| ResolverError(error.to_string()))?
        } else {
            let servers = servers.iter().copied().map(server).collect();
            ResolverBuilder::with_options(
                TokioResolver::builder_with_config(ResolverConfig::from_name_servers(servers), provider),
                ResolverOpts::default(),
            )
        };
        let mut builder = builder;
        let options = builder.options_mut();
        options.cache_size = 0;
        options.timeout = ATTEMPT;
        options.attempts = ATTEMPTS;
        let dns = builder.build().map_err(|error| ResolverError(error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            dns,
            cache: Mutex::new(Cache::new(CAPACITY, Ttl::default())),
            slots: Semaphore::new(UNDER_WAY),
            families,
            now,
            stats: ResolverStats::default(),
        })))
    }

    /// The targets of a URI, the most preferred first. `seed` decides among servers of one priority.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn resolve(&self, question: Question, seed: u64) -> Result<Vec<Target>, Unresolved> {
        let inner = &self.0;
        inner.stats.resolutions.add(1);
        let result = match inner.slots.try_acquire() {
            Ok(_slot) => inner.walk(question, seed).await,
            Err(_) => Err(Unresolved::Busy),
        };
        if result.is_err() {
            inner.stats.failures.add(1);
        }
        result
    }

    /// What it has done so far.
    pub fn stats(&self) -> &ResolverStats {
        &self.0.stats
    }
}

impl Inner {
    async fn walk(&self, question: Question, seed: u64) -> Result<Vec<Target>, Unresolved> {
        let (mut walk, mut step) = Walk::new(question, self.families, seed);
        loop {
            match step {
                Step::Done(result) => return result,
                Step::Ask(lookups) => {
                    let answers = join_all(lookups.into_iter().map(|lookup| self.answer(lookup))).await;
                    step = walk.answer(&answers);
                }
            }
        }
    }

    async fn answer(&self, lookup: Lookup) -> Answer {
        if let Some(known) = self.cache().get(&lookup, (self.now)()) {
            self.stats.cache_hits.add(1);
            return known;
        }
        self.stats.lookups.add(1);
        let known = timeout(PATIENCE, self.ask(&lookup)).await.ok().flatten();
        let now = (self.now)();
        if let Some(known) = known {
            return self.cache().learn(lookup, known, now);
        }
        self.stats.lookup_failures.add(1);
        self.cache().fail(&lookup, now)
    }

    /// What the DNS says; `None` when it says nothing.
    async fn ask(&self, lookup: &Lookup) -> Option<Known> {
        let Ok(mut name) = Name::from_ascii(&lookup.name) else { return Some(Known::Nothing(None)) };
        // Without it the system's search list would be tried.
        name.set_fqdn(true);
        match self.dns.lookup(name, record_type(lookup.kind)).await {
            Ok(found) => {
                let answers = found.answers();
                let records: Vec<Record> =
                    answers.iter().filter_map(|answer| record(&answer.data, lookup.kind)).collect();
                let ttl = answers.iter().map(|answer| u64::from(answer.ttl)).min().unwrap_or(0);
                Some(match records.is_empty() {
                    true => Known::Nothing(None),
                    false => Known::Found(records.into(), Duration::from_secs(ttl)),
                })
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
            {
                Some(Known::Nothing(none.negative_ttl.map(|ttl| Duration::from_secs(ttl.into()))))
            }
            Err(error) => {
                tracing::debug!(name = lookup.name, kind = ?lookup.kind, %error, "the DNS does not answer");
                None
            }
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("stats", &self.0.stats).finish_non_exhaustive()
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::Naptr => RecordType::NAPTR,
        Kind::Srv => RecordType::SRV,
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
    }
}

/// A record of the kind that was asked for: an answer may hold aliases on the way to it.
fn record(data: &RData, kind: Kind) -> Option<Record> {
    match (data, kind) {
        (RData::A(address), Kind::A) => Some(Record::Address(IpAddr::V4(address.0))),
        (RData::AAAA(address), Kind::Aaaa) => Some(Record::Address(IpAddr::V6(address.0))),
        (RData::SRV(srv), Kind::Srv) => Some(Record::Srv(Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: plain(&srv.target),
        })),
        (RData::NAPTR(naptr), Kind::Naptr) => Some(Record::Naptr(Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: text(&naptr.flags),
            service: text(&naptr.services),
            regexp: text(&naptr.regexp),
            replacement: plain(&naptr.replacement),
        })),
        _ => None,
    }
}

/// In lower case, without the final dot; the root is empty.
fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
