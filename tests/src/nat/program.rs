//! A program that somebody else wrote, run on a host of the network, told what to do by lines and watched by lines.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::cluster::{Namespace, Problem, poll};

/// A running program. It ends with the value.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    stdin: ChildStdin,
    lines: Arc<Mutex<Vec<String>>>,
    /// Lines that [`says`](Self::says) has gone past.
    seen: usize,
}

/// What baresip says of a call ten times a second.
const NOISE: &str = "(bit/s)";
/// How many lines are shown when something went wrong.
const TAIL: usize = 60;

impl Program {
    /// Starts a program with its arguments on a host; `home` is its home directory and the current one.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(space: &Namespace, home: &Path, line: &[&str]) -> Result<Self, Problem> {
        let (program, arguments) = line.split_first().ok_or_else(|| Problem::new("no program"))?;
        let mut command: Command = Namespace::command(Some(space), program);
        let mut child = command
            .args(arguments)
            .current_dir(home)
            .env("HOME", home)
            .env("TERM", "dumb")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || Problem::new("no pipe");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(collect(child.stdout.take().ok_or_else(missing)?, Arc::clone(&lines)));
        tokio::spawn(collect(child.stderr.take().ok_or_else(missing)?, Arc::clone(&lines)));
        Ok(Self { name: (*program).to_owned(), child, stdin, lines, seen: 0 })
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub async fn tell(&mut self, line: &str) -> Result<(), Problem> {
        let told = self.stdin.write_all(format!("{line}\n").as_bytes()).await;
        if told.is_err() {
            return Err(self.problem(&format!("does not take `{line}`")));
        }
        Ok(())
    }

    /// Waits for a line that has all these words, among those that came after the line found before; gives it.
    ///
    /// # Errors
    ///
    /// No such line within `limit`.
    pub async fn says(&mut self, words: &[&str], limit: Duration) -> Result<String, Problem> {
        let seen = self.seen;
        let found = poll(limit, async || {
            let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let new = lines.iter().enumerate().skip(seen);
            new.into_iter()
                .find(|(_, line)| words.iter().all(|word| line.contains(word)))
                .map(|(at, line)| (at, line.clone()))
        });
        let Some((at, line)) = found.await else {
            return Err(self.problem(&format!("does not say {words:?} within {limit:?}")));
        };
        self.seen = at + 1;
        Ok(line)
    }

    /// Ends it at once.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub async fn kill(mut self) -> Result<(), Problem> {
        self.child.kill().await?;
        Ok(())
    }

    /// What went wrong, with the last that it has said.
    pub fn problem(&self, what: &str) -> Problem {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n");
        Problem::new(format!("{} {what}\n{tail}", self.name))
    }
}

async fn collect(pipe: impl AsyncRead + Unpin, lines: Arc<Mutex<Vec<String>>>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while pipe.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line);
        // What a program writes over and over in one line of a terminal.
        let parts =
            text.split('\r').map(str::trim_end).filter(|part| !part.is_empty() && !part.contains(NOISE));
        lines.lock().unwrap_or_else(PoisonError::into_inner).extend(parts.map(str::to_owned));
        line.clear();
    }
}
