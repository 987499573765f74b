//! Random schedules of a whole cluster: registrations, calls, cancels and every kind of trouble, judged by the oracle.
//!
//! A seed decides everything. `SIM_SEED=n cargo test --test schedules` replays one and prints what was on the wire
//! (whole messages with `SIM_LOG=full`); `SIM_SEEDS=n` tries the first n instead of 200.

use std::time::Duration;

use cluster_tests::net::{Dice, Weather};
use cluster_tests::sim::{CallRef, DOMAIN, Sim, Topology};
use cluster_tests::ua::{Answer, CallOptions, Contacts, Register, Subscribe};
use rsip::Method;
use sip::Aor;
use transport::Protocol;

/// What goes wrong in a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Nothing.
    None,
    /// The network between phones and edges.
    Network,
    /// That, and cores die.
    Cores,
    /// That, and edges, links, streams and the store.
    Everything,
}

const CLASSES: [Trouble; 4] = [Trouble::None, Trouble::Network, Trouble::Cores, Trouble::Everything];

#[test]
fn nothing_goes_wrong() {
    all_of(Trouble::None);
}

#[test]
fn the_network_loses_repeats_and_reorders() {
    all_of(Trouble::Network);
}

#[test]
fn cores_die_and_come_back() {
    all_of(Trouble::Cores);
}

#[test]
fn everything_dies_and_comes_back() {
    all_of(Trouble::Everything);
}

#[test]
fn a_seed_replays_byte_for_byte() {
    for seed in [2, 3] {
        let ladder = || {
            let mut sim = play(seed);
            sim.finish();
            sim.ladder()
        };
        assert!(ladder() == ladder(), "seed {seed}");
    }
}

#[expect(clippy::print_stdout, reason = "a replayed seed shows its wire")]
fn all_of(trouble: Trouble) {
    let number = |name| std::env::var(name).ok().map(|n| n.parse().expect("it is a number"));
    let replayed: Option<u64> = number("SIM_SEED");
    let seeds = replayed.map_or(0..number("SIM_SEEDS").unwrap_or(200), |seed| seed..seed + 1);
    for seed in seeds.filter(|seed| class(*seed) == trouble) {
        let mut sim = play(seed);
        sim.finish();
        if trouble == Trouble::None {
            check_calm(&sim, seed);
        }
        if replayed.is_some() {
            println!("{}", sim.ladder());
        }
    }
}

/// Where nothing goes wrong, nobody waits in vain and no server fails.
fn check_calm(sim: &Sim, seed: u64) {
    for phone in 0..sim.phones() {
        let ua = sim.ua(phone);
        assert!(ua.is_idle(), "seed {seed}: UA{phone} waits for something");
        for call in &ua.calls {
            let is_answer = call.last.is_some_and(|last| !(500..600).contains(&last)) && !call.timed_out;
            assert!(is_answer, "seed {seed}: {call:?}");
        }
        for dialog in &ua.dialogs {
            // The peer may have hung up at the same time.
            assert!(matches!(dialog.bye, None | Some(200 | 481)), "seed {seed}: {dialog:?}");
            assert!(matches!(dialog.reinvite, None | Some(200 | 481)), "seed {seed}: {dialog:?}");
            assert!(dialog.is_acknowledged && dialog.is_over, "seed {seed}: {dialog:?}");
        }
        for registration in &ua.registrations {
            assert_eq!(registration.status, Some(200), "seed {seed}: {registration:?}");
        }
        for subscription in &ua.subscriptions {
            assert_eq!(subscription.status, Some(200), "seed {seed}: {subscription:?}");
            let aor = Aor::parse(&ua.aor()).expect("a user of ours");
            let registered = sim.store.record(&aor).bindings.into_iter().map(|binding| binding.contact);
            assert_eq!(subscription.contacts(), registered.collect(), "seed {seed}: {subscription:?}");
        }
        for outcome in &ua.outcomes {
            assert!(outcome.status.is_some_and(|status| status < 500), "seed {seed}: {outcome:?}");
        }
    }
}

fn class(seed: u64) -> Trouble {
    CLASSES[usize::try_from(seed % 4).expect("it is less than four")]
}

