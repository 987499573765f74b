//! The program, in a folder of its own, and what its log says.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// Nothing here takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A running edge without cores; it ends with this.
pub(crate) struct Program {
    pub(crate) folder: TempDir,
    process: Child,
    log: Receiver<String>,
}

impl Program {
    /// Starts one with these settings and nothing else of this environment.
    pub(crate) fn start(folder: TempDir, settings: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_edge-proxy"))
            .current_dir(folder.path())
            .env_clear()
            .env("EDGE_ADMIN", "127.0.0.1:0")
            .envs(settings.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (line, log) = channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|it| line.send(it)));
        Self { folder, process, log }
    }

    /// Waits for the line of the log with `words` and gives what follows them there.
    pub(crate) fn says(&self, words: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let line = self.log.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("{error}: {words} is not in {seen:?}"));
            if let Some((_, rest)) = line.split_once(words) {
                return rest.trim().to_owned();
            }
            seen.push(line);
        }
    }

    /// SIGHUP, as `systemctl reload` sends it.
    pub(crate) fn reload(&self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
