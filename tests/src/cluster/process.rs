//! One process of a cluster.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::timeout;

use super::poll::poll;
use super::{Namespace, Problem, http};

/// A node: its settings stay when the process ends, so the same node can be started again.
#[derive(Debug)]
pub struct Node {
    /// Unique name.
    pub name: String,
    /// The administration socket.
    pub admin: SocketAddr,
    /// The SIP socket of an edge, UDP and TCP.
    pub sip: Option<SocketAddr>,
    /// More sockets of an edge, if the plan wants them.
    pub more: Option<Sockets>,
    program: PathBuf,
    space: Option<Namespace>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

/// Where an edge listens besides UDP and TCP, with the certificate that it has for its links.
#[derive(Debug, Clone, Copy)]
pub struct Sockets {
    /// Phones that encrypt.
    pub tls: SocketAddr,
    /// Browsers.
    pub wss: SocketAddr,
    /// Browsers behind something else that encrypts.
    pub ws: SocketAddr,
}

/// How long a node may take to read again what has changed.
const RELOAD: Duration = Duration::from_secs(5);
/// How much of a log is shown when something went wrong.
const TAIL: usize = 30;

impl Node {
    pub(super) fn new(
        name: &str,
        program: &Path,
        admin: SocketAddr,
        space: Option<Namespace>,
        dir: &Path,
    ) -> Self {
        Self {
            name: name.to_owned(),
            admin,
            sip: None,
            more: None,
            program: program.to_owned(),
            space,
            environment: Vec::new(),
            log: dir.join(format!("{name}.log")),
            child: None,
        }
    }

    /// Sets a variable for the next start; a later value takes the place of an earlier one.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.environment.push((variable.to_owned(), value.to_owned()));
    }

    /// What a variable is set to; empty when it is not.
    pub(super) fn setting(&self, variable: &str) -> &str {
        let last = self.environment.iter().rev().find(|(name, _)| name == variable);
        last.map_or("", |(_, value)| value)
    }

    /// The SIP address of an edge.
    ///
    /// # Panics
    ///
    /// The node is a core.
    pub fn sip(&self) -> SocketAddr {
        self.sip.expect("only an edge has a SIP socket")
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Starts the process, unless it runs. Its log is continued.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn spawn(&mut self) -> Result<(), Problem> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Namespace::command(self.space.as_ref(), &self.program)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Problem::new(format!("{}: {error}", self.program.display())))?;
        self.child = Some(child);
        Ok(())
    }

    /// Was started and has not been seen to end.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Ends the process at once (SIGKILL).
    ///
    /// # Errors
    ///
    /// It did not end.
    pub async fn kill(&mut self) -> Result<(), Problem> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Ends the process in order (SIGTERM) and waits for it.
    ///
    /// # Errors
    ///
    /// It did not end within `limit`, or not with success.
    pub async fn stop(&mut self, limit: Duration) -> Result<(), Problem> {
        self.terminate()?;
        self.ended(limit).await
    }

    /// Asks the process to read again what it can (SIGHUP), and waits until its log has these words once more.
    ///
    /// # Errors
    ///
    /// It does not say so.
    pub async fn reload(&self, words: &str) -> Result<(), Problem> {
        let known = self.log().len() as u64;
        self.signal(Signal::SIGHUP)?;
        let said = async || self.log_since(known).is_ok_and(|log| log.contains(words)).then_some(());
        poll(RELOAD, said).await.ok_or_else(|| self.problem(&format!("does not say {words:?}")))
    }

    pub(super) fn terminate(&self) -> Result<(), Problem> {
        self.signal(Signal::SIGTERM)
    }

    fn signal(&self, signal: Signal) -> Result<(), Problem> {
        // A child that has not been waited for keeps its number, so nobody else is hit.
        let Some(id) = self.child.as_ref().and_then(Child::id) else { return Ok(()) };
        let id = i32::try_from(id).map_err(|_| Problem::new("a process number out of range"))?;
        signal::kill(Pid::from_raw(id), signal).map_err(|error| Problem::new(error.to_string()))
    }

    pub(super) async fn ended(&mut self, limit: Duration) -> Result<(), Problem> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let ended = timeout(limit, child.wait()).await;
        match ended {
            Ok(status) => {
                self.child = None;
                let status = status?;
                if status.success() { Ok(()) } else { Err(self.died(status)) }
            }
            Err(_) => Err(self.problem(&format!("does not end within {limit:?}"))),
        }
    }

    /// Waits until the node is ready and its gauge `links` says `count`.
    pub(super) async fn wait_linked(
        &mut self,
        links: &str,
        count: usize,
        limit: Duration,
    ) -> Result<(), Problem> {
        let expected = format!("{links} {count}");
        let is_linked = async || {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                return Some(Err(status));
            }
            let (status, _) = http::get(self.admin, self.space.as_ref(), "/ready").await?;
            let (_, metrics) = http::get(self.admin, self.space.as_ref(), "/metrics").await?;
            (status == 200 && metrics.lines().any(|line| line == expected)).then_some(Ok(()))
        };
        match poll(limit, is_linked).await {
            Some(Ok(())) => Ok(()),
            Some(Err(status)) => {
                self.child = None;
                Err(self.died(status))
            }
            None => Err(self.problem(&format!("is not ready with {expected} within {limit:?}"))),
        }
    }

    /// One page of the administration socket.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn page(&self, path: &str) -> Result<(u16, String), Problem> {
        let answer = http::get(self.admin, self.space.as_ref(), path).await;
        answer.ok_or_else(|| Problem::new(format!("{}: no answer to GET {path}", self.name)))
    }

    /// The value of a metric without labels.
    ///
    /// # Errors
    ///
    /// There is no answer, or no such metric.
    pub async fn metric(&self, name: &str) -> Result<f64, Problem> {
        let (_, page) = self.page("/metrics").await?;
        page.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
            .ok_or_else(|| Problem::new(format!("{}: no metric {name}", self.name)))
    }

    /// All that the node has logged, over all its starts.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// What the node has logged beyond the first `known` bytes.
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub fn log_since(&self, known: u64) -> Result<String, Problem> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(known))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    }

    fn died(&self, status: ExitStatus) -> Problem {
        self.problem(&format!("has ended: {status}"))
    }

    fn problem(&self, what: &str) -> Problem {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n");
        Problem::new(format!("{} {what}\n{tail}", self.name))
    }
}