/// Builds the cluster of a seed and plays its script; what is under way stays so.
fn play(seed: u64) -> Sim {
    let trouble = class(seed);
    let mut dice = Dice::new(seed, 2);
    let weather = if trouble == Trouble::None { Weather::fair() } else { Weather::foul(&mut dice) };
    let topology = Topology {
        edges: 1 + dice.index(3),
        cores: if trouble == Trouble::None { 1 + dice.index(2) } else { 2 + dice.index(2) },
        call_auth: dice.chance(500),
        service_route: false,
    };
    let mut sim = Sim::with(seed, topology, weather);
    if std::env::var("SIM_SEED").is_err() {
        sim.quiet();
    }
    if trouble == Trouble::Everything && dice.chance(300) {
        sim.net.weather.refusal = 5;
    }
    let mut script = Script { dice, trouble, topology, phones: Vec::new(), calls: Vec::new() };
    script.phones(&mut sim);
    for _ in 0..30 {
        let pause = script.dice.between((Duration::from_millis(10), Duration::from_millis(2_500)));
        sim.run(pause);
        script.act(&mut sim);
    }
    script.wind_down(&mut sim);
    sim
}

struct Script {
    dice: Dice,
    trouble: Trouble,
    topology: Topology,
    /// User and lines of each phone.
    phones: Vec<(&'static str, usize)>,
    calls: Vec<CallRef>,
}

const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

impl Script {
    fn phones(&mut self, sim: &mut Sim) {
        let count = 2 + self.dice.index(5);
        for _ in 0..count {
            let user = USERS[self.dice.index(USERS.len())];
            let edge = self.dice.index(self.topology.edges);
            let stream = self.dice.chance(300);
            let protocol = if stream { Protocol::Tcp } else { Protocol::Udp };
            let outbound = self.dice.chance(300);
            let number = self.phones.len();
            let phone = sim.phone_with(user, edge, protocol, |profile| {
                profile.instance = outbound.then(|| format!("urn:uuid:00000000-0000-0000-0000-{number:012}"));
                profile.supports_path = outbound || number.is_multiple_of(2);
            });
            let mut lines = 1;
            if outbound && self.topology.edges > 1 && self.dice.chance(700) {
                sim.add_line(phone, (edge + 1) % self.topology.edges, protocol);
                lines = 2;
            }
            self.phones.push((user, lines));
            self.set_answer(sim, phone);
            self.register(sim, phone, Some(3_600));
        }
    }

    fn register(&mut self, sim: &mut Sim, phone: usize, expires: Option<u32>) {
        let lines = self.phones[phone].1;
        let has_instance = sim.ua(phone).profile.instance.is_some();
        for line in 0..lines {
            sim.reconnect_if_closed(phone, line);
            let reg_id = has_instance.then(|| u32::try_from(line).expect("a phone has few lines") + 1);
            sim.order(phone, |ua| ua.register(Register { expires, reg_id, ..Register::on(line) }));
        }
    }

    fn set_answer(&mut self, sim: &mut Sim, phone: usize) {
        let ms = self.dice.below(6_000);
        let answer = match self.dice.below(10) {
            0 => Answer::refuse(486, ms / 4),
            1 => Answer::refuse(603, ms / 4),
            2 => Answer::never(),
            3 => Answer { ring: None, last: Some((Duration::from_millis(ms), 200)) },
            4 => Answer {
                ring: Some(Duration::from_millis(ms / 2)),
                last: Some((Duration::from_millis(ms), 480)),
            },
            5 => Answer::after_ms(0),
            _ => Answer::after_ms(ms),
        };
        sim.order(phone, |ua| ua.answer = answer);
    }

    fn act(&mut self, sim: &mut Sim) {
        let phone = self.dice.index(self.phones.len());
        match self.dice.below(100) {
            0..35 => self.call(sim, phone),
            35..45 => self.with_call(|_, sim, call| sim.cancel(call), sim),
            45..60 => self.with_call(Self::hang_up, sim),
            60..65 => self.with_call(Self::reinvite, sim),
            65..72 => self.register(sim, phone, Some(3_600)),
            72..74 => self.register(sim, phone, Some(0)),
            74 => {
                let everything = Register { contacts: Contacts::Star, expires: Some(0), ..Register::on(0) };
                sim.order(phone, |ua| ua.register(everything));
            }
            75..80 => self.set_answer(sim, phone),
            80..83 => self.watch(sim, phone),
            83..86 => {
                let target = format!("sip:{}@{DOMAIN}", USERS[self.dice.index(USERS.len())]);
                sim.order(phone, |ua| ua.ask(0, Method::Message, &target, CallOptions::default()));
            }
            _ => self.trouble(sim, phone),
        }
    }

