//! Every reply of the POP3 server in each of its languages, with the response codes of RFC 2449 §8 and RFC 3206.
//!
//! Invariants: a reply is one line; codes and numbers are the same in every language; texts are UTF-8, and ASCII as long as
//! nobody asked for another language (RFC 6856 §3).

use super::language::Language;
use std::io::Write as _;

/// A reply: its status, its response code or none, and its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// `+OK`, `-ERR`, with a space and the code where there is one.
    head: &'static str,
    english: &'static str,
    german: &'static str,
}

const fn ok(english: &'static str, german: &'static str) -> Reply {
    with("+OK", english, german)
}

const fn err(english: &'static str, german: &'static str) -> Reply {
    with("-ERR", english, german)
}

const fn with(head: &'static str, english: &'static str, german: &'static str) -> Reply {
    Reply {
        head,
        english,
        german,
    }
}

const AUTH: &str = "-ERR [AUTH]";
const TEMPORARY: &str = "-ERR [SYS/TEMP]";

impl Reply {
    pub(super) fn write(self, language: Language, wire: &mut Vec<u8>) {
        let text = match language {
            Language::English => self.english,
            Language::German => self.german,
        };
        wire.extend_from_slice(self.head.as_bytes());
        if !text.is_empty() {
            wire.push(b' ');
            wire.extend_from_slice(text.as_bytes());
        }
        wire.extend_from_slice(b"\r\n");
    }
}

/// Before anybody could ask for a language.
pub(super) const GREETING: Reply = ok("Ringpost ready", "Ringpost bereit");
pub(super) const OK: Reply = ok("", "");
pub(super) const BYE: Reply = ok("Bye", "Auf Wiedersehen");
pub(super) const CAPABILITIES: Reply = ok("Capability list follows", "Es folgt, was der Server kann");
pub(super) const SEND_PASS: Reply = ok("Send PASS", "Jetzt PASS");
pub(super) const BEGIN_TLS: Reply = ok("Begin TLS negotiation", "TLS kann beginnen");
pub(super) const MARKED: Reply = ok("Marked to be deleted", "Zum Löschen vorgemerkt");
pub(super) const TOP_FOLLOWS: Reply = ok("Top of message follows", "Der Anfang der Nachricht folgt");
pub(super) const UTF8_ON: Reply = ok("UTF8 enabled", "UTF8 eingeschaltet");
pub(super) const LANGUAGES: Reply = ok("Language listing follows", "Es folgen die Sprachen");

pub(super) const LINE_TOO_LONG: Reply = err("Line too long", "Zeile zu lang");
pub(super) const BAD_OCTETS: Reply = err(
    "Command holds NUL, bare CR or bare LF",
    "Befehl enthält NUL, einzelnes CR oder LF",
);
pub(super) const UNKNOWN_COMMAND: Reply = err("Unknown command", "Unbekannter Befehl");
pub(super) const BAD_ARGUMENTS: Reply = err("Bad arguments", "Falsche Argumente");
pub(super) const NO_SUCH_MESSAGE: Reply = err("No such message", "Keine solche Nachricht");
pub(super) const NOT_NOW: Reply = err("Not valid in this state", "In diesem Zustand nicht erlaubt");
pub(super) const USER_FIRST: Reply = err("Send USER first", "Zuerst USER");
pub(super) const NEEDS_TLS: Reply = err(
    "Plaintext login needs TLS, use STLS",
    "Anmelden im Klartext nur mit TLS, siehe STLS",
);
pub(super) const NO_TLS: Reply = err("TLS not offered", "TLS wird nicht angeboten");
pub(super) const ALREADY_TLS: Reply = err("TLS is already active", "TLS ist schon eingeschaltet");
pub(super) const NO_MECHANISM: Reply = err("Mechanism not offered", "Verfahren wird nicht angeboten");
pub(super) const BAD_RESPONSE: Reply = err("Bad SASL response", "Falsche SASL-Antwort");
pub(super) const BAD_BINDING: Reply = with(
    AUTH,
    "Channel binding does not match",
    "Bindung an den Kanal stimmt nicht",
);
pub(super) const CANCELLED: Reply = err("Authentication cancelled", "Anmeldung abgebrochen");
pub(super) const NO_LANGUAGE: Reply = err("Language not supported", "Diese Sprache gibt es hier nicht");
pub(super) const NO_HTTP: Reply = err("This is no web server", "Hier ist kein Webserver");
pub(super) const TOO_MANY_ERRORS: Reply = err("Too many errors", "Zu viele Fehler");
pub(super) const TOO_MANY_FAILURES: Reply =
    with(AUTH, "Too many failed logins", "Zu viele falsche Anmeldungen");
