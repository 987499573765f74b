//! Phones behind real NATs: without pings a mapping dies and the phone with it, with pings it stays reachable.
//!
//! The NATs are the kernel's own, in network namespaces; the mappings of every home live for five seconds. Runs with
//! `SIGNALBOX_NAT=1`.

use std::time::Duration;

use cluster_tests::cluster::{Binaries, Cluster, Plan, Problem, poll};
use cluster_tests::nat::{self, Network, PASSWORD, Phone, Wire, say};

/// Seconds that an idle mapping lives in every home.
const LIFETIME: u32 = 5;
/// How long a phone that is pinged must stay reachable.
const LONG: Duration = Duration::from_secs(10 * LIFETIME as u64);
/// How often the edges ping.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long a call to a phone that cannot be reached is watched.
const IN_VAIN: Duration = Duration::from_secs(3);
/// How long anything else may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Gateways with their own mappings.
const HOMES: [&str; 5] = ["cone", "symmetric", "double", "inner", "firewall"];

/// A place behind a NAT.
#[derive(Debug, Clone, Copy)]
struct Place {
    what: &'static str,
    home: &'static str,
    host: &'static str,
}

const PLACES: [Place; 5] = [
    Place { what: "one mapping for all, port kept", home: "cone", host: "cone1" },
    Place { what: "a second phone behind it, same port", home: "cone", host: "cone2" },
    Place { what: "symmetric, random ports", home: "symmetric", host: "sym1" },
    Place { what: "NAT behind NAT", home: "inner", host: "double1" },
    Place { what: "no NAT, only answers come in", home: "firewall", host: "fw1" },
];

/// A phone with the place where it is.
struct Row {
    place: Place,
    wire: Wire,
    user: String,
    phone: Phone,
}

#[test]
fn a_phone_behind_any_nat_stays_reachable_by_pings() {
    nat::run(async || {
        let network = Network::up()?;
        for home in HOMES {
            let seconds = LIFETIME.to_string();
            network.run(&["timeout", home, &seconds, &seconds])?;
        }
        let silent = Exchange::start(&network, ["off", "off"]).await?;
        let rows = silent.phones(&network, 1)?;
        silent.call_all(&rows).await?;
        for row in &rows {
            mapping_ends(&network, row).await?;
            silent.call_in_vain(row).await?;
        }
        drop((rows, silent));

        let pinging = Exchange::start(&network, ["udp", "options"]).await?;
        let octets = pinging.phones(&network, 1)?;
        let options = pinging.phones(&network, 2)?;
        pinging.call_all(&octets).await?;
        pinging.call_all(&options).await?;
        for row in octets.iter().chain(&options) {
            pinged_for_long(row).await?;
        }
        pinging.call_all(&octets).await?;
        pinging.call_all(&options).await?;

        say("| place | transport | pings off | four octets | `OPTIONS` |");
        say("|---|---|---|---|---|");
        for (octets, options) in octets.iter().zip(&options) {
            let wire = if octets.wire == Wire::Udp { "UDP" } else { "TCP" };
            let on = |row: &Row| format!("rings after {} s, {} pings", LONG.as_secs(), row.phone.pings().0);
            let on =
                if octets.wire == Wire::Udp { [on(octets), on(options)] } else { [on(octets), "″".into()] };
            say(&format!(
                "| {} | {wire} | silent after {LIFETIME} s | {} |",
                octets.place.what,
                on.join(" | ")
            ));
        }
        Ok(())
    });
}

