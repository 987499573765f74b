//! What goes over the wire and up to the TU, to the millisecond: RFC 3261 §17, RFC 6026 §7, RFC 4320 §4, §9.

mod support;

#[path = "timeline/cancel.rs"]
mod cancel;
#[path = "timeline/client.rs"]
mod client;
#[path = "timeline/errors.rs"]
mod errors;
#[path = "timeline/matching.rs"]
mod matching;
#[path = "timeline/server.rs"]
mod server;

use support::Stage;

/// The whole log, nothing more and nothing less.
#[track_caller]
fn expect(stage: &Stage, lines: &[(u64, &str)]) {
    let log: Vec<(u64, &str)> = stage.log.iter().map(|(ms, line)| (*ms, line.as_str())).collect();
    assert_eq!(log, lines);
}

/// `first` at 0 and `line` at each of these times.
fn repeated<'a>(line: &'a str, times: &[u64]) -> Vec<(u64, &'a str)> {
    times.iter().map(|ms| (*ms, line)).collect()
}

/// Nothing is left, no timer either.
#[track_caller]
fn expect_empty(stage: &Stage) {
    assert_eq!(stage.layer.counts().total(), 0);
    assert_eq!(stage.layer.poll_timeout(), None);
}
