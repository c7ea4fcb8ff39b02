//! What the server announces: one table, read for the greeting, CAPABILITY, and the OK of a login.
//!
//! Invariants: nothing is announced that is switched off in [`TABLE`] or hidden by the configuration; AUTH= and LOGIN
//! are not offered where a password would travel in clear (RFC 8314, RFC 9051 §6.1.1).

use super::api::Config;
use crate::proto::sasl;

/// When a capability is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// In every state.
    Always,
    /// In every state, by the setting.
    LiteralPlus,
    /// In every state, by the setting.
    LiteralMinus,
    /// Before TLS, where STARTTLS is offered.
    BeforeTls,
    /// Before login, where a password would travel in clear.
    LoginDisabled,
    /// Before login, where a password is safe.
    LoginEnabled,
    /// After login, by the setting.
    Limited,
    /// After login, by the setting.
    Compressible,
    /// After login, where limits can be set.
    QuotaSettable,
    /// After login.
    Authenticated,
}

/// One capability.
#[derive(Clone, Copy, Debug)]
pub struct Capability {
    /// As announced.
    pub name: &'static str,
    /// In which state.
    pub when: When,
    /// What it promises is there: grammar, core and execution. Switch it off here until it is.
    pub is_implemented: bool,
}

const fn row(name: &'static str, when: When, is_implemented: bool) -> Capability {
    Capability {
        name,
        when,
        is_implemented,
    }
}

/// Stands for one capability of each mechanism that the connection may use.
const AUTH: &str = "AUTH=";

/// In the order they are announced. `APPENDLIMIT` and `MESSAGELIMIT` get their numbers when they are written.
pub const TABLE: &[Capability] = &[
    row("IMAP4rev2", When::Always, true),
    row("IMAP4rev1", When::Always, true),
    row("LITERAL+", When::LiteralPlus, true),
    row("LITERAL-", When::LiteralMinus, true),
    row("SASL-IR", When::Always, true),
    row("ID", When::Always, true),
    row("ENABLE", When::Always, true),
    row("STARTTLS", When::BeforeTls, true),
    row("LOGINDISABLED", When::LoginDisabled, true),
    row(AUTH, When::LoginEnabled, true),
    row("IDLE", When::Authenticated, true),
    row("NOTIFY", When::Authenticated, true),
    row("NAMESPACE", When::Authenticated, true),
    row("CHILDREN", When::Authenticated, true),
    row("UNSELECT", When::Authenticated, true),
    row("UIDPLUS", When::Authenticated, true),
    row("MOVE", When::Authenticated, true),
    row("LIST-EXTENDED", When::Authenticated, true),
    row("LIST-STATUS", When::Authenticated, true),
    row("SPECIAL-USE", When::Authenticated, true),
    row("CREATE-SPECIAL-USE", When::Authenticated, true),
    row("ESEARCH", When::Authenticated, true),
    row("SEARCHRES", When::Authenticated, true),
    row("SORT", When::Authenticated, true),
    row("SORT=DISPLAY", When::Authenticated, true),
    row("ESORT", When::Authenticated, true),
    row("THREAD=ORDEREDSUBJECT", When::Authenticated, true),
    row("THREAD=REFERENCES", When::Authenticated, true),
    row("THREAD=REFS", When::Authenticated, true),
    row("I18NLEVEL=1", When::Authenticated, true),
    row("CONDSTORE", When::Authenticated, true),
    row("QRESYNC", When::Authenticated, true),
    row("WITHIN", When::Authenticated, true),
    row("SEARCH=FUZZY", When::Authenticated, true),
    row("PARTIAL", When::Authenticated, true),
    row("CONTEXT=SEARCH", When::Authenticated, true),
    row("CONTEXT=SORT", When::Authenticated, true),
    row("MULTISEARCH", When::Authenticated, true),
    row("INPROGRESS", When::Authenticated, true),
    row("PREVIEW", When::Authenticated, true),
    row("MULTIAPPEND", When::Authenticated, true),
    row("CATENATE", When::Authenticated, true),
    row("BINARY", When::Authenticated, true),
    row("METADATA", When::Authenticated, true),
    row("METADATA-SERVER", When::Authenticated, true),
    row("LIST-METADATA", When::Authenticated, true),
    row("STATUS=SIZE", When::Authenticated, true),
    row("OBJECTID", When::Authenticated, true),
    row("SAVEDATE", When::Authenticated, true),
    row("APPENDLIMIT", When::Authenticated, true),
    row("MESSAGELIMIT", When::Limited, true),
    row("COMPRESS=DEFLATE", When::Compressible, true),
    row("REPLACE", When::Authenticated, true),
    row("UNAUTHENTICATE", When::Authenticated, true),
    row("UTF8=ACCEPT", When::Authenticated, true),
    row("UIDONLY", When::Authenticated, true),
    row("QUOTA", When::Authenticated, true),
    row("QUOTA=RES-STORAGE", When::Authenticated, true),
    row("QUOTA=RES-MESSAGE", When::Authenticated, true),
    row("QUOTA=RES-MAILBOX", When::Authenticated, true),
    row("QUOTASET", When::QuotaSettable, true),
];

