//! A cluster of real processes: edges, cores, and between the cores a SQLite file, unless a plan has another database; on
//! loopback, or where a [`Site`] says.
//!
//! Every node has a certificate of one CA, the edges share their flow keys and the cores their cluster keys, so a node
//! that is killed and started again is the same node: flows, nonces and signed branches go on. What a node says goes
//! to `NAME.log` in the cluster's folder. The folder and all processes end with the [`Cluster`].
//!
//! A process can be looked at only from outside, so what is waited for (ready, linked, ended) is asked for again and
//! again, with a limit to the whole; nothing waits for time to pass.

mod binaries;
mod http;
mod poll;
mod ports;
mod problem;
mod process;
mod site;
mod space;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

pub use self::binaries::Binaries;
pub use self::poll::poll;
pub use self::ports::free_port;
pub use self::problem::Problem;
pub use self::process::{Node, Sockets};
pub use self::site::{Site, Spot};
pub use self::space::Namespace;

/// What kind of cluster.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many edges: `ep1`, `ep2`, …
    pub edges: usize,
    /// How many cores: `core1`, `core2`, …
    pub cores: usize,
    /// `RUST_LOG` of the nodes.
    pub filter: String,
    /// `LOG_FORMAT` of the nodes.
    pub format: String,
    /// Whether edges listen on TLS and WebSocket, too.
    pub every_transport: bool,
    /// More variables: `EDGE_…` for every edge, `CORE_…` for every core, `ep2/EDGE_…` for one node.
    pub settings: Vec<(String, String)>,
    /// Where the nodes run; without it on loopback.
    pub site: Option<Site>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            edges: 2,
            cores: 2,
            filter: "info".into(),
            format: "text".into(),
            every_transport: false,
            settings: Vec::new(),
            site: None,
        }
    }
}

impl Plan {
    /// What the plan sets takes the place of what a cluster sets.
    fn adjust(&self, node: &mut Node, prefix: &str) {
        for (variable, value) in &self.settings {
            let variable = match variable.split_once('/') {
                Some((name, variable)) if name == node.name => variable,
                Some(_) => continue,
                None => variable,
            };
            if variable.starts_with(prefix) {
                node.set(variable, value);
            }
        }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The edges.
    pub edges: Vec<Node>,
    /// The cores.
    pub cores: Vec<Node>,
    database: String,
    dir: TempDir,
}

/// The domain of every cluster. RFC 6761 §6.2: nobody's name.
pub const DOMAIN: &str = "cluster.test";

/// How long it may take until every node is ready and linked to all others.
const START: Duration = Duration::from_secs(20);
/// How long a node finishes what has begun. Short: no test waits for a transaction that nobody ends.
const GRACE: Duration = Duration::from_secs(2);

impl Cluster {
    /// Starts a cluster and waits until every edge is linked to every core.
    ///
    /// # Errors
    ///
    /// A node that did not start, with the end of its log.
    pub async fn start(plan: &Plan, binaries: &Binaries) -> Result<Self, Problem> {
        let mut cluster = Self::prepare(plan, binaries)?;
        cluster.start_all().await?;
        Ok(cluster)
    }

    /// A cluster that only has to be [started](Self::start_all).
    ///
    /// # Errors
    ///
    /// No certificates, or no ports.
    pub fn prepare(plan: &Plan, binaries: &Binaries) -> Result<Self, Problem> {
        let dir = tempfile::Builder::new().prefix("signalbox-").tempdir()?;
        let edges: Vec<String> = (1..=plan.edges).map(|n| format!("ep{n}")).collect();
        let cores: Vec<String> = (1..=plan.cores).map(|n| format!("core{n}")).collect();
        let names: Vec<&String> = edges.iter().chain(&cores).collect();
        link::make_certificates(&dir.path().join("certificates"), &names)?;
        let (flow_keys, cluster_keys) = (key(), key());
        let site = plan.site.clone().unwrap_or_default();

        let mut dialled = Vec::new();
        for at in 0..plan.cores {
            dialled.push(SocketAddr::from((site.core(at).address, free_port()?)).to_string());
        }
        let chosen = plan.settings.iter().find(|(variable, _)| variable == "CORE_DATABASE_URL");
        let file = || format!("sqlite:{}", dir.path().join("location.db").display());
        let database = chosen.map_or_else(file, |(_, url)| url.clone());
        let mut cluster = Self { edges: Vec::new(), cores: Vec::new(), database, dir };
        for (at, (name, link)) in cores.iter().zip(&dialled).enumerate() {
            let mut node = cluster.node(name, &binaries.core, "CORE", &site.core(at), plan)?;
            node.set("CORE_LINK_LISTEN", link);
            node.set("CORE_DATABASE_URL", &cluster.database);
            node.set("CORE_DOMAINS", DOMAIN);
            node.set("CORE_CLUSTER_KEYS", &cluster_keys);
            plan.adjust(&mut node, "CORE");
            cluster.cores.push(node);
        }
        for (at, name) in edges.iter().enumerate() {
            let spot = site.edge(at);
            let mut node = cluster.node(name, &binaries.edge, "EDGE", &spot, plan)?;
            let sip = match spot.sip {
                Some(sip) => sip,
                None => (spot.address, free_port()?).into(),
            };
            node.sip = Some(sip);
            node.set("EDGE_LISTEN", &format!("udp:{sip},tcp:{sip}"));
            if plan.every_transport {
                cluster.add_sockets(&mut node)?;
            }
            node.set("EDGE_CORES", &dialled.join(","));
            node.set("EDGE_FLOW_KEYS", &flow_keys);
            plan.adjust(&mut node, "EDGE");
            for (variable, value) in &spot.settings {
                node.set(variable, value);
            }
            cluster.edges.push(node);
        }
        Ok(cluster)
    }

