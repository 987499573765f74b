//! A PostgreSQL primary with synchronous standbys on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::server::{Home, Server, deployed, output};
use super::{Buffers, NAME};
use crate::cluster::{Problem, free_port, poll};

/// A primary, and standbys one of which has every commit before it is acknowledged.
#[derive(Debug)]
pub struct Postgres {
    nodes: Vec<Node>,
    home: Home,
    programs: PathBuf,
    buffers: Buffers,
}

#[derive(Debug)]
struct Node {
    server: Server,
    port: u16,
    dir: PathBuf,
}

/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);
/// How long a command of a test may take.
const STATEMENT: Duration = Duration::from_secs(30);

impl Postgres {
    /// Starts a primary and its standbys, with an empty database for cores.
    ///
    /// # Errors
    ///
    /// A part that is not installed, or does not start.
    pub async fn start(count: usize, buffers: Buffers) -> Result<Self, Problem> {
        let home = Home::new("postgres")?;
        let mut nodes = Vec::new();
        for n in 1..=count {
            let dir = home.path().join(format!("node{n}"));
            let server = Server::new(home.path().join(format!("node{n}.log")));
            nodes.push(Node { server, port: free_port()?, dir });
        }
        let mut postgres = Self { nodes, home, programs: programs()?, buffers };
        postgres.make_primary().await?;
        for standby in 1..count {
            postgres.clone_of(0, standby).await?;
            postgres.run(standby).await?;
        }
        postgres.synchronous(0, count > 1).await?;
        Ok(postgres)
    }

    /// The nodes from `first` on, without a database.
    pub fn servers(&self, first: usize) -> Vec<String> {
        let (before, after) = self.nodes.split_at(first.min(self.nodes.len()));
        let url = |node: &Node| format!("postgres://{NAME}:{NAME}@127.0.0.1:{}", node.port);
        after.iter().chain(before).map(url).collect()
    }

    /// What a core is told: all nodes, `first` on top.
    pub fn url(&self, first: usize) -> String {
        self.servers(first).iter().map(|server| format!("{server}/{NAME}")).collect::<Vec<_>>().join(",")
    }

