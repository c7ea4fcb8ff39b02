//! Apple's configuration profile for one mail account: `GET /mobileconfig?email=alice@example.org`.
//!
//! Invariants: asking twice gives the same profile with the same identifiers, so that installing it again replaces the
//! account instead of adding a second one. It is not signed; the system says so and asks.
//! Standards: Apple, Configuration Profile Reference, payload `com.apple.mail.managed`; RFC 9562 §5.8 for the identifiers.

use super::xml::Xml;
use super::{Document, Endpoint, Offer, Protocol, Request, Security, own_address, query_value};
use crate::model::AddrSpec;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Where a settings page links to.
pub const PATH: &str = "/mobileconfig";

const DOCTYPE: &str = "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n";

/// A profile with IMAP (POP3 where there is no IMAP) and submission.
pub fn answer(offer: &Offer, request: Request<'_>) -> Document {
    let asked = query_value(request.query, "email").unwrap_or_default();
    let Some(address) = own_address(offer, &asked) else {
        return Document::refused(
            404,
            "Name an address of this host: /mobileconfig?email=you@your-domain",
        );
    };
    let mut incoming = offer
        .endpoints_of(Protocol::Imap)
        .chain(offer.endpoints_of(Protocol::Pop3));
    let (Some(incoming), Some(outgoing)) = (incoming.next(), offer.endpoints_of(Protocol::Submission).next())
    else {
        return Document::refused(
            404,
            "This host has no mailboxes or takes no mail from their owners.",
        );
    };
    let mut xml = Xml::new(DOCTYPE);
    xml.element("plist", "version=\"1.0\"", |xml| {
        xml.element("dict", "", |xml| {
            put_head(xml, "Configuration", &address, "profile");
            put_text(xml, "PayloadOrganization", offer.hostname.as_str());
            xml.value("key", "PayloadContent");
            xml.element("array", "", |xml| {
                xml.element("dict", "", |xml| {
                    put_account(xml, offer, &address, incoming, outgoing)
                });
            });
        });
    });
    Document {
        file_name: Some(format!("{}.mobileconfig", address.domain)),
        ..Document::found("application/x-apple-aspen-config", xml.into_text())
    }
}

fn put_account(xml: &mut Xml, offer: &Offer, address: &AddrSpec, incoming: &Endpoint, outgoing: &Endpoint) {
    put_head(xml, "com.apple.mail.managed", address, "account");
    let address_text = address.to_string();
    let kind = match incoming.protocol {
        Protocol::Pop3 => "EmailTypePOP",
        Protocol::Imap | Protocol::Submission => "EmailTypeIMAP",
    };
    put_text(xml, "EmailAccountType", kind);
    put_text(xml, "EmailAccountDescription", &address.to_unicode());
    put_text(xml, "EmailAddress", &address_text);
    for (direction, endpoint) in [("Incoming", incoming), ("Outgoing", outgoing)] {
        let key = |name: &str| format!("{direction}MailServer{name}");
        put_text(xml, &key("Authentication"), "EmailAuthPassword");
        put_text(xml, &key("HostName"), offer.hostname.as_str());
        xml.value("key", key("PortNumber"));
        xml.value("integer", endpoint.port);
        put_text(xml, &key("Username"), &address_text);
        // With SSL on, Apple's Mail uses STARTTLS on the ports that are for it.
        match endpoint.security {
            Security::Tls | Security::StartTls => put_true(xml, &key("UseSSL")),
        }
    }
    put_true(xml, "OutgoingPasswordSameAsIncomingPassword");
}

/// What every payload begins with.
fn put_head(xml: &mut Xml, kind: &str, address: &AddrSpec, role: &str) {
    let identifier = format!(
        "{}.{role}.{}",
        reversed(address.domain.as_str()),
        address.local_part
    );
    put_text(xml, "PayloadType", kind);
    xml.value("key", "PayloadVersion");
    xml.value("integer", 1);
    put_text(xml, "PayloadDisplayName", &address.to_unicode());
    put_text(xml, "PayloadUUID", &uuid_of(&identifier));
    put_text(xml, "PayloadIdentifier", &identifier);
}

/// `org.example` of `example.org`.
fn reversed(domain: &str) -> String {
    let labels: Vec<&str> = domain.rsplit('.').collect();
    labels.join(".")
}

fn put_text(xml: &mut Xml, key: &str, value: &str) {
    xml.value("key", key);
    xml.value("string", value);
}

fn put_true(xml: &mut Xml, key: &str) {
    xml.value("key", key);
    xml.line("<true/>");
}

/// A UUID of version 8 (own contents): a name, not a secret.
fn uuid_of(name: &str) -> String {
    /// Any constant: other users of the hash have other seeds.
    const SEED: u64 = 0x6d6f_6269_6c65;
    let hash = xxh3_128_with_seed(name.as_bytes(), SEED);
    let value = hash & !(0xF << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let hex = format!("{value:032X}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
