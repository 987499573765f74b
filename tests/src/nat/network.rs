//! The network that `tests/nat/lab` makes, as long as a test needs it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

use crate::cluster::{Namespace, Problem, Site, Spot};

/// Network namespaces with a prefix that no other test has. They go with the value, and with the process.
#[derive(Debug)]
pub struct Network {
    prefix: String,
}

/// The SIP port of the edges, UDP and TCP.
const SIP_PORT: u16 = 5060;
/// Counts the networks of this process.
static NETWORKS: AtomicU32 = AtomicU32::new(0);

impl Network {
    /// Makes the network.
    ///
    /// # Errors
    ///
    /// Something is missing: root, iproute2, nftables, conntrack.
    pub fn up() -> Result<Self, Problem> {
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let network = Self { prefix: format!("sb{}n{number}", process::id()) };
        network.run(&["up"])?;
        Ok(network)
    }

    /// One command of `tests/nat/lab`; gives what it prints.
    ///
    /// # Errors
    ///
    /// It failed; with what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String, Problem> {
        let script = folder().join("lab");
        let output = Command::new(script)
            .args(arguments)
            .env("LAB", &self.prefix)
            .env("LAB_OWNER", process::id().to_string())
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Problem::new(format!("lab {}: {said}", arguments.join(" "))))
    }

    /// The namespace of a host.
    pub fn space(&self, host: &str) -> Namespace {
        Namespace::named(format!("{}-{host}", self.prefix))
    }

    /// Where two edges and two cores run.
    pub fn site(&self) -> Site {
        let edges = (1..=2u8).map(|number| Spot {
            space: Some(self.space(&format!("edge{number}"))),
            address: Ipv4Addr::new(10, 98, 0, 10 + number).into(),
            sip: Some(Self::edge(number)),
            settings: Vec::new(),
        });
        let cores = (1..=2u8).map(|number| Spot {
            space: Some(self.space(&format!("core{number}"))),
            address: Ipv4Addr::new(10, 98, 0, 20 + number).into(),
            sip: None,
            settings: Vec::new(),
        });
        Site { edges: edges.collect(), cores: cores.collect() }
    }

    /// The SIP socket of an edge: 1 or 2.
    pub fn edge(number: u8) -> SocketAddr {
        (Ipv4Addr::new(10, 99, 0, 10 + number), SIP_PORT).into()
    }

    /// The address of a phone's host.
    ///
    /// # Panics
    ///
    /// There is no such host.
    pub fn address(host: &str) -> IpAddr {
        let address = match host {
            "pub1" => [10, 99, 0, 51],
            "pub2" => [10, 99, 0, 52],
            "cone1" | "sym1" | "double1" => [192, 168, 1, 11],
            "cone2" | "sym2" => [192, 168, 1, 12],
            "fw1" => [10, 97, 0, 11],
            _ => panic!("there is no host {host}"),
        };
        IpAddr::from(address)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.run(&["down"]);
    }
}

/// The folder of the network's script and of the phones' settings.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("nat")
}

/// Writes the certificate that both edges show to user agents, `edge.pem` and `edge-key.pem`, and that of the authority
/// behind it, `authority.pem`.
///
/// # Errors
///
/// The folder cannot be written.
pub fn make_certificate(folder: &Path) -> Result<(), Problem> {
    let broken = |error: rcgen::Error| Problem::new(error.to_string());
    let authority_key = KeyPair::generate().map_err(broken)?;
    let mut authority = CertificateParams::new(Vec::new()).map_err(broken)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&authority_key).map_err(broken)?;
    std::fs::write(folder.join("authority.pem"), certificate.pem())?;
    let issuer = Issuer::new(authority, authority_key);

    let key = KeyPair::generate().map_err(broken)?;
    let names = ["cluster.test", "edge1.cluster.test", "edge2.cluster.test"].map(str::to_owned);
    let mut edge = CertificateParams::new(names).map_err(broken)?;
    edge.subject_alt_names.extend([1, 2].map(|number| SanType::IpAddress(Network::edge(number).ip())));
    let certificate = edge.signed_by(&key, &issuer).map_err(broken)?;
    std::fs::write(folder.join("edge.pem"), certificate.pem())?;
    std::fs::write(folder.join("edge-key.pem"), key.serialize_pem())?;
    Ok(())
}
