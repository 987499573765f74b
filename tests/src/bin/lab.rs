//! `cargo lab`: two edges and two cores as processes on loopback, a phone behind each edge, and a call every second.
//!
//! Needs nothing but Rust. `cargo lab --once` places one call and ends: with success only if the call went through
//! all five places, UA1 → EP1 → core → EP2 → UA2, and both phones saw all of it.

#![expect(clippy::print_stdout, reason = "the lab talks to a person")]

use std::collections::HashMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use cluster_tests::cluster::{Binaries, Cluster, DOMAIN, Node, Plan, Problem};
use cluster_tests::lab::ladder::{Column, Ladder};
use cluster_tests::lab::phone::Phone;
use cluster_tests::lab::wire::{self, Hop};
use node::{clock, runtime, shutdown};

/// From one call to the next.
const EVERY: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let once = match arguments.as_slice() {
        [] => false,
        [once] if once == "--once" => true,
        _ => {
            println!("usage: cargo lab [--once]");
            return ExitCode::from(2);
        }
    };
    let ended = match runtime::build(1) {
        Ok(runtime) => runtime.block_on(run(once)),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("\nlab: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(once: bool) -> Result<(), Problem> {
    let binaries = Binaries::build()?;
    let mut signals = shutdown::signals()?;
    let plan = Plan { filter: "info,wire=trace".into(), format: "json".into(), ..Plan::default() };
    let begin = clock::now();
    let mut cluster = Cluster::start(&plan, &binaries).await?;
    introduce(&cluster, clock::now() - begin);
    let result = tokio::select! {
        result = show(&cluster, once) => result,
        () = signals.next() => Ok(()),
    };
    let ended = cluster.stop_all().await;
    if once {
        ended?;
    }
    println!("\nEvery process has ended.");
    result
}

async fn show(cluster: &Cluster, once: bool) -> Result<(), Problem> {
    cluster.add_users([("alice", "wonderland"), ("bob", "builder")]).await?;
    let mut lab = Lab::new(cluster).await?;
    lab.register(cluster).await?;
    lab.first_call(cluster).await?;
    if once { Ok(()) } else { lab.calls(cluster).await }
}

fn introduce(cluster: &Cluster, took: Duration) {
    let nodes = cluster.edges.len() + cluster.cores.len();
    println!("\n{nodes} nodes in {} ms, one SQLite file, in {}\n", took.as_millis(), cluster.dir().display());
    let line = |node: &Node, what: &str| {
        println!("  {:6} {what:44} http://{}/metrics", node.name, node.admin);
    };
    for edge in &cluster.edges {
        line(edge, &format!("edge-proxy      {} UDP and TCP", edge.sip()));
    }
    for core in &cluster.cores {
        line(core, "core-registrar  owns no SIP socket");
    }
    println!("\n  users  alice@{DOMAIN} (password wonderland), bob@{DOMAIN} (builder)\n");
}

/// The two phones and how their calls are drawn.
struct Lab {
    alice: Phone,
    bob: Phone,
    ladder: Ladder,
    /// How much of each node's log is known.
    known: HashMap<String, u64>,
}

impl Lab {
    async fn new(cluster: &Cluster) -> Result<Self, Problem> {
        let [ep1, ep2] = cluster.edges.as_slice() else { return Err(Problem::new("two edges are expected")) };
        let alice = Phone::new("alice", "wonderland", DOMAIN, (&ep1.name, ep1.sip())).await?;
        let bob = Phone::new("bob", "builder", DOMAIN, (&ep2.name, ep2.sip())).await?;
        let phone = |title: &str, user: &str, phone: &Phone| Column {
            title: title.to_owned(),
            detail: user.to_owned(),
            names: vec![(phone.address().to_string(), title.to_lowercase())],
        };
        let edge = |node: &Node| Column {
            title: node.name.to_uppercase(),
            detail: "edge".into(),
            names: vec![(node.name.clone(), node.name.clone()), (node.sip().to_string(), node.name.clone())],
        };
        let cores = cluster.cores.iter().map(|core| (core.name.clone(), core.name.clone()));
        // All cores sign their Via alike: any of them may pass a response on.
        let any = ("core.invalid".to_owned(), "core".to_owned());
        let core =
            Column { title: "core".into(), detail: String::new(), names: cores.chain([any]).collect() };
        let columns =
            vec![phone("UA1", "alice", &alice), edge(ep1), core, edge(ep2), phone("UA2", "bob", &bob)];
        let ladder = Ladder::new(columns, std::io::stdout().is_terminal());
        Ok(Self { alice, bob, ladder, known: HashMap::new() })
    }

    async fn register(&mut self, cluster: &Cluster) -> Result<(), Problem> {
        let call_id = self.alice.register().await?;
        let hops = self.hops(cluster, &call_id)?;
        println!("alice registers behind EP1\n\n{}", self.ladder.draw(&hops));
        let call_id = self.bob.register().await?;
        let hops = self.hops(cluster, &call_id)?;
        println!("bob registers behind EP2\n\n{}", self.ladder.draw(&hops));
        Ok(())
    }

    /// One call, drawn, and checked to have crossed the cluster.
    async fn first_call(&mut self, cluster: &Cluster) -> Result<(), Problem> {
        let hops = self.call(cluster).await?;
        println!("alice calls bob\n\n{}", self.ladder.draw(&hops));
        for method in ["INVITE", "ACK", "BYE"] {
            if !self.ladder.crosses(&hops, method) {
                return Err(Problem::new(format!("{method} did not go UA1, EP1, core, EP2, UA2")));
            }
        }
        println!("The call went through: INVITE, 180, 200, ACK, BYE, 200.");
        Ok(())
    }

    /// A call every second; one that fails is told and counted.
    async fn calls(&mut self, cluster: &Cluster) -> Result<(), Problem> {
        println!("\nA call every second. Ctrl-C ends the lab; kill a node and see what happens.\n");
        let mut tick = tokio::time::interval(EVERY);
        let (mut number, mut failed) = (1_u64, 0_u64);
        tick.tick().await;
        loop {
            tick.tick().await;
            number += 1;
            match self.call(cluster).await {
                Ok(hops) => println!("call {number:4}  ok      {}", way(&hops)),
                Err(problem) => {
                    failed += 1;
                    println!("call {number:4}  FAILED  {problem} ({failed} so far)");
                }
            }
        }
    }

    async fn call(&mut self, cluster: &Cluster) -> Result<Vec<Hop>, Problem> {
        let (called, answered) = tokio::join!(self.alice.call("bob"), self.bob.answer());
        let (call_id, seen) = (called?, answered?);
        if call_id != seen {
            return Err(Problem::new("bob has answered another call"));
        }
        self.hops(cluster, &call_id)
    }

    /// What the phones and all nodes sent of a call, in the order of time.
    fn hops(&mut self, cluster: &Cluster, call_id: &str) -> Result<Vec<Hop>, Problem> {
        let mut hops = self.alice.take_sent(call_id);
        hops.extend(self.bob.take_sent(call_id));
        for node in cluster.edges.iter().chain(&cluster.cores) {
            let known = self.known.entry(node.name.clone()).or_default();
            let log = node.log_since(*known)?;
            *known += log.len() as u64;
            hops.extend(wire::sent_by(&node.name, &log, call_id));
        }
        hops.sort_by_key(|hop| hop.at);
        Ok(hops)
    }
}

/// A call in one line: how long, how many messages, which core.
fn way(hops: &[Hop]) -> String {
    let took = match (hops.first(), hops.last()) {
        (Some(first), Some(last)) => (last.at - first.at).as_secs_f64() * 1e3,
        _ => 0.0,
    };
    let mut cores: Vec<&str> =
        hops.iter().map(|hop| hop.from.as_str()).filter(|name| name.starts_with("core")).collect();
    cores.sort_unstable();
    cores.dedup();
    format!("{took:6.1} ms  {} messages  through {}", hops.len(), cores.join(" and "))
}
