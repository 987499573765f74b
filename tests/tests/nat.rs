//! Phones behind real NATs: without pings a mapping dies and the phone with it, with pings it stays reachable.
//!
//! Makes network namespaces, so it wants root, iproute2, nftables and conntrack, and takes minutes. It runs only with
//! `SIGNALBOX_NAT=1`, as `tests/run` sets it.

use std::env;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cluster_tests::cluster::{Binaries, Cluster, Plan, Problem, poll};
use cluster_tests::nat::{Network, PASSWORD, Phone, Wire};

/// Seconds that a mapping lives in every home.
const LIFETIME: &str = "5";

/// One test at a time: the machine is small.
static ALONE: Mutex<()> = Mutex::new(());

/// A place behind a NAT.
#[derive(Debug, Clone, Copy)]
struct Place {
    what: &'static str,
    home: &'static str,
    host: &'static str,
    port: u16,
}

const PLACES: [Place; 5] = [
    Place { what: "port kept", home: "cone", host: "cone1", port: 5060 },
    Place { what: "port kept, second phone on the same port", home: "cone", host: "cone2", port: 5060 },
    Place { what: "symmetric, random ports", home: "symmetric", host: "sym1", port: 5060 },
    Place { what: "NAT behind NAT", home: "inner", host: "double1", port: 5060 },
    Place { what: "no NAT, only answers come in", home: "firewall", host: "fw1", port: 5060 },
];

struct Row {
    place: Place,
    wire: Wire,
    user: String,
    phone: Phone,
}

#[test]
fn a_phone_behind_any_nat() {
    nat(async || {
        let network = Network::up()?;
        for home in ["cone", "symmetric", "double", "inner", "firewall"] {
            network.run(&["timeout", home, LIFETIME, LIFETIME])?;
        }
        let site = network.site();
        let cluster =
            Cluster::start(&Plan { site: Some(site), ..Plan::default() }, &Binaries::build()?).await?;
        let mut rows = Vec::new();
        for (number, place) in PLACES.into_iter().enumerate() {
            for wire in [Wire::Udp, Wire::Tcp] {
                let user = format!("off-{wire:?}-{number}").to_lowercase();
                let at = (wire, Network::edge(1), place.port);
                let phone = Phone::open(&network, place.host, &user, at)?;
                rows.push(Row { place, wire, user, phone });
            }
        }
        let users = rows.iter().map(|row| row.user.as_str()).chain(["caller"]);
        cluster.add_users(users.map(|user| (user, PASSWORD))).await?;
        let caller = Phone::open(&network, "pub1", "caller", (Wire::Udp, Network::edge(2), 5060))?;
        caller.register().await?;
        for row in &rows {
            row.phone.register().await?;
            let call = caller.call(&row.user);
            let answer = caller.answer(call, Duration::from_secs(5)).await;
            assert_eq!(answer.map(|(status, _)| status), Some(200), "{} {:?}", row.place.what, row.wire);
            assert!(caller.hang_up(call).await);
        }
        for row in &rows {
            mapping_ends(&network, row).await?;
            let call = caller.call(&row.user);
            let answer = caller.answer(call, Duration::from_secs(3)).await;
            let _ = writeln!(
                std::io::stderr(),
                "{} {:?}: {answer:?}, rung {}",
                row.place.what,
                row.wire,
                row.phone.rung()
            );
            caller.cancel(call);
        }
        Ok(())
    });
}

async fn mapping_ends(network: &Network, row: &Row) -> Result<(), Problem> {
    let address = Network::address(row.place.host).to_string();
    let protocol = if row.wire == Wire::Udp { "udp" } else { "tcp" };
    let ended = poll(Duration::from_secs(30), async || {
        let mappings = network.run(&["mappings", row.place.home, "-s", &address, "-p", protocol]).ok()?;
        mappings.trim().is_empty().then_some(())
    });
    ended.await.ok_or_else(|| Problem::new(format!("the mapping of {} does not end", row.user)))
}

/// Runs a test when these tests are asked for.
fn nat(test: impl AsyncFnOnce() -> Result<(), Problem>) {
    if env::var_os("SIGNALBOX_NAT").is_none_or(|wanted| wanted != "1") {
        // Not by a macro: a passed test's print would not be seen.
        let _ = writeln!(std::io::stderr(), "not run: tests behind NATs want SIGNALBOX_NAT=1");
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = node::runtime::build(1).expect("a runtime");
    if let Err(problem) = runtime.block_on(test()) {
        panic!("{problem}");
    }
}
