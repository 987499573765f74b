//! End to end: the real programs as processes, SIPp as the phones behind two edges.
//!
//! Takes minutes and needs SIPp, so it runs only with `SIGNALBOX_SIPP=1`, as `tests/run` sets it.
//! `SIGNALBOX_SIPP_SECONDS` is the length of the long loads, 60 if it isn't set.

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
const RATE: u32 = 50;
/// How long a run may go on after its last call has begun.
const REST: Duration = Duration::from_secs(40);
/// The password of everybody.
const PASSWORD: &str = "secret";

/// One test at a time: a load must not be another one's disturbance.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn calls_over_udp_from_edge_to_edge() {
    end_to_end(async || {
        let exchange = Exchange::start().await?;
        exchange.register_all().await?;
        let calls = RATE * seconds();
        let outcome = exchange.calls(calls, Duration::ZERO).await?;
        report("UDP", outcome);
        assert_eq!((outcome.created, outcome.successful), (calls, calls));
        Ok(())
    });
}

#[test]
fn calls_over_tcp_from_edge_to_edge() {
    end_to_end(async || {
        let mut exchange = Exchange::start().await?;
        exchange.tcp = true;
        // The binding of a phone on TCP is good as long as its connection, so the phones stay.
        let east = exchange.phones("e");
        let stay = Run {
            out_of_call: Some("answer"),
            ..exchange.registration("register_stay", exchange.east, exchange.ep2(), &east)
        };
        let callees = Sipp::start(exchange.dir(), &stay)?;
        exchange.wait_for_binding("e0499").await?;
        let calls = RATE * seconds();
        let run = exchange.load(&exchange.lines, calls, Duration::ZERO);
        let outcome = Sipp::start(exchange.dir(), &run)?.finish(length(&run)).await?;
        callees.kill().await?;
        report("TCP", outcome);
        assert_eq!((outcome.created, outcome.successful), (calls, calls));
        Ok(())
    });
}

/// RFC 3261 §16.7 step 10 and §16.10: the answered phone gets ACK and BYE, the other one CANCEL, wherever they are.
#[test]
fn one_address_rings_behind_both_edges() {
    end_to_end(async || {
        let exchange = Exchange::start().await?;
        let third = local()?;
        let fork = [credentials("fork")];
        exchange.register(exchange.west, exchange.ep1(), &fork).await?;
        exchange.register(exchange.east, exchange.ep2(), &fork).await?;
        let lines = [call_line("w0000", "fork")];
        for (answering, ringing) in [(exchange.west, exchange.east), (exchange.east, exchange.west)] {
            let calls = 20;
            let answer = exchange.waiting("answer", answering, calls).await?;
            let ring = exchange.waiting("ring", ringing, calls).await?;
            let run = Run { local: third, rate: 5, ..exchange.load(&lines, calls, Duration::ZERO) };
            let outcome = Sipp::start(exchange.dir(), &run)?.finish(length(&run)).await?;
            assert_eq!(outcome.successful, calls);
            assert_eq!(answer.finish(REST).await?.successful, calls, "ACK and BYE for who answered");
            assert_eq!(ring.finish(REST).await?.successful, calls, "CANCEL for who did not");
        }
        Ok(())
    });
}

#[test]
fn a_caller_gives_up_while_it_rings() {
    end_to_end(async || {
        let exchange = Exchange::start().await?;
        exchange.register(exchange.east, exchange.ep2(), &[credentials("e0000")]).await?;
        let calls = 20;
        let ring = exchange.waiting("ring", exchange.east, calls).await?;
        let lines = [call_line("w0000", "e0000")];
        let run = Run { scenario: "cancel", rate: 5, ..exchange.load(&lines, calls, Duration::ZERO) };
        let outcome = Sipp::start(exchange.dir(), &run)?.finish(length(&run)).await?;
        assert_eq!(outcome.successful, calls);
        assert_eq!(ring.finish(REST).await?.successful, calls);
        Ok(())
    });
}

/// Bindings are in the database, UDP flows in their tokens: nothing of it is in a process.
#[test]
fn registrations_outlive_every_process() {
    end_to_end(async || {
        let mut exchange = Exchange::start().await?;
        exchange.register_all().await?;
        exchange.cluster.stop_all().await?;
        exchange.cluster.start_all().await?;
        let calls = RATE * 10;
        let outcome = exchange.calls(calls, Duration::ZERO).await?;
        assert_eq!((outcome.created, outcome.successful), (calls, calls));
        Ok(())
    });
}

/// What was in flight at the kill may fail; the calls that stand, and all later ones, go on through the other core.
#[test]
fn a_core_is_killed_under_load() {
    end_to_end(async || {
        let mut exchange = Exchange::start().await?;
        exchange.register_all().await?;
        let calls = RATE * 30;
        let hold = Duration::from_secs(2);
        let callees = exchange.waiting("answer", exchange.east, calls).await?;
        let run = exchange.load(&exchange.lines, calls, hold);
        let limit = length(&run);
        let callers = Sipp::start(exchange.dir(), &run)?;
        callers.reaches(limit, |outcome| outcome.created >= calls / 3).await?;
        for core in &exchange.cluster.cores {
            let invites = core.metric("core_requests_total{method=\"INVITE\"}").await?;
            assert!(invites > 0.0, "{} is home to some of the calls", core.name);
        }
        exchange.cluster.cores[0].kill().await?;
        let outcome = callers.finish_with_failures(limit).await?;
        callees.kill().await?;
        report("a core killed", outcome);
        assert_eq!(outcome.created, calls);
        assert!(outcome.failed <= 5, "{} of {calls} calls failed", outcome.failed);

        exchange.cluster.start_all().await?;
        let calls = RATE * 5;
        let outcome = exchange.calls(calls, Duration::ZERO).await?;
        assert_eq!((outcome.created, outcome.successful), (calls, calls), "with both cores again");
        Ok(())
    });
}

