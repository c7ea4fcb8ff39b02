//! `ringpost doctor` for a domain: what `init` says to publish is what doctor looks for.
//!
//! The name server is the test's own, on loopback, with messages put together octet by octet (RFC 1035 §4).

mod common;

use common::site::Site;
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::thread;

/// Records by name and type, each value as its octets.
type Zone = HashMap<(String, u16), Vec<Vec<u8>>>;

const A: u16 = 1;
const CNAME: u16 = 5;
const PTR: u16 = 12;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;

fn name(text: &str) -> Vec<u8> {
    let labels = text
        .trim_end_matches('.')
        .split('.')
        .filter(|label| !label.is_empty());
    let mut octets: Vec<u8> = labels
        .flat_map(|label| [&[u8::try_from(label.len()).expect("a label")], label.as_bytes()].concat())
        .collect();
    octets.push(0);
    octets
}

/// A value of a zone file as it travels.
fn octets(kind: u16, value: &str) -> Vec<u8> {
    let words: Vec<&str> = value.split_whitespace().collect();
    let number = |word: &str| word.parse::<u16>().expect("a number").to_be_bytes();
    match kind {
        A => value
            .parse::<std::net::Ipv4Addr>()
            .expect("an address")
            .octets()
            .to_vec(),
        AAAA => value
            .parse::<std::net::Ipv6Addr>()
            .expect("an address")
            .octets()
            .to_vec(),
        CNAME | PTR => name(value),
        MX => [&number(words[0])[..], &name(words[1])].concat(),
        SRV => {
            let numbers: Vec<u8> = words[..3].iter().flat_map(|word| number(word)).collect();
            [numbers, name(words[3])].concat()
        }
        _ => {
            let pieces = value.split('"').skip(1).step_by(2);
            let piece =
                |piece: &str| [&[u8::try_from(piece.len()).expect("a piece")], piece.as_bytes()].concat();
            pieces.flat_map(piece).collect()
        }
    }
}

/// The answer to one question; aliases are followed within the zone.
fn answer(zone: &Zone, question: &[u8]) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while question[at] > 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    let mut asked = labels.join(".");
    let mut records: Vec<(String, u16, Vec<u8>)> = Vec::new();
    while let Some([target]) = zone.get(&(asked.clone(), CNAME)).map(Vec::as_slice) {
        records.push((asked, CNAME, target.clone()));
        let words: Vec<String> = labels_of(target);
        asked = words.join(".");
    }
    for value in zone.get(&(asked.clone(), kind)).into_iter().flatten() {
        records.push((asked.clone(), kind, value.clone()));
    }
    let count = u16::try_from(records.len()).expect("a few").to_be_bytes();
    // A response with recursion; no such name where there is nothing.
    let code = if records.is_empty() { 3 } else { 0 };
    let mut message = [
        &question[..2],
        &[0x81, 0x80 | code, 0, 1],
        &count,
        &[0; 4],
        &question[12..at + 5],
    ]
    .concat();
    for (owner, kind, value) in records {
        message.extend(name(&owner));
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 60]);
        message.extend(u16::try_from(value.len()).expect("short").to_be_bytes());
        message.extend(value);
    }
    message
}

fn labels_of(name: &[u8]) -> Vec<String> {
    let mut labels = Vec::new();
    let mut at = 0;
    while name[at] > 0 {
        let end = at + 1 + usize::from(name[at]);
        labels.push(String::from_utf8_lossy(&name[at + 1..end]).into_owned());
        at = end;
    }
    labels
}

/// Answers from the zone until the test program ends.
fn serve(zone: Zone) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&answer(&zone, &buffer[..length]), peer);
        }
    });
    address
}

/// What `init` said to publish.
fn published(site: &Site) -> Zone {
    let mut zone = Zone::new();
    for record in site.told["records"].as_array().expect("a list") {
        let text = |key: &str| record[key].as_str().expect("a text").to_owned();
        let kind = match text("type").as_str() {
            "A" => A,
            "AAAA" => AAAA,
            "CNAME" => CNAME,
            "MX" => MX,
            "TXT" => TXT,
            "SRV" => SRV,
            other => panic!("a record of type {other}"),
        };
        zone.entry((text("name"), kind))
            .or_default()
            .push(octets(kind, &text("value")));
    }
    zone
}

fn examined(site: &Site, zone: Zone) -> Vec<serde_json::Value> {
    let server = serve(zone).to_string();
    let output = site.ask(&["doctor", "--json", "--resolver", &server]);
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    findings.as_array().expect("a list").clone()
}

