//! Forking with refusals, calls that change or end while they begin, messages, subscriptions, registrations that are too
//! brief: each as a load, and none of it may be lost.

use std::time::Duration;

use cluster_tests::sipp::{Run, Sipp};

use crate::exchange::{Exchange, RATE, REST, call_line, credentials, end_to_end, length, local, report};

/// Of the shorter loads.
const SECONDS: u32 = 10;

/// RFC 3261 §16.7: one phone is busy, which is no reason not to let the other one answer.
#[test]
fn one_of_two_phones_is_busy() {
    end_to_end(async || {
        let exchange = Exchange::start().await?;
        let fork = [credentials("fork")];
        exchange.register(exchange.west, exchange.ep1(), &fork).await?;
        exchange.register(exchange.east, exchange.ep2(), &fork).await?;
        let lines = [call_line("w0000", "fork")];
        let (third, calls) = (local()?, RATE * 2);
        let answer = exchange.waiting("answer", exchange.east, calls).await?;
        let busy = exchange.waiting("busy", exchange.west, calls).await?;
        let run = Run { local: third, ..exchange.load(&lines, calls, Duration::ZERO) };
        let outcome = Sipp::start(exchange.dir(), &run)?.finish(length(&run)).await?;
        assert_eq!(outcome.successful, calls);
        assert_eq!(answer.finish(REST).await?.successful, calls, "ACK and BYE for who answered");
        assert_eq!(busy.finish(REST).await?.successful, calls, "one ACK for who was busy");
        Ok(())
    });
}

/// RFC 3261 §14.
#[test]
fn calls_are_changed_while_they_stand() {
    load("again", "answer_again", RATE * SECONDS, RATE);
}

/// RFC 3261 §9: the CANCEL and the answer meet somewhere on the way. Either is right, and both sides see the same end.
#[test]
fn callers_give_up_as_the_phone_answers() {
    load("race", "race_answer", RATE * 20, RATE);
}

/// RFC 3428.
#[test]
fn messages() {
    load("message", "take", 100 * SECONDS, 100);
}

/// RFC 6665.
#[test]
fn subscriptions_come_and_go() {
    load("subscribe", "notify", RATE * SECONDS, RATE);
}

/// RFC 3261 §10.2.8, §21.4.17.
#[test]
fn a_registration_that_is_too_brief_is_made_longer() {
    end_to_end(async || {
        let exchange = Exchange::start().await?;
        let phones: Vec<String> = exchange.phones("e").into_iter().take(100).collect();
        let run = exchange.registration("register_brief", exchange.east, exchange.ep2(), &phones);
        let run = Run { rate: RATE, ..run };
        let outcome = Sipp::start(exchange.dir(), &run)?.finish(length(&run)).await?;
        assert_eq!(outcome.successful, run.calls);
        assert!(exchange.is_bound("e0099").await?);
        Ok(())
    });
}

/// Phones in the west begin, those in the east go along; each of them must see all of it through.
fn load(begin: &str, along: &str, calls: u32, rate: u32) {
    end_to_end(async || {
        let mut exchange = Exchange::start().await?;
        exchange.register(exchange.east, exchange.ep2(), &exchange.phones("e")).await?;
        exchange.forgiving = true;
        // More than there are: what is repeated late looks like another call to SIPp.
        let callees = exchange.waiting(along, exchange.east, 10 * calls).await?;
        let run =
            Run { scenario: begin, rate, ..exchange.load(&exchange.lines, calls, Duration::from_millis(20)) };
        let outcome = Sipp::start(exchange.dir(), &run)?.finish(length(&run)).await?;
        report(begin, outcome);
        assert_eq!((outcome.created, outcome.successful), (calls, calls));
        // The callers have seen everything that their phones had to say; a late repetition may spoil a few of the others.
        callees.reaches(REST, |outcome| outcome.successful >= calls - calls / 50).await?;
        callees.kill().await?;
        Ok(())
    });
}