/// The gateway loses power: its mappings are gone, and the next one has another port. Until the phone registers again
/// nobody can reach it. The first caller's INVITE makes the edge ask, whichever its pings are; the second caller learns it at once.
#[test]
fn a_gateway_that_restarts() {
    nat::run(async || {
        let network = Network::up()?;
        let exchange = Exchange::start(&network, ["options", "udp"]).await?;
        let most = Duration::from_secs(1);
        // Four octets say nothing of how long an answer takes.
        for (number, ping, most) in [(1, "`OPTIONS`", most), (2, "four octets", most * 5 / 2)] {
            let user = format!("phone{number}-0");
            let at = (Wire::Udp, Network::edge(number), 5060);
            let phone = Phone::open(&network, &format!("sym{number}"), &user, at)?;
            phone.register().await?;
            exchange.rings(&user, &phone).await?;
            let pinged = poll(LIMIT, async || (phone.pings().0 >= 2).then_some(()));
            pinged.await.ok_or_else(|| Problem::new("the phone is not pinged"))?;

            network.run(&["flush", "symmetric"])?;
            let first = exchange.refused(&user).await?;
            let edge = &exchange.cluster.edges[usize::from(number) - 1];
            let counted = poll(LIMIT, async || {
                let lost = edge.metric("edge_flows_lost_total").await.ok()?;
                (lost >= 1.0).then_some(())
            });
            counted.await.ok_or_else(|| Problem::new("the edge has counted no lost flow"))?;
            let second = exchange.refused(&user).await?;
            say(&format!(
                "gateway restarted, pings with {ping}: 480 after {first:?}, the second call {second:?}"
            ));
            assert!(first < most, "{first:?}");
            assert!(second < Duration::from_millis(500), "{second:?}");

            phone.register().await?;
            exchange.rings(&user, &phone).await?;
        }
        Ok(())
    });
}

/// A network of a test is its own: another one beside it is not touched, and nothing is left.
#[test]
fn networks_stand_side_by_side_and_leave_nothing() {
    nat::run(async || {
        let edge = Network::edge(1);
        let (one, two) = (Network::up()?, Network::up()?);
        let spaces = [one.space("edge1"), two.space("edge1")];
        // The same address in both.
        let sockets = [spaces[0].datagrams(edge)?, spaces[1].datagrams(edge)?];
        let phone = two.space("sym1").datagrams((Network::address("sym1"), edge.port()).into())?;
        phone.send_to(b"through", edge).await?;
        let mut datagram = [0; 16];
        let (_, from) = sockets[1].recv_from(&mut datagram).await?;
        assert_eq!(from.ip().to_string(), "10.99.0.102", "the gateway's address");
        assert_ne!(from.port(), edge.port(), "a symmetric NAT takes a port of its own");
        assert!(sockets[0].try_recv(&mut datagram).is_err(), "the other network hears nothing");
        drop(one);
        let again = two.space("edge1").datagrams((edge.ip(), 0).into());
        assert!(again.is_ok(), "the other network stands");
        drop(two);
        assert!(
            spaces.iter().all(|space| space.datagrams((edge.ip(), 0).into()).is_err()),
            "nothing is left"
        );
        Ok(())
    });
}

/// A cluster in the network and a caller that everybody can reach.
struct Exchange {
    cluster: Cluster,
    caller: Phone,
}

impl Exchange {
    /// The edges ping in these ways.
    async fn start(network: &Network, pings: [&str; 2]) -> Result<Self, Problem> {
        let mut site = network.site();
        for (edge, ping) in site.edges.iter_mut().zip(pings) {
            edge.settings.push(("EDGE_NAT_PING".into(), ping.into()));
            edge.settings.push(("EDGE_NAT_PING_INTERVAL".into(), format!("{}s", INTERVAL.as_secs())));
        }
        let plan = Plan { site: Some(site), ..Plan::default() };
        let cluster = Cluster::start(&plan, &Binaries::build()?).await?;
        cluster.add_users([("caller", PASSWORD)]).await?;
        let caller = Phone::open(network, "pub1", "caller", (Wire::Tcp, Network::edge(2), 5060))?;
        caller.register().await?;
        for number in 1..=2 {
            let rows = users(number);
            cluster.add_users(rows.iter().map(|user| (user.as_str(), PASSWORD))).await?;
        }
        Ok(Self { cluster, caller })
    }

