//! A Galera cluster: on loopback, or with a network for each node.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::server::{Home, Server, deployed, output};
use super::switch::Place;
use super::{Buffers, NAME};
use crate::cluster::{Problem, free_port, poll};

/// Nodes that all take writes, each with a copy of everything.
#[derive(Debug)]
pub struct Galera {
    nodes: Vec<Node>,
    home: Home,
}

#[derive(Debug)]
struct Node {
    server: Server,
    place: Place,
    port: u16,
    dir: PathBuf,
}

/// How long a node may take to become part of the cluster, with all data from another one.
const JOIN: Duration = Duration::from_secs(90);
/// How long a statement of a test may take.
const STATEMENT: Duration = Duration::from_secs(20);

impl Galera {
    /// Starts a cluster on loopback with an empty database for cores.
    ///
    /// # Errors
    ///
    /// A part that is not installed, or does not start.
    pub async fn start(count: usize, buffers: Buffers) -> Result<Self, Problem> {
        Self::start_at(&vec![Place::LOOPBACK; count], buffers).await
    }

    /// Starts a cluster with a node in each place.
    ///
    /// # Errors
    ///
    /// A part that is not installed, or does not start.
    pub async fn start_at(places: &[Place], buffers: Buffers) -> Result<Self, Problem> {
        let home = Home::new("mysql")?;
        let mut ports = Vec::new();
        for place in places {
            ports.push((*place, [free_port()?, free_port()?, free_port()?, free_port()?]));
        }
        let members: Vec<_> =
            ports.iter().map(|(place, [_, group, ..])| format!("{}:{group}", place.address)).collect();
        let mut nodes = Vec::new();
        for (n, (place, ports)) in ports.iter().enumerate() {
            let dir = home.folder(&format!("node{}", n + 1))?;
            for folder in ["data", "tmp"] {
                home.folder(&format!("node{}/{folder}", n + 1))?;
            }
            let text = configuration(&dir, place.address, *ports, &members.join(","), buffers)?;
            home.write(&dir.join("my.cnf"), &text)?;
            let install = format!("--datadir={}", dir.join("data").display());
            let options =
                ["--no-defaults", &install, "--auth-root-authentication-method=normal", "--skip-test-db"];
            output(home.command("mariadb-install-db").args(options), STATEMENT).await?;
            nodes.push(Node { server: Server::new(dir.join("out.log")), place: *place, port: ports[0], dir });
        }
        let mut galera = Self { nodes, home };
        galera.spawn(0, &["--wsrep-new-cluster"])?;
        galera.joined(0).await?;
        let users = format!(
            "CREATE USER {NAME}@'%' IDENTIFIED BY '{NAME}'; GRANT ALL ON *.* TO {NAME}@'%'; CREATE DATABASE {NAME}"
        );
        galera.sql(0, &users).await?;
        for node in 1..places.len() {
            galera.spawn(node, &[])?;
            galera.joined(node).await?;
        }
        Ok(galera)
    }

    /// The nodes from `first` on, without a database.
    pub fn servers(&self, first: usize) -> Vec<String> {
        let (before, after) = self.nodes.split_at(first.min(self.nodes.len()));
        let url = |node: &Node| format!("mysql://{NAME}:{NAME}@{}:{}", node.place.address, node.port);
        after.iter().chain(before).map(url).collect()
    }

    /// What a core is told: all nodes, `first` the preferred one.
    pub fn url(&self, first: usize) -> String {
        self.servers(first).iter().map(|server| format!("{server}/{NAME}")).collect::<Vec<_>>().join(",")
    }

