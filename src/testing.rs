//! What tests of several modules need: a process of their own.

use std::process::{Command, Output};

/// Set in the process that runs one test alone.
const MARK: &str = "RINGPOST_TEST_IN_OWN_PROCESS";

/// Runs `body` in a fresh process, as the test named `test` alone, and expects it to pass.
pub fn in_own_process(test: &str, body: impl FnOnce()) {
    let Some(output) = output_of_own_process(test, body) else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{errors}"
    );
}

/// Runs `body` in a fresh process; what that process said, or `None` in that process itself.
pub fn output_of_own_process(test: &str, body: impl FnOnce()) -> Option<Output> {
    if std::env::var_os(MARK).is_some() {
        body();
        return None;
    }
    let program = std::env::current_exe().expect("a test knows its program");
    let arguments = [test, "--exact", "--nocapture", "--test-threads=1"];
    Some(
        Command::new(program)
            .args(arguments)
            .env(MARK, "1")
            .output()
            .expect("a program that ran once runs again"),
    )
}
