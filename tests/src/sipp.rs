//! SIPp as a phone exchange: scenarios of `tests/sipp`, run as child processes, judged by their statistics files.
//!
//! The scenarios get every address as an argument, so they can be pointed at any other proxy and registrar.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::cluster::{DOMAIN, Problem, poll};

/// How long SIPp may take to open its socket.
const OPEN: Duration = Duration::from_secs(10);

/// One run of a scenario.
#[derive(Debug, Clone)]
pub struct Run<'a> {
    /// File in `tests/sipp` without its ending.
    pub scenario: &'a str,
    /// Scenario for requests of calls that SIPp did not begin itself.
    pub out_of_call: Option<&'a str>,
    /// Address of the phones; all of them share it.
    pub local: SocketAddr,
    /// Where the phones send to. `None`: they wait to be called.
    pub target: Option<SocketAddr>,
    /// Lines of the injection file, one for each call in turn.
    pub lines: &'a [String],
    /// Calls begun per second.
    pub rate: u32,
    /// Calls after which the run is over.
    pub calls: u32,
    /// How long a caller waits before it hangs up.
    pub hold: Duration,
    /// One TCP connection instead of UDP.
    pub tcp: bool,
    /// A message that the scenario does not expect is passed over instead of ending the call. SIPp knows only the last
    /// message again when it is repeated, so on a slow machine an earlier one would end what is going well.
    pub forgiving: bool,
}

/// What a run has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Calls begun.
    pub created: u32,
    /// Calls that went as the scenario says.
    pub successful: u32,
    /// Calls that did not.
    pub failed: u32,
    /// Messages sent again.
    pub retransmissions: u32,
}

/// A SIPp process.
#[derive(Debug)]
pub struct Sipp {
    scenario: String,
    base: PathBuf,
    child: Child,
}