    /// Runs SQL on a node, past the network, and gives what it prints.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn sql(&self, node: usize, sql: &str) -> Result<String, Problem> {
        let socket = self.nodes[node].dir.join("s");
        let mut client = tokio::process::Command::new("mariadb");
        client
            .args(["--no-defaults", "-uroot", "-NB", "-S"])
            .arg(socket)
            .args(["-e", sql])
            .kill_on_drop(true);
        output(&mut client, STATEMENT).await
    }

    /// Ends a node as a power cut does.
    pub async fn kill(&mut self, node: usize) {
        self.nodes[node].server.kill().await;
    }

    /// Starts a node that was killed, and waits until it has all data again.
    ///
    /// # Errors
    ///
    /// It does not come back.
    pub async fn rejoin(&mut self, node: usize) -> Result<(), Problem> {
        // Without its position a node that was killed would take all data from another one.
        let dir = self.nodes[node].dir.clone();
        let log = dir.join("recover.log");
        let mut recover = self.home.command(program());
        recover.arg(defaults(&dir)).arg("--wsrep-recover").arg(format!("--log-error={}", log.display()));
        output(&mut recover, STATEMENT).await?;
        let text = std::fs::read_to_string(&log)?;
        let position =
            text.lines().rev().find_map(|line| Some(line.split_once("Recovered position:")?.1.trim()));
        let option = format!("--wsrep_start_position={}", position.unwrap_or_default());
        self.spawn(node, &[&option])?;
        self.joined(node).await
    }

    /// Stops every process of a node, so that it is silent; or lets it go on.
    pub fn freeze(&self, node: usize, is_frozen: bool) {
        self.nodes[node].server.signal(if is_frozen { Signal::SIGSTOP } else { Signal::SIGCONT });
    }

    /// Cuts a node off from the others, or ends that. Clients reach it all the time.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn isolate(&self, node: usize, is_cut_off: bool) -> Result<(), Problem> {
        let sql = format!("SET GLOBAL wsrep_provider_options = 'gmcast.isolate={}'", u8::from(is_cut_off));
        self.sql(node, &sql).await.map(drop)
    }

    /// Waits until a node has all data and takes writes.
    ///
    /// # Errors
    ///
    /// It does not.
    pub async fn joined(&mut self, node: usize) -> Result<(), Problem> {
        let is_synced = async || {
            let is_dead = !self.nodes[node].server.is_running();
            let status = "SHOW STATUS WHERE Variable_name IN ('wsrep_local_state_comment', 'wsrep_ready')";
            let said = self.sql(node, status).await.unwrap_or_default();
            (is_dead || (said.contains("Synced") && said.contains("ON"))).then_some(is_dead)
        };
        match poll(JOIN, is_synced).await {
            Some(false) => Ok(()),
            Some(true) => Err(self.problem(node, "has ended")),
            None => Err(self.problem(node, "is not synced")),
        }
    }

    fn problem(&self, node: usize, what: &str) -> Problem {
        self.nodes[node].server.problem(&format!("MariaDB node {} {what}", node + 1))
    }

    fn spawn(&mut self, node: usize, options: &[&str]) -> Result<(), Problem> {
        let mut command = self.home.command_in(self.nodes[node].place.network, program());
        let Node { server, dir, .. } = &mut self.nodes[node];
        server.spawn(command.arg(defaults(dir)).args(options))
    }
}

fn defaults(dir: &Path) -> String {
    format!("--defaults-file={}", dir.join("my.cnf").display())
}

/// Debian keeps servers where users do not look.
fn program() -> &'static str {
    let places = ["/usr/sbin/mariadbd", "/usr/libexec/mariadbd"];
    places.into_iter().find(|place| Path::new(place).exists()).unwrap_or("mariadbd")
}

/// The settings of `deploy/`, and what makes this node one of several on one machine.
fn configuration(
    dir: &Path,
    host: Ipv4Addr,
    ports: [u16; 4],
    members: &str,
    buffers: Buffers,
) -> Result<String, Problem> {
    let [port, group, increments, data] = ports;
    let deployed = deployed("mariadb/galera.cnf")?.replace(
        "wsrep_provider_options = \"",
        &format!(
            "wsrep_provider_options = \"gmcast.listen_addr=tcp://{host}:{group};ist.recv_addr={host}:{increments};"
        ),
    );
    let dir = dir.display();
    let limit = if buffers == Buffers::Small { "innodb_buffer_pool_size=128M\n" } else { "" };
    Ok(format!(
        "{deployed}\ndatadir={dir}/data\nsocket={dir}/s\npid-file={dir}/pid\ntmpdir={dir}/tmp\nport={port}\n\
        bind-address={host}\n{limit}wsrep_cluster_address=gcomm://{members}\n\
        wsrep_node_address={host}:{group}\nwsrep_node_incoming_address={host}:{port}\n\
        wsrep_sst_receive_address={host}:{data}\n"
    ))
}