    /// Subscribes to the own registration, or refreshes that.
    fn watch(&mut self, sim: &mut Sim, phone: usize) {
        sim.reconnect_if_closed(phone, 0);
        let known = sim.ua(phone).subscriptions.iter().position(|it| it.status == Some(200));
        match known {
            Some(number) => sim.order(phone, |ua| ua.resubscribe(number, 0, None)),
            None => {
                let target = format!("sip:{}@{DOMAIN}", self.phones[phone].0);
                sim.order(phone, |ua| ua.subscribe(Subscribe::to(target)));
            }
        }
    }

    fn call(&mut self, sim: &mut Sim, phone: usize) {
        let callee = USERS[self.dice.index(USERS.len())];
        sim.reconnect_if_closed(phone, 0);
        let call = sim.call(phone, callee);
        self.calls.push(call);
    }

    fn with_call(&mut self, what: impl FnOnce(&mut Self, &mut Sim, CallRef), sim: &mut Sim) {
        let recent = self.calls.len().saturating_sub(4);
        if let Some(call) = self.calls.get(recent + self.dice.index(self.calls.len() - recent)).copied() {
            what(self, sim, call);
        }
    }

    fn hang_up(&mut self, sim: &mut Sim, call: CallRef) {
        let phone = if self.dice.chance(500) { call.phone } else { self.dice.index(self.phones.len()) };
        let call_id = sim.call_of(call).call_id.clone();
        let is_its = |dialog: &cluster_tests::ua::Dialog| dialog.call_id == call_id && !dialog.is_over;
        if let Some(dialog) = sim.ua(phone).dialogs.iter().position(is_its) {
            sim.order(phone, |ua| ua.hang_up(dialog));
        }
    }

    fn reinvite(&mut self, sim: &mut Sim, call: CallRef) {
        if let Some(dialog) = sim.call_of(call).dialog
            && !sim.ua(call.phone).dialogs[dialog].is_over
        {
            sim.order(call.phone, |ua| ua.reinvite(dialog));
        }
    }

    fn trouble(&mut self, sim: &mut Sim, phone: usize) {
        let back = self.dice.between((Duration::from_millis(50), Duration::from_secs(8)));
        let core = self.dice.index(self.topology.cores);
        let edge = self.dice.index(self.topology.edges);
        match (self.trouble, self.dice.below(10)) {
            (Trouble::None, _) => {}
            (Trouble::Network, _) => {
                sim.net.cut(phone, edge);
                sim.after(back, move |sim| sim.net.heal(phone, edge));
            }
            (Trouble::Cores, 0..2) => {
                sim.retire_core(core);
                sim.after(back + Duration::from_secs(6), move |sim| sim.restart_core(core));
            }
            (Trouble::Cores, _) | (Trouble::Everything, 0..3) => {
                sim.kill_core(core);
                sim.after(back, move |sim| sim.restart_core(core));
            }
            (Trouble::Everything, 3..5) => {
                sim.kill_edge(edge);
                sim.after(back, move |sim| sim.restart_edge(edge));
            }
            (Trouble::Everything, 5) => {
                if self.dice.chance(500) {
                    sim.store_down();
                } else {
                    sim.store_flaky();
                }
                sim.after(back, Sim::store_up);
            }
            (Trouble::Everything, 6) => {
                sim.cut_link(edge, core);
                sim.after(back, move |sim| sim.heal_link(edge, core));
            }
            (Trouble::Everything, 7) => {
                sim.order(phone, |ua| ua.is_on = false);
                sim.after(back, move |sim| sim.order(phone, |ua| ua.is_on = true));
            }
            (Trouble::Everything, _) => {
                sim.close_line(phone, 0);
                sim.after(back, move |sim| sim.reconnect_if_closed(phone, 0));
            }
        }
    }

    /// Everybody hangs up in the end.
    fn wind_down(&mut self, sim: &mut Sim) {
        sim.run(Duration::from_secs(8));
        for call in self.calls.clone() {
            if let Some(dialog) = sim.call_of(call).dialog
                && !sim.ua(call.phone).dialogs[dialog].is_over
            {
                sim.order(call.phone, |ua| ua.hang_up(dialog));
            }
        }
    }
}
