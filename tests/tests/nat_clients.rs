//! Phones that nobody here wrote register at two edges and call each other; each must hear the other one.
//!
//! baresip, linphone, and JsSIP and SIP.js in headless Chromium, in network namespaces. Wants root and runs only with
//! `SIGNALBOX_NAT=1`, as `tests/run` sets it.

use std::env;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cluster_tests::cluster::{Binaries, Cluster, Plan, Problem};
use cluster_tests::nat::{Client, Flows, Media, Model, Network, PASSWORD, Seat, Way, make_certificate};

/// One test at a time: the machine is small.
static ALONE: Mutex<()> = Mutex::new(());

const CALLER: u32 = 440;
const CALLEE: u32 = 620;

/// Who calls whom: the caller is on the first host at edge 1, the callee on the second one at edge 2.
struct Pair {
    caller: (Model, &'static str),
    callee: (Model, &'static str),
}

const fn desk(way: Way) -> Model {
    Model::Baresip(way, Media::Rtp, Flows::Plain)
}

const fn web_desk(way: Way) -> Model {
    Model::Baresip(way, Media::Web, Flows::One)
}

/// Between NATs only ICE carries media; plain RTP is heard between public hosts.
const PAIRS: [Pair; 12] = [
    Pair { caller: (desk(Way::Udp), "pub1"), callee: (desk(Way::Udp), "pub2") },
    Pair { caller: (desk(Way::Tcp), "pub1"), callee: (desk(Way::Tls), "pub2") },
    Pair {
        caller: (Model::Baresip(Way::Udp, Media::Rtp, Flows::One), "pub1"),
        callee: (Model::Baresip(Way::Tcp, Media::Rtp, Flows::Two), "pub2"),
    },
    Pair {
        caller: (Model::Baresip(Way::Tls, Media::Rtp, Flows::Two), "pub1"),
        callee: (Model::Linphone(Way::Tcp), "pub2"),
    },
    Pair { caller: (Model::Linphone(Way::Udp), "pub1"), callee: (Model::Linphone(Way::Tls), "pub2") },
    Pair { caller: (Model::Linphone(Way::Tls), "pub1"), callee: (desk(Way::Udp), "pub2") },
    Pair { caller: (Model::JsSip, "pub1"), callee: (Model::SipJs, "pub2") },
    Pair { caller: (Model::SipJs, "sym1"), callee: (Model::JsSip, "pub2") },
    Pair { caller: (Model::JsSip, "cone1"), callee: (web_desk(Way::Udp), "pub2") },
    Pair { caller: (Model::SipJs, "pub1"), callee: (web_desk(Way::Tls), "sym1") },
    Pair { caller: (web_desk(Way::Tcp), "double1"), callee: (Model::JsSip, "pub2") },
    Pair { caller: (web_desk(Way::Udp), "pub1"), callee: (Model::SipJs, "cone2") },
];

#[test]
fn phones_call_each_other_through_two_edges() {
    nat(async || {
        let bench = Bench::start("MD5").await?;
        for (number, pair) in PAIRS.iter().enumerate() {
            let (from, to) = (format!("from{number}"), format!("to{number}"));
            bench.cluster.add_users([from.as_str(), to.as_str()].map(|user| (user, PASSWORD))).await?;
            let seat = Seat { host: pair.caller.1, edge: 1, user: &from, tone: CALLER };
            let mut caller = bench.phone(pair.caller.0, seat).await?;
            let seat = Seat { host: pair.callee.1, edge: 2, user: &to, tone: CALLEE };
            let mut callee = bench.phone(pair.callee.0, seat).await?;
            caller.registered().await?;
            callee.registered().await?;
            caller.call(&to).await?;
            caller.established().await?;
            callee.established().await?;
            callee.hears(CALLER).await?;
            caller.hears(CALLEE).await?;
            caller.hang_up().await?;
            caller.ended().await?;
            callee.ended().await?;
            say(&format!(
                "| {} | {} | {} | {} |",
                pair.caller.0, pair.caller.1, pair.callee.0, pair.callee.1
            ));
        }
        Ok(())
    });
}

struct Bench {
    network: Network,
    cluster: Cluster,
    /// Holds the certificates and the phones' files.
    dir: tempfile::TempDir,
}

impl Bench {
    async fn start(algorithms: &str) -> Result<Self, Problem> {
        let network = Network::up()?;
        let dir = tempfile::Builder::new().prefix("signalbox-phones-").tempdir()?;
        make_certificate(dir.path())?;
        let mut site = network.site();
        for (number, edge) in (1..).zip(&mut site.edges) {
            let host = Network::edge(number).ip();
            let listen = format!("udp:{host}:5060,tcp:{host}:5060,tls:{host}:5061,wss:{host}:443");
            edge.settings.push(("EDGE_LISTEN".into(), listen));
        }
        let file = |name: &str| dir.path().join(name).display().to_string();
        let settings = [
            ("EDGE_TLS_CERT", file("edge.pem")),
            ("EDGE_TLS_KEY", file("edge-key.pem")),
            ("CORE_AUTH_ALGORITHMS", algorithms.to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let plan = Plan { settings, site: Some(site), ..Plan::default() };
        let cluster = Cluster::start(&plan, &Binaries::build()?).await?;
        Ok(Self { network, cluster, dir })
    }

    async fn phone(&self, model: Model, seat: Seat<'_>) -> Result<Client, Problem> {
        let dir: &Path = self.dir.path();
        Client::start(&self.network, dir, model, seat).await
    }
}

/// A line that is seen though the test passes.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs a test when these tests are asked for.
fn nat(test: impl AsyncFnOnce() -> Result<(), Problem>) {
    if env::var_os("SIGNALBOX_NAT").is_none_or(|wanted| wanted != "1") {
        say("not run: tests with other people's phones want SIGNALBOX_NAT=1");
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = node::runtime::build(1).expect("a runtime");
    if let Err(problem) = runtime.block_on(test()) {
        panic!("{problem}");
    }
}
