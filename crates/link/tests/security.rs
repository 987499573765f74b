//! Who is not let in.

mod common;

use std::time::Duration;

use common::{Cluster, Node, development, hello, loopback};
use link::{Config, Error, NODE};

/// Longer than an admission takes, and several attempts.
const REFUSAL: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_certificate_of_another_cluster_is_refused_by_the_core() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let mut core = cluster.core("core-1", loopback());
    // It believes the core, but cannot prove itself.
    let config = Config {
        cert: Some(other.path("edge.pem")),
        key: Some(other.path("edge-key.pem")),
        ..cluster.config("edge")
    };
    let mut edge = Node::dial(&config, "edge-a", &[core.address()]);
    assert_eq!(edge.event_within(REFUSAL).await, None);
    assert_eq!(core.event_within(Duration::ZERO).await, None);
}

#[tokio::test]
async fn a_core_of_another_cluster_is_refused_by_the_edge() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    // It believes the edge, but cannot prove itself.
    let config = Config {
        cert: Some(other.path("core.pem")),
        key: Some(other.path("core-key.pem")),
        ..cluster.config("core")
    };
    let mut core = Node::accept(&config, "core-1", loopback());
    let mut edge = cluster.edge("edge-a", &[core.address()]);
    assert_eq!(edge.event_within(REFUSAL).await, None);
    assert_eq!(core.event_within(Duration::ZERO).await, None);
}

#[tokio::test]
async fn another_major_version_is_refused() {
    let cluster = Cluster::new();
    let (sender, _events) = tokio::sync::mpsc::unbounded_channel();
    let sink = Box::new(move |event| sender.send(event).map_err(|_| link::Full));
    let newer = proto::Hello { version: "99.0.0".into(), ..hello("core-1") };
    let core = link::accept(&cluster.config("core"), loopback(), newer, sink).unwrap();
    let mut edge = cluster.edge("edge-a", &[core.local_addr().unwrap()]);
    assert_eq!(edge.event_within(REFUSAL).await, None);
    assert!(core.peers().is_empty());
}

#[tokio::test]
async fn development_certificates_stay_on_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let config = development(dir.path());
    let sink = || Box::new(|_| Ok(()));
    for core in ["192.0.2.1:7443", "core.example.com:7443", "[2001:db8::1]:7443"] {
        let error = link::dial(&config, vec!["127.0.0.1:7443".into(), core.into()], hello("edge-a"), sink());
        assert_refused(error.err(), core);
    }
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let error = link::accept(&config, listen.parse().unwrap(), hello("core-1"), sink());
        assert_refused(error.err(), listen);
    }
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "none were made");
}

fn assert_refused(error: Option<Error>, address: &str) {
    let error = error.expect("refused").to_string();
    for word in [address, "LINK_CA", "LINK_CERT", "LINK_KEY"] {
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_work_is_an_error_at_once() {
    let cluster = Cluster::new();
    let sink = || Box::new(|_| Ok(()));
    let dial = |core: &str, name: &str| {
        link::dial(&cluster.config("edge"), vec![core.to_owned()], hello(name), sink()).err()
    };
    assert!(matches!(dial("core.example.com", "edge-a"), Some(Error::Address(_))));
    assert!(matches!(dial("127.0.0.1:7443", ""), Some(Error::Nameless)));
    let core = cluster.core("core-1", loopback());
    let taken = link::accept(&cluster.config("core"), core.address(), hello("core-2"), sink());
    assert!(matches!(taken.err(), Some(Error::Socket { .. })));
}

/// The fixed name is what a CA of one's own has to put into its certificates.
#[test]
fn the_name_in_certificates_is_fixed() {
    assert_eq!(NODE, "signalbox-node");
}
