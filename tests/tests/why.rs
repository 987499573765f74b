//! `why` on a running cluster: it says what the next call comes to, also when an edge is gone, and what is left to say when no
//! core runs.

use std::time::Duration;

use cluster_tests::cluster::{Binaries, Cluster, DOMAIN, Plan, Problem, poll};
use cluster_tests::lab::phone::Phone;
use serde_json::Value;

/// Longest time in which a core notices that an edge is gone or there again.
const NOTICE: Duration = Duration::from_secs(10);

async fn page(cluster: &Cluster, more: &[&str]) -> Result<String, Problem> {
    let address = format!("bob@{DOMAIN}");
    let ended = cluster.command(&[&["why", address.as_str()], more].concat(), "").await?;
    match ended.status.success() {
        true => Ok(String::from_utf8_lossy(&ended.stdout).into_owned()),
        false => Err(Problem::new(String::from_utf8_lossy(&ended.stderr).into_owned())),
    }
}

async fn why(cluster: &Cluster) -> Result<Value, Problem> {
    serde_json::from_str(&page(cluster, &["--json"]).await?).map_err(|error| Problem::new(error.to_string()))
}

/// Waits until the flow of bob's contact is told to be in this state.
async fn until(cluster: &Cluster, flow: &str) -> Result<Value, Problem> {
    let told = async || why(cluster).await.ok().filter(|why| why["contacts"][0]["flow"] == flow);
    poll(NOTICE, told).await.ok_or_else(|| Problem::new(format!("the flow never was {flow}")))
}

/// The edge that the one branch leaves by.
fn edge(why: &Value) -> &Value {
    assert_eq!(why["call"]["groups"].as_array().map(Vec::len), Some(1), "{why:#}");
    &why["call"]["groups"][0]["branches"][0]["ways"][0]["edge"]
}

async fn test() -> Result<(), Problem> {
    let settings = vec![("CORE_ADMIN_TOKEN".to_owned(), "secret".to_owned())];
    let mut cluster = Cluster::start(&Plan { settings, ..Plan::default() }, &Binaries::find()?).await?;
    cluster.add_users([("alice", "secret"), ("bob", "secret")]).await?;
    let [ep1, ep2] = [0, 1].map(|at| (cluster.edges[at].name.clone(), cluster.edges[at].sip()));
    let mut alice = Phone::new("alice", "secret", DOMAIN, (&ep1.0, ep1.1)).await?;
    let mut bob = Phone::new("bob", "secret", DOMAIN, (&ep2.0, ep2.1)).await?;
    let none = why(&cluster).await?;
    assert_eq!(
        (&none["core"], &none["user"], &none["call"]["answer"]["status"]),
        (&"core1".into(), &true.into(), &480.into())
    );
    assert!(alice.call("bob").await.is_err_and(|why| why.to_string().contains("480")));

    bob.register().await?;
    let told = why(&cluster).await?;
    assert_eq!((edge(&told), &told["contacts"][0]["flow"]), (&"ep2".into(), &"open".into()), "{told:#}");
    assert_eq!(told["call"]["groups"][0]["branches"][0]["ways"][0]["route"], told["contacts"][0]["path"]);
    assert_eq!(told["contacts"][0]["source"], format!("udp:{}", bob.address()));
    assert!(page(&cluster, &[]).await?.contains("answered by  core1, "));
    let (called, answered) = tokio::join!(alice.call("bob"), bob.answer());
    called.and(answered)?;

    cluster.edges[1].kill().await?;
    let told = until(&cluster, "no-link").await?;
    assert_eq!((edge(&told), &told["call"]["answer"]["status"]), (&Value::Null, &480.into()), "{told:#}");
    assert!(alice.call("bob").await.is_err_and(|why| why.to_string().contains("480")));

    cluster.edges[1].spawn()?;
    cluster.linked().await?;
    let told = until(&cluster, "open").await?;
    assert_eq!((edge(&told), &told["call"]["answer"]), (&"ep2".into(), &Value::Null), "{told:#}");
    let (called, answered) = tokio::join!(alice.call("bob"), bob.answer());
    called.and(answered)?;

    cluster.stop_all().await?;
    let told = why(&cluster).await?;
    assert_eq!((&told["core"], &told["contacts"][0]["flow"]), (&Value::Null, &"not-known".into()));
    assert_eq!(edge(&told), "ep2");
    Ok(())
}

#[test]
fn what_is_told_is_what_the_next_call_comes_to() {
    let runtime = node::runtime::build(2).expect("a runtime");
    if let Err(problem) = runtime.block_on(test()) {
        panic!("{problem}");
    }
}
