//! Every page, read back by an XML or JSON parser of somebody else's, and what hostile requests get.

use super::*;
use proptest::prelude::*;
use quick_xml::Reader;
use quick_xml::events::Event;

fn offer() -> Offer {
    let domain = |text| Domain::new(text).unwrap();
    let endpoint = |protocol, port, security| Endpoint {
        protocol,
        port,
        security,
    };
    Offer {
        hostname: domain("mail.example.org"),
        domains: vec![domain("example.org"), domain("xn--bcher-kva.example")],
        endpoints: vec![
            endpoint(Protocol::Imap, 993, Security::Tls),
            endpoint(Protocol::Imap, 143, Security::StartTls),
            endpoint(Protocol::Pop3, 995, Security::Tls),
            endpoint(Protocol::Submission, 465, Security::Tls),
            endpoint(Protocol::Submission, 587, Security::StartTls),
        ],
        mta_sts: Some(MtaSts {
            mode: MtaStsMode::Enforce,
            mx: vec![domain("mail.example.org")],
            max_age_seconds: 604_800,
        }),
    }
}

fn get(path: &str, query: &str) -> Document {
    assert!(has_page(path) && !has_page("/nothing/here"));
    let request = Request {
        is_post: false,
        path,
        query,
        body: b"",
    };
    answer(&offer(), request).expect("a page of this module")
}

fn post(body: &str) -> Document {
    let request = Request {
        is_post: true,
        path: "/Autodiscover/Autodiscover.xml",
        query: "",
        body: body.as_bytes(),
    };
    answer(&offer(), request).expect("a page of this module")
}

/// Texts of the elements, as `parent/name=text`, in order; panics where it is not well-formed.
fn leaves(xml: &str) -> Vec<String> {
    let mut reader = Reader::from_str(xml);
    let mut path: Vec<String> = Vec::new();
    let mut out = Vec::new();
    loop {
        match reader.read_event().expect("well-formed") {
            Event::Start(start) => path.push(start.local_name().as_ref().to_owned()),
            Event::End(_) => {
                path.pop();
            }
            Event::Text(text) if !text.trim().is_empty() => {
                let tail = path.len().saturating_sub(2);
                out.push(format!("{}={}", path[tail..].join("/"), text.trim()));
            }
            Event::Eof => {
                assert!(path.is_empty(), "everything is closed");
                return out;
            }
            _ => {}
        }
    }
}

fn has(leaves: &[String], wanted: &str) -> bool {
    leaves.iter().any(|leaf| leaf == wanted)
}

#[test]
fn autoconfig_names_every_encrypted_way_in_best_first() {
    for path in AUTOCONFIG_PATHS {
        let page = get(path, "emailaddress=alice%40example.org");
        assert_eq!(
            (page.status, page.content_type),
            (200, "application/xml; charset=utf-8")
        );
        let leaves = leaves(&page.text);
        let ports: Vec<&String> = leaves.iter().filter(|leaf| leaf.contains("/port=")).collect();
        assert_eq!(
            ports,
            [
                "incomingServer/port=993",
                "incomingServer/port=143",
                "incomingServer/port=995",
                "outgoingServer/port=465",
                "outgoingServer/port=587"
            ]
        );
        assert!(has(&leaves, "emailProvider/domain=example.org"));
        assert!(has(&leaves, "incomingServer/username=%EMAILADDRESS%"));
        assert!(
            has(&leaves, "incomingServer/socketType=SSL")
                && has(&leaves, "outgoingServer/socketType=STARTTLS")
        );
    }
}

#[test]
fn autoconfig_without_an_address_is_for_the_main_domain_and_not_given_for_a_foreign_one() {
    assert!(has(
        &leaves(&get(AUTOCONFIG_PATHS[0], "").text),
        "emailProvider/domain=example.org"
    ));
    assert_eq!(
        get(AUTOCONFIG_PATHS[0], "emailaddress=a@other.example").status,
        404
    );
    assert_eq!(
        get(AUTOCONFIG_PATHS[0], "emailaddress=%FF").status,
        200,
        "not UTF-8: as if it were absent"
    );
}

const OUTLOOK: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
 <Request>
  <EMailAddress>alice@example.org</EMailAddress>
  <AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>
 </Request>
</Autodiscover>"#;

#[test]
fn autodiscover_gives_outlook_one_server_of_each_kind() {
    let page = post(OUTLOOK);
    assert_eq!(page.status, 200);
    let leaves = leaves(&page.text);
    let types: Vec<&String> = leaves
        .iter()
        .filter(|leaf| leaf.starts_with("Protocol/Type"))
        .collect();
    assert_eq!(
        types,
        ["Protocol/Type=IMAP", "Protocol/Type=POP3", "Protocol/Type=SMTP"]
    );
    assert!(has(&leaves, "Protocol/LoginName=alice@example.org") && has(&leaves, "Protocol/SSL=on"));
}