#[test]
fn a_wrong_password_is_refused() {
    end_to_end(async || {
        let exchange = Exchange::start().await?;
        for user in ["e0001", "nobody"] {
            let wrong = [format!("{user};[authentication username={user} password=wrong]")];
            let run = exchange.registration("register_refused", exchange.east, exchange.ep2(), &wrong);
            let outcome = Sipp::start(exchange.dir(), &run)?.finish(length(&run)).await?;
            assert_eq!(outcome.successful, 1);
            assert!(!exchange.is_bound(user).await?, "{user} has no binding");
        }
        Ok(())
    });
}

/// A cluster with users, and where the phones behind its edges are.
struct Exchange {
    cluster: Cluster,
    /// The phones behind EP1.
    west: SocketAddr,
    /// The phones behind EP2.
    east: SocketAddr,
    /// Each phone in the west with one in the east.
    lines: Vec<String>,
    tcp: bool,
}

impl Exchange {
    async fn start() -> Result<Self, Problem> {
        // SIPp before 3.7 gives up when it sees SHA-256, even with MD5 beside it.
        let settings = vec![("CORE_AUTH_ALGORITHMS".to_owned(), "MD5".to_owned())];
        let plan = Plan { settings, ..Plan::default() };
        let cluster = Cluster::start(&plan, &Binaries::find()?).await?;
        let users: Vec<String> = names("w").chain(names("e")).chain(["fork".to_owned()]).collect();
        cluster.add_users(users.iter().map(|user| (user.as_str(), PASSWORD))).await?;
        let lines = names("w").zip(names("e")).map(|(from, to)| call_line(&from, &to)).collect();
        Ok(Self { cluster, west: local()?, east: local()?, lines, tcp: false })
    }

    fn dir(&self) -> &std::path::Path {
        self.cluster.dir()
    }

    fn ep1(&self) -> SocketAddr {
        self.cluster.edges[0].sip()
    }

    fn ep2(&self) -> SocketAddr {
        self.cluster.edges[1].sip()
    }

    fn phones(&self, side: &str) -> Vec<String> {
        names(side).map(|user| credentials(&user)).collect()
    }

    async fn register_all(&self) -> Result<(), Problem> {
        self.register(self.west, self.ep1(), &self.phones("w")).await?;
        self.register(self.east, self.ep2(), &self.phones("e")).await
    }

    async fn register(&self, phones: SocketAddr, edge: SocketAddr, lines: &[String]) -> Result<(), Problem> {
        let run = self.registration("register", phones, edge, lines);
        let outcome = Sipp::start(self.dir(), &run)?.finish(length(&run)).await?;
        assert_eq!(outcome.successful, run.calls);
        Ok(())
    }

    fn registration<'a>(
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
        }
    }

    /// Calls from the west.
    fn load<'a>(&self, lines: &'a [String], calls: u32, hold: Duration) -> Run<'a> {
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
        }
    }

    /// Phones that wait to be called.
    async fn waiting(&self, scenario: &str, local: SocketAddr, calls: u32) -> Result<Sipp, Problem> {
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
        };
        Sipp::start(self.dir(), &run)?.listening(local).await
    }

    /// Calls from the west to the east; both sides must see each of them through.
    async fn calls(&self, calls: u32, hold: Duration) -> Result<Outcome, Problem> {
        let callees = self.waiting("answer", self.east, calls).await?;
        let run = self.load(&self.lines, calls, hold);
        let outcome = Sipp::start(self.dir(), &run)?.finish(length(&run)).await?;
        assert_eq!(callees.finish(REST).await?.successful, calls);
        Ok(outcome)
    }

    async fn is_bound(&self, user: &str) -> Result<bool, Problem> {
        let aor = format!("{user}@{DOMAIN}");
        let listed = self.cluster.command(&["contacts", "list", &aor], "").await?;
        Ok(String::from_utf8_lossy(&listed.stdout).contains("sip:"))
    }

    async fn wait_for_binding(&self, user: &str) -> Result<(), Problem> {
        let bound = cluster_tests::cluster::poll(REST, async || {
            self.is_bound(user).await.is_ok_and(|bound| bound).then_some(())
        });
        bound.await.ok_or_else(|| Problem::new(format!("{user} has not registered")))
    }
}

/// Runs a test when SIPp tests are asked for.
fn end_to_end(test: impl AsyncFnOnce() -> Result<(), Problem>) {
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

fn report(what: &str, outcome: Outcome) {
    let _ = writeln!(
        std::io::stderr(),
        "  {what}: {} calls, {} failed, {} retransmissions",
        outcome.created,
        outcome.failed,
        outcome.retransmissions
    );
}

/// Length of the long loads.
fn seconds() -> u32 {
    env::var("SIGNALBOX_SIPP_SECONDS").map_or(60, |text| text.parse().expect("a number of seconds"))
}

/// How long a run may take.
fn length(run: &Run<'_>) -> Duration {
    Duration::from_secs(u64::from(run.calls / run.rate.max(1))) + run.hold + REST
}

fn local() -> Result<SocketAddr, Problem> {
    Ok(([127, 0, 0, 1], free_port()?).into())
}

fn names(side: &str) -> impl Iterator<Item = String> {
    (0..PHONES).map(move |number| format!("{side}{number:04}"))
}

fn credentials(user: &str) -> String {
    format!("{user};[authentication username={user} password={PASSWORD}]")
}

fn call_line(caller: &str, callee: &str) -> String {
    format!("{caller};{callee};[authentication username={caller} password={PASSWORD}]")
}
