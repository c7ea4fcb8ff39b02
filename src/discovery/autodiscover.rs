//! Microsoft's Autodiscover: POX (XML in a POST) and its version 2 (JSON), which names where POX is.
//!
//! An address that is not ours is answered with error 500 of the protocol, as Exchange does; one that is ours is not looked
//! up, so that accounts cannot be counted.
//! Standards: [MS-OXDSCLI] §2.2, §3.1.5; version 2 as Outlook for mobile devices speaks it.

use super::xml::{Xml, attribute};
use super::{
    BODY_BYTES_MAX, Document, Endpoint, Offer, Protocol, Request, Security, own_address, query_value,
};
use crate::model::AddrSpec;
use quick_xml::Reader;
use quick_xml::events::Event;

/// Where Outlook posts.
pub const POX_PATH: &str = "/autodiscover/autodiscover.xml";
/// Where it asks for the place of the former.
pub const JSON_PATH: &str = "/autodiscover/autodiscover.json";

const RESPONSE: &str = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006";
const OUTLOOK_RESPONSE: &str =
    "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a";
const XML_TYPE: &str = "application/xml; charset=utf-8";

/// Elements of a request that are read before it is given up: a real one has five.
const EVENTS_MAX: usize = 256;

/// Settings for the address in the request's body.
pub fn pox(offer: &Offer, request: Request<'_>) -> Document {
    if !request.is_post {
        return Document::refused(405, "Ask by POST, with an Autodiscover request as body.");
    }
    let asked = email_address(request.body);
    match asked.and_then(|text| own_address(offer, &text)) {
        Some(address) => settings(offer, &address),
        None => error(),
    }
}

fn settings(offer: &Offer, address: &AddrSpec) -> Document {
    in_envelope(|xml| {
        xml.element("Response", &attribute("xmlns", OUTLOOK_RESPONSE), |xml| {
            xml.element("User", "", |xml| xml.value("DisplayName", address.to_unicode()));
            xml.element("Account", "", |xml| {
                xml.value("AccountType", "email");
                xml.value("Action", "settings");
                for protocol in [Protocol::Imap, Protocol::Pop3, Protocol::Submission] {
                    // Outlook takes the first of each type.
                    if let Some(endpoint) = offer.endpoints_of(protocol).next() {
                        put_protocol(xml, offer, endpoint, address);
                    }
                }
            });
        });
    })
}

fn put_protocol(xml: &mut Xml, offer: &Offer, endpoint: &Endpoint, address: &AddrSpec) {
    xml.element("Protocol", "", |xml| {
        xml.value(
            "Type",
            match endpoint.protocol {
                Protocol::Imap => "IMAP",
                Protocol::Pop3 => "POP3",
                Protocol::Submission => "SMTP",
            },
        );
        xml.value("Server", &offer.hostname);
        xml.value("Port", endpoint.port);
        xml.value("DomainRequired", "off");
        xml.value("LoginName", address);
        xml.value("SPA", "off");
        match endpoint.security {
            Security::Tls => xml.value("SSL", "on"),
            Security::StartTls => xml.value("Encryption", "TLS"),
        }
        xml.value("AuthRequired", "on");
    });
}

/// Error 500 of the protocol, in a response that HTTP calls good ([MS-OXDSCLI] §3.1.5).
fn error() -> Document {
    in_envelope(|xml| {
        xml.element("Response", "", |xml| {
            xml.element("Error", "", |xml| {
                xml.value("ErrorCode", 500);
                xml.value("Message", "The email address can't be found.");
                xml.line("<DebugData/>");
            });
        });
    })
}

fn in_envelope(inside: impl FnOnce(&mut Xml)) -> Document {
    let mut xml = Xml::new("");
    xml.element("Autodiscover", &attribute("xmlns", RESPONSE), inside);
    Document::found(XML_TYPE, xml.into_text())
}

/// The text of the first EMailAddress element, whatever its namespace prefix. `None`: there is none, or the body is no XML
/// that would be read so far.
fn email_address(body: &[u8]) -> Option<String> {
    let mut reader = Reader::from_str(std::str::from_utf8(body.get(..BODY_BYTES_MAX).unwrap_or(body)).ok()?);
    let mut is_inside = false;
    let mut address = String::new();
    for _ in 0..EVENTS_MAX {
        match reader.read_event().ok()? {
            Event::Start(start) if start.local_name().as_ref() == "EMailAddress" => is_inside = true,
            Event::Text(text) if is_inside => address.push_str(&text),
            // Entities have no place in an address that we would know.
            Event::GeneralRef(_) if is_inside => return None,
            Event::End(end) if is_inside && end.local_name().as_ref() == "EMailAddress" => {
                return Some(address);
            }
            Event::Eof => return None,
            _ => {}
        }
    }
    None
}

/// Where the protocol that the query names is to be asked.
pub fn json(offer: &Offer, request: Request<'_>) -> Document {
    let protocol = query_value(request.query, "protocol").unwrap_or_default();
    if !protocol.eq_ignore_ascii_case("autodiscoverv1") {
        let text = serde_json::json!({
            "ErrorCode": "InvalidProtocol",
            "ErrorMessage": "The given protocol value is invalid. Supported values are 'AutodiscoverV1'.",
        });
        return Document {
            status: 400,
            ..Document::found("application/json", text.to_string())
        };
    }
    let url = format!("https://{}{POX_PATH}", offer.hostname);
    let text = serde_json::json!({ "Protocol": "AutodiscoverV1", "Url": url });
    Document::found("application/json", text.to_string())
}