    /// Runs SQL on a node, past the network, and gives what it prints.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn sql(&self, node: usize, database: &str, sql: &str) -> Result<String, Problem> {
        let Node { port, .. } = &self.nodes[node];
        let mut client = self.home.command(self.programs.join("psql"));
        client.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, "-p", &port.to_string(), "-c", sql]);
        output(client.arg("-h").arg(self.home.path()), STATEMENT).await
    }

    /// Ends a node as a power cut does.
    pub async fn kill(&mut self, node: usize) {
        self.nodes[node].server.kill().await;
    }

    /// Stops every process of a node, so that it is silent; or lets it go on.
    pub fn freeze(&self, node: usize, is_frozen: bool) {
        self.nodes[node].server.signal(if is_frozen { Signal::SIGSTOP } else { Signal::SIGCONT });
    }

    /// Makes a standby the primary. It waits for no standby then, as there is none.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn promote(&self, node: usize) -> Result<(), Problem> {
        self.synchronous(node, false).await?;
        self.sql(node, "postgres", "SELECT pg_promote(true, 30)").await.map(drop)
    }

    /// Starts a node that was killed, as what it was.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub async fn restart(&mut self, node: usize) -> Result<(), Problem> {
        let _ = fs::remove_file(self.nodes[node].dir.join("postmaster.pid"));
        self.run(node).await
    }

    /// Makes a node that was killed a standby of `primary`, with a new copy of everything, and has commits wait for it.
    ///
    /// # Errors
    ///
    /// It does not come back.
    pub async fn rejoin(&mut self, node: usize, primary: usize) -> Result<(), Problem> {
        self.nodes[node].server.kill().await;
        fs::remove_dir_all(&self.nodes[node].dir)?;
        self.clone_of(primary, node).await?;
        self.run(node).await?;
        self.synchronous(primary, true).await
    }

    async fn make_primary(&mut self) -> Result<(), Problem> {
        let dir = self.nodes[0].dir.clone();
        let mut init = self.home.command(self.programs.join("initdb"));
        output(init.arg("-D").arg(&dir).args(["--auth=trust", "-E", "UTF8"]), START).await?;
        self.configure(0)?;
        self.run(0).await?;
        let sql = format!("CREATE USER {NAME} SUPERUSER PASSWORD '{NAME}'");
        self.sql(0, "postgres", &sql).await?;
        self.sql(0, "postgres", &format!("CREATE DATABASE {NAME} OWNER {NAME}")).await.map(drop)
    }

    fn configure(&self, node: usize) -> Result<(), Problem> {
        let Node { port, dir, .. } = &self.nodes[node];
        let limit = if self.buffers == Buffers::Small { "shared_buffers = 128MB\n" } else { "" };
        let text = format!(
            "{}\nlisten_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\n{limit}",
            deployed("postgresql/signalbox.conf")?,
            self.home.path().display()
        );
        self.home.write(&dir.join("postgresql.conf"), &text)
    }

    async fn clone_of(&self, primary: usize, node: usize) -> Result<(), Problem> {
        let Node { dir, .. } = &self.nodes[node];
        let source = format!(
            "host=127.0.0.1 port={} user={NAME} application_name=node{}",
            self.nodes[primary].port,
            node + 1
        );
        let mut copy = self.home.command(self.programs.join("pg_basebackup"));
        copy.arg("-D").arg(dir).args(["-X", "stream", "-c", "fast", "-d", &source]);
        output(&mut copy, START).await?;
        self.configure(node)?;
        self.home.write(&dir.join("standby.signal"), "")?;
        let settings = format!("primary_conninfo = '{source}'\nsynchronous_standby_names = ''\n");
        self.home.write(&dir.join("postgresql.auto.conf"), &settings)
    }

    /// Whether commits of `primary` wait for another node; waits until one is there.
    async fn synchronous(&self, primary: usize, is_on: bool) -> Result<(), Problem> {
        let others = (1..=self.nodes.len()).filter(|n| *n != primary + 1).map(|n| format!("node{n}"));
        let names =
            if is_on { format!("ANY 1 ({})", others.collect::<Vec<_>>().join(", ")) } else { String::new() };
        self.sql(primary, "postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"))
            .await?;
        self.sql(primary, "postgres", "SELECT pg_reload_conf()").await?;
        let wanted = if is_on { "quorum" } else { "" };
        let is_so = async || {
            let states = "SELECT sync_state FROM pg_stat_replication WHERE sync_state = 'quorum' LIMIT 1";
            (self.sql(primary, "postgres", states).await.ok()? == wanted).then_some(())
        };
        poll(START, is_so).await.ok_or_else(|| Problem::new("no standby is synchronous"))
    }

    async fn run(&mut self, node: usize) -> Result<(), Problem> {
        let mut command = self.home.command(self.programs.join("postgres"));
        let Node { server, dir, .. } = &mut self.nodes[node];
        server.spawn(command.arg("-D").arg(dir))?;
        let is_up = async || self.sql(node, "postgres", "SELECT 1").await.ok();
        match poll(START, is_up).await {
            Some(_) => Ok(()),
            None => {
                Err(self.nodes[node].server.problem(&format!("PostgreSQL node {} does not start", node + 1)))
            }
        }
    }
}

/// Where Debian keeps the newest version.
fn programs() -> Result<PathBuf, Problem> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    let version = |bin: &PathBuf| bin.parent().and_then(Path::file_name)?.to_str()?.parse::<u32>().ok();
    found
        .max_by_key(version)
        .ok_or_else(|| Problem::new("PostgreSQL is missing: install the package postgresql"))
}
