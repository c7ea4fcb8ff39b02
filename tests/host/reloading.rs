//! A reload takes what can change under those who are connected, and names the rest.

use crate::common::site::Site;
use crate::common::talk::Wire;
use crate::common::{binary, has_client, run, signal, wait_until};
use crate::users::{Users as _, assert_done, text};
use std::process::Command;

#[test]
fn a_reload_takes_what_it_can_and_names_the_rest() {
    if !has_client("curl") {
        return;
    }
    let host = Site::started();
    assert!(host.policy().contains("mode: testing"), "{}", host.policy());
    host.edit("# mta_sts = \"testing\"", "mta_sts = \"enforce\"");
    host.edit("# cores = 0", "cores = 1");
    let told = host.order(&["reload"]);
    assert!(told.contains("taken: web.mta_sts"), "{told}");
    assert!(told.contains("waits for a restart: server.cores"), "{told}");
    assert!(host.policy().contains("mode: enforce"), "{}", host.policy());

    host.edit("mta_sts = \"enforce\"", "mta_sts = \"sometimes\"\ncolour = 1");
    let data = host.data().display().to_string();
    let output = run(Command::new(binary()).args(["reload", "--data", &data]));
    assert_eq!(output.status.code(), Some(2));
    let errors = text(&output);
    assert!(
        errors.contains("web.mta_sts") && errors.contains("web.colour"),
        "{errors}"
    );
    assert!(host.policy().contains("mode: enforce"), "what ran goes on");

    host.edit("mta_sts = \"sometimes\"\ncolour = 1", "mta_sts = \"none\"");
    signal(host.server().pid(), "HUP");
    wait_until("SIGHUP is heard", || host.policy().contains("mode: none"));
    assert_done(&host.send("admin@example.org", "still there"));
}

#[test]
fn a_reload_changes_what_new_sessions_are_offered_and_leaves_the_old_alone() {
    let host = Site::started();
    let mut old = Wire::connect(host.port("imap"));
    let greeting = old.line().expect("a greeting");
    assert!(greeting.contains("LITERAL+"), "{greeting}");
    let size = || {
        let mut smtp = Wire::connect(host.port("smtp"));
        let greeting = smtp.line().expect("a greeting");
        assert!(
            greeting.contains("mail.example.org"),
            "the name waits: {greeting}"
        );
        smtp.send("EHLO me\r\n");
        let mut lines = std::iter::from_fn(|| smtp.line());
        lines.find(|line| line.contains("SIZE")).expect("it is said")
    };
    assert!(size().ends_with("SIZE 52428800"), "{}", size());
    for (from, to) in [
        ("# message_bytes = 52428800", "message_bytes = \"1 MiB\""),
        ("# login_delay = 0", "login_delay = 60"),
        ("# literal_plus = true", "literal_plus = false"),
        (
            "# plaintext_login_on_loopback = false",
            "plaintext_login_on_loopback = true",
        ),
        ("hostname = \"mail.example.org\"", "hostname = \"mx.example.org\""),
    ] {
        host.edit(from, to);
    }
    let told = host.order(&["reload"]);
    for key in [
        "limits.message_bytes",
        "pop3.login_delay",
        "imap.literal_plus",
        "security.plaintext_login_on_loopback",
    ] {
        assert!(told.contains(&format!("taken: {key}")), "{told}");
    }
    assert!(told.contains("waits for a restart: server.hostname"), "{told}");
    assert!(size().ends_with("SIZE 1048576"), "{}", size());
    let mut new = Wire::connect(host.port("imap"));
    let greeting = new.line().expect("a greeting");
    assert!(
        greeting.contains("LITERAL-") && !greeting.contains("LITERAL+"),
        "{greeting}"
    );
    old.send("a CAPABILITY\r\n");
    let capabilities = old.line().expect("an answer");
    assert!(capabilities.contains("LITERAL+"), "{capabilities}");
    // Logins of one account, the second too soon.
    for expected in ["+OK", "-ERR [LOGIN-DELAY]"] {
        let mut pop = Wire::connect(host.port("pop3"));
        pop.line().expect("a greeting");
        pop.send(format!(
            "USER admin@example.org\r\nPASS {}\r\nQUIT\r\n",
            host.admin_password()
        ));
        pop.line();
        let heard = pop.line().expect("an answer");
        assert!(heard.starts_with(expected), "{heard}");
        pop.until_closed();
    }
}

#[test]
fn limits_and_the_log_change_in_a_running_server() {
    if !has_client("curl") {
        return;
    }
    let host = Site::started();
    let send = || host.submit("admin@example.org");
    assert_done(&send());
    host.edit(
        "# submission_messages_per_hour = 500",
        "submission_messages_per_hour = 1",
    );
    host.edit("# filter = \"info,mail=off\"", "filter = \"info,mail=info\"");
    host.edit("# cores = 0", "cores = 1");
    let told = host.order(&["reload"]);
    for line in [
        "taken: limits.submission_messages_per_hour",
        "taken: log.filter",
        "waits for a restart: server.cores",
    ] {
        assert!(told.contains(line), "{told}");
    }
    let refused = send();
    assert!(
        !refused.status.success() && text(&refused).contains("450 4.7.1"),
        "{}",
        text(&refused)
    );
    host.edit(
        "submission_messages_per_hour = 1",
        "submission_messages_per_hour = 100",
    );
    host.order(&["reload"]);
    assert_done(&send());
    let mut host = host;
    let log = host.take_server().terminate_for_log();
    assert_eq!(
        log.lines().filter(|line| line.contains("receipt=")).count(),
        1,
        "{log}"
    );
}
