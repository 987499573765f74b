//! The command line of an edge, as the operator and the supervisor meet it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Stdio};

const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// How an edge ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: Vec<String>,
}

impl Ended {
    /// It said what is wrong, and nothing on standard output.
    #[track_caller]
    fn fails(&self, codes: &[i32], why: &str) {
        assert!(self.code.is_some_and(|code| codes.contains(&code)), "{self:?}");
        assert_eq!(self.out, "");
        assert!(self.err.last().is_some_and(|line| line.contains(why)), "{why}: {self:?}");
    }
}

/// Runs an edge until it ends; one that comes up is killed, since nobody here asks for that.
fn run(arguments: &[&str], settings: &[(&str, &str)]) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_edge-proxy"))
        .args(arguments)
        .env_clear()
        .env("EDGE_ADMIN", "127.0.0.1:0")
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut err = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        err.push(line.unwrap());
        if err.last().is_some_and(|line| line.contains("edge is up")) {
            child.kill().unwrap();
        }
    }
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    Ended { code: child.wait().unwrap().code(), out, err }
}

#[test]
fn the_check_prints_every_setting_and_hides_secrets() {
    let settings = [("EDGE_FLOW_KEYS", KEY), ("EDGE_CORES", "core-1:7443, core-2:7443")];
    let checked = run(&["--check"], &settings);
    assert_eq!((checked.code, checked.err.len()), (Some(0), 0), "{checked:?}");
    assert!(!checked.out.contains(KEY) && checked.out.contains("EDGE_FLOW_KEYS=***\n"), "{}", checked.out);
    assert!(checked.out.contains("EDGE_CORES=core-1:7443,core-2:7443\n"), "{}", checked.out);
    assert!(
        checked.out.lines().all(|line| line.starts_with("EDGE_") && line.contains('=')),
        "{}",
        checked.out
    );
}

#[test]
fn a_wrong_configuration_names_its_variable() {
    for (name, value, why) in [
        ("EDGE_CORRES", "core-1:7443", "EDGE_CORES"),
        ("EDGE_LISTEN", "sctp:0.0.0.0:5060", "sctp"),
        ("EDGE_LISTEN", "udp:example.com:5060", "example.com"),
        ("EDGE_LISTEN", ",", "at least one"),
        ("EDGE_CORES", "core-1", "host:port"),
        ("EDGE_CORES", "core-1:7443,sip:192.0.2.1", "cannot be mixed"),
        ("EDGE_CORES", "sip:192.0.2.1;transport=ws", "its transport"),
        ("EDGE_INSIDE", "10.0.0.1:port", "host:port"),
        ("EDGE_FLOW_KEYS", "c2hvcnQ=", "EDGE_FLOW_KEYS"),
        ("EDGE_FLOW_KEYS", "geheim!", "EDGE_FLOW_KEYS"),
        ("EDGE_FLOW_KEYS_FILE", "/no/such/file", "/no/such/file"),
        ("EDGE_NAME", "an edge", "letters"),
        ("EDGE_IDLE_TIMEOUT", "600", "a unit"),
        ("EDGE_TRUSTED_PEERS", "somebody", "somebody"),
        ("LOG_FORMAT", "xml", "json"),
    ] {
        for arguments in [&["--check"][..], &[]] {
            let ended = run(arguments, &[(name, value)]);
            ended.fails(&[78], &format!("{name}: "));
            ended.fails(&[78], why);
            assert_eq!(ended.err.len(), 1, "{ended:?}");
            assert!(!ended.err.concat().contains("geheim"), "{ended:?}");
        }
    }
}

#[test]
fn a_socket_that_cannot_be_opened_names_its_variable() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    for listen in [
        format!("udp:{}", udp.local_addr().unwrap()),
        format!("tcp:{}", tcp.local_addr().unwrap()),
        // RFC 5737: nobody's address.
        "udp:192.0.2.1:5060".to_owned(),
        "tcp:192.0.2.1:5060".to_owned(),
    ] {
        let ended = run(&[], &[("EDGE_LISTEN", &listen), ("EDGE_FLOW_KEYS", KEY)]);
        ended.fails(&[69, 78], "EDGE_LISTEN");
        ended.fails(&[69, 78], listen.trim_start_matches("udp:").trim_start_matches("tcp:"));
    }
    let admin = tcp.local_addr().unwrap().to_string();
    run(&[], &[("EDGE_LISTEN", "udp:127.0.0.1:0"), ("EDGE_ADMIN", &admin)]).fails(&[69, 78], "EDGE_ADMIN");
}

#[test]
fn a_secure_listener_without_a_usable_certificate_names_its_variable() {
    let no_file = ("EDGE_TLS_CERT", "/no/such/cert.pem");
    let key = ("EDGE_TLS_KEY", "/no/such/key.pem");
    for listen in ["tls:127.0.0.1:0", "udp:127.0.0.1:0,wss:127.0.0.1:0"] {
        let listen = ("EDGE_LISTEN", listen);
        for arguments in [&["--check"][..], &[]] {
            run(arguments, &[listen]).fails(&[78], "EDGE_TLS_CERT: needed by ");
            run(arguments, &[listen, no_file]).fails(&[78], "EDGE_TLS_KEY: ");
        }
        let ended = run(&[], &[listen, no_file, key, ("EDGE_FLOW_KEYS", KEY)]);
        ended.fails(&[78], "EDGE_TLS_CERT: /no/such/cert.pem: ");
    }
}

#[test]
fn an_incomplete_certificate_names_what_is_missing() {
    let settings = [("EDGE_LISTEN", "udp:127.0.0.1:0"), ("EDGE_LINK_CERT", "node.pem")];
    run(&[], &settings).fails(&[78], "LINK_CA");
}
