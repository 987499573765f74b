//! Calls: from edge to edge, to two phones, given up, and while things die.

use std::time::Duration;

use cluster_tests::sipp::{Run, Sipp};

use crate::exchange::{
    Exchange, RATE, REST, call_line, credentials, end_to_end, length, local, report, seconds,
};

#[test]
fn calls_over_udp_from_edge_to_edge() {
    end_to_end(async || {
        let exchange = Exchange::start().await?;
        exchange.register_all().await?;
        let calls = RATE * seconds();
        let outcome = exchange.calls(calls, Duration::ZERO).await?;
        report("UDP", outcome);
        assert_eq!((outcome.created, outcome.successful), (calls, calls));
        Ok(())
    });
}

#[test]
fn calls_over_tcp_from_edge_to_edge() {
    end_to_end(async || {
        let mut exchange = Exchange::start().await?;
        exchange.tcp = true;
        // The binding of a phone on TCP is good as long as its connection, so the phones stay.
        let east = exchange.phones("e");
        let stay = Run {
            out_of_call: Some("answer"),
            ..exchange.registration("register_stay", exchange.east, exchange.ep2(), &east)
        };
        let callees = Sipp::start(exchange.dir(), &stay)?;
        exchange.wait_for_binding("e0499").await?;
        let calls = RATE * seconds();
        let run = exchange.load(&exchange.lines, calls, Duration::ZERO);
        let outcome = Sipp::start(exchange.dir(), &run)?.finish(length(&run)).await?;
        callees.kill().await?;
        report("TCP", outcome);
        assert_eq!((outcome.created, outcome.successful), (calls, calls));
        Ok(())
    });
}

/// RFC 3261 §16.7 step 10 and §16.10: the answered phone gets ACK and BYE, the other one CANCEL, wherever they are.
#[test]
fn one_address_rings_behind_both_edges() {
    end_to_end(async || {
        let exchange = Exchange::start().await?;
        let third = local()?;
        let fork = [credentials("fork")];
        exchange.register(exchange.west, exchange.ep1(), &fork).await?;
        exchange.register(exchange.east, exchange.ep2(), &fork).await?;
        let lines = [call_line("w0000", "fork")];
        for (answering, ringing) in [(exchange.west, exchange.east), (exchange.east, exchange.west)] {
            let calls = 20;
            let answer = exchange.waiting("answer", answering, calls).await?;
            let ring = exchange.waiting("ring", ringing, calls).await?;
            let run = Run { local: third, rate: 5, ..exchange.load(&lines, calls, Duration::ZERO) };
            let outcome = Sipp::start(exchange.dir(), &run)?.finish(length(&run)).await?;
            assert_eq!(outcome.successful, calls);
            assert_eq!(answer.finish(REST).await?.successful, calls, "ACK and BYE for who answered");
            assert_eq!(ring.finish(REST).await?.successful, calls, "CANCEL for who did not");
        }
        Ok(())
    });
}

#[test]
fn a_caller_gives_up_while_it_rings() {
    end_to_end(async || {
        let exchange = Exchange::start().await?;
        exchange.register(exchange.east, exchange.ep2(), &[credentials("e0000")]).await?;
        let calls = 20;
        let ring = exchange.waiting("ring", exchange.east, calls).await?;
        let lines = [call_line("w0000", "e0000")];
        let run = Run { scenario: "cancel", rate: 5, ..exchange.load(&lines, calls, Duration::ZERO) };
        let outcome = Sipp::start(exchange.dir(), &run)?.finish(length(&run)).await?;
        assert_eq!(outcome.successful, calls);
        assert_eq!(ring.finish(REST).await?.successful, calls);
        Ok(())
    });
}

/// Bindings are in the database, UDP flows in their tokens: nothing of it is in a process.
#[test]
fn registrations_outlive_every_process() {
    end_to_end(async || {
        let mut exchange = Exchange::start().await?;
        exchange.register_all().await?;
        exchange.cluster.stop_all().await?;
        exchange.cluster.start_all().await?;
        let calls = RATE * 10;
        let outcome = exchange.calls(calls, Duration::ZERO).await?;
        assert_eq!((outcome.created, outcome.successful), (calls, calls));
        Ok(())
    });
}

/// What was in flight at the kill may fail; the calls that stand, and all later ones, go on through the other core.
#[test]
fn a_core_is_killed_under_load() {
    end_to_end(async || {
        let mut exchange = Exchange::start().await?;
        exchange.register_all().await?;
        let calls = RATE * 30;
        let hold = Duration::from_secs(2);
        let callees = exchange.waiting("answer", exchange.east, calls).await?;
        let run = exchange.load(&exchange.lines, calls, hold);
        let limit = length(&run);
        let callers = Sipp::start(exchange.dir(), &run)?;
        callers.reaches(limit, |outcome| outcome.created >= calls / 3).await?;
        for core in &exchange.cluster.cores {
            let invites = core.metric("core_requests_total{method=\"INVITE\"}").await?;
            assert!(invites > 0.0, "{} is home to some of the calls", core.name);
        }
        exchange.cluster.cores[0].kill().await?;
        let outcome = callers.finish_with_failures(limit).await?;
        callees.kill().await?;
        report("a core killed", outcome);
        assert_eq!(outcome.created, calls);
        assert!(outcome.failed <= 5, "{} of {calls} calls failed", outcome.failed);

        exchange.cluster.start_all().await?;
        let calls = RATE * 5;
        let outcome = exchange.calls(calls, Duration::ZERO).await?;
        assert_eq!((outcome.created, outcome.successful), (calls, calls), "with both cores again");
        Ok(())
    });
}

#[test]
fn a_wrong_password_is_refused() {
    end_to_end(async || {
        let exchange = Exchange::start().await?;
        for user in ["e0001", "nobody"] {
            let wrong = [format!("{user};[authentication username={user} password=wrong]")];
            let run = exchange.registration("register_refused", exchange.east, exchange.ep2(), &wrong);
            let outcome = Sipp::start(exchange.dir(), &run)?.finish(length(&run)).await?;
            assert_eq!(outcome.successful, 1);
            assert!(!exchange.is_bound(user).await?, "{user} has no binding");
        }
        Ok(())
    });
}
