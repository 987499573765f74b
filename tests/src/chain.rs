//! Chains with another product: Debian's Kamailio as the registrar behind an edge, or as the proxy in front of one.
//!
//! Wants the package `kamailio`, so [`run`] does nothing unless `SIGNALBOX_KAMAILIO=1`, as `tests/run` sets it. Kamailio has
//! addresses of its own on loopback, so that nobody takes the phones for it.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::cluster::{Problem, free_port, poll};

/// Where Debian has it.
const PROGRAM: &str = "/usr/sbin/kamailio";
/// How long it may take to open its sockets, or to close them.
const LIMIT: Duration = Duration::from_secs(15);
/// One test at a time: the machine is small.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs a test when these tests are asked for.
///
/// # Panics
///
/// The test has failed.
pub fn run(test: impl AsyncFnOnce() -> Result<(), Problem>) {
    if env::var_os("SIGNALBOX_KAMAILIO").is_none_or(|wanted| wanted != "1") {
        // Not by a macro: a passed test's print would not be seen.
        let _ = writeln!(std::io::stderr(), "not run: tests with Kamailio want SIGNALBOX_KAMAILIO=1");
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = node::runtime::build(1).expect("a runtime");
    if let Err(problem) = runtime.block_on(test()) {
        panic!("{problem}");
    }
}

/// A Kamailio, with a configuration of `tests/kamailio`. It ends with the value.
#[derive(Debug)]
pub struct Kamailio {
    /// Where it listens, UDP and TCP.
    pub address: SocketAddr,
    config: PathBuf,
    defines: Vec<String>,
    dir: PathBuf,
    child: Option<Child>,
}

impl Kamailio {
    /// One with this configuration on 127.0.0.`host`, not started. `defines` are what the configuration wants to know; its
    /// files go to `dir`.
    ///
    /// # Errors
    ///
    /// No free port, or no folder.
    pub fn new(name: &str, host: u8, dir: &Path, defines: &[(&str, &str)]) -> Result<Self, Problem> {
        let address = SocketAddr::from(([127, 0, 0, host], free_port()?));
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("kamailio").join(format!("{name}.cfg"));
        let dir = dir.join(format!("kamailio-{host}"));
        fs::create_dir_all(&dir)?;
        let mut all: Vec<String> =
            defines.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        all.push(format!("SOURCE_S={}", address.ip()));
        all.push(format!("CTL_S=\"unix:{}\"", dir.join("ctl").display()));
        Ok(Self { address, config, defines: all, dir, child: None })
    }

    /// Starts it, with nothing of what it knew, and waits until it listens.
    ///
    /// # Errors
    ///
    /// It does not, with the end of its log.
    pub async fn start(&mut self) -> Result<(), Problem> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(PROGRAM);
        command.args(["-DD", "-E", "-m", "32", "-M", "4", "-Y"]).arg(&self.dir).arg("-f").arg(&self.config);
        for protocol in ["udp", "tcp"] {
            command.arg("-l").arg(format!("{protocol}:{}", self.address));
        }
        for define in &self.defines {
            command.arg("-A").arg(define);
        }
        // A group of its own: it makes processes, which must end with it.
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| Problem::new(format!("{PROGRAM}: {error}")))?;
        self.child = Some(child);
        let address = self.address;
        let listens = poll(LIMIT, async || TcpStream::connect(address).await.ok());
        listens.await.map(drop).ok_or_else(|| self.problem("does not listen"))
    }

    /// Ends all of it at once.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub async fn kill(&mut self) -> Result<(), Problem> {
        self.end();
        if let Some(mut child) = self.child.take() {
            child.wait().await?;
        }
        Ok(())
    }

    /// What `kamcmd` says to a command.
    ///
    /// # Errors
    ///
    /// The command failed.
    pub async fn command(&self, words: &[&str]) -> Result<String, Problem> {
        let socket = format!("unix:{}", self.dir.join("ctl").display());
        let output = Command::new("kamcmd").args(["-s", &socket]).args(words).output().await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(self.problem(&format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr))))
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn end(&self) {
        // A child that has not been waited for keeps its number, so nobody else is hit.
        let id = self.child.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }

    fn problem(&self, what: &str) -> Problem {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n");
        Problem::new(format!("Kamailio at {} {what}\n{tail}", self.address))
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        self.end();
    }
}
