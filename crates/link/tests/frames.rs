//! What two ends that work say to each other.

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{Cluster, Node, development, hello, loopback, sip};
use link::{Event, Full, LANES, SendError};
use proto::{Drain, Hello, Ping, Pong, frame::Kind};

#[tokio::test]
async fn both_ends_are_introduced() {
    let dir = tempfile::tempdir().unwrap();
    let config = development(dir.path());
    let mut core = Node::accept(&config, "core-1", loopback());
    let ours = Hello {
        advertised: vec!["edge-a.example.com".into(), "192.0.2.1:5060".into()],
        capacity: 7,
        boot: 42,
        ..hello("edge-a")
    };
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let sink = Box::new(move |event| sender.send(event).map_err(|_| Full));
    let edge = link::dial(&config, vec![core.address().to_string()], ours.clone(), sink).unwrap();

    let (edge_at_core, theirs) = core.up().await;
    assert_eq!(theirs, Hello { role: "edge".into(), version: theirs.version.clone(), ..ours });
    let Some(Event::Up { hello, addr, .. }) = events.recv().await else { panic!("the core is up") };
    assert_eq!((hello.name.as_str(), hello.role.as_str()), ("core-1", "core"));
    assert_eq!(addr, core.address());

    let info = core.links.peers();
    assert_eq!((info.len(), info[0].peer, info[0].name.as_str()), (1, edge_at_core, "edge-a"));
    assert_eq!(edge.peers()[0].role, "core");
}

#[tokio::test]
async fn frames_of_a_lane_arrive_in_order_in_both_directions() {
    const FRAMES: usize = 500;
    let cluster = Cluster::new();
    let mut core = cluster.core("core-1", loopback());
    let mut edge = cluster.edge("edge-a", &[core.address()]);
    let (to_edge, _) = core.up().await;
    let (to_core, _) = edge.up().await;

    for n in 0..FRAMES {
        for lane in 0..LANES {
            let frame = sip(format!("{lane} {n} {}", "x".repeat(n)));
            edge.links.send(to_core, lane as u64, frame.clone()).unwrap();
            core.links.send(to_edge, lane as u64, frame).unwrap();
        }
    }
    for node in [&mut core, &mut edge] {
        let mut next = BTreeMap::new();
        for _ in 0..FRAMES * LANES {
            let message = node.message().await;
            let mut words = message.split(' ').map(str::to_owned);
            let lane = words.next().unwrap();
            let expected = next.entry(lane).or_insert(0_usize);
            assert_eq!(words.next().unwrap().parse(), Ok(*expected));
            assert_eq!(words.next().unwrap().len(), *expected);
            *expected += 1;
        }
    }
}

#[tokio::test]
async fn the_largest_sip_message_passes_and_a_larger_frame_does_not() {
    let cluster = Cluster::new();
    let mut core = cluster.core("core-1", loopback());
    let mut edge = cluster.edge("edge-a", &[core.address()]);
    core.up().await;
    let (to_core, _) = edge.up().await;

    let too_large = edge.links.send(to_core, 0, sip("x".repeat(128 * 1024)));
    assert_eq!(too_large, Err(SendError::TooLarge));
    edge.links.send(to_core, 0, sip("x".repeat(65_535))).unwrap();
    assert_eq!(core.message().await.len(), 65_535);
}

#[tokio::test]
async fn control_frames_pass_and_a_ping_is_answered() {
    let cluster = Cluster::new();
    let mut core = cluster.core("core-1", loopback());
    let mut edge = cluster.edge("edge-a", &[core.address()]);
    let (to_edge, _) = core.up().await;
    edge.up().await;

    core.links.send(to_edge, 0, Kind::Ping(Ping { id: 9 })).unwrap();
    assert_eq!(core.frame().await, Kind::Pong(Pong { id: 9 }));
    core.links.send(to_edge, 0, Kind::Drain(Drain { grace_seconds: 30 })).unwrap();
    assert_eq!(edge.frame().await, Kind::Drain(Drain { grace_seconds: 30 }));
}

/// The test holds the only thread, so nothing is written meanwhile.
#[tokio::test]
async fn a_full_queue_says_so() {
    let cluster = Cluster::new();
    let mut core = cluster.core("core-1", loopback());
    let config = link::Config { queue: 4, ..cluster.config("edge") };
    let mut edge = Node::dial(&config, "edge-a", &[core.address()]);
    core.up().await;
    let (to_core, _) = edge.up().await;

    for n in 0..4 {
        edge.links.send(to_core, 3, sip(n.to_string())).unwrap();
    }
    assert_eq!(edge.links.send(to_core, 3, sip("4".into())), Err(SendError::Full));
    edge.links.send(to_core, 4, sip("other lane".into())).unwrap();
    let info = &edge.links.peers()[0];
    assert_eq!((info.queued[1 + 3], info.queued[1 + 4], info.full, info.sent), (4, 1, 1, 5));
    let mut received = Vec::new();
    for _ in 0..5 {
        received.push(core.message().await);
    }
    received.sort();
    assert_eq!(received, ["0", "1", "2", "3", "other lane"]);
}

#[tokio::test]
async fn a_refused_frame_is_counted() {
    let cluster = Cluster::new();
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let sink = Box::new(move |event| match event {
        Event::Frame { frame, .. } if frame == sip("too much".into()) => Err(Full),
        event => sender.send(event).map_err(|_| Full),
    });
    let core = link::accept(&cluster.config("core"), loopback(), hello("core-1"), sink).unwrap();
    let mut edge = cluster.edge("edge-a", &[core.local_addr().unwrap()]);
    let (to_core, _) = edge.up().await;
    assert!(matches!(events.recv().await, Some(Event::Up { .. })));

    edge.links.send(to_core, 0, sip("too much".into())).unwrap();
    edge.links.send(to_core, 0, sip("taken".into())).unwrap();
    let Some(Event::Frame { frame, .. }) = events.recv().await else { panic!("the second frame") };
    assert_eq!(frame, sip("taken".into()));
    let info = &core.peers()[0];
    assert_eq!((info.received, info.refused), (2, 1));
}

#[tokio::test]
async fn shutdown_sends_what_waits_and_says_why() {
    const FRAMES: usize = 1_000;
    let cluster = Cluster::new();
    let mut core = cluster.core("core-1", loopback());
    let mut edge = cluster.edge("edge-a", &[core.address()]);
    core.up().await;
    let (to_core, _) = edge.up().await;

    for n in 0..FRAMES {
        edge.links.send(to_core, 5, sip(n.to_string())).unwrap();
    }
    edge.links.shutdown("upgrade", Duration::from_secs(5)).await;
    assert_eq!(edge.links.send(to_core, 5, sip("late".into())), Err(SendError::Down));
    for n in 0..FRAMES {
        assert_eq!(core.message().await, n.to_string());
    }
    let (_, reason) = core.down().await;
    assert!(reason.contains("upgrade"), "{reason}");
    edge.down().await;
}
