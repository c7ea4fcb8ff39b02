//! What a sender asked for besides delivery, as text to be kept with a message: the parameters of MAIL that outlive the
//! transaction, a line end, and those of one RCPT, written as the commands have them (RFC 6152, 6531, 8689, 3461).
//!
//! Kept for whoever reports on a delivery or sends a message on. The wire's own syntax was chosen over one more binary
//! form: it has a grammar, a parser with tests, and room for parameters to come.
//! Invariants: what is written is read back as it was; nothing is written for a message that asked for nothing.
//! Not here: where it is kept (`store::record`).

use super::parameters::{MailParameters, parse_mail, parse_rcpt};
use super::xtext;
use crate::model::{BodyType, DsnReturn, Envelope, Notify, RecipientDsn};

/// What the recipient at `index` of `envelope` comes with; empty when nothing was asked for.
#[must_use]
pub fn write(envelope: &Envelope, index: usize) -> Vec<u8> {
    let mut text = Vec::new();
    write_mail(envelope, &mut text);
    if let Some(dsn) = envelope.recipient_dsn(index) {
        text.extend_from_slice(b"\r\n");
        write_rcpt(dsn, &mut text);
    }
    text
}

/// Reads it back; `None` when it is not such a text. SIZE is not kept: the message has one.
#[must_use]
pub fn parse(text: &[u8]) -> Option<(MailParameters, RecipientDsn)> {
    let end = memchr::memmem::find(text, b"\r\n");
    let (mail, rcpt) = end.map_or((text, &b""[..]), |end| (&text[..end], &text[end + 2..]));
    let mail = parse_mail(mail, true, false).ok()?;
    // The addresses of unitext are written as they are, whatever the transaction agreed on.
    Some((mail, parse_rcpt(rcpt, true).ok()?))
}

fn word(keyword: &str, value: &[u8], text: &mut Vec<u8>) {
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b' ');
    }
    text.extend_from_slice(keyword.as_bytes());
    text.extend_from_slice(value);
}

fn write_mail(envelope: &Envelope, text: &mut Vec<u8>) {
    match envelope.body_type {
        BodyType::SevenBit => {}
        BodyType::EightBitMime => word("BODY=", b"8BITMIME", text),
        BodyType::BinaryMime => word("BODY=", b"BINARYMIME", text),
    }
    if envelope.is_utf8 {
        word("SMTPUTF8", b"", text);
    }
    if envelope.requires_tls {
        word("REQUIRETLS", b"", text);
    }
    match envelope.dsn_return {
        None => {}
        Some(DsnReturn::Full) => word("RET=", b"FULL", text),
        Some(DsnReturn::Headers) => word("RET=", b"HDRS", text),
    }
    if let Some(id) = &envelope.envelope_id {
        word("ENVID=", &xtext::encode(id.as_str().as_bytes(), false), text);
    }
}

fn write_rcpt(dsn: &RecipientDsn, text: &mut Vec<u8>) {
    match dsn.notify {
        None => {}
        Some(Notify::Never) => word("NOTIFY=", b"NEVER", text),
        Some(Notify::When {
            success,
            failure,
            delay,
        }) => {
            let cases = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
            let named: Vec<&str> = cases
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, name)| *name)
                .collect();
            word("NOTIFY=", named.join(",").as_bytes(), text);
        }
    }
    if let Some(original) = &dsn.original {
        let is_utf8 = original.address_type() == "utf-8";
        let escaped = original.address().replace('\\', "\\x{5C}");
        let address = if is_utf8 { &escaped } else { original.address() };
        word("ORCPT=", original.address_type().as_bytes(), text);
        text.push(b';');
        text.extend_from_slice(&xtext::encode(address.as_bytes(), is_utf8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EnvelopeId, ForwardPath, OriginalRecipient};
    use proptest::prelude::*;

    #[test]
    fn most_mail_asks_for_nothing() {
        let mut envelope = Envelope {
            declared_size: Some(7),
            ..Envelope::default()
        };
        envelope.push_recipient(ForwardPath::Postmaster, RecipientDsn::default());
        assert_eq!(write(&envelope, 0), b"");
        assert_eq!(
            parse(b""),
            Some((MailParameters::default(), RecipientDsn::default()))
        );
        assert_eq!(parse(b"RET=FULL\r\nNOTIFY=SOMETIMES"), None);
    }

    #[test]
    fn it_reads_as_the_commands_did() {
        let mut envelope = Envelope {
            is_utf8: true,
            dsn_return: Some(DsnReturn::Headers),
            envelope_id: EnvelopeId::new("a b+"),
            ..Envelope::default()
        };
        let asked = RecipientDsn {
            notify: Some(Notify::When {
                success: true,
                failure: false,
                delay: true,
            }),
            original: OriginalRecipient::new("rfc822", "x y@z"),
        };
        envelope.push_recipient(ForwardPath::Postmaster, RecipientDsn::default());
        envelope.push_recipient(ForwardPath::Postmaster, asked);
        assert_eq!(write(&envelope, 0), b"SMTPUTF8 RET=HDRS ENVID=a+20b+2B");
        assert_eq!(
            write(&envelope, 1),
            b"SMTPUTF8 RET=HDRS ENVID=a+20b+2B\r\nNOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+20y@z"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            (body, flags) in (0usize..3, any::<(bool, bool, bool, bool)>()),
            (ret, notify) in (0usize..3, 0u8..9),
            id in proptest::option::of("[ -~]{1,30}"),
            original in proptest::option::of(("(rfc822|utf-8|x400)", "[ -~]{1,30}")),
            beyond in "[äßπ\\\\]{0,3}",
        ) {
            let original = original.and_then(|(kind, address)| {
                let beyond = if kind == "utf-8" { beyond.as_str() } else { "" };
                OriginalRecipient::new(&kind, &format!("{address}{beyond}"))
            });
            let dsn = RecipientDsn {
                notify: match notify {
                    0 => None,
                    8 => Some(Notify::Never),
                    bits => Some(Notify::When { success: bits & 1 != 0, failure: bits & 2 != 0, delay: bits & 4 != 0 }),
                },
                original,
            };
            let mut envelope = Envelope {
                body_type: [BodyType::SevenBit, BodyType::EightBitMime, BodyType::BinaryMime][body],
                is_utf8: flags.0,
                requires_tls: flags.1,
                dsn_return: [None, Some(DsnReturn::Full), Some(DsnReturn::Headers)][ret],
                envelope_id: id.and_then(|id| EnvelopeId::new(&id)),
                ..Envelope::default()
            };
            envelope.push_recipient(ForwardPath::Postmaster, dsn.clone());
            let (mail, rcpt) = parse(&write(&envelope, 0)).expect("it was written here");
            prop_assert_eq!(rcpt, dsn);
            prop_assert_eq!(mail.body.unwrap_or_default(), envelope.body_type);
            prop_assert_eq!((mail.is_utf8, mail.requires_tls), (envelope.is_utf8, envelope.requires_tls));
            prop_assert_eq!((mail.dsn_return, mail.envelope_id), (envelope.dsn_return, envelope.envelope_id));
        }
    }
}
