//! One process of a database server.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::{Pid, User, geteuid};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::cluster::Problem;

/// A folder and a user for a server.
#[derive(Debug)]
pub(super) struct Home {
    dir: TempDir,
    /// `None`: whoever runs the tests.
    user: Option<User>,
}

impl Home {
    /// A new folder. Servers refuse to run as root, so then it belongs to the user `name` of their package.
    pub(super) fn new(name: &str) -> Result<Self, Problem> {
        let dir = tempfile::Builder::new().prefix("signalbox-db-").tempdir()?;
        let user = if geteuid().is_root() {
            let user = User::from_name(name).ok().flatten();
            Some(user.ok_or_else(|| Problem::new(format!("there is no user {name}")))?)
        } else {
            None
        };
        let home = Self { dir, user };
        home.give(home.path())?;
        Ok(home)
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A new folder in it.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, Problem> {
        let path = self.path().join(name);
        fs::create_dir_all(&path)?;
        self.give(&path)?;
        Ok(path)
    }

    pub(super) fn write(&self, path: &Path, text: &str) -> Result<(), Problem> {
        fs::write(path, text)?;
        self.give(path)
    }

    fn give(&self, path: &Path) -> Result<(), Problem> {
        if let Some(user) = &self.user {
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        Ok(())
    }

    /// A command as the user of the server.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_in(None, program)
    }

    /// A command as the user of the server, in the network of a process.
    pub(super) fn command_in(&self, network: Option<u32>, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(if network.is_some() { "nsenter".as_ref() } else { program.as_ref() });
        command.current_dir(self.path()).stdin(Stdio::null()).kill_on_drop(true).env("LC_ALL", "C.UTF-8");
        if let Some(user) = &self.user {
            command.env("HOME", self.path());
            // It is root who enters a network.
            match network {
                Some(_) => command.args([format!("-S{}", user.uid), format!("-G{}", user.gid)]),
                None => command.uid(user.uid.as_raw()).gid(user.gid.as_raw()),
            };
        }
        if let Some(process) = network {
            command.arg(format!("--net=/proc/{process}/ns/net")).arg("--").arg(program);
        }
        command
    }
}

/// What a command that succeeds prints.
pub(super) async fn output(command: &mut Command, limit: Duration) -> Result<String, Problem> {
    let shown = format!("{:?}", command.as_std().get_program());
    let ended = timeout(limit, command.stdin(Stdio::null()).output()).await;
    let ended = ended.map_err(|_| Problem::new(format!("{shown} does not end within {limit:?}")))?;
    let ended = ended.map_err(|error| Problem::new(format!("{shown}: {error}")))?;
    if ended.status.success() {
        Ok(String::from_utf8_lossy(&ended.stdout).trim().to_owned())
    } else {
        Err(Problem::new(format!("{shown}: {}", String::from_utf8_lossy(&ended.stderr))))
    }
}

/// A server process that is started, killed, frozen and started again.
#[derive(Debug)]
pub(super) struct Server {
    log: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// What it says goes to `log`.
    pub(super) fn new(log: PathBuf) -> Self {
        Self { log, child: None }
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    pub(super) fn spawn(&mut self, command: &mut Command) -> Result<(), Problem> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// The process and the processes that it has made.
    fn family(&self) -> Vec<Pid> {
        let Some(id) = self.child.as_ref().and_then(Child::id) else { return Vec::new() };
        let is_child = |stat: &str| {
            let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            after_name.split(' ').nth(1).and_then(|parent| parent.parse().ok()) == Some(id)
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let children = processes.filter_map(|entry| {
            let id: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            is_child(&stat).then(|| Pid::from_raw(id))
        });
        i32::try_from(id).map(Pid::from_raw).into_iter().chain(children).collect()
    }

    /// Sends a signal to the process and to those that it has made.
    pub(super) fn signal(&self, signal: Signal) {
        for process in self.family() {
            // One that has ended meanwhile needs no signal.
            let _ = signal::kill(process, signal);
        }
    }

    /// As a power cut: nothing is said to anybody.
    pub(super) async fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait().await;
        }
    }

    /// The end of what it has said, with `what`.
    pub(super) fn problem(&self, what: &str) -> Problem {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n");
        Problem::new(format!("{what}\n{tail}"))
    }
}

/// Children of a server outlive a process that is killed without a word.
impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// The text of a file of `deploy/`.
pub(super) fn deployed(name: &str) -> Result<String, Problem> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
    fs::read_to_string(&path).map_err(|error| Problem::new(format!("{}: {error}", path.display())))
}
