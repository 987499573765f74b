//! A cluster and the phones around it.

use std::env;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cluster_tests::cluster::{Binaries, Cluster, DOMAIN, Plan, Problem, free_port};
use cluster_tests::sipp::{Outcome, Run, Sipp};

/// Phones behind each edge.
const PHONES: usize = 500;
/// Calls per second of the loads.
pub(crate) const RATE: u32 = 50;
/// How long a run may go on after its last call has begun.
pub(crate) const REST: Duration = Duration::from_secs(40);
/// The password of everybody.
const PASSWORD: &str = "secret";

/// One test at a time: a load must not be another one's disturbance.
static ALONE: Mutex<()> = Mutex::new(());

/// A cluster with users, and where the phones behind its edges are.
pub(crate) struct Exchange {
    pub(crate) cluster: Cluster,
    /// The phones behind EP1.
    pub(crate) west: SocketAddr,
    /// The phones behind EP2.
    pub(crate) east: SocketAddr,
    /// Each phone in the west with one in the east.
    pub(crate) lines: Vec<String>,
    pub(crate) tcp: bool,
    /// Whether the phones pass over what is repeated.
    pub(crate) forgiving: bool,
}

impl Exchange {
    pub(crate) async fn start() -> Result<Self, Problem> {
        Self::start_with(Vec::new()).await
    }

    /// With more settings.
    pub(crate) async fn start_with(more: Vec<(String, String)>) -> Result<Self, Problem> {
        // SIPp before 3.7 gives up when it sees SHA-256, even with MD5 beside it.
        // Between two loads nobody is at the phones' ports, and a scenario counts a ping as a call that went wrong.
        let settings = [("CORE_AUTH_ALGORITHMS", "MD5"), ("EDGE_NAT_PING", "off")];
        let mut settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        settings.extend(more);
        let plan = Plan { settings, ..Plan::default() };
        let cluster = Cluster::start(&plan, &Binaries::find()?).await?;
        let users: Vec<String> = names("w").chain(names("e")).chain(["fork".to_owned()]).collect();
        cluster.add_users(users.iter().map(|user| (user.as_str(), PASSWORD))).await?;
        let lines = names("w").zip(names("e")).map(|(from, to)| call_line(&from, &to)).collect();
        Ok(Self { cluster, west: local()?, east: local()?, lines, tcp: false, forgiving: false })
    }

    pub(crate) fn dir(&self) -> &std::path::Path {
        self.cluster.dir()
    }

    pub(crate) fn ep1(&self) -> SocketAddr {
        self.cluster.edges[0].sip()
    }

    pub(crate) fn ep2(&self) -> SocketAddr {
        self.cluster.edges[1].sip()
    }

    pub(crate) fn phones(&self, side: &str) -> Vec<String> {
        names(side).map(|user| credentials(&user)).collect()
    }

    pub(crate) async fn register_all(&self) -> Result<(), Problem> {
        self.register(self.west, self.ep1(), &self.phones("w")).await?;
        self.register(self.east, self.ep2(), &self.phones("e")).await
    }

    pub(crate) async fn register(
        &self,
        phones: SocketAddr,
        edge: SocketAddr,
        lines: &[String],
    ) -> Result<(), Problem> {
        let run = self.registration("register", phones, edge, lines);
        let outcome = Sipp::start(self.dir(), &run)?.finish(length(&run)).await?;
        assert_eq!(outcome.successful, run.calls);
        Ok(())
    }