impl Sipp {
    /// Starts a run; its files go to `dir`.
    ///
    /// # Errors
    ///
    /// SIPp is not there, or a file cannot be written.
    pub fn start(dir: &Path, run: &Run<'_>) -> Result<Self, Problem> {
        let base = dir.join(format!("sipp-{}-{}", run.scenario, run.local.port()));
        let with = |ending: &str| base.with_extension(ending);
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("sipp");
        let scenario = |name: &str| scenarios.join(name).with_extension("xml");
        for ending in ["statistics", "errors", "output"] {
            let _ = fs::remove_file(with(ending));
        }
        let mut command = Command::new("sipp");
        if let Some(target) = run.target {
            command.arg(target.to_string()).args(["-r", &run.rate.to_string(), "-l", "10000"]);
        }
        if let Some(name) = run.out_of_call {
            command.arg("-aa").arg("-oocsf").arg(scenario(name));
        }
        if run.forgiving {
            command.args(["-default_behaviors", "all,-abortunexp"]);
        }
        if !run.lines.is_empty() {
            fs::write(with("csv"), format!("SEQUENTIAL\n{}\n", run.lines.join("\n")))?;
            command.arg("-inf").arg(with("csv"));
        }
        let output = File::create(with("output"))?;
        command
            .arg("-sf")
            .arg(scenario(run.scenario))
            .args(["-i", &run.local.ip().to_string(), "-p", &run.local.port().to_string()])
            .args(["-t", if run.tcp { "t1" } else { "u1" }, "-m", &run.calls.to_string()])
            .args(["-key", "domain", DOMAIN, "-nostdin", "-buff_size", "4194304", "-deadcall_wait", "1000"])
            .args(["-d", &run.hold.as_millis().to_string()])
            // A busy machine is no reason to give up.
            .args(["-watchdog_minor_threshold", "60000", "-watchdog_major_threshold", "60000"])
            .args(["-trace_stat", "-fd", "1", "-trace_err"])
            .arg("-stf")
            .arg(with("statistics"))
            .arg("-error_file")
            .arg(with("errors"))
            .current_dir(dir)
            .env("TERM", "dumb")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| Problem::new(format!("sipp: {error}")))?;
        Ok(Self { scenario: run.scenario.to_owned(), base, child })
    }

    /// Waits until phones that are to be called have their socket.
    ///
    /// # Errors
    ///
    /// They have none after a while.
    pub async fn listening(self, local: SocketAddr) -> Result<Self, Problem> {
        // Linux: one line per socket, the local address in hexadecimal.
        let port = format!(":{:04X}", local.port());
        let bound = poll(OPEN, async || {
            let sockets = fs::read_to_string("/proc/net/udp").ok()?;
            let locals = sockets.lines().filter_map(|line| line.split_whitespace().nth(1));
            locals.into_iter().any(|address| address.ends_with(&port)).then_some(())
        });
        match bound.await {
            Some(()) => Ok(self),
            None => Err(self.problem("has no socket", self.outcome())),
        }
    }

    /// Waits for the end of the run.
    ///
    /// # Errors
    ///
    /// The run is not over within `limit`, or SIPp says that something failed; with what it has logged.
    pub async fn finish(mut self, limit: Duration) -> Result<Outcome, Problem> {
        let ended = timeout(limit, self.child.wait()).await;
        match ended {
            Ok(status) => {
                let (status, outcome) = (status?, self.outcome());
                if status.success() && outcome.failed == 0 {
                    return Ok(outcome);
                }
                Err(self.problem(&ended_with(status), outcome))
            }
            Err(_) => {
                self.child.kill().await?;
                let outcome = self.outcome();
                Err(self.problem(&format!("not over within {limit:?}"), outcome))
            }
        }
    }

    /// Waits for the end of a run that may have failed calls.
    ///
    /// # Errors
    ///
    /// The run is not over within `limit`, or SIPp did not get through it.
    pub async fn finish_with_failures(mut self, limit: Duration) -> Result<Outcome, Problem> {
        let ended = timeout(limit, self.child.wait()).await;
        let outcome = self.outcome();
        match ended {
            // 1: at least one call failed.
            Ok(Ok(status)) if matches!(status.code(), Some(0 | 1)) => Ok(outcome),
            Ok(status) => Err(self.problem(&ended_with(status?), outcome)),
            Err(_) => {
                self.child.kill().await?;
                Err(self.problem(&format!("not over within {limit:?}"), outcome))
            }
        }
    }

    /// Ends a run that would go on, at once.
    ///
    /// # Errors
    ///
    /// The process does not end.
    pub async fn kill(mut self) -> Result<Outcome, Problem> {
        self.child.kill().await?;
        Ok(self.outcome())
    }

    /// Waits until the statistics, written every second, fulfil a condition.
    ///
    /// # Errors
    ///
    /// They do not within `limit`.
    pub async fn reaches(
        &self,
        limit: Duration,
        condition: impl Fn(Outcome) -> bool,
    ) -> Result<Outcome, Problem> {
        let reached = poll(limit, async || Some(self.outcome()).filter(|outcome| condition(*outcome))).await;
        reached.ok_or_else(|| self.problem(&format!("not that far within {limit:?}"), self.outcome()))
    }

    /// What the statistics say now.
    pub fn outcome(&self) -> Outcome {
        let text = fs::read_to_string(self.base.with_extension("statistics")).unwrap_or_default();
        let mut lines = text.lines();
        let (Some(names), Some(values)) = (lines.next(), lines.next_back()) else {
            return Outcome::default();
        };
        let row: BTreeMap<&str, &str> = names.split(';').zip(values.split(';')).collect();
        let value = |name| row.get(name).and_then(|value| value.parse().ok()).unwrap_or(0);
        Outcome {
            created: value("TotalCallCreated"),
            successful: value("SuccessfulCall(C)"),
            failed: value("FailedCall(C)"),
            retransmissions: value("Retransmissions(C)"),
        }
    }

    fn problem(&self, what: &str, outcome: Outcome) -> Problem {
        let mut text = format!("sipp {}: {what}; {outcome:?}", self.scenario);
        for (ending, first, last) in [("errors", 60, 20), ("output", 0, 60)] {
            let log = fs::read(self.base.with_extension(ending)).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let log: Vec<&str> = log.lines().collect();
            let head = log.get(..first.min(log.len())).unwrap_or_default();
            let tail = log.get(log.len().saturating_sub(last).max(head.len())..).unwrap_or_default();
            text.push_str(&format!("\n--- {ending}\n{}\n[…]\n{}", head.join("\n"), tail.join("\n")));
        }
        Problem::new(text)
    }
}

fn ended_with(status: ExitStatus) -> String {
    match status.code() {
        Some(1) => "at least one call failed".into(),
        _ => format!("ended: {status}"),
    }
}