pub(super) const TIMED_OUT: Reply = err("Out of time", "Die Zeit ist abgelaufen");
pub(super) const SHUTTING_DOWN: Reply = with(TEMPORARY, "Server shutting down", "Der Server hält an");
pub(super) const REVOKED: Reply = with(
    AUTH,
    "This account may not be used any more",
    "Dieses Konto darf nicht mehr benutzt werden",
);
pub(super) const CONFUSED: Reply = with(TEMPORARY, "Internal error", "Interner Fehler");

pub(super) const CONTINUE: &[u8] = b"+ ";
pub(super) const LIST_END: &[u8] = b".\r\n";

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    /// Wrong name or password, told alike.
    Credentials,
    /// Right, but this account may not use POP3.
    Disabled,
    /// The maildrop is locked by another session.
    InUse,
    /// The last login was less than LOGIN-DELAY ago (RFC 2449 §6.5).
    TooSoon,
    /// It cannot be known now.
    Temporary,
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetrieveRefusal {
    /// Expunged by another session since login.
    Gone,
    /// It cannot be read now.
    Temporary,
}

/// Why deletions are not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitRefusal {
    /// The commit failed, or nobody knows whether it did.
    Failed,
}

impl LoginRefusal {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Credentials => with(AUTH, "Login failed", "Anmeldung fehlgeschlagen"),
            Self::Disabled => with(
                AUTH,
                "Not allowed for this account",
                "Für dieses Konto nicht erlaubt",
            ),
            Self::InUse => with(
                "-ERR [IN-USE]",
                "Maildrop is in use",
                "Das Postfach wird gerade benutzt",
            ),
            Self::TooSoon => with(
                "-ERR [LOGIN-DELAY]",
                "Too soon after the last login",
                "Zu bald nach der letzten Anmeldung",
            ),
            Self::Temporary => with(TEMPORARY, "Try again later", "Später noch einmal versuchen"),
        }
    }
}

impl RetrieveRefusal {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Gone => err("Message is gone", "Die Nachricht gibt es nicht mehr"),
            Self::Temporary => with(
                TEMPORARY,
                "Message cannot be read now",
                "Die Nachricht ist gerade nicht lesbar",
            ),
        }
    }
}

impl CommitRefusal {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Failed => with(
                TEMPORARY,
                "Messages were not deleted",
                "Die Nachrichten wurden nicht gelöscht",
            ),
        }
    }
}

/// `+OK` to a login.
pub(super) fn opened(language: Language, messages: u64, octets: u64, wire: &mut Vec<u8>) {
    match language {
        Language::English => put(
            wire,
            format_args!("+OK {messages} messages ({octets} octets)\r\n"),
        ),
        Language::German => put(
            wire,
            format_args!("+OK {messages} Nachrichten ({octets} Oktette)\r\n"),
        ),
    }
}

/// `+OK` to RETR.
pub(super) fn message_follows(language: Language, octets: u32, wire: &mut Vec<u8>) {
    match language {
        Language::English => put(wire, format_args!("+OK {octets} octets\r\n")),
        Language::German => put(wire, format_args!("+OK {octets} Oktette\r\n")),
    }
}

/// `+OK` to LANG, already in the language it is about.
pub(super) fn language_is(language: Language, wire: &mut Vec<u8>) {
    let text = match language {
        Language::English => "Replies are in English now",
        Language::German => "Ab jetzt wird auf Deutsch geantwortet",
    };
    put(wire, format_args!("+OK {} {text}\r\n", language.tag()));
}

pub(super) fn put(wire: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    wire.write_fmt(text).expect("writing to memory does not fail");
}