/// A name server that fails on every question, as one without a route.
fn fail() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            buffer[2..4].copy_from_slice(&[0x81, 0x82]);
            let _ = socket.send_to(&buffer[..length], peer);
        }
    });
    address
}

#[test]
fn name_servers_that_do_not_answer_are_told_of_once() {
    let site = Site::new("");
    let output = site.ask(&["doctor", "--json", "--resolver", &fail().to_string()]);
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let told = worst_of_dns(findings.as_array().expect("a list"));
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("none could be looked at"), "{told:#?}");
}

#[test]
fn each_listener_of_a_running_server_tells_its_tls() {
    let mut site = Site::new("");
    site.start();
    // The file names the ports that the system chose.
    let text = std::fs::read_to_string(site.config()).expect("init wrote it");
    let named: Vec<String> = text
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some((service, addresses)) if addresses.starts_with("[\"127.0.0.1:0\"") => {
                format!("{service} = [\"127.0.0.1:{}\"]", site.server().port(service))
            }
            _ => line.to_owned(),
        })
        .collect();
    std::fs::write(site.config(), named.join("\n")).expect("it is ours");
    let findings = examined(&site, Zone::new());
    let listeners: Vec<_> = findings
        .iter()
        .filter(|finding| finding["what"] == "listener")
        .collect();
    for (service, parts) in [
        (
            "smtp ",
            &[
                "(STARTTLS, TLS 1.3)",
                "220 mail.example.org",
                "certificate mail.example.org",
            ][..],
        ),
        ("submission ", &["(STARTTLS, TLS 1.3)", " days, signed by itself"]),
        (
            "submissions ",
            &["(TLS at once, TLS 1.3)", "220 mail.example.org"],
        ),
        ("pop3 ", &["(STARTTLS, TLS 1.3)", "+OK"]),
        ("pop3s ", &["(TLS at once, TLS 1.3)", "+OK"]),
        ("imap ", &["(STARTTLS, TLS 1.3)", "* OK"]),
        ("imaps ", &["(TLS at once, TLS 1.3)", "* OK"]),
        ("http ", &["(no TLS)", "HTTP/1"]),
        ("https ", &["(TLS at once, TLS 1.3)", "autoconfig.example.org"]),
    ] {
        let told = listeners
            .iter()
            .find(|finding| {
                finding["found"]
                    .as_str()
                    .is_some_and(|found| found.starts_with(service))
            })
            .unwrap_or_else(|| panic!("{service}: {listeners:#?}"));
        let found = told["found"].as_str().expect("a text");
        for part in parts {
            assert!(found.contains(part), "{part}: {found}");
        }
        assert_eq!(told["verdict"], "good", "{told:#?}");
    }
}

fn worst_of_dns(findings: &[serde_json::Value]) -> Vec<String> {
    let is_dns = |finding: &&serde_json::Value| {
        finding["what"]
            .as_str()
            .is_some_and(|what| what.starts_with("DNS"))
    };
    let bad = findings
        .iter()
        .filter(is_dns)
        .filter(|finding| finding["verdict"] != "good");
    bad.map(ToString::to_string).collect()
}

