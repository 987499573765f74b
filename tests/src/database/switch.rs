//! Networks of their own for the nodes of a database, joined by a switch whose cables can be pulled.
//!
//! A test begins with a network of its own, in which cores, edges and phones have loopback; each node of the database has
//! another one, with a cable to a bridge in that of the test. Nothing has a name in the system, and all of it ends with the
//! processes in it. Wants root, iproute2, nftables and util-linux.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use tokio::process::{Child, Command};

use super::server::output;
use crate::cluster::{Problem, poll};

/// Where a node of a database is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its address, which all others reach.
    pub address: Ipv4Addr,
    /// A process in its network; without one that of the test.
    pub network: Option<u32>,
}

impl Place {
    /// Beside the test.
    pub const LOOPBACK: Self = Self { address: Ipv4Addr::LOCALHOST, network: None };
}

/// The bridge, and a process that holds the network of each node.
#[derive(Debug)]
pub struct Switch {
    holders: Vec<Child>,
}

/// Whom a node cannot reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nobody is out of reach.
    Nothing,
    /// The other nodes; clients reach it.
    Nodes,
    /// Everybody.
    All,
}

/// How long one step may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs a test in a network of its own.
///
/// # Panics
///
/// The test has failed.
pub fn apart(test: impl AsyncFnOnce() -> Result<(), Problem> + Send) {
    let run = || -> Result<(), Problem> {
        // Of this thread, and of whatever it starts.
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| Problem::new(format!("no network: {error}")))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            ip("link set lo up").await?;
            test().await
        })
    };
    let ended = thread::scope(|scope| scope.spawn(run).join());
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(problem)) => panic!("{problem}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Switch {
    /// Networks for so many nodes, in a network that a test has [apart].
    ///
    /// # Errors
    ///
    /// A tool that is missing, or not root.
    pub async fn new(nodes: usize) -> Result<Self, Problem> {
        ip("link add hub type bridge stp_state 0 forward_delay 0").await?;
        ip("addr add 10.95.0.1/24 dev hub").await?;
        ip("link set hub up").await?;
        nft("add table bridge cut").await?;
        nft("add chain bridge cut through { type filter hook forward priority 0; }").await?;
        let mut switch = Self { holders: Vec::new() };
        for node in 0..nodes {
            let mut holder = Command::new("unshare");
            holder.args(["--net", "setpriv", "--pdeathsig", "KILL", "sleep", "infinity"]);
            switch.holders.push(holder.stdin(Stdio::null()).kill_on_drop(true).spawn()?);
            let process = switch.process(node)?;
            let has_moved = async || {
                let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
                (of(&process.to_string())? != of("thread-self")?).then_some(())
            };
            poll(LIMIT, has_moved).await.ok_or_else(|| Problem::new("a node has no network of its own"))?;
            ip(&format!("link add cable{node} type veth peer name eth0 netns {process}")).await?;
            ip(&format!("link set cable{node} master hub up")).await?;
            let address = switch.place(node)?.address;
            let inside =
                format!("ip addr add {address}/24 dev eth0 && ip link set eth0 up && ip link set lo up");
            let mut enter = Command::new("nsenter");
            enter.args(["-n", "-t", &process.to_string(), "sh", "-c", &inside]);
            output(&mut enter, LIMIT).await?;
        }
        Ok(switch)
    }

    /// Where the nodes are.
    ///
    /// # Errors
    ///
    /// The network of one is gone.
    pub fn places(&self) -> Result<Vec<Place>, Problem> {
        (0..self.holders.len()).map(|node| self.place(node)).collect()
    }

    /// Drops every packet between a node and those that are named. Nobody is told.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub async fn cut(&self, node: usize, from: Cut) -> Result<(), Problem> {
        nft("flush chain bridge cut through").await?;
        if from == Cut::Nodes {
            nft(&format!("add rule bridge cut through iifname cable{node} drop")).await?;
            nft(&format!("add rule bridge cut through oifname cable{node} drop")).await?;
        }
        let plug = if from == Cut::All { "nomaster" } else { "master hub" };
        ip(&format!("link set cable{node} {plug}")).await
    }

    fn place(&self, node: usize) -> Result<Place, Problem> {
        let last = u8::try_from(11 + node).map_err(|_| Problem::new("too many nodes"))?;
        Ok(Place { address: Ipv4Addr::new(10, 95, 0, last), network: Some(self.process(node)?) })
    }

    fn process(&self, node: usize) -> Result<u32, Problem> {
        let holder = self.holders.get(node).and_then(Child::id);
        holder.ok_or_else(|| Problem::new(format!("the network of node {} is gone", node + 1)))
    }
}

async fn ip(arguments: &str) -> Result<(), Problem> {
    output(Command::new("ip").args(arguments.split(' ')), LIMIT).await.map(drop)
}

async fn nft(rule: &str) -> Result<(), Problem> {
    output(Command::new("nft").arg(rule), LIMIT).await.map(drop)
}
