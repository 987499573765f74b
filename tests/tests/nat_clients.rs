//! Phones that nobody here wrote register at two edges and call each other; each must hear the other one.
//!
//! baresip, linphone, and JsSIP and SIP.js in headless Chromium, in network namespaces; runs with `SIGNALBOX_NAT=1`.

use std::path::Path;
use std::time::Duration;

use cluster_tests::cluster::{Binaries, Cluster, Plan, Problem, poll};
use cluster_tests::nat::{
    self, Client, Flows, Media, Model, Network, PASSWORD, Phone, Seat, Way, Wire, make_certificate, say,
};

const CALLER: u32 = 440;
const CALLEE: u32 = 620;

/// How long a phone that will not register is waited for.
const PATIENCE: Duration = Duration::from_secs(8);

/// A host in words.
fn place(host: &str) -> &str {
    match host {
        "cone1" | "cone2" => "NAT",
        "sym1" => "symmetric NAT",
        "double1" => "NAT behind NAT",
        _ => "public",
    }
}

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
    nat::run(async || {
        // baresip 1.0 gives up when it sees SHA-256, even with MD5 beside it.
        let bench = Bench::start("MD5").await?;
        say("| caller, edge 1 | where | callee, edge 2 | where | audio |");
        say("|---|---|---|---|---|");
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
            let [from, to] =
                [pair.caller, pair.callee].map(|(model, host)| format!("{model} | {}", place(host)));
            say(&format!("| {from} | {to} | both ways |"));
        }
        Ok(())
    });
}

/// RFC 8760 §2.4: a phone takes the first challenge that it can answer. Not every phone reads a second one.
#[test]
fn phones_answer_the_challenges_they_know() {
    nat::run(async || {
        let lists = ["SHA-256,MD5", "MD5,SHA-256", "SHA-256", "MD5"];
        let models = [desk(Way::Udp), Model::Linphone(Way::Udp), Model::JsSip, Model::SipJs];
        let mut answered = [[false; 4]; 4];
        for (list, column) in lists.iter().zip(0..) {
            let bench = Bench::start(list).await?;
            let mut phones = Vec::new();
            for (model, user) in models.into_iter().zip(["one", "two", "three", "four"]) {
                bench.cluster.add_users([(user, PASSWORD)]).await?;
                let seat = Seat { host: "pub1", edge: 1, user, tone: CALLER };
                phones.push(bench.phone(model, seat).await?);
            }
            let [one, two, three, four] = &mut phones[..] else { unreachable!("as many as models") };
            let [one, two, three, four] =
                [one, two, three, four].map(|phone| phone.registered_within(PATIENCE));
            let (one, two, three, four) = tokio::join!(one, two, three, four);
            for (row, registered) in [one, two, three, four].into_iter().enumerate() {
                answered[row][column] = registered.is_ok();
            }
        }
        say(&format!("| phone | `{}` |", lists.join("` | `")));
        say("|---|---|---|---|---|");
        for (model, row) in models.iter().zip(&answered) {
            let row = row.map(|answered| if answered { "registers" } else { "does not" });
            say(&format!("| {model} | {} |", row.join(" | ")));
        }
        for (model, row) in models.iter().zip(&answered) {
            assert!(row[3], "{model} knows MD5");
            assert!(
                row[0] || matches!(model, Model::Baresip(..)),
                "{model} finds the challenge that it knows"
            );
        }
        Ok(())
    });
}

/// Mappings of UDP and TCP live for five seconds. None of these phones keeps its own one alive so often; the edge does.
#[test]
fn phones_behind_a_nat_stay_reachable_by_pings() {
    nat::run(async || {
        let silent = ("EDGE_NAT_PING", "off");
        let pinging = ("EDGE_NAT_PING_INTERVAL", "2s");
        let bench = Bench::with_edges("MD5", [silent, pinging]).await?;
        bench.network.run(&["timeout", "cone", "5", "5"])?;
        let users = ["caller", "off0", "off1", "off2", "off3", "on0", "on1", "on2", "on3"];
        bench.cluster.add_users(users.map(|user| (user, PASSWORD))).await?;
        let at = (Wire::Udp, Network::edge(1), 5060);
        let caller = Phone::open(&bench.network, "pub1", "caller", at)?;
        caller.register().await?;
        let models = [desk(Way::Udp), desk(Way::Tcp), desk(Way::Tls), Model::JsSip];
        let mut phones = Vec::new();
        for (edge, host, users) in [(1, "cone1", &users[1..5]), (2, "cone2", &users[5..9])] {
            for (model, user) in models.into_iter().zip(users) {
                let seat = Seat { host, edge, user, tone: CALLEE };
                let mut phone = bench.phone(model, seat).await?;
                phone.registered().await?;
                assert!(rings(&caller, user).await, "{phone} has registered");
                phones.push(phone);
            }
        }
        let called = node::clock::now();
        nat::mapping_ends(&bench.network, "cone", &["-s", "192.168.1.11"]).await?;
        for user in &users[1..5] {
            assert!(!rings(&caller, user).await, "{user} has no mapping");
        }
        // All the while the mappings of the pinged ones stand.
        let long = Duration::from_secs(50);
        let stand = poll(long * 2, async || {
            let mappings = bench.network.run(&["mappings", "cone", "-s", "192.168.1.12"]).ok()?;
            let over = node::clock::now() >= called + long;
            (over || mappings.lines().count() < models.len()).then_some(over)
        });
        assert_eq!(stand.await, Some(true), "a mapping has ended though it is pinged");
        say("| phone | pings off | pings on |");
        say("|---|---|---|");
        for (model, user) in models.iter().zip(&users[5..9]) {
            assert!(rings(&caller, user).await, "{model} is pinged");
            say(&format!("| {model} | silent after 5 s | rings after 50 s |"));
        }
        Ok(())
    });
}

/// Whether somebody answers the call.
async fn rings(caller: &Phone, user: &str) -> bool {
    let call = caller.call(user);
    let answer = caller.answer(call, Duration::from_secs(5)).await;
    caller.cancel(call);
    // The scripted phone has no media: what the other one makes of that is its own affair.
    caller.hang_up(call).await;
    answer.is_some_and(|(status, _)| status == 200)
}

struct Bench {
    network: Network,
    cluster: Cluster,
    /// Holds the certificates and the phones' files.
    dir: tempfile::TempDir,
}

impl Bench {
    async fn start(algorithms: &str) -> Result<Self, Problem> {
        let usual = ("EDGE_NAT_PING", "options");
        Self::with_edges(algorithms, [usual; 2]).await
    }

    /// Each edge with a setting of its own.
    async fn with_edges(algorithms: &str, own: [(&str, &str); 2]) -> Result<Self, Problem> {
        let network = Network::up()?;
        let dir = tempfile::Builder::new().prefix("signalbox-phones-").tempdir()?;
        make_certificate(dir.path())?;
        let mut site = network.site();
        for ((number, edge), (name, value)) in (1..).zip(&mut site.edges).zip(own) {
            let host = Network::edge(number).ip();
            let listen =
                format!("udp:{host}:5060,udp:{host}:3478,tcp:{host}:5060,tls:{host}:5061,wss:{host}:443");
            edge.settings.push(("EDGE_LISTEN".into(), listen));
            edge.settings.push((name.into(), value.into()));
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
