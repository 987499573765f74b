use super::*;

/// A fixed moment: what is tested are the distances from it.
fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(node::clock::now)
}

fn at(seconds: u64) -> Instant {
    start() + Duration::from_secs(seconds)
}

fn table() -> Registered {
    Registered::new(ahash::RandomState::with_seeds(1, 2, 3, 4), start())
}

fn flow(port: u16) -> Flow {
    Flow::udp(([192, 0, 2, 1], 5060).into(), ([198, 51, 100, 1], port).into())
}

fn aor(user: &str) -> Aor {
    Aor::parse(&format!("{user}@example.com")).unwrap()
}

/// `own` are the contacts that the REGISTER has named, `others` those that the answer lists besides.
fn answer(port: u16, user: &str, asked: u64, own: &[(&str, u32)], others: &[&str]) -> Registration {
    let listed = |uri: &str, expires, own: bool| {
        let text = format!("<{uri}>");
        let contact = Contact::parse(text.as_bytes()).unwrap();
        Listed { key: key(&contact), expires, own: own.then(|| Bytes::from(uri.to_owned())) }
    };
    let own = own.iter().map(|(uri, expires)| listed(uri, *expires, true));
    let contacts = own.chain(others.iter().map(|uri| listed(uri, 3600, false))).collect();
    Registration { flow: flow(port), aor: aor(user), asked: at(asked), contacts, supervised: false }
}

const A: &str = "sip:a@10.0.0.1";
const B: &str = "sip:b@10.0.0.2";

#[test]
fn a_flow_is_kept_as_long_as_its_binding() {
    let mut table = table();
    let learned = table.learn(&answer(1, "alice", 0, &[(A, 60)], &[]), at(0));
    let (number, true) = learned.flow.unwrap() else { panic!("it is new") };
    assert_eq!(table.get(number).unwrap().contact.as_ref(), A.as_bytes());
    assert!(!table.expire(number, at(59)));
    assert!(table.expire(number, at(60)), "RFC 3261 §10.2.1: it counts no more");
    assert!(table.is_empty());
}

#[test]
fn a_refresh_keeps_the_flow_and_its_number() {
    let mut table = table();
    let (number, _) = table.learn(&answer(1, "alice", 0, &[(A, 60)], &[]), at(0)).flow.unwrap();
    let again = table.learn(&answer(1, "alice", 50, &[(A, 60)], &[]), at(50));
    assert_eq!(again.flow, Some((number, false)));
    assert!(again.ended.is_empty());
    assert!(!table.expire(number, at(109)));
    assert!(table.expire(number, at(110)));
}

#[test]
fn a_binding_that_is_removed_ends_its_flow() {
    for removal in [answer(1, "alice", 1, &[], &[]), answer(1, "alice", 1, &[(A, 0)], &[])] {
        let mut table = table();
        let (number, _) = table.learn(&answer(1, "alice", 0, &[(A, 60)], &[]), at(0)).flow.unwrap();
        assert_eq!(table.learn(&removal, at(2)).ended[..], [number]);
        assert!(table.is_empty());
    }
}

#[test]
fn a_phone_that_comes_from_another_port_has_left_the_first_one() {
    let mut table = table();
    let (first, _) = table.learn(&answer(1, "alice", 0, &[(A, 60)], &[]), at(0)).flow.unwrap();
    let moved = table.learn(&answer(2, "alice", 5, &[(A, 60)], &[]), at(6));
    assert_eq!(moved.ended[..], [first]);
    assert!(table.number(&flow(2)).is_some() && table.number(&flow(1)).is_none());
}

#[test]
fn a_flow_with_two_addresses_ends_with_the_second() {
    let mut table = table();
    let (number, _) = table.learn(&answer(1, "alice", 0, &[(A, 60)], &[]), at(0)).flow.unwrap();
    table.learn(&answer(1, "bob", 0, &[(B, 90)], &[]), at(0));
    assert_eq!(table.aors(number).len(), 2);
    assert!(!table.expire(number, at(60)));
    assert_eq!(table.aors(number), [aor("bob")]);
    assert!(table.learn(&answer(1, "alice", 61, &[], &[]), at(61)).ended.is_empty());
    assert_eq!(table.learn(&answer(1, "bob", 61, &[], &[]), at(61)).ended[..], [number]);
    assert!(table.is_empty());
}

#[test]
fn the_other_phones_of_an_address_stay() {
    let mut table = table();
    table.learn(&answer(1, "alice", 0, &[(A, 60)], &[]), at(0));
    let second = table.learn(&answer(2, "alice", 1, &[(B, 60)], &[A]), at(2));
    assert!(second.ended.is_empty());
    assert!(table.number(&flow(1)).is_some() && table.number(&flow(2)).is_some());
}

#[test]
fn an_answer_that_was_overtaken_takes_nothing_away() {
    let mut table = table();
    // Both were asked for at second 0; the one that knows both phones comes first.
    table.learn(&answer(2, "alice", 0, &[(B, 60)], &[A]), at(1));
    let late = table.learn(&answer(1, "alice", 0, &[(A, 60)], &[]), at(2));
    assert!(late.ended.is_empty());
    assert!(table.number(&flow(1)).is_some() && table.number(&flow(2)).is_some());
}

