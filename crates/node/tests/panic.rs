//! A panic in any task ends the process with the code for a bug.

use std::{env, process::Command};

#[test]
fn a_panic_in_a_task_ends_the_process() {
    if env::var_os(CHILD).is_some() {
        node::exit::on_panic();
        let runtime = node::runtime::build(2).unwrap();
        runtime.block_on(async {
            let _ = tokio::spawn(async { panic!("a belief was false") }).await;
        });
        return; // not reached: the exit code of this test would be 0
    }
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_panic_in_a_task_ends_the_process", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert_eq!(child.status.code(), Some(i32::from(node::exit::BUG)));
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(said.contains("bug: a belief was false at "), "{said}");
}

/// Set in the process that panics.
const CHILD: &str = "NODE_TEST_PANIC";