    /// A phone in every place over every transport at one edge; not registered yet.
    fn phones(&self, network: &Network, edge: u8) -> Result<Vec<Row>, Problem> {
        let mut rows = Vec::new();
        let mut names = users(edge).into_iter();
        for place in PLACES {
            for wire in [Wire::Udp, Wire::Tcp] {
                let user = names.next().ok_or_else(|| Problem::new("more places than users"))?;
                // The same port in all places; the phones of both edges stand side by side.
                let port = 5060 + 2 * u16::from(edge);
                let phone = Phone::open(network, place.host, &user, (wire, Network::edge(edge), port))?;
                rows.push(Row { place, wire, user, phone });
            }
        }
        Ok(rows)
    }

    /// Registers those that have not, and calls each: it must ring, and the call must end in order.
    async fn call_all(&self, rows: &[Row]) -> Result<(), Problem> {
        for row in rows {
            if row.phone.rung() == 0 {
                row.phone.register().await?;
            }
            self.rings(&row.user, &row.phone).await?;
        }
        Ok(())
    }

    async fn rings(&self, user: &str, phone: &Phone) -> Result<(), Problem> {
        let before = phone.rung();
        let call = self.caller.call(user);
        let answer = self.caller.answer(call, LIMIT).await.map(|(status, _)| status);
        if answer != Some(200) || phone.rung() != before + 1 {
            let rung = phone.rung() - before;
            return Err(Problem::new(format!("{user} was called: {answer:?}, rung {rung} times")));
        }
        if !self.caller.hang_up(call).await {
            return Err(Problem::new(format!("{user} does not hear the BYE")));
        }
        Ok(())
    }

    /// How long a caller waits for 480.
    async fn refused(&self, user: &str) -> Result<Duration, Problem> {
        let call = self.caller.call(user);
        match self.caller.answer(call, LIMIT).await {
            Some((480, waited)) => Ok(waited),
            other => Err(Problem::new(format!("a call to {user}, who is out of reach: {other:?}"))),
        }
    }

    async fn call_in_vain(&self, row: &Row) -> Result<(), Problem> {
        let before = row.phone.rung();
        let call = self.caller.call(&row.user);
        let answer = self.caller.answer(call, IN_VAIN).await;
        self.caller.cancel(call);
        if answer.is_some_and(|(status, _)| status < 300) || row.phone.rung() > before {
            return Err(Problem::new(format!(
                "{} {:?} is reached without a mapping",
                row.place.what, row.wire
            )));
        }
        Ok(())
    }
}

/// The users of the phones at one edge.
fn users(edge: u8) -> Vec<String> {
    (0..2 * PLACES.len()).map(|number| format!("phone{edge}-{number}")).collect()
}

/// Waits until the gateway has forgotten a phone.
async fn mapping_ends(network: &Network, row: &Row) -> Result<(), Problem> {
    let address = Network::address(row.place.host).to_string();
    let protocol = if row.wire == Wire::Udp { "udp" } else { "tcp" };
    nat::mapping_ends(network, row.place.home, &["-s", &address, "-p", protocol]).await
}

/// Waits until pings have come for long enough after the phone was called.
async fn pinged_for_long(row: &Row) -> Result<(), Problem> {
    let last_request = row.phone.look(|ua| {
        let requests = ua.heard.iter().filter(|heard| match &heard.message {
            rsip::SipMessage::Request(request) => request.method == rsip::Method::Bye,
            rsip::SipMessage::Response(_) => false,
        });
        requests.map(|heard| heard.at).max().unwrap_or_default()
    });
    let pinged = poll(LONG + LIMIT, async || (row.phone.pings().1 >= last_request + LONG).then_some(()));
    let problem =
        || Problem::new(format!("{} {:?}: pings {:?}", row.place.what, row.wire, row.phone.pings()));
    pinged.await.ok_or_else(problem)
}
