//! Thunderbird's autoconfiguration, version 1.1; read by most free mail programs.
//!
//! The login is the full address, so the placeholder `%EMAILADDRESS%` stands for it: whether the account exists is not told.
//! Standards: <https://wiki.mozilla.org/Thunderbird:Autoconfiguration:ConfigFileFormat>.

use super::xml::{Xml, attribute};
use super::{Document, Endpoint, Offer, Protocol, Request, Security, own_address, query_value};

/// At `autoconfig.DOMAIN` and at DOMAIN itself.
pub const PATHS: [&str; 2] = [
    "/mail/config-v1.1.xml",
    "/.well-known/autoconfig/mail/config-v1.1.xml",
];

/// Thunderbird adds `?emailaddress=`; of it only the domain matters.
pub fn answer(offer: &Offer, request: Request<'_>) -> Document {
    let asked = query_value(request.query, "emailaddress");
    let domain = match asked {
        None => offer.main_domain().clone(),
        Some(text) => match own_address(offer, &text) {
            Some(address) => address.domain,
            None => return Document::refused(404, "No mail server of this address is here."),
        },
    };
    let mut xml = Xml::new("");
    xml.element("clientConfig", "version=\"1.1\"", |xml| {
        xml.element("emailProvider", &attribute("id", &domain), |xml| {
            xml.value("domain", &domain);
            xml.value("displayName", domain.to_unicode());
            xml.value("displayShortName", domain.to_unicode());
            for protocol in [Protocol::Imap, Protocol::Pop3, Protocol::Submission] {
                for endpoint in offer.endpoints_of(protocol) {
                    put_server(xml, offer, endpoint);
                }
            }
        });
    });
    Document::found("application/xml; charset=utf-8", xml.into_text())
}

fn put_server(xml: &mut Xml, offer: &Offer, endpoint: &Endpoint) {
    let (element, kind) = match endpoint.protocol {
        Protocol::Imap => ("incomingServer", "imap"),
        Protocol::Pop3 => ("incomingServer", "pop3"),
        Protocol::Submission => ("outgoingServer", "smtp"),
    };
    xml.element(element, &attribute("type", kind), |xml| {
        xml.value("hostname", &offer.hostname);
        xml.value("port", endpoint.port);
        xml.value(
            "socketType",
            match endpoint.security {
                Security::Tls => "SSL",
                Security::StartTls => "STARTTLS",
            },
        );
        xml.value("authentication", "password-cleartext");
        xml.value("username", "%EMAILADDRESS%");
    });
}
