//! What another directory says of an account or a domain, by the names that Ringpost gives such facts.
//!
//! | name | of | meaning |
//! |---|---|---|
//! | `id` | account | what names it there for ever; required |
//! | `address` | account | its main address; without it the one that was asked for |
//! | `password` | login | hashes in `{SCHEME}` notation; several are as good as each other |
//! | `enabled` | account | false: it takes no mail and nobody logs in |
//! | `protocols` | account | what its owner may use: `imap,pop3,submission` |
//! | `quota_bytes`, `quota_messages` | account | limits; 0 or nothing: none |
//! | `forward` | account | others who get its mail |
//! | `keeps_copy`, `takes_details` | account | see [`Recipient`] |
//! | `pop3_deletion`, `retention_days` | account | see [`Account`] |
//! | `catch_all`, `detail_separator` | domain | see [`DomainFacts`] |
//! | `target` | alias | where it leads |
//!
//! Failure: a fact that cannot be read is the admin's to mend ([`Failure::Wrong`]); nothing is guessed in its place.

use super::failure::Failure;
use crate::directory::{DomainFacts, LoginRecord, PasswordHash, Recipient};
use crate::model::{Account, AccountId, AddrSpec, Pop3Deletion, Protocols, login_key};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

/// Names that a row of an account may have.
pub const ACCOUNT: &[&str] = &[
    "id",
    "address",
    "enabled",
    "protocols",
    "quota_bytes",
    "quota_messages",
    "forward",
    "keeps_copy",
    "takes_details",
    "pop3_deletion",
    "retention_days",
];

/// What the row of a login may have beside them.
pub const PASSWORD: &str = "password";

/// Names that a row of a domain may have.
pub const DOMAIN: &[&str] = &["catch_all", "detail_separator"];

/// The one name of an alias.
pub const TARGET: &str = "target";

/// Longest key of an account.
const KEY_BYTES_MAX: usize = 512;

/// Facts by name; a name with no values was said to have none. Secrets may be in it: no `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Row(BTreeMap<String, Vec<String>>);

impl Row {
    /// Adds a fact.
    pub fn add(&mut self, name: impl Into<String>, values: Vec<String>) {
        self.0.entry(name.into()).or_default().extend(values);
    }

