//! What users have: mail programs that fetch and send, and find their settings by themselves.

use crate::common::site::Site;
use crate::common::{has_client, succeed};
use crate::users::{Users as _, assert_done, text};
use std::fs;
use std::process::Command;

#[test]
fn mbsync_and_swaks_work_with_the_certificate_that_init_made() {
    if !has_client("mbsync") || !has_client("swaks") {
        return;
    }
    let host = Site::started();
    let admin = "admin@example.org";
    let mut swaks = Command::new("swaks");
    swaks.args([
        "--server",
        "127.0.0.1",
        "--port",
        &host.port("smtp").to_string(),
        "--tls",
    ]);
    swaks.args([
        "--to",
        admin,
        "--from",
        "me@example.net",
        "--body",
        "by swaks",
        "--timeout",
        "20",
    ]);
    succeed(&mut swaks);
    let mail = host.directory.path().join("mail");
    fs::create_dir(&mail).expect("a directory");
    let settings = host.directory.path().join("mbsyncrc");
    let text = format!(
        "IMAPAccount a\nHost 127.0.0.1\nPort {}\nUser {admin}\nPass {}\nSSLType IMAPS\nCertificateFile {}\nTimeout 20\n\n\
         IMAPStore far\nAccount a\n\nMaildirStore near\nInbox {}/INBOX\nSubFolders Verbatim\nPath {}/\n\n\
         Channel c\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSyncState *\n",
        host.port("imaps"),
        host.admin_password(),
        host.certificate().display(),
        mail.display(),
        mail.display(),
    );
    fs::write(&settings, text).expect("it can be written");
    succeed(Command::new("mbsync").arg("-c").arg(&settings).arg("c"));
    let new = fs::read_dir(mail.join("INBOX/new"))
        .expect("mbsync made it")
        .count();
    assert_eq!(new, 1);
}

#[test]
fn mail_programs_find_their_settings() {
    if !has_client("curl") {
        return;
    }
    let host = Site::started();
    host.order(&["domain", "add", "second.example"]);
    let page = |path: &str| host.page("autoconfig.example.org", path, &host.certificate());
    let config = page("/mail/config-v1.1.xml?emailaddress=admin@example.org");
    assert_done(&config);
    let imaps = format!("<port>{}</port>", host.port("imaps"));
    let config = text(&config);
    assert!(
        config.contains(&imaps) && config.contains("mail.example.org"),
        "{config}"
    );
    let second = text(&page("/mail/config-v1.1.xml?emailaddress=x@second.example"));
    assert!(second.contains("second.example"), "{second}");
    assert!(!page("/nothing/here").status.success());
    assert_done(&page("/metrics"));
}
