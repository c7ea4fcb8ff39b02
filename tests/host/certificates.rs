//! Certificates of files, exchanged in a running server.

use crate::common::site::Site;
use crate::common::{has_client, wait_until};
use crate::users::{Users as _, assert_done};
use std::fs;
use std::path::Path;

#[test]
fn certificates_are_exchanged_and_a_key_of_another_is_not_taken() {
    if !has_client("curl") {
        return;
    }
    let (mut host, other) = (Site::plain(), Site::plain());
    // Nobody but the commands looks at the files.
    host.edit("# watch = 60", "watch = 86400");
    host.start();
    let first = host.directory.path().join("first.crt");
    fs::copy(host.certificate(), &first).expect("a copy");
    let live = |certificate: &Path| host.page("mail.example.org", "/health/live", certificate);
    assert_done(&live(&first));
    assert!(
        !live(&other.certificate()).status.success(),
        "curl looks at the certificate"
    );

    fs::copy(other.certificate(), host.certificate()).expect("a copy");
    let errors = host.refused(&["reload"], 2);
    assert!(
        errors.contains("default.key belongs to another certificate"),
        "{errors}"
    );
    assert_done(&live(&first));

    fs::copy(
        other.data().join("tls/default.key"),
        host.data().join("tls/default.key"),
    )
    .expect("a copy");
    let told = host.order(&["reload"]);
    assert!(told.contains("taken: certificates"), "{told}");
    assert_done(&live(&other.certificate()));
    assert!(!live(&first).status.success());
}

#[test]
fn a_changed_certificate_file_is_found_without_being_told() {
    if !has_client("curl") {
        return;
    }
    let (mut host, other) = (Site::plain(), Site::plain());
    host.edit("# watch = 60", "watch = 1");
    host.start();
    for file in ["tls/default.crt", "tls/default.key"] {
        fs::copy(other.data().join(file), host.data().join(file)).expect("a copy");
    }
    wait_until("the new certificate is served", || {
        host.page("mail.example.org", "/health/live", &other.certificate())
            .status
            .success()
    });
}
