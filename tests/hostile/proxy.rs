//! Connections through a proxy: whom the server believes, and what it then takes the peer for.

use crate::common::talk::{Imap, Smtp, Wire, assert_code, inbox_count};
use crate::common::{PASSWORD, Server, wait_until};

fn smtp(server: &Server, header: &[u8]) -> Smtp {
    let mut smtp = Smtp {
        wire: Wire::connect(server.port("smtp")),
    };
    smtp.wire.send(header);
    smtp
}

fn header_of_last_mail(server: &Server) -> String {
    // Read on a server that asks for a PROXY header as well.
    let mut wire = Wire::connect(server.port("imap"));
    wire.send("PROXY TCP4 127.0.0.1 127.0.0.1 1 143\r\n");
    assert!(wire.line().is_some_and(|line| line.starts_with("* OK")));
    wire.send(format!(
        "a LOGIN user1@example.org {PASSWORD}\r\nb SELECT INBOX\r\nc FETCH * BODY.PEEK[HEADER]\r\nd LOGOUT\r\n"
    ));
    wire.until_closed()
}

#[test]
fn the_peer_is_who_the_header_says() {
    let server = Server::with_arguments(&["--proxy-from", "127.0.0.0/8"]);
    let v2 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0f"[..],
        &[198, 51, 100, 9, 127, 0, 0, 1, 0, 80, 0, 25],
        b"\x04\x00\x00",
    ]
    .concat();
    for (header, address) in [
        (&b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 25\r\n"[..], "[192.0.2.7]"),
        (&v2, "[198.51.100.9]"),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 25\r\n", "[IPv6:2001:db8::7]"),
        (b"PROXY UNKNOWN\r\n", "[0.0.0.0]"),
    ] {
        // In two pieces, so that the header is not whole at first.
        let mut smtp = smtp(&server, &header[..9]);
        std::thread::sleep(std::time::Duration::from_millis(20));
        smtp.wire.send(&header[9..]);
        assert_code(&smtp.reply(), "220");
        assert_code(&smtp.command("EHLO client.example.net"), "250");
        smtp.deliver("user1@example.org", "Subject: x\r\n\r\nx\r\n");
        let header = header_of_last_mail(&server);
        assert!(
            header.contains(&format!("client.example.net ({address})")),
            "{header}"
        );
    }
}

#[test]
fn plaintext_login_is_for_clients_on_loopback_not_for_the_proxy() {
    let server = Server::with_arguments(&["--proxy-from", "127.0.0.0/8"]);
    for (header, may_login) in [
        ("PROXY TCP4 192.0.2.7 127.0.0.1 4711 143\r\n", false),
        ("PROXY UNKNOWN\r\n", false),
        ("PROXY TCP4 127.0.0.1 127.0.0.1 4711 143\r\n", true),
    ] {
        let mut wire = Wire::connect(server.port("imap"));
        wire.send(header);
        assert!(wire.line().is_some_and(|line| line.starts_with("* OK")));
        wire.send(format!("a LOGIN user1@example.org {PASSWORD}\r\nb LOGOUT\r\n"));
        assert_eq!(wire.until_closed().contains("a OK"), may_login, "{header}");
        let mut wire = Wire::connect(server.port("pop3"));
        wire.send(header);
        assert!(wire.line().is_some_and(|line| line.starts_with("+OK")));
        wire.send(format!("USER user1@example.org\r\nPASS {PASSWORD}\r\nQUIT\r\n"));
        assert_eq!(!wire.until_closed().contains("-ERR"), may_login, "{header}");
    }
}

#[test]
fn a_proxy_without_a_header_is_not_served() {
    let server = Server::with_arguments(&["--proxy-from", "127.0.0.0/8"]);
    for header in [
        &b"EHLO client.example.net\r\n"[..],
        b"PROXY TCP4 192.0.2.7 127.0.0.1 4711\r\n",
        &[b'\r'; 200],
        &[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ] {
        let mut smtp = smtp(&server, header);
        assert_eq!(smtp.wire.until_closed(), "", "{header:?}");
    }
}

#[test]
fn nobody_else_may_say_for_whom_he_speaks() {
    let server = Server::with_arguments(&["--proxy-from", "192.0.2.0/24", "--xclient-from", "192.0.2.0/24"]);
    let mut smtp = Smtp::greeted(&server);
    assert_code(&smtp.command("PROXY TCP4 192.0.2.7 127.0.0.1 4711 25"), "500");
    assert!(!smtp.command("EHLO client.example.net").contains("XCLIENT"));
    assert_code(&smtp.command("XCLIENT ADDR=192.0.2.7"), "550");
    assert_eq!(inbox_count(&server, "user1"), 0);
}

#[test]
fn xclient_names_the_client() {
    let server = Server::with_arguments(&["--xclient-from", "127.0.0.1"]);
    let mut smtp = Smtp::greeted(&server);
    assert!(smtp.command("EHLO proxy.example.net").contains("250-XCLIENT"));
    assert_code(
        &smtp.command("XCLIENT NAME=c.example.net ADDR=IPV6:2001:db8::9 PORT=5"),
        "220",
    );
    assert_code(&smtp.command("EHLO client.example.net"), "250");
    smtp.deliver("user1@example.org", "Subject: x\r\n\r\nx\r\n");
    let header = Imap::inbox(&server, "user1")
        .command("FETCH 1 BODY.PEEK[HEADER]")
        .ok()
        .concat();
    assert!(
        header.contains("client.example.net ([IPv6:2001:db8::9])"),
        "{header}"
    );
}

#[test]
fn one_address_has_so_many_connections_and_others_are_served() {
    // On however many cores the connections land.
    let server = Server::with_arguments(&["--proxy-from", "127.0.0.0/8", "--cores", "2"]);
    let from = |address: &str| format!("PROXY TCP4 {address} 127.0.0.1 4711 25\r\n");
    let mut open: Vec<Smtp> = Vec::new();
    for _ in 0..50 {
        let mut smtp = smtp(&server, from("192.0.2.7").as_bytes());
        assert_code(&smtp.reply(), "220");
        open.push(smtp);
    }
    let mut refused = smtp(&server, from("192.0.2.7").as_bytes());
    assert_code(&refused.reply(), "421 4.7.0");
    assert_eq!(refused.wire.until_closed(), "");
    assert_code(&smtp(&server, from("192.0.2.8").as_bytes()).reply(), "220");
    let mut gone = open.pop().expect("fifty are open");
    assert_code(&gone.command("QUIT"), "221");
    assert_eq!(gone.wire.until_closed(), "");
    // The server counts it out a moment after the connection ends.
    wait_until("the place is free again", || {
        smtp(&server, from("192.0.2.7").as_bytes())
            .reply()
            .starts_with("220")
    });
}

#[test]
fn one_network_has_so_many_connections_and_others_are_served() {
    let server = Server::with_arguments(&["--proxy-from", "127.0.0.0/8", "--cores", "2"]);
    let from = |address: &str| format!("PROXY TCP4 {address} 127.0.0.1 4711 25\r\n");
    let mut open: Vec<Smtp> = Vec::new();
    for n in 0..500 {
        open.push(smtp(&server, from(&format!("192.0.2.{}", n % 250)).as_bytes()));
    }
    for smtp in &mut open {
        assert_code(&smtp.reply(), "220");
    }
    assert_code(
        &smtp(&server, from("192.0.2.251").as_bytes()).reply(),
        "421 4.7.0",
    );
    assert_code(&smtp(&server, from("192.0.3.251").as_bytes()).reply(), "220");
}