    /// All values of a name that are not empty.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.0.get(name).into_iter().flatten();
        values.map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The one value of a name.
    ///
    /// # Errors
    /// There are several.
    pub fn value(&self, name: &str) -> Result<Option<&str>, Failure> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (first, None) => Ok(first),
            _ => Err(Failure::Wrong(format!("{name} has several values"))),
        }
    }

    fn read<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Failure> {
        let Some(text) = self.value(name)? else {
            return Ok(None);
        };
        let value = read(text).ok_or_else(|| wrong(name, text))?;
        Ok(Some(value))
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, Failure> {
        Ok(self.read(name, flag)?.unwrap_or(default))
    }

    fn limit<T: FromStr + Default + PartialEq>(&self, name: &str) -> Result<Option<T>, Failure> {
        let number: Option<T> = self.read(name, |text| text.parse().ok())?;
        Ok(number.filter(|number| *number != T::default()))
    }

    /// What names the account there.
    ///
    /// # Errors
    /// It has no name, or no usable one.
    pub fn key(&self) -> Result<&str, Failure> {
        let key = self
            .value("id")?
            .ok_or_else(|| Failure::Wrong("an account has no id".to_owned()))?;
        if key.len() > KEY_BYTES_MAX {
            return Err(Failure::Wrong(format!(
                "an id is longer than {KEY_BYTES_MAX} octets"
            )));
        }
        Ok(key)
    }

    /// The account's address, which may be the one that was asked for.
    ///
    /// # Errors
    /// It is none.
    pub fn address(&self, asked: &str) -> Result<AddrSpec, Failure> {
        let text = match self.value("address") {
            Ok(value) => value.unwrap_or(asked),
            // Of several the one that is meant, or always the same.
            Err(_) => self
                .values("address")
                .find(|value| login_key(value) == asked)
                .or_else(|| self.values("address").min())
                .unwrap_or(asked),
        };
        AddrSpec::parse(text).map_err(|_| wrong("address", text))
    }

    /// The account of this row.
    ///
    /// # Errors
    /// [`Failure::Wrong`].
    pub fn account(&self, id: AccountId, address: AddrSpec) -> Result<Account, Failure> {
        let protocols = self.read("protocols", |text| Protocols::parse(text).ok())?;
        Ok(Account {
            quota_bytes: self.limit("quota_bytes")?,
            quota_messages: self.limit("quota_messages")?,
            is_enabled: self.flag("enabled", true)?,
            protocols: protocols.unwrap_or(Protocols::ALL),
            pop3_deletion: self
                .read("pop3_deletion", Pop3Deletion::parse)?
                .unwrap_or_default(),
            retention_days: self.limit("retention_days")?,
            ..Account::new(id, address)
        })
    }

    /// The same, as one that mail is for.
    ///
    /// # Errors
    /// [`Failure::Wrong`].
    pub fn recipient(&self, id: AccountId, address: AddrSpec) -> Result<Recipient, Failure> {
        Ok(Recipient {
            account: Arc::new(self.account(id, address)?),
            forward: self.addresses("forward")?,
            keeps_copy: self.flag("keeps_copy", true)?,
            takes_details: self.flag("takes_details", true)?,
        })
    }

    /// The same, as one that logs in. A password without `{SCHEME}` is of `scheme`.
    ///
    /// # Errors
    /// [`Failure::Wrong`].
    pub fn login(
        &self,
        id: AccountId,
        address: AddrSpec,
        scheme: &str,
        checked_by: Option<Arc<str>>,
    ) -> Result<LoginRecord, Failure> {
        let hash = |text: &str| match text.starts_with('{') {
            true => PasswordHash::new(text),
            false => PasswordHash::new(format!("{{{scheme}}}{text}")),
        };
        Ok(LoginRecord {
            account: Arc::new(self.account(id, address)?),
            hashes: self.values(PASSWORD).map(hash).collect(),
            app_passwords: Vec::new(),
            checked_by,
            totp_secret: None,
        })
    }

    /// The domain of this row.
    ///
    /// # Errors
    /// [`Failure::Wrong`].
    pub fn domain(&self) -> Result<DomainFacts, Failure> {
        let separator = match self.0.contains_key("detail_separator") {
            true => self.read("detail_separator", single_char)?,
            false => DomainFacts::default().detail_separator,
        };
        Ok(DomainFacts {
            catch_all: self.read("catch_all", |text| AddrSpec::parse(text).ok())?,
            detail_separator: separator,
        })
    }

    /// Addresses, each a value of its own or with commas or spaces between.
    ///
    /// # Errors
    /// One of them is none.
    pub fn addresses(&self, name: &str) -> Result<Vec<AddrSpec>, Failure> {
        let words = self
            .values(name)
            .flat_map(|value| value.split([',', ' ', '\n', '\t', '\r']));
        words
            .filter(|word| !word.is_empty())
            .map(|word| AddrSpec::parse(word).map_err(|_| wrong(name, word)))
            .collect()
    }
}

/// The value is cut: it goes to the log.
fn wrong(name: &str, value: &str) -> Failure {
    let value: String = value.chars().filter(|c| !c.is_control()).take(80).collect();
    Failure::Wrong(format!("{name} cannot be {value:?}"))
}

fn single_char(text: &str) -> Option<char> {
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}