#[test]
fn autodiscover_says_by_the_protocol_that_it_does_not_know_an_address() {
    let foreign = OUTLOOK.replace("alice@example.org", "alice@other.example");
    let entity = OUTLOOK.replace("alice", "al&lt;ice");
    let unclosed = &OUTLOOK[..OUTLOOK.len() / 2];
    let deep = "<a>".repeat(5_000);
    for body in [
        foreign.as_str(),
        &entity,
        unclosed,
        &deep,
        "",
        "\0\0",
        "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
    ] {
        let page = post(body);
        assert_eq!(page.status, 200, "{body}");
        assert!(has(&leaves(&page.text), "Error/ErrorCode=500"), "{body}");
    }
    assert_eq!(get("/autodiscover/autodiscover.xml", "").status, 405);
}

#[test]
fn autodiscover_in_json_points_at_the_other() {
    let page = get(
        "/autodiscover/autodiscover.json",
        "Email=alice@example.org&Protocol=Autodiscoverv1",
    );
    let value: serde_json::Value = serde_json::from_str(&page.text).unwrap();
    assert_eq!(
        value["Url"],
        "https://mail.example.org/autodiscover/autodiscover.xml"
    );
    let other = get("/autodiscover/autodiscover.json", "Email=a@b&Protocol=ActiveSync");
    assert_eq!(other.status, 400);
    let value: serde_json::Value = serde_json::from_str(&other.text).unwrap();
    assert_eq!(value["ErrorCode"], "InvalidProtocol");
}

#[test]
fn a_profile_for_apple_is_the_same_each_time_and_another_for_each_address() {
    let profile = |address: &str| get("/mobileconfig", &format!("email={address}"));
    let (alice, again, bob) = (
        profile("alice@example.org"),
        profile("alice@example.org"),
        profile("bob@example.org"),
    );
    assert_eq!(alice, again);
    assert_eq!(alice.content_type, "application/x-apple-aspen-config");
    assert_eq!(alice.file_name.as_deref(), Some("example.org.mobileconfig"));
    let leaves = leaves(&alice.text);
    let at = leaves
        .iter()
        .position(|leaf| leaf.ends_with("=IncomingMailServerPortNumber"))
        .unwrap();
    assert_eq!(leaves[at + 1], "dict/integer=993");
    let uuids = |page: &Document| -> Vec<String> {
        let leaves = self::leaves(&page.text);
        let keys = leaves
            .iter()
            .enumerate()
            .filter(|(_, leaf)| leaf.ends_with("=PayloadUUID"));
        keys.map(|(index, _)| leaves[index + 1].clone()).collect()
    };
    let (of_alice, of_bob) = (uuids(&alice), uuids(&bob));
    assert_eq!(of_alice.len(), 2);
    assert_ne!(of_alice[0], of_alice[1], "profile and account are two things");
    assert!(of_alice.iter().all(|uuid| !of_bob.contains(uuid)));
    assert_eq!(profile("alice@other.example").status, 404);
    assert_eq!(get("/mobileconfig", "").status, 404);
}

#[test]
fn senders_find_the_policy_and_none_where_there_is_none() {
    let page = get("/.well-known/mta-sts.txt", "");
    assert_eq!(page.content_type, "text/plain; charset=utf-8");
    assert_eq!(
        page.text,
        "version: STSv1\r\nmode: enforce\r\nmx: mail.example.org\r\nmax_age: 604800\r\n"
    );
    let without = Offer {
        mta_sts: None,
        ..offer()
    };
    let request = Request {
        is_post: false,
        path: "/.well-known/mta-sts.txt",
        query: "",
        body: b"",
    };
    assert_eq!(answer(&without, request).unwrap().status, 404);
}

proptest! {
    #[test]
    fn no_request_breaks_a_page(
        path in prop_oneof![
            Just("/mail/config-v1.1.xml"),
            Just("/autodiscover/autodiscover.xml"),
            Just("/autodiscover/autodiscover.json"),
            Just("/mobileconfig"),
        ],
        local in "[ -~]{0,20}",
        raw in "\\PC{0,60}",
        body in proptest::collection::vec(any::<u8>(), 0..400),
        is_post: bool,
    ) {
        for query in [format!("emailaddress={local}@example.org&email={local}@example.org"), raw] {
            let request = Request { is_post, path, query: &query, body: &body };
            let page = answer(&offer(), request).expect("a page of this module");
            if page.content_type.contains("xml") && page.status == 200 {
                leaves(&page.text);
            }
        }
        let address = format!("<r><EMailAddress>{local}@example.org</EMailAddress></r>");
        leaves(&post(&address).text);
    }
}
