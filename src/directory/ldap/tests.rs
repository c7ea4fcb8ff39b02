//! Settings, rows, and a server that falls silent; the real ones are in `tests/directories`.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;

fn settings(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        tls: false,
        ca_file: None,
        bind_dn: String::new(),
        password_file: None,
        base: "dc=example".to_owned(),
        connections: 1,
        domains: Vec::new(),
        domain: String::new(),
        account: "(mail={address})".to_owned(),
        login: String::new(),
        alias: String::new(),
        checks_by_bind: true,
        attributes: vec![
            ("id", "objectGUID".to_owned()),
            ("address", "mail".to_owned()),
            ("password", "userPassword".to_owned()),
        ],
    }
}

#[test]
fn a_url_says_how_and_where() {
    for url in ["ldap://a", "ldaps://a:636", "ldapi://%2frun%2fldapi"] {
        assert_eq!(settings(url).url_problem(), None, "{url}");
    }
    for url in ["", "a", "http://a", "ldap://", "ldap://user@a"] {
        assert!(settings(url).url_problem().is_some(), "{url}");
    }
}

/// A server of which the first connection is one that a firewall has forgotten: what is asked there arrives, and nothing
/// comes back. It finds nothing on any other. `arrived`: something was asked on the first.
async fn serve_after_silence(listener: TcpListener, arrived: Arc<Notify>) {
    let mut silent = listener.accept().await.expect("a connection").0;
    let mut octets = [0; 1024];
    let count = silent.read(&mut octets).await.expect("a question");
    assert!(count > 0);
    arrived.notify_one();
    loop {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        while let Ok(1..) = connection.read(&mut octets).await {
            let at = octets.windows(2).position(|pair| pair == [2, 1]).expect("an id");
            // SearchResultDone of that id, success (RFC 4511 §4.5.2).
            let done = [0x30, 12, 2, 1, octets[at + 2], 0x65, 7, 10, 1, 0, 4, 0, 4, 0];
            connection.write_all(&done).await.expect("it listens");
        }
    }
}

#[tokio::test]
async fn a_connection_on_which_a_search_was_given_up_is_made_anew() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ldap://{}", listener.local_addr().expect("an address"));
    let directory = Directory::new(&settings(&url), Duration::from_secs(60)).expect("good settings");
    let arrived = Arc::new(Notify::new());
    tokio::spawn(serve_after_silence(listener, arrived.clone()));
    tokio::select! {
        found = directory.account("a@example.org") => panic!("nobody answered, and yet {:?}", found.is_ok()),
        () = arrived.notified() => {}
    }
    // As nobody waits any more, who asks next must not wait for the same silence.
    let asking = tokio::time::timeout(Duration::from_secs(20), directory.account("a@example.org"));
    let found = asking.await.expect("an answer").expect("no failure");
    assert!(found.is_none());
}

#[test]
fn attributes_become_facts_whatever_their_case() {
    let directory = Directory::new(&settings("ldap://a"), Duration::from_secs(1)).expect("good settings");
    let entry = SearchEntry {
        dn: "cn=a".to_owned(),
        attrs: [
            ("MAIL".to_owned(), vec!["a@example.org".to_owned()]),
            ("userPassword".to_owned(), vec!["{SSHA}x".to_owned()]),
        ]
        .into(),
        bin_attrs: [("objectguid".to_owned(), vec![vec![1, 0xff]])].into(),
    };
    let row = directory.row(&entry);
    assert_eq!(row.key(), Ok("01ff"));
    assert_eq!(row.values("address").collect::<Vec<_>>(), ["a@example.org"]);
    assert_eq!(
        row.values("password").count(),
        0,
        "passwords are not read where binds check them"
    );
}
