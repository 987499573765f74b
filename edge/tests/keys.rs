//! Flow keys on the real program: a file that the operator changes, SIGHUP, and what becomes of tokens (RFC 5626 §5.3.1).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use transport::Flow;
use transport::token::Keys;

/// Keys as the file has them: 32 octets 1, 2 and 3 in base64.
const ONE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running edge without cores, in a folder of its own, and a phone.
struct Bench {
    process: Child,
    log: Receiver<String>,
    folder: tempfile::TempDir,
    edge: SocketAddr,
    phone: UdpSocket,
    number: u32,
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("keys"), ONE).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_edge-proxy"))
            .current_dir(folder.path())
            .env_clear()
            .env("EDGE_ADMIN", "127.0.0.1:0")
            .env("EDGE_LISTEN", "udp:127.0.0.1:0")
            .env("EDGE_FLOW_KEYS_FILE", "keys")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (line, log) = channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|it| line.send(it)));
        let edge = says(&log, "listening listener=udp:").parse().unwrap();
        says(&log, "edge is up");
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        phone.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { process, log, folder, edge, phone, number: 0 }
    }

    /// Writes the file and asks the edge to read it, up to the line with `words`; gives what follows them there.
    fn change(&mut self, keys: &str, words: &str) -> String {
        fs::write(self.folder.path().join("keys"), keys).unwrap();
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
        says(&self.log, words)
    }

    /// The status of a request with a token of `key` in its Route: 503 when it is taken, since there is no core.
    fn status(&mut self, key: u8) -> u16 {
        self.number += 1;
        let local = self.phone.local_addr().unwrap();
        let token = Keys::new(&[key; 32], None).unwrap().mint(&Flow::udp(self.edge, local));
        let (edge, number) = (self.edge, self.number);
        let bye = format!(
            "BYE sip:bob@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bK{number}\r\n\
             Route: <sip:{token}@{edge};lr>\r\nMax-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=1\r\n\
             To: <sip:b@example.com>;tag=2\r\nCall-ID: keys\r\nCSeq: {number} BYE\r\nContent-Length: 0\r\n\r\n"
        );
        self.phone.send_to(bye.as_bytes(), edge).unwrap();
        let mut answer = [0; 2_000];
        loop {
            let length = self.phone.recv(&mut answer).unwrap();
            let text = String::from_utf8_lossy(&answer[..length]).into_owned();
            if text.contains(&format!("branch=z9hG4bK{number}\r\n"))
                || text.contains(&format!("branch=z9hG4bK{number};"))
            {
                return text["SIP/2.0 ".len()..][..3].parse().unwrap();
            }
        }
    }
}

/// Waits for the line of the log with `words` and gives what follows them there.
fn says(log: &Receiver<String>, words: &str) -> String {
    let mut seen = Vec::new();
    loop {
        let line = log.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|error| panic!("{error}: {words} is not in {seen:?}"));
        if let Some((_, rest)) = line.split_once(words) {
            return rest.trim().to_owned();
        }
        seen.push(line);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn sighup_brings_other_flow_keys_in() {
    let mut bench = Bench::start();
    assert_eq!([1, 2].map(|key| bench.status(key)), [503, 403]);
    bench.change(&format!("{ONE},{TWO}\n"), "flow keys are read again");
    assert_eq!([1, 2].map(|key| bench.status(key)), [503, 503]);
    bench.change(&format!("{TWO},{ONE}\n"), "flow keys are read again");
    assert_eq!([1, 2].map(|key| bench.status(key)), [503, 503]);
    bench.change(TWO, "flow keys are read again");
    assert_eq!([1, 2].map(|key| bench.status(key)), [403, 503]);
    for wrong in ["", "AQEB", "not base64"] {
        let error = bench.change(wrong, "EDGE_FLOW_KEYS: ");
        assert!(error.ends_with("the old flow keys stay in use"), "{error}");
        assert_eq!([1, 2].map(|key| bench.status(key)), [403, 503]);
    }
}