#[test]
fn what_init_says_to_publish_is_what_is_looked_for() {
    let site = Site::new("");
    let mut zone = published(&site);
    // The machine of a test may know no address of its own that others reach.
    let addresses = zone.entry(("mail.example.org".to_owned(), A)).or_default();
    if addresses.is_empty() {
        addresses.push(vec![192, 0, 2, 1]);
    }
    let reverse: Vec<(String, u16)> = addresses
        .iter()
        .map(|address| {
            let parts: Vec<String> = address.iter().rev().map(ToString::to_string).collect();
            (format!("{}.in-addr.arpa", parts.join(".")), PTR)
        })
        .collect();
    zone.retain(|(_, kind), _| *kind != AAAA);
    for key in &reverse {
        zone.insert(key.clone(), vec![name("mail.example.org")]);
    }
    let findings = examined(&site, zone.clone());
    let dns = findings.iter().filter(|finding| {
        finding["what"]
            .as_str()
            .is_some_and(|what| what.starts_with("DNS"))
    });
    assert!(dns.count() > 11, "{findings:#?}");
    let bad = worst_of_dns(&findings);
    let but_own_address = bad.iter().filter(|finding| !finding.contains("DNS: address"));
    assert_eq!(but_own_address.count(), 0, "{bad:#?}");
    let certificate = findings
        .iter()
        .find(|finding| finding["what"] == "certificate")
        .expect("it is looked at");
    assert!(
        certificate["found"]
            .as_str()
            .is_some_and(|found| found.contains("signed by itself"))
    );

    // Without one of them, or with a wrong one, it is that one that is told.
    for (name_of, kind, value, verdict) in [
        ("example.org", MX, Some("10 elsewhere.example.net."), "problem"),
        ("example.org", TXT, None, "advice"),
        (
            "rsa1._domainkey.example.org",
            TXT,
            Some("\"v=DKIM1; k=rsa; p=AAAA\""),
            "problem",
        ),
        ("_dmarc.example.org", TXT, None, "advice"),
        (
            "autoconfig.example.org",
            CNAME,
            Some("elsewhere.example.net."),
            "advice",
        ),
        (
            reverse[0].0.as_str(),
            PTR,
            Some("host.provider.example."),
            "advice",
        ),
    ] {
        let mut other = zone.clone();
        match value {
            Some(value) => other.insert((name_of.to_owned(), kind), vec![octets(kind, value)]),
            None => other.remove(&(name_of.to_owned(), kind)),
        };
        let told: Vec<String> = worst_of_dns(&examined(&site, other))
            .into_iter()
            .filter(|finding| !bad.contains(finding))
            .collect();
        assert_eq!(told.len(), 1, "{name_of}: {told:#?}");
        assert!(
            told[0].contains(&format!("\"verdict\":\"{verdict}\"")),
            "{name_of}: {told:#?}"
        );
    }
}

/// A host's certificate by way of an intermediate of an authority that only this test trusts.
#[test]
fn a_chain_that_breaks_is_told_and_so_is_where_issuers_look() {
    let acme = format!("127.61.6.9:{}", common::port::reserve());
    let site = Site::new(&format!("[acme]\nlisten = [\"{acme}\"]\n"));
    let authority = |name: &str| {
        let mut made = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        made.distinguished_name.push(rcgen::DnType::CommonName, name);
        made.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        (made, rcgen::KeyPair::generate().expect("entropy"))
    };
    let (made, key) = authority("Test root");
    let root = rcgen::CertifiedIssuer::self_signed(made, key).expect("a root");
    let (made, key) = authority("Test issuer");
    let issuer = rcgen::CertifiedIssuer::signed_by(made, key, &root).expect("an intermediate");
    let data = site.directory.path().join("data");
    std::fs::write(data.join("root.pem"), root.pem()).expect("room");
    let key = rcgen::KeyPair::generate().expect("entropy");
    std::fs::write(data.join("tls/default.key"), key.serialize_pem()).expect("room");
    let own = |name: &str| {
        let made = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
        made.signed_by(&key, &issuer).expect("a certificate").pem()
    };
    let resolver = serve(Zone::new()).to_string();
    let told = |chain: String, what: &str| {
        std::fs::write(data.join("tls/default.crt"), chain).expect("room");
        let mut command = std::process::Command::new(common::binary());
        command.env("SSL_CERT_FILE", data.join("root.pem"));
        command.args(["doctor", "--json", "--resolver", &resolver, "--config"]);
        let output = common::run(command.arg(site.config()));
        let findings: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let all = findings.as_array().expect("a list").iter();
        let meant = all
            .filter(|finding| finding["what"] == what)
            .map(ToString::to_string);
        meant.collect::<Vec<_>>().join("\n")
    };
    let good = own("mail.example.org");
    for (chain, verdict, words) in [
        (good.clone() + &issuer.pem(), "good", "mail.example.org"),
        (good.clone(), "problem", "an intermediate certificate is missing"),
        (issuer.pem() + &good, "problem", "wrong order"),
        (
            own("other.example.net") + &issuer.pem(),
            "problem",
            "none is for mail.example.org",
        ),
        (root.pem(), "problem", "belongs to another certificate"),
    ] {
        let told = told(chain, "certificate");
        let line = told.lines().find(|line| line.contains(words));
        let line = line.unwrap_or_else(|| panic!("{words} is not in {told}"));
        assert!(line.contains(&format!("\"verdict\":\"{verdict}\"")), "{told}");
    }
    let listeners = told(good, "listener");
    let line = format!("acme {acme} (no TLS): free: the server is stopped");
    assert!(listeners.contains(&line), "{listeners}");
}
