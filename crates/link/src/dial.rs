//! The end that dials: edges. One connection to every address of every core, for as long as the address is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proto::Hello;
use quinn::Connection;
use tokio::{net::lookup_host, sync::watch, task::JoinHandle, time};

use crate::{
    Config, Error, EventSink, Links,
    certificates::NODE,
    endpoint,
    handshake::{self, HandshakeError},
    links::Inner,
    peer, probe,
    wire::Streams,
};

/// Dials `cores`, each a `host:port`. Has to be called within a tokio runtime, whose tasks then serve the link.
///
/// Names are resolved every five seconds and every address is dialled, so a name may stand for many cores. An address
/// that its name no longer has is not dialled again, but a connection to it stays while it works.
///
/// `hello.role` becomes `edge`; a missing version or boot number is filled in.
pub fn dial(config: &Config, cores: Vec<String>, hello: Hello, events: EventSink) -> Result<Links, Error> {
    let development = config.is_development();
    for core in &cores {
        let host = host_of(core).ok_or_else(|| Error::Address(core.clone()))?;
        if development && !is_loopback(host) {
            return Err(Error::NotLoopback(core.clone()));
        }
    }
    let hello = crate::complete(hello, "edge")?;
    let endpoint = endpoint::client(config, &hello.name)?;
    let inner = Inner::new(endpoint, hello, config.queue, events);
    let dialer = Arc::new(Dialer { inner: Arc::clone(&inner), development, known: Mutex::default() });
    for core in cores {
        tokio::spawn(Arc::clone(&dialer).follow(core));
    }
    Ok(Links { inner })
}

struct Dialer {
    inner: Arc<Inner>,
    /// Loopback addresses only, whatever a name resolves to.
    development: bool,
    /// The start (`Hello.boot`) of every core that an address is connected to, by name.
    known: Mutex<BTreeMap<String, u64>>,
}

/// An address of a core.
struct Target {
    wanted: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Dialer {
    /// Keeps every address of the name connected.
    async fn follow(self: Arc<Self>, core: String) {
        let mut targets = BTreeMap::new();
        let mut stop = self.inner.stop.subscribe();
        loop {
            if let Some(addresses) = self.resolve(&core).await {
                self.update(&mut targets, &addresses);
            }
            let pause = if targets.is_empty() { RESOLVE_FIRST } else { RESOLVE };
            if stopped_within(&mut stop, pause).await {
                return;
            }
        }
    }

    /// The addresses of a name; none when nobody knows, which is no reason to forget those that are known.
    async fn resolve(&self, core: &str) -> Option<BTreeSet<SocketAddr>> {
        let found = match time::timeout(RESOLVE, lookup_host(core)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(%core, %error, "link: name not resolved");
                return None;
            }
            Err(_) => {
                tracing::warn!(%core, "link: name not resolved in time");
                return None;
            }
        };
        let usable = |address: &SocketAddr| !self.development || address.ip().to_canonical().is_loopback();
        let addresses: BTreeSet<_> = found.filter(usable).collect();
        (!addresses.is_empty()).then_some(addresses)
    }

    fn update(
        self: &Arc<Self>,
        targets: &mut BTreeMap<SocketAddr, Target>,
        addresses: &BTreeSet<SocketAddr>,
    ) {
        for (address, target) in &*targets {
            target.wanted.store(addresses.contains(address), Ordering::Relaxed);
        }
        targets.retain(|_, target| !target.task.is_finished());
        for address in addresses {
            targets.entry(*address).or_insert_with(|| {
                let wanted = Arc::new(AtomicBool::new(true));
                let task = tokio::spawn(Arc::clone(self).keep(*address, Arc::clone(&wanted)));
                Target { wanted, task }
            });
        }
    }

    /// Keeps one address connected while it is wanted.
    async fn keep(self: Arc<Self>, address: SocketAddr, wanted: Arc<AtomicBool>) {
        let mut stop = self.inner.stop.subscribe();
        let mut failures = 0;
        while wanted.load(Ordering::Relaxed) {
            let attempt = tokio::select! {
                attempt = self.connect(address) => attempt,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let pause = match attempt {
                Ok((connection, hello, streams, _known)) => {
                    let lasted = Box::pin(peer::run(&self.inner, connection, hello, streams)).await;
                    failures = if lasted >= Some(STABLE) { 0 } else { failures + 1 };
                    back_off(failures)
                }
                Err(HandshakeError::Duplicate(name)) => {
                    tracing::debug!(%address, %name, "link: connected by another address");
                    SLOWEST
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(%address, %error, "link: core not reached");
                    } else {
                        tracing::debug!(%address, %error, failures, "link: core not reached");
                    }
                    failures += 1;
                    back_off(failures)
                }
            };
            if stopped_within(&mut stop, pause).await {
                return;
            }
        }
    }