/// As SQL, LDAP (RFC 4517 §3.3.3) and people write it.
fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "y" | "on" | "active" | "enabled" => Some(true),
        "false" | "f" | "0" | "no" | "n" | "off" | "inactive" | "disabled" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(facts: &[(&str, &[&str])]) -> Row {
        let mut row = Row::default();
        for (name, values) in facts {
            row.add(*name, values.iter().map(|&value| value.to_owned()).collect());
        }
        row
    }

    fn address(text: &str) -> AddrSpec {
        AddrSpec::parse(text).expect("an address")
    }

    fn recipient(row: &Row) -> Result<Recipient, Failure> {
        row.recipient(AccountId(7), row.address("asked@example.org")?)
    }

    #[test]
    fn what_is_not_said_is_as_accounts_are() {
        let found = recipient(&row(&[("id", &["1"])])).expect("it is enough");
        let plain = Recipient::new(Arc::new(Account::new(AccountId(7), address("asked@example.org"))));
        assert_eq!(found, plain);
        let zero = row(&[("id", &["1"]), ("quota_bytes", &["0"]), ("forward", &[])]);
        assert_eq!(recipient(&zero).expect("it is enough"), plain);
    }

    #[test]
    fn everything_is_read() {
        let facts: &[(&str, &[&str])] = &[
            ("id", &["x"]),
            ("address", &["Alice@example.org"]),
            ("enabled", &["f"]),
            ("protocols", &["imap pop3"]),
            ("quota_bytes", &["1000"]),
            ("quota_messages", &["10"]),
            ("forward", &["a@example.org, b@example.org", "c@example.org"]),
            ("keeps_copy", &["FALSE"]),
            ("takes_details", &["no"]),
            ("pop3_deletion", &["trash"]),
            ("retention_days", &["30"]),
        ];
        assert_eq!(facts.len(), ACCOUNT.len(), "a name is not looked at here");
        let found = recipient(&row(facts)).expect("it is good");
        assert_eq!(found.forward.len(), 3);
        assert!(!found.account.is_enabled && !found.keeps_copy && !found.takes_details);
        let account = &found.account;
        assert_eq!(
            (account.quota_bytes, account.quota_messages),
            (Some(1000), Some(10))
        );
        assert_eq!(account.protocols.to_string(), "imap,pop3");
        assert_eq!(account.pop3_deletion, Pop3Deletion::Trash);
        assert_eq!(account.retention_days, Some(30));
    }

    #[test]
    fn what_cannot_be_read_is_said_and_not_guessed() {
        for (name, value) in [
            ("enabled", "perhaps"),
            ("protocols", "telnet"),
            ("quota_bytes", "much"),
            ("forward", "nobody"),
            ("pop3_deletion", "burn"),
            ("address", "x"),
        ] {
            let Err(Failure::Wrong(why)) = recipient(&row(&[("id", &["1"]), (name, &[value])])) else {
                panic!("{name} was read")
            };
            assert!(why.contains(name) && why.contains(value), "{why}");
        }
        assert!(row(&[]).key().is_err());
        assert!(row(&[("id", &["a", "b"])]).key().is_err());
    }

    #[test]
    fn a_domain_has_details_unless_it_says_otherwise() {
        assert_eq!(row(&[]).domain().expect("good"), DomainFacts::default());
        let facts = row(&[("detail_separator", &["-"]), ("catch_all", &["a@example.org"])]);
        let facts = facts.domain().expect("good");
        assert_eq!(facts.detail_separator, Some('-'));
        assert_eq!(facts.catch_all, Some(address("a@example.org")));
        let none = row(&[("detail_separator", &[])]).domain().expect("good");
        assert_eq!(none.detail_separator, None);
    }

    #[test]
    fn a_bare_hash_is_of_the_scheme_that_the_site_has() {
        let row = row(&[(PASSWORD, &["$6$x", "{SSHA}y"])]);
        let login = row.login(AccountId(1), address("a@example.org"), "CRYPT", None);
        let hashes = login.ok().map(|login| login.hashes).unwrap_or_default();
        let texts: Vec<&str> = hashes.iter().map(PasswordHash::expose).collect();
        assert_eq!(texts, ["{CRYPT}$6$x", "{SSHA}y"]);
    }

    #[test]
    fn of_several_addresses_the_one_that_was_asked_for_is_taken() {
        let row = row(&[("address", &["b@example.org", "A@example.org", "a2@example.org"])]);
        let of = |asked| row.address(asked).expect("good").to_string();
        assert_eq!(of("a@example.org"), "A@example.org");
        assert_eq!(of("uid"), "A@example.org");
    }
}
