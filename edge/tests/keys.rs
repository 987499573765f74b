//! Flow keys on the real program: a file that the operator changes, SIGHUP, and what becomes of tokens (RFC 5626 §5.3.1).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod program;

use std::fs;
use std::net::{SocketAddr, UdpSocket};

use transport::Flow;
use transport::token::Keys;

use self::program::{PATIENCE, Program};

/// Keys as the file has them: 32 octets 1, 2 and 3 in base64.
const ONE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

/// A running edge and a phone.
struct Bench {
    program: Program,
    edge: SocketAddr,
    phone: UdpSocket,
    number: u32,
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("keys"), ONE).unwrap();
        let settings = [("EDGE_LISTEN", "udp:127.0.0.1:0"), ("EDGE_FLOW_KEYS_FILE", "keys")];
        let program = Program::start(folder, &settings);
        let edge = program.says("listening listener=udp:").parse().unwrap();
        program.says("edge is up");
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        phone.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { program, edge, phone, number: 0 }
    }

    /// Writes the file and asks the edge to read it, up to the line with `words`; gives what follows them there.
    fn change(&mut self, keys: &str, words: &str) -> String {
        fs::write(self.program.folder.path().join("keys"), keys).unwrap();
        self.program.reload();
        self.program.says(words)
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
