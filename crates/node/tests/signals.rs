//! Real signals, in a process of their own: taken over, they no longer kill it.

use std::{
    process::{self, Command},
    time::Duration,
};

use node::shutdown::{Shutdown, Stage, reloads, signals};

/// One test, because the signals go to the whole process.
#[tokio::test]
async fn signals_drain_then_stop_then_reload() {
    let shutdown = Shutdown::new(Duration::from_secs(600));
    let supervisor = {
        let (shutdown, signals) = (shutdown.clone(), signals().unwrap());
        tokio::spawn(async move { shutdown.supervise(signals).await })
    };
    let mut reloads = reloads().unwrap();

    raise("HUP");
    reloads.next().await;
    assert_eq!(shutdown.stage(), Stage::Running);

    raise("TERM");
    shutdown.draining().await;
    assert_eq!(shutdown.stage(), Stage::Draining);

    // The second one does not wait for the grace period.
    raise("INT");
    shutdown.stopped().await;
    supervisor.await.unwrap();
}

fn raise(signal: &str) {
    let command = format!("kill -{signal} {}", process::id());
    let status = Command::new("sh").args(["-c", &command]).status();
    assert!(status.is_ok_and(|status| status.success()));
}
