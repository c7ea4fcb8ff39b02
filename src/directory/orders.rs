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
    /// Not the last admin disabled or made a user, unless `is_forced`.
    AccountSet {
        address: String,
        set: AccountSettings,
        #[serde(default)]
        is_forced: bool,
    },
    /// `hashes`: the password's, and SCRAM verifiers beside it. Empty: nobody logs in by a password, which is not for the last
    /// admin, unless `is_forced`.
    AccountPassword {
        address: String,
        hashes: Vec<Hash>,
        #[serde(default)]
        is_forced: bool,
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

impl DomainSettings {
    /// The names of what is said.
    fn named(&self) -> String {
        named(&[
            ("catch-all", self.catch_all.is_some()),
            ("detail-separator", self.detail_separator.is_some()),
            ("scram", self.keeps_scram.is_some()),
        ])
    }
}

impl AccountSettings {
    /// The names of what is said, and which way where that is what matters.
    fn named(&self) -> String {
        let is = |what: Option<bool>, wanted| what == Some(wanted);
        named(&[
            ("enabled", is(self.is_enabled, true)),
            ("disabled", is(self.is_enabled, false)),
            ("admin", is(self.is_admin, true)),
            ("no admin", is(self.is_admin, false)),
            ("name", self.name.is_some()),
            ("protocols", self.protocols.is_some()),
            (
                "quota",
                self.quota_bytes.is_some() || self.quota_messages.is_some(),
            ),
            ("POP3 deletion", self.pop3_deletion.is_some()),
            ("retention", self.retention_days.is_some()),
            ("keep-copy", self.keeps_copy.is_some()),
            ("details", self.takes_details.is_some()),
            ("forward", self.forward.is_some()),
        ])
    }
}

fn named(all: &[(&str, bool)]) -> String {
    let said: Vec<&str> = all.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    said.join(", ")
}

/// `text` without what would make it more than one line, cut behind so many octets.
pub(super) fn line_of(text: &str, bytes_max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(bytes_max));
    for c in text.chars() {
        if line.len() + c.len_utf8() > bytes_max {
            line.push('…');
            break;
        }
        line.push(if c.is_control() { '\u{fffd}' } else { c });
    }
    line
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

/// Octets of an order in the log: an address has up to 320.
const SUMMARY_BYTES_MAX: usize = 1_000;

impl Order {
    /// What it does and to whom, for the log: no secrets, nothing that a person is called, and no more than a line, whatever the
    /// one who asks has written into it.
    #[must_use]
    pub fn summary(&self) -> String {
        let switched = |is_on: &bool| if *is_on { "" } else { " (not any more)" };
        let text = match self {
            Self::DomainAdd { domain, .. } => format!("domain add {domain}"),
            Self::DomainSet { domain, set } => format!("domain set {domain}: {}", set.named()),
            Self::DomainShow { domain } => format!("domain show {domain}"),
            Self::DomainList => "domain list".to_owned(),
            Self::DomainDelete { domain } => format!("domain delete {domain}"),
            Self::DomainAdmin {
                domain,
                address,
                is_admin,
            } => format!("domain admin {domain} {address}{}", switched(is_admin)),
            Self::AccountAdd { account } => {
                format!("account add {}: {}", account.address, account.set.named())
            }
            Self::AccountSet { address, set, .. } => format!("account set {address}: {}", set.named()),
            Self::AccountPassword { address, .. } => format!("account password {address}"),
            Self::AccountShow { address } => format!("account show {address}"),
            Self::AccountList { .. } => "account list".to_owned(),
            Self::AccountDelete { address, .. } => format!("account delete {address}"),
            Self::AccountImport { accounts } => format!("account import of {}", accounts.len()),
            Self::AccountTotp { address, secret } => {
                format!("account second-factor {address}{}", switched(&secret.is_some()))
            }
            Self::AppPasswordAdd { address, password } => {
                format!("account app-password-add {address} {}", password.name)
            }
            Self::AppPasswordDelete { address, name } => {
                format!("account app-password-delete {address} {name}")
            }
            Self::AliasAdd { address, targets } => format!("alias add {address} {}", targets.join(" ")),
            Self::AliasSet { address, targets } => format!("alias set {address} {}", targets.join(" ")),
            Self::AliasShow { address } => format!("alias show {address}"),
            Self::AliasList { .. } => "alias list".to_owned(),
            Self::AliasDelete { address, .. } => format!("alias delete {address}"),
        };
        line_of(text.trim_end_matches([':', ' ']), SUMMARY_BYTES_MAX)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_and_on_whom_and_no_secret() {
        let hash = || Hash("{PLAIN}swordfish".to_owned());
        let address = || "bob@example.org".to_owned();
        let password = NewAppPassword {
            name: "phone\nroot logged in".to_owned(),
            hash: hash(),
            protocols: "imap".to_owned(),
            expires_at: None,
        };
        let set = AccountSettings {
            name: Some("Bob".to_owned()),
            is_enabled: Some(false),
            ..AccountSettings::default()
        };
        let account = NewAccount {
            address: address(),
            hashes: vec![hash()],
            set: AccountSettings::default(),
            id: None,
        };
        for (order, told) in [
            (
                Order::AccountPassword {
                    address: address(),
                    hashes: vec![hash()],
                    is_forced: false,
                },
                "account password bob@example.org",
            ),
            (
                Order::AccountTotp {
                    address: address(),
                    secret: Some(hash()),
                },
                "account second-factor bob@example.org",
            ),
            (
                Order::AppPasswordAdd {
                    address: address(),
                    password,
                },
                "account app-password-add bob@example.org phone\u{fffd}root logged in",
            ),
            (
                Order::AccountSet {
                    address: address(),
                    set,
                    is_forced: true,
                },
                "account set bob@example.org: disabled, name",
            ),
            (
                Order::AccountAdd {
                    account: account.clone(),
                },
                "account add bob@example.org",
            ),
            (
                Order::AccountImport {
                    accounts: vec![account],
                },
                "account import of 1",
            ),
        ] {
            let summary = order.summary();
            assert_eq!(summary, told);
            assert!(!summary.contains("swordfish"));
        }
        let long = Order::DomainDelete {
            domain: "ü".repeat(10_000),
        };
        assert!(long.summary().len() < SUMMARY_BYTES_MAX + 4);
    }
}