/// True for a name that may be hidden: one of [`TABLE`], or `AUTH=` with a mechanism.
#[must_use]
pub fn is_known(name: &str) -> bool {
    let is_mechanism = name.len() > AUTH.len() && name.is_char_boundary(AUTH.len()) && {
        let (head, mechanism) = name.split_at(AUTH.len());
        head.eq_ignore_ascii_case(AUTH) && mechanism.bytes().all(super::parse::is_atom_char)
    };
    is_mechanism || TABLE.iter().any(|row| row.name.eq_ignore_ascii_case(name))
}

/// What of the connection decides the list.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// TLS is up.
    pub is_tls: bool,
    /// A password may be sent now.
    pub is_login_allowed: bool,
    /// What the connection has to offer SASL.
    pub sasl: sasl::Channel,
    /// Logged in.
    pub is_authenticated: bool,
}

impl When {
    fn holds(self, config: &Config, situation: Situation) -> bool {
        let before_login = !situation.is_authenticated;
        match self {
            Self::Always => true,
            Self::LiteralPlus => config.is_literal_plus,
            Self::LiteralMinus => !config.is_literal_plus,
            Self::BeforeTls => before_login && !situation.is_tls && config.is_starttls_offered,
            Self::LoginDisabled => before_login && !situation.is_login_allowed,
            Self::LoginEnabled => before_login && situation.is_login_allowed,
            Self::Limited => situation.is_authenticated && config.message_limit.is_some(),
            Self::Compressible => situation.is_authenticated && config.is_compress_offered,
            Self::QuotaSettable => situation.is_authenticated && config.is_quota_settable,
            Self::Authenticated => situation.is_authenticated,
        }
    }
}

/// Is this name not to be announced?
#[must_use]
pub fn is_hidden(config: &Config, name: &str) -> bool {
    let mut hidden = config.hidden_capabilities.iter();
    hidden.any(|hidden| hidden.eq_ignore_ascii_case(name))
}

/// Appends `CAPABILITY IMAP4rev1 …`, without brackets or line end.
pub fn push(config: &Config, situation: Situation, out: &mut Vec<u8>) {
    out.extend_from_slice(b"CAPABILITY");
    let is_hidden = |name: &str| is_hidden(config, name);
    for capability in TABLE {
        if is_hidden(capability.name)
            || !capability.is_implemented
            || !capability.when.holds(config, situation)
        {
            continue;
        }
        if capability.name == AUTH {
            for mechanism in config.mechanisms.on(situation.sasl) {
                let name = format!("{AUTH}{}", mechanism.name());
                if !is_hidden(&name) {
                    out.push(b' ');
                    out.extend_from_slice(name.as_bytes());
                }
            }
            continue;
        }
        out.push(b' ');
        out.extend_from_slice(capability.name.as_bytes());
        let number = match capability.name {
            "APPENDLIMIT" => Some(config.message_bytes_max),
            "MESSAGELIMIT" => config.message_limit.map(|limit| u64::from(limit.get())),
            _ => None,
        };
        if let Some(number) = number {
            out.push(b'=');
            super::encode::push_number(number, out);
        }
    }
}
