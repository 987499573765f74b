//! Domains that come and go while real processes run: every core serves them within 5 s, and loses nothing of them.

use std::time::Duration;

use cluster_tests::cluster::{Binaries, Cluster, Node, Plan, Problem, poll};
use cluster_tests::lab::phone::Phone;

const SECOND: &str = "second.test";
/// The bound of what a core may not yet know.
const STALE: Duration = Duration::from_secs(5);

async fn command(cluster: &Cluster, arguments: &[&str], input: &str) -> Result<(), Problem> {
    let ended = cluster.command(arguments, input).await?;
    match ended.status.success() {
        true => Ok(()),
        false => Err(Problem::new(String::from_utf8_lossy(&ended.stderr).into_owned())),
    }
}

/// Waits until every core says that it serves so many domains.
async fn served(cores: &[Node], count: f64) -> Result<(), Problem> {
    let all = async || {
        for core in cores {
            let served = core.metric("core_domains").await.ok()?;
            if (served - count).abs() > 0.5 {
                return None;
            }
        }
        Some(())
    };
    poll(STALE, all).await.ok_or_else(|| Problem::new("a core does not know it after 5 s"))
}

async fn test() -> Result<(), Problem> {
    let mut cluster = Cluster::start(&Plan::default(), &Binaries::find()?).await?;
    served(&cluster.cores, 1.0).await?;
    let edges: Vec<_> = cluster.edges.iter().map(|edge| (edge.name.clone(), edge.sip())).collect();
    let mut phones = Vec::new();
    // Each REGISTER has a Call-ID of its own, and those are spread over the cores.
    for n in 0..8 {
        let (name, address) = &edges[n % edges.len()];
        phones.push(Phone::new(&format!("u{n}"), "secret", SECOND, (name, *address)).await?);
    }
    let refused = phones[0].register().await;
    assert!(refused.is_err_and(|why| why.to_string().contains("403")), "nobody has added it");

    command(&cluster, &["domain", "add", SECOND], "").await?;
    let users: String = (0..8).map(|n| format!("u{n}@{SECOND},secret\n")).collect();
    command(&cluster, &["user", "import", "-"], &users).await?;
    served(&cluster.cores, 2.0).await?;
    for phone in &mut phones {
        phone.register().await?;
    }
    let (mut others, mut callee) = (phones.split_off(1), phones.remove(0));
    let (called, answered) = tokio::join!(others[0].call("u0"), callee.answer());
    called.and(answered)?;

    command(&cluster, &["domain", "remove", SECOND], "").await?;
    served(&cluster.cores, 1.0).await?;
    for phone in &mut others {
        let refused = phone.register().await;
        assert!(refused.is_err_and(|why| why.to_string().contains("403")), "it is a foreign domain");
    }
    // A core that begins finds the same as those that have been there.
    cluster.cores[0].kill().await?;
    cluster.start_all().await?;
    served(&cluster.cores, 1.0).await?;

    command(&cluster, &["domain", "add", SECOND], "").await?;
    served(&cluster.cores, 2.0).await?;
    let (called, answered) = tokio::join!(others[0].call("u0"), callee.answer());
    called.and(answered).map(drop)
}

#[test]
fn a_domain_that_comes_while_cores_run_is_served_by_all_of_them() {
    let runtime = node::runtime::build(2).expect("a runtime");
    if let Err(problem) = runtime.block_on(test()) {
        panic!("{problem}");
    }
}