    pub(crate) fn registration<'a>(
        &self,
        scenario: &'a str,
        phones: SocketAddr,
        edge: SocketAddr,
        lines: &'a [String],
    ) -> Run<'a> {
        Run {
            scenario,
            out_of_call: None,
            local: phones,
            target: Some(edge),
            lines,
            rate: 200,
            calls: u32::try_from(lines.len()).expect("a few hundred phones"),
            hold: Duration::ZERO,
            tcp: self.tcp,
            forgiving: self.forgiving,
        }
    }

    /// Calls from the west.
    pub(crate) fn load<'a>(&self, lines: &'a [String], calls: u32, hold: Duration) -> Run<'a> {
        Run {
            scenario: "call",
            out_of_call: None,
            local: self.west,
            target: Some(self.ep1()),
            lines,
            rate: RATE,
            calls,
            hold,
            tcp: self.tcp,
            forgiving: self.forgiving,
        }
    }

    /// Phones that wait to be called.
    pub(crate) async fn waiting(
        &self,
        scenario: &str,
        local: SocketAddr,
        calls: u32,
    ) -> Result<Sipp, Problem> {
        let run = Run {
            scenario,
            out_of_call: None,
            local,
            target: None,
            lines: &[],
            rate: 0,
            calls,
            hold: Duration::ZERO,
            tcp: self.tcp,
            forgiving: self.forgiving,
        };
        Sipp::start(self.dir(), &run)?.listening(local).await
    }

    /// Calls from the west to the east; both sides must see each of them through.
    pub(crate) async fn calls(&self, calls: u32, hold: Duration) -> Result<Outcome, Problem> {
        // More than there are: what is left of an earlier load looks like another call to SIPp.
        let callees = self.waiting("answer", self.east, 10 * calls).await?;
        let run = self.load(&self.lines, calls, hold);
        let outcome = Sipp::start(self.dir(), &run)?.finish(length(&run)).await?;
        callees.reaches(REST, |outcome| outcome.successful >= calls).await?;
        callees.kill().await?;
        Ok(outcome)
    }

    pub(crate) async fn is_bound(&self, user: &str) -> Result<bool, Problem> {
        let aor = format!("{user}@{DOMAIN}");
        let listed = self.cluster.command(&["contacts", "list", &aor], "").await?;
        Ok(String::from_utf8_lossy(&listed.stdout).contains("sip:"))
    }

    pub(crate) async fn wait_for_binding(&self, user: &str) -> Result<(), Problem> {
        let bound = cluster_tests::cluster::poll(REST, async || {
            self.is_bound(user).await.is_ok_and(|bound| bound).then_some(())
        });
        bound.await.ok_or_else(|| Problem::new(format!("{user} has not registered")))
    }
}

/// Runs a test when SIPp tests are asked for.
pub(crate) fn end_to_end(test: impl AsyncFnOnce() -> Result<(), Problem>) {
    if env::var_os("SIGNALBOX_SIPP").is_none_or(|wanted| wanted != "1") {
        // Not by a macro: a passed test's print would not be seen.
        let _ = writeln!(std::io::stderr(), "not run: SIPp tests want SIGNALBOX_SIPP=1");
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = node::runtime::build(1).expect("a runtime");
    if let Err(problem) = runtime.block_on(test()) {
        panic!("{problem}");
    }
}

pub(crate) fn report(what: &str, outcome: Outcome) {
    let _ = writeln!(
        std::io::stderr(),
        "  {what}: {} calls, {} failed, {} retransmissions",
        outcome.created,
        outcome.failed,
        outcome.retransmissions
    );
}

/// Length of the long loads.
pub(crate) fn seconds() -> u32 {
    env::var("SIGNALBOX_SIPP_SECONDS").map_or(60, |text| text.parse().expect("a number of seconds"))
}

/// How long a run may take.
pub(crate) fn length(run: &Run<'_>) -> Duration {
    Duration::from_secs(u64::from(run.calls / run.rate.max(1))) + run.hold + REST
}

pub(crate) fn local() -> Result<SocketAddr, Problem> {
    Ok(([127, 0, 0, 1], free_port()?).into())
}

pub(crate) fn names(side: &str) -> impl Iterator<Item = String> {
    (0..PHONES).map(move |number| format!("{side}{number:04}"))
}

pub(crate) fn credentials(user: &str) -> String {
    format!("{user};[authentication username={user} password={PASSWORD}]")
}

pub(crate) fn call_line(caller: &str, callee: &str) -> String {
    format!("{caller};{callee};[authentication username={caller} password={PASSWORD}]")
}
