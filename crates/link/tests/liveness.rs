//! Who is there, and how soon it is known that somebody is not.

mod common;

use std::time::Duration;

use common::{Cluster, Node, Process, Relay, loopback, sip};
use link::SendError;

#[tokio::test]
async fn a_core_that_comes_back_is_the_same_peer() {
    let cluster = Cluster::new();
    let mut core = cluster.core("core-1", loopback());
    let address = core.address();
    let mut edge = cluster.edge("edge-a", &[address]);
    let (peer, _) = edge.up().await;
    core.up().await;

    core.links.shutdown("upgrade", Duration::from_secs(5)).await;
    drop(core);
    let (down, reason) = edge.down().await;
    assert_eq!(down, peer);
    assert!(reason.contains("upgrade"), "{reason}");
    assert_eq!(edge.links.send(peer, 0, sip("nobody".into())), Err(SendError::Down));

    let mut core = cluster.successor("core-1", address).await;
    assert_eq!(edge.up().await.0, peer);
    core.up().await;
    edge.links.send(peer, 0, sip("again".into())).unwrap();
    assert_eq!(core.message().await, "again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_core_is_known_within_a_second() {
    let cluster = Cluster::new();
    let core = Process::start(&cluster, "core-1", loopback());
    let address = core.address();
    let mut edge = cluster.edge("edge-a", &[address]);
    let (peer, _) = edge.up().await;

    core.kill();
    let (down, reason) = edge.down_within(Duration::from_secs(1)).await;
    assert_eq!(down, peer);
    assert!(reason.contains("nobody listens"), "{reason}");

    let core = Process::start(&cluster, "core-1", address);
    assert_eq!(edge.up().await.0, peer);
    core.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_edge_is_known_within_a_second() {
    let cluster = Cluster::new();
    let mut core = cluster.core("core-1", loopback());
    let address = core.address();
    let edge = Process::start_with(|| cluster.edge("edge-a", &[address]));
    let (peer, _) = core.up().await;

    edge.kill();
    let (down, _) = core.down_within(Duration::from_secs(1)).await;
    assert_eq!(down, peer);
}

/// The new core listens before its predecessor is missed: only its resets can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_core_is_known_at_once() {
    let cluster = Cluster::new();
    let core = Process::start(&cluster, "core-1", loopback());
    let address = core.address();
    let mut edge = cluster.edge("edge-a", &[address]);
    let (peer, first) = edge.up().await;

    core.kill();
    let core = Process::start(&cluster, "core-1", address);
    let (_, reason) = edge.down_within(Duration::from_secs(1)).await;
    assert_eq!(reason, "restarted");
    let (again, second) = edge.up().await;
    assert_eq!(again, peer);
    assert_ne!(first.boot, second.boot);
    core.kill();
}

#[tokio::test]
async fn a_silent_peer_is_known_within_two_seconds() {
    let cluster = Cluster::new();
    let mut core = cluster.core("core-1", loopback());
    let relay = Relay::new(core.address()).await;
    let mut edge = cluster.edge("edge-a", &[relay.address]);
    let (peer, _) = edge.up().await;
    let (edge_at_core, _) = core.up().await;

    relay.swallow(true);
    assert_eq!(edge.down_within(Duration::from_secs(2)).await, (peer, "silent".into()));
    assert_eq!(core.down_within(Duration::from_secs(1)).await, (edge_at_core, "silent".into()));

    relay.swallow(false);
    assert_eq!(edge.up().await.0, peer);
    assert_eq!(core.up().await.0, edge_at_core);
}

#[tokio::test]
async fn an_idle_link_stays_up() {
    let cluster = Cluster::new();
    let mut core = cluster.core("core-1", loopback());
    let mut edge = cluster.edge("edge-a", &[core.address()]);
    edge.up().await;
    core.up().await;
    assert_eq!(edge.event_within(Duration::from_secs(3)).await, None);
    assert_eq!(core.event_within(Duration::ZERO).await, None);
}

#[tokio::test]
async fn a_node_that_connects_again_replaces_itself() {
    let cluster = Cluster::new();
    let mut core = cluster.core("core-1", loopback());
    let mut former = cluster.edge("edge-a", &[core.address()]);
    let (peer, first) = core.up().await;
    former.up().await;

    let mut edge = cluster.edge("edge-a", &[core.address()]);
    let (down, reason) = core.down().await;
    assert_eq!(down, peer);
    assert!(reason.contains("connected again"), "{reason}");
    let (again, second) = core.up().await;
    assert_eq!(again, peer);
    assert_ne!(first.boot, second.boot);
    edge.up().await;
    former.down().await;
}

#[tokio::test]
async fn a_core_with_two_addresses_is_one_peer() {
    let cluster = Cluster::new();
    let mut core = cluster.core("core-1", "0.0.0.0:0".parse().unwrap());
    let port = core.address().port();
    let addresses = [([127, 0, 0, 1], port).into(), ([127, 0, 0, 2], port).into()];
    let mut edge = cluster.edge("edge-a", &addresses);
    edge.up().await;
    core.up().await;
    assert_eq!(edge.event_within(Duration::from_secs(1)).await, None, "no second connection");
    assert_eq!(core.event_within(Duration::ZERO).await, None, "no second connection");
}

/// The name has several addresses on most hosts, and the core has one of them.
#[tokio::test]
async fn a_core_is_found_by_its_name() {
    let cluster = Cluster::new();
    let core = cluster.core("core-1", loopback());
    let name = format!("localhost:{}", core.address().port());
    let mut edge = Node::dial_names(&cluster.config("edge"), "edge-a", vec![name]);
    assert_eq!(edge.up().await.1.name, "core-1");
}

#[tokio::test]
async fn an_edge_reaches_every_core() {
    let cluster = Cluster::new();
    let one = cluster.core("core-1", loopback());
    let two = cluster.core("core-2", "[::1]:0".parse().unwrap());
    let mut edge = cluster.edge("edge-a", &[one.address(), two.address()]);
    let (first, second) = (edge.up().await, edge.up().await);
    assert_ne!(first.0, second.0);
    let mut names = [first.1.name, second.1.name];
    names.sort();
    assert_eq!(names, ["core-1", "core-2"]);
}
