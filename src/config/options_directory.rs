//! The options of directories: where accounts are, and how another directory than our own is asked.

use super::option::{Default, Kind, Opt, Reload::Restart, opt};
use crate::directory::{ldap, postgres};

/// In the order of the sample file.
pub(super) const DIRECTORY: &[Opt] = &[
    opt(
        "directory.backend",
        Kind::Word(&["embedded", "postgresql", "ldap"]),
        Default::Text("embedded"),
        Restart,
        "Where domains, accounts and aliases are: `embedded` in the data directory, managed by `ringpost account`; or in a \
         directory that this site has already, which is only ever read. The ids that mail is kept under stay here: beside \
         another directory's key for an account (`id`) the data directory keeps the number that was given to it, for ever. An \
         account whose key is new gets the mail of the embedded account of the same address, if there is one.",
    ),
    opt(
        "directory.cache",
        Kind::Seconds { min: 1, max: 86_400 },
        Default::Number(60),
        Restart,
        "How long what another directory said is believed: a change there is as late as this, a changed password too.",
    ),
    opt(
        "directory.negative_cache",
        Kind::Seconds { min: 1, max: 86_400 },
        Default::Number(10),
        Restart,
        "How long it is believed that somebody does not exist.",
    ),
    opt(
        "directory.stale",
        Kind::Seconds { min: 0, max: 604_800 },
        Default::Number(3_600),
        Restart,
        "How much longer what was known is used while the directory does not answer. Beyond it, and for all that is not known, \
         senders hear 451 and try again later.",
    ),
    opt(
        "directory.timeout",
        Kind::Seconds { min: 1, max: 30 },
        Default::Number(3),
        Restart,
        "What one question to another directory may take.",
    )
    .like("5"),
    opt(
        "directory.connections",
        Kind::Number { min: 1, max: 100 },
        Default::Number(4),
        Restart,
        "Connections to another directory at most. Answers are remembered, so a few are enough.",
    )
    .like("8"),
    opt(
        "directory.password_scheme",
        Kind::Word(&[
            "CRYPT",
            "PLAIN",
            "SHA",
            "SSHA",
            "SHA256",
            "SHA512",
            "BLF-CRYPT",
            "PBKDF2",
        ]),
        Default::Text("CRYPT"),
        Restart,
        "The scheme of another directory's passwords that do not name theirs in braces.",
    ),
    opt(
        "postgresql.connect",
        Kind::Text,
        Default::Text(""),
        Restart,
        "Where the database is: `host=/run/postgresql dbname=mail user=ringpost` or `postgresql://ringpost@db.example.com/mail`. \
         A user that may read what the queries ask for is enough.",
    )
    .like(r#""host=/run/postgresql dbname=mail user=ringpost""#),
    opt(
        "postgresql.password_file",
        Kind::Text,
        Default::Text(""),
        Restart,
        "A file with the password in it, readable by `server.user` only. Empty: none is needed.",
    )
    .like(r#""/etc/ringpost/database-password""#),
    opt(
        "postgresql.tls",
        Kind::Flag,
        Default::Flag(true),
        Restart,
        "Whether a connection through a network is encrypted, and the server's certificate verified. Without it passwords' hashes \
         travel in the clear. A Unix socket needs none.",
    ),
    opt(
        "postgresql.ca_file",
        Kind::Text,
        Default::Text(""),
        Restart,
        "A PEM file with the issuer of the server's certificate. Empty: those that this machine trusts.",
    )
    .like(r#""/etc/ringpost/database-ca.pem""#),
    opt(
        "postgresql.domain",
        Kind::Query(postgres::DOMAIN_PARAMETERS),
        Default::Text(""),
        Restart,
        "A row: the domain is ours. Its columns may be catch_all (an address) and detail_separator (one character; null: no \
         details). `SELECT 1 FROM domains WHERE name = :domain` is enough. All that is asked for is in lower case, \
         international domains with A-labels (`xn--bcher-kva.example`), so that is how they are kept there; answers may have either form.",
    )
    .like(r#""SELECT 1 FROM domains WHERE name = :domain""#),
    opt(
        "postgresql.account",
        Kind::Query(postgres::ADDRESS_PARAMETERS),
        Default::Text(""),
        Restart,
        "The account that has an address, one row at most: id (required: a serial number or UUID that is never given again, because \
         mail belongs to it), address (its main one), enabled, protocols (imap,pop3,submission), quota_bytes, quota_messages, \
         forward (an array, or addresses with commas between), keeps_copy, takes_details, pop3_deletion, retention_days. All but \
         id may be missing.",
    )
    .like(r#""SELECT id, address FROM accounts WHERE address = :address""#),
    opt(
        "postgresql.login",
        Kind::Query(postgres::LOGIN_PARAMETERS),
        Default::Text(""),
        Restart,
        "Whoever logs in by a name: the same columns, and password (a hash, or an array of them). Empty: the query for accounts is \
         asked with the login as the address.",
    )
    .like(r#""SELECT id, address, password FROM accounts WHERE address = :login""#),
    opt(
        "postgresql.alias",
        Kind::Query(postgres::ADDRESS_PARAMETERS),
        Default::Text(""),
        Restart,
        "Where the mail of an address goes that is no account's: rows with the column target (one address, several with commas \
         between, or an array). Empty: there are no aliases.",
    )
    .like(r#""SELECT target FROM aliases WHERE address = :address""#),
    opt(
        "ldap.url",
        Kind::Text,
        Default::Text(""),
        Restart,
        "Where the server is: `ldap://ldap.example.com` or `ldaps://ldap.example.com`.",
    )
    .like(r#""ldaps://ldap.example.com""#),
    opt(
        "ldap.tls",
        Kind::Flag,
        Default::Flag(true),
        Restart,
        "Whether `ldap://` is encrypted by StartTLS before anything is said; certificates are verified. Without it passwords \
         travel in the clear: on this machine only.",
    ),
    opt(
        "ldap.ca_file",
        Kind::Text,
        Default::Text(""),
        Restart,
        "A PEM file with the issuer of the server's certificate. Empty: those that this machine trusts.",
    )
    .like(r#""/etc/ringpost/ldap-ca.pem""#),
    opt(
        "ldap.bind_dn",
        Kind::Text,
        Default::Text(""),
        Restart,
        "Who asks: the DN of an entry that may read what the filters ask for. Empty: nobody in particular (anonymous).",
    )
    .like(r#""cn=ringpost,ou=services,dc=example,dc=com""#),
    opt(
        "ldap.password_file",
        Kind::Text,
        Default::Text(""),
        Restart,
        "A file with that entry's password in it, readable by `server.user` only.",
    )
    .like(r#""/etc/ringpost/ldap-password""#),
    opt(
        "ldap.base",
        Kind::Text,
        Default::Text(""),
        Restart,
        "Below which entry is looked: `dc=example,dc=com`.",
    )
    .like(r#""dc=example,dc=com""#),
    opt(
        "ldap.domains",
        Kind::Domains,
        Default::List(&[]),
        Restart,
        "Domains that are ours, where the directory has no entries for them.",
    )
    .like(r#"["example.com", "example.net"]"#),
    opt(
        "ldap.domain",
        Kind::Filter(ldap::DOMAIN_PLACEHOLDERS),
        Default::Text(""),
        Restart,
        "Finds the entry of a domain that is ours: `(&(objectClass=dNSDomain)(associatedDomain={domain}))`.",
    )
    .like(r#""(&(objectClass=dNSDomain)(associatedDomain={domain}))""#),
    opt(
        "ldap.account",
        Kind::Filter(ldap::ADDRESS_PLACEHOLDERS),
        Default::Text(""),
        Restart,
        "Finds the account that has an address: `(&(objectClass=inetOrgPerson)(mail={address}))`.",
    )
    .like(r#""(&(objectClass=inetOrgPerson)(mail={address}))""#),
    opt(
        "ldap.login",
        Kind::Filter(ldap::LOGIN_PLACEHOLDERS),
        Default::Text(""),
        Restart,
        "Finds whoever logs in by a name: `(&(objectClass=inetOrgPerson)(|(mail={login})(uid={login})))`. Empty: the filter for \
         accounts is asked with the login as the address.",
    )
    .like(r#""(&(objectClass=inetOrgPerson)(|(mail={login})(uid={login})))""#),
    opt(
        "ldap.alias",
        Kind::Filter(ldap::ADDRESS_PLACEHOLDERS),
        Default::Text(""),
        Restart,
        "Finds the entry of an address whose mail goes elsewhere. Empty: there are none.",
    )
    .like(r#""(&(objectClass=nisMailAlias)(cn={address}))""#),
    opt(
        "ldap.check_password",
        Kind::Word(&["bind", "hash"]),
        Default::Text("bind"),
        Restart,
        "Who says whether a password is right: the server, when it is asked as the account itself (`bind`), or Ringpost by the \
         hashes that `ldap.bind_dn` may read (`hash`).",
    ),
    opt(
        "ldap.attributes.id",
        Kind::Text,
        Default::Text("entryUUID"),
        Restart,
        "The attribute that names an account for ever: mail belongs to its value, which must never be given again.",
    )
    .like(r#""entryUUID""#),
    opt(
        "ldap.attributes.address",
        Kind::Text,
        Default::Text("mail"),
        Restart,
        "The attribute with an account's main address.",
    )
    .like(r#""mailPrimaryAddress""#),
    opt(
        "ldap.attributes.password",
        Kind::Text,
        Default::Text("userPassword"),
        Restart,
        "The attribute with its password hashes, where `ldap.check_password` is `hash`.",
    )
    .like(r#""userPassword""#),
    opt(
        "ldap.attributes.enabled",
        Kind::Text,
        Default::Text(""),
        Restart,
        "The attribute that is FALSE for accounts that take no mail and do not log in. Empty: all do.",
    )
    .like(r#""mailEnabled""#),
    opt(
        "ldap.attributes.protocols",
        Kind::Text,
        Default::Text(""),
        Restart,
        "The attribute with what an account's owner may use (imap,pop3,submission). Empty: everything.",
    )
    .like(r#""mailProtocols""#),
    opt(
        "ldap.attributes.quota_bytes",
        Kind::Text,
        Default::Text(""),
        Restart,
        "The attribute with the bytes of mail that an account may keep. Empty: as many as there are.",
    )
    .like(r#""mailQuota""#),
    opt(
        "ldap.attributes.quota_messages",
        Kind::Text,
        Default::Text(""),
        Restart,
        "The attribute with the messages that an account may keep.",
    )
    .like(r#""mailQuotaMessages""#),
    opt(
        "ldap.attributes.forward",
        Kind::Text,
        Default::Text(""),
        Restart,
        "The attribute with addresses that get an account's mail too.",
    )
    .like(r#""mailForwardingAddress""#),
    opt(
        "ldap.attributes.target",
        Kind::Text,
        Default::Text(""),
        Restart,
        "The attribute with the addresses that an alias leads to.",
    )
    .like(r#""rfc822MailMember""#),
    opt(
        "ldap.attributes.catch_all",
        Kind::Text,
        Default::Text(""),
        Restart,
        "The attribute of a domain's entry with the address that gets what is for nobody else.",
    )
    .like(r#""mailCatchAll""#),
];