#[test]
fn a_contact_that_takes_the_place_of_another_ends_its_flow() {
    let mut table = table();
    let (old, _) = table.learn(&answer(1, "alice", 0, &[(A, 60)], &[]), at(0)).flow.unwrap();
    assert_eq!(table.learn(&answer(2, "alice", 5, &[(B, 60)], &[]), at(6)).ended[..], [old]);
}

#[test]
fn a_closed_stream_takes_its_registrations_along() {
    let mut table = table();
    let (number, _) = table.learn(&answer(1, "alice", 0, &[(A, 60)], &[]), at(0)).flow.unwrap();
    table.learn(&answer(1, "bob", 0, &[(B, 60)], &[]), at(0));
    table.learn(&answer(2, "bob", 1, &[(A, 60)], &[B]), at(1));
    assert_eq!(table.remove(number)[..], [aor("alice"), aor("bob")]);
    assert_eq!(table.by_protocol(), [1, 0, 0, 0, 0], "bob's other phone");
}

#[test]
fn what_is_recovered_knows_less_than_any_answer() {
    let mut table = table();
    let contact = Contact::parse(b"<sip:a@10.0.0.1>;+sip.instance=\"<urn:uuid:1>\";reg-id=1").unwrap();
    let (number, true) = table.recover(&flow(1), &aor("alice"), &contact, 60, at(0)).unwrap() else {
        panic!("it is new")
    };
    assert_eq!(table.get(number).unwrap().contact.as_ref(), A.as_bytes());
    assert_eq!(table.recover(&flow(1), &aor("alice"), &contact, 60, at(0)), None, "known");
    let listed = Listed { key: key(&contact), expires: 60, own: Some(Bytes::from_static(A.as_bytes())) };
    let refresh = Registration { contacts: vec![listed], ..answer(2, "alice", 1, &[], &[]) };
    assert_eq!(table.learn(&refresh, at(2)).ended[..], [number], "it has moved");
    assert_eq!(table.recover(&flow(1), &aor("alice"), &contact, 60, at(3)), None, "known better");
}

#[test]
fn instance_and_reg_id_tell_flows_of_one_phone_apart() {
    let keys: Vec<u64> = ["", ";reg-id=1", ";reg-id=2", ";+sip.instance=\"<urn:uuid:1>\";reg-id=1"]
        .map(|params| key(&Contact::parse(format!("<sip:a@b>{params};expires=7").as_bytes()).unwrap()))
        .into();
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    let same = key(&Contact::parse(b"\"A\" <sip:a@b>;q=0.5;reg-id=1").unwrap());
    assert_eq!(same, keys[1], "what the registrar adds or changes does not count");
}

/// Both sides of the table say the same, whatever happens in whatever order: a flow has the addresses whose bindings name
/// it, each of them once.
#[test]
fn flows_and_addresses_agree_after_anything() {
    const CONTACTS: [&str; 3] = [A, B, "sip:c@10.0.0.3"];
    let mut random = 1_u64;
    let mut draw = |below: u32| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(random >> 33).unwrap() % below
    };
    let mut table = table();
    let (mut most, mut ended) = (0, 0);
    for second in 0..4_000 {
        let port = u16::try_from(draw(4)).unwrap();
        let user = ["alice", "bob", "carol"][usize::try_from(draw(3)).unwrap()];
        let contact = CONTACTS[usize::try_from(draw(3)).unwrap()];
        match draw(8) {
            0 => drop(table.number(&flow(port)).map(|number| table.remove(number))),
            1 => drop(table.number(&flow(port)).map(|number| table.expire(number, at(second)))),
            2 => {
                let text = format!("<{contact}>");
                let contact = Contact::parse(text.as_bytes()).unwrap();
                table.recover(&flow(port), &aor(user), &contact, 5, at(second));
            }
            _ => {
                let expires = draw(3) * 5;
                let others: Vec<_> =
                    CONTACTS.into_iter().filter(|uri| *uri != contact && draw(2) == 0).collect();
                let asked = second.saturating_sub(draw(3).into());
                let answer = answer(port, user, asked, &[(contact, expires)], &others);
                ended += table.learn(&answer, at(second)).ended.len();
            }
        }
        let mut by_flow: Vec<_> = (0..4)
            .filter_map(|port| table.number(&flow(port)))
            .flat_map(|number| table.aors(number).iter().map(move |aor| (number, aor.to_string())))
            .collect();
        let mut by_address: Vec<_> = table
            .aors
            .iter()
            .flat_map(|(aor, bindings)| bindings.iter().map(move |it| (it.flow, aor.to_string())))
            .collect();
        by_flow.sort();
        by_address.sort();
        by_address.dedup();
        assert_eq!(by_flow, by_address, "in second {second}");
        most = most.max(by_flow.len());
    }
    assert!(most > 6 && ended > 100, "it has come about: {most} {ended}");
}
