//! What an admin may ask of the embedded directory, as values that travel: from a command to the running server, or from a
//! page to the control thread.
//!
//! Invariants: an order changes everything it says or nothing. Passwords come as hashes; whoever asks hashes them.
//! Not here: carrying orders out (`embedded`), the words of the command line (`cli`).

use serde::{Deserialize, Serialize};

/// One order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    DomainAdd {
        domain: String,
        set: DomainSettings,
    },
    DomainSet {
        domain: String,
        set: DomainSettings,
    },
    DomainShow {
        domain: String,
    },
    DomainList,
    /// Only when nobody is left in it.
    DomainDelete {
        domain: String,
    },
    /// `is_admin`: or not any more.
    DomainAdmin {
        domain: String,
        address: String,
        is_admin: bool,
    },
    AccountAdd {
        account: NewAccount,
    },
    AccountSet {
        address: String,
        set: AccountSettings,
    },
    /// `hashes`: the password's, and SCRAM verifiers beside it. Empty: nobody logs in by a password.
    AccountPassword {
        address: String,
        hashes: Vec<Hash>,
    },
    AccountShow {
        address: String,
    },
    AccountList {
        domain: Option<String>,
        /// So many at the most; `None`: all.
        #[serde(default)]
        limit: Option<u32>,
    },
    /// Not while others lead there, and not the last admin, unless `is_forced`.
    AccountDelete {
        address: String,
        #[serde(default)]
        is_forced: bool,
    },
    /// All of them or none.
    AccountImport {
        accounts: Vec<NewAccount>,
    },
    /// `secret`: base32; `None` switches it off.
    AccountTotp {
        address: String,
        secret: Option<Hash>,
    },
    AppPasswordAdd {
        address: String,
        password: NewAppPassword,
    },
    AppPasswordDelete {
        address: String,
        name: String,
    },
    AliasAdd {
        address: String,
        targets: Vec<String>,
    },
    AliasSet {
        address: String,
        targets: Vec<String>,
    },
    AliasShow {
        address: String,
    },
    AliasList {
        domain: Option<String>,
        #[serde(default)]
        limit: Option<u32>,
    },
    /// Not while others lead there, unless `is_forced`.
    AliasDelete {
        address: String,
        #[serde(default)]
        is_forced: bool,
    },
}

/// A text that opens an account. Its `Debug` shows nothing of it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hash(pub String);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash")
    }
}

/// What can be said of a domain; `None` leaves it as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DomainSettings {
    /// An address; empty: nobody.
    pub catch_all: Option<String>,
    /// One character; empty: no details.
    pub detail_separator: Option<String>,
    pub keeps_scram: Option<bool>,
}

/// What can be said of an account; `None` leaves it as it is. For limits 0 means none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountSettings {
    pub name: Option<String>,
    pub is_enabled: Option<bool>,
    pub is_admin: Option<bool>,
    /// Names with commas between.
    pub protocols: Option<String>,
    pub quota_bytes: Option<u64>,
    pub quota_messages: Option<u64>,
    pub pop3_deletion: Option<String>,
    pub retention_days: Option<u16>,
    pub keeps_copy: Option<bool>,
    pub takes_details: Option<bool>,
    /// All of them; an empty list: none.
    pub forward: Option<Vec<String>>,
}

/// An account to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    pub address: String,
    pub hashes: Vec<Hash>,
    #[serde(default)]
    pub set: AccountSettings,
    /// Kept from another server; `None`: the next one.
    #[serde(default)]
    pub id: Option<u64>,
}

/// An app password to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAppPassword {
    pub name: String,
    pub hash: Hash,
    pub protocols: String,
    /// Unix seconds.
    pub expires_at: Option<i64>,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is so now.
    Done,
    /// So many accounts were made.
    Imported(u64),
    Domains(Vec<DomainView>),
    Accounts(Vec<AccountView>),
    Aliases(Vec<AliasView>),
}

/// A domain as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainView {
    pub domain: String,
    pub catch_all: Option<String>,
    pub detail_separator: Option<String>,
    pub keeps_scram: bool,
    pub accounts: u64,
    pub aliases: u64,
    pub admins: Vec<String>,
}

/// An account as it is shown. No secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountView {
    pub id: u64,
    pub address: String,
    pub name: Option<String>,
    pub is_enabled: bool,
    pub is_admin: bool,
    pub protocols: String,
    pub quota_bytes: Option<u64>,
    pub quota_messages: Option<u64>,
    pub pop3_deletion: String,
    pub retention_days: Option<u16>,
    pub keeps_copy: bool,
    pub takes_details: bool,
    pub forward: Vec<String>,
    /// The scheme of its password; `None`: it has none.
    pub password_scheme: Option<String>,
    pub has_totp: bool,
    pub app_passwords: Vec<AppPasswordView>,
    pub administers: Vec<String>,
}

/// An app password as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppPasswordView {
    pub name: String,
    pub protocols: String,
    pub expires_at: Option<i64>,
    pub created_at: i64,
    pub last_used_at: Option<i64>,
}

/// An alias as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AliasView {
    pub address: String,
    pub targets: Vec<String>,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum OrderError {
    /// Whoever gave it has to change something.
    #[error("{0}")]
    Refused(String),
    /// It cannot be done just now.
    #[error("{0}")]
    Failed(String),
}

impl Order {
    /// Whether anything is different afterwards.
    #[must_use]
    pub fn changes(&self) -> bool {
        !matches!(
            self,
            Self::DomainShow { .. }
                | Self::DomainList
                | Self::AccountShow { .. }
                | Self::AccountList { .. }
                | Self::AliasShow { .. }
                | Self::AliasList { .. }
        )
    }
}