    /// Has an edge listen on every transport.
    fn add_sockets(&self, node: &mut Node) -> Result<(), Problem> {
        let mut ports = [0; 3];
        for port in &mut ports {
            *port = free_port()?;
        }
        let [tls, wss, ws] = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let sip = node.sip();
        node.set("EDGE_LISTEN", &format!("udp:{sip},tcp:{sip},tls:{tls},wss:{wss},ws:{ws}"));
        let file = |end: &str| self.certificate(&format!("{}{end}.pem", node.name)).display().to_string();
        let (certificate, key) = (file(""), file("-key"));
        node.set("EDGE_TLS_CERT", &certificate);
        node.set("EDGE_TLS_KEY", &key);
        node.more = Some(Sockets { tls, wss, ws });
        Ok(())
    }

    /// A file among the certificates; `ca.pem` is what everybody believes.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.dir.path().join("certificates").join(name)
    }

    fn node(
        &self,
        name: &str,
        program: &Path,
        prefix: &str,
        spot: &Spot,
        plan: &Plan,
    ) -> Result<Node, Problem> {
        let file = |end: &str| self.certificate(end).display().to_string();
        let admin = SocketAddr::from((spot.address, free_port()?));
        let mut node = Node::new(name, program, admin, spot.space.clone(), self.dir.path());
        node.set("RUST_LOG", &plan.filter);
        node.set("LOG_FORMAT", &plan.format);
        for (variable, value) in [
            ("NAME", name.to_owned()),
            ("ADMIN", node.admin.to_string()),
            ("LINK_CA", file("ca.pem")),
            ("LINK_CERT", file(&format!("{name}.pem"))),
            ("LINK_KEY", file(&format!("{name}-key.pem"))),
            ("DRAIN_GRACE", format!("{}s", GRACE.as_secs())),
        ] {
            node.set(&format!("{prefix}_{variable}"), &value);
        }
        Ok(node)
    }

    /// Starts every node that doesn't run, and waits until all are linked.
    ///
    /// # Errors
    ///
    /// A node that did not start, with the end of its log.
    pub async fn start_all(&mut self) -> Result<(), Problem> {
        for node in self.nodes_mut() {
            node.spawn()?;
        }
        self.linked().await
    }

    /// Waits until every running edge is linked to every running core, as both sides see it.
    ///
    /// # Errors
    ///
    /// A node that has ended or does not get ready, with the end of its log.
    pub async fn linked(&mut self) -> Result<(), Problem> {
        let edges = self.edges.iter().filter(|node| node.is_running()).count();
        let cores = self.cores.iter().filter(|node| node.is_running()).count();
        for edge in self.edges.iter_mut().filter(|node| node.is_running()) {
            edge.wait_linked("edge_links", cores, START).await?;
        }
        for core in self.cores.iter_mut().filter(|node| node.is_running()) {
            core.wait_linked("core_links", edges, START).await?;
        }
        Ok(())
    }

    /// Ends every node in order (SIGTERM).
    ///
    /// # Errors
    ///
    /// A node that did not end in its grace period.
    pub async fn stop_all(&mut self) -> Result<(), Problem> {
        for node in self.nodes_mut() {
            node.terminate()?;
        }
        for node in self.nodes_mut() {
            node.ended(GRACE + START).await?;
        }
        Ok(())
    }

    /// Makes users of [`DOMAIN`] with their passwords, by the operator's command.
    ///
    /// # Errors
    ///
    /// What the command said.
    pub async fn add_users<'a>(
        &self,
        users: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), Problem> {
        let mut list = String::new();
        for (user, password) in users {
            let _ = writeln!(list, "{user}@{DOMAIN},{password}");
        }
        let output = self.command(&["user", "import", "-"], &list).await?;
        if output.status.success() {
            return Ok(());
        }
        Err(Problem::new(format!("user import: {}", String::from_utf8_lossy(&output.stderr))))
    }

    /// Runs a subcommand of `core-registrar` on the cluster's store, as on the host of the first core.
    ///
    /// # Errors
    ///
    /// It could not be run.
    pub async fn command(&self, arguments: &[&str], input: &str) -> Result<Output, Problem> {
        let core = self.cores.first().ok_or_else(|| Problem::new("a cluster without cores has no store"))?;
        let mut child = Command::new(core.program())
            .args(arguments)
            .env("CORE_DATABASE_URL", &self.database)
            .env("CORE_DOMAINS", DOMAIN)
            .env("CORE_ADMIN", core.admin.to_string())
            .env("CORE_ADMIN_TOKEN", core.setting("CORE_ADMIN_TOKEN"))
            .env("RUST_LOG", "warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        let feed = async {
            let fed = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
            fed
        };
        let (fed, output) = tokio::join!(feed, child.wait_with_output());
        let output = output?;
        if output.status.success() {
            fed?;
        }
        Ok(output)
    }

    /// The folder with the store, the certificates and the logs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.cores.iter_mut().chain(&mut self.edges)
    }
}

/// A fresh key as the nodes read it.
fn key() -> String {
    base64::engine::general_purpose::STANDARD.encode(node::clock::seed())
}