    async fn connect(
        &self,
        address: SocketAddr,
    ) -> Result<(Connection, Hello, Streams, Known<'_>), HandshakeError> {
        let connecting = self.inner.endpoint.connect(address, NODE)?;
        let greeting = async {
            // A closed port is a quick no; QUIC alone would go on trying until the idle time-out.
            let connection = tokio::select! {
                connection = connecting => connection?,
                () = probe::refused(address) => return Err(HandshakeError::Unreachable),
            };
            let mut known = None;
            let greeted = handshake::offer(&connection, &self.inner.hello, |theirs| {
                known = self.know(theirs);
                known.is_none()
            });
            match (greeted.await, known) {
                (Ok((hello, streams)), Some(known)) => Ok((connection, hello, streams, known)),
                (Ok(_), None) => unreachable!("an unknown core is refused"),
                (Err(error), _) => {
                    connection.close(error.code(), error.to_string().as_bytes());
                    Err(error)
                }
            }
        };
        time::timeout(HANDSHAKE, greeting).await.unwrap_or(Err(HandshakeError::Timeout))
    }

    /// Notes that this start of a core is connected; none when it is already. A core that was started again may
    /// come while its former connection is not yet known to be dead.
    fn know(&self, core: &Hello) -> Option<Known<'_>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert(core.name.clone(), core.boot) == Some(core.boot) {
            return None;
        }
        Some(Known { dialer: self, name: core.name.clone(), boot: core.boot })
    }
}

/// A connected core, forgotten when dropped.
struct Known<'a> {
    dialer: &'a Dialer,
    name: String,
    boot: u64,
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        let mut known = self.dialer.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&self.name) == Some(&self.boot) {
            known.remove(&self.name);
        }
    }
}

/// Waits; true when the link was shut down meanwhile.
async fn stopped_within(stop: &mut watch::Receiver<bool>, pause: Duration) -> bool {
    time::timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok()
}

/// Pause after so many failures in a row. Half of it is random, so that the edges of a cluster do not come all at once.
fn back_off(failures: u32) -> Duration {
    let longest = match failures.checked_sub(1) {
        None => return jitter(FASTEST / 4),
        Some(doublings) => (FASTEST * (1 << doublings.min(8))).min(SLOWEST),
    };
    longest / 2 + jitter(longest / 2)
}

fn jitter(longest: Duration) -> Duration {
    let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(crate::random() % micros)
}

/// The host of `host:port`, brackets removed.
fn host_of(core: &str) -> Option<&str> {
    let (host, port) = core.rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty()).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Time between two questions for the addresses of a name.
const RESOLVE: Duration = Duration::from_secs(5);

/// The same before the first answer.
const RESOLVE_FIRST: Duration = Duration::from_secs(1);

/// Time for the handshake of QUIC and the Hello.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A connection that lasted this long was no failure.
const STABLE: Duration = Duration::from_secs(5);

/// Bounds of the pause between two attempts.
const FASTEST: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_two_seconds() {
        for (failures, least, most) in
            [(0, 0, 25), (1, 50, 100), (2, 100, 200), (6, 1_000, 2_000), (99, 1_000, 2_000)]
        {
            let pause = back_off(failures);
            let bounds = Duration::from_millis(least)..=Duration::from_millis(most);
            assert!(bounds.contains(&pause), "{failures}: {pause:?}");
        }
    }

    #[test]
    fn an_address_is_host_and_port() {
        assert_eq!(host_of("core.example.com:7443"), Some("core.example.com"));
        assert_eq!(host_of("[2001:db8::1]:7443"), Some("2001:db8::1"));
        for wrong in
            ["core", "core:", ":7443", "core:0", "core:70000", "2001:db8::1:7443", "[::1:7443", "sip:core:1x"]
        {
            assert_eq!(host_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn loopback_is_loopback() {
        for host in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "localhost", "core.localhost"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["192.0.2.1", "0.0.0.0", "::", "core.example.com", "localhost.example.com"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
