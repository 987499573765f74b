//! A panic in any task is reported and ends the process with the code for a bug.

use std::{env, process::Command};

#[test]
fn a_panic_ends_the_process() {
    let (code, said) = child("a_panic_ends_the_process", || {
        node::exit::on_panic();
        panic_in_a_task();
    });
    assert_eq!(code, Some(i32::from(node::exit::BUG)));
    assert!(said.contains("bug: a belief was false at "), "{said}");
}

#[test]
fn a_panic_is_logged_in_the_format_of_the_log() {
    let (code, said) = child("a_panic_is_logged_in_the_format_of_the_log", || {
        node::telemetry::init().unwrap();
        node::exit::on_panic();
        panic_in_a_task();
    });
    assert_eq!(code, Some(i32::from(node::exit::BUG)));
    assert!(said.contains(r#""level":"ERROR""#), "{said}");
    assert!(said.contains(r#""message":"bug: a belief was false""#), "{said}");
}

fn panic_in_a_task() {
    let runtime = node::runtime::build(2).expect("threads");
    runtime.block_on(async {
        let _ = tokio::spawn(async { panic!("a belief was false") }).await;
    });
}

/// Runs `act` in a process of its own, which is this test again; gives its exit code and what it said.
fn child(test: &str, act: impl FnOnce()) -> (Option<i32>, String) {
    if env::var_os(CHILD).is_some() {
        act();
        return (None, "the process went on".to_owned());
    }
    let output = Command::new(env::current_exe().expect("a test has a file"))
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .env("LOG_FORMAT", "json")
        .env_remove("RUST_LOG")
        .output()
        .expect("a test can be run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

/// Set in the process that panics.
const CHILD: &str = "NODE_TEST_PANIC";
