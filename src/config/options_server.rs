//! The options of the server itself: listeners, TLS, limits, the store, protocols, pages. A list and nothing else, the longest
//! file of this folder for that reason.

use super::option::Reload::{Live, Restart};
use super::option::{Default, Kind, MIB, Opt, opt};

/// One line a mail is too much for a log that nobody asked for.
pub const LOG_FILTER: &str = "info,mail=off";

/// Loopback, the private networks of RFC 1918, unique local (RFC 4193) and link-local addresses.
pub const METRICS_FROM: &[&str] = &[
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// In the order of the sample file.
pub(super) const SERVER: &[Opt] = &[
    opt(
        "server.hostname",
        Kind::Domain,
        Default::Required,
        Restart,
        "The name of this machine as others know it: in greetings and trace fields, in MX records and certificates. It has to \
         resolve to this machine's address, and the address back to it (reverse DNS), or others will not take its mail.",
    ),
    opt(
        "server.domain",
        Kind::Domain,
        Default::Required,
        Restart,
        "The main domain: its postmaster gets what is sent to <postmaster>, and to the postmaster of a domain that has none. \
         Domains themselves are added by `ringpost domain add`.",
    )
    .like(r#""example.com""#),
    opt(
        "server.data",
        Kind::Path,
        Default::Text("/var/lib/ringpost"),
        Restart,
        "The directory with everything that must not be lost: mail, accounts, keys. On ext4 or XFS, on a disk that is honest \
         about flushes. It belongs to `server.user`.",
    )
    .like(r#""/srv/mail""#),
    opt(
        "server.user",
        Kind::Text,
        Default::Text("ringpost"),
        Restart,
        "The system user the server becomes after it has bound its ports, if it is started as root. Empty: it stays who it is.",
    )
    .like(r#""mail""#),
    opt(
        "server.cores",
        Kind::Number { min: 0, max: 256 },
        Default::Number(0),
        Restart,
        "How many cores serve mail, one thread each; 0: every core this process may use. Fewer leave room for other programs. \
         The stored mail does not depend on it.",
    )
    .like("4"),
    opt(
        "server.network",
        Kind::Word(&["ring", "tcp"]),
        Default::Text("ring"),
        Restart,
        "What moves the bytes of connections: `ring` is an io_uring of our own on each core (Linux 5.19 or later), `tcp` a \
         system call for each receive and send. `tcp` also serves where the kernel refuses the ring.",
    ),
    opt(
        "log.filter",
        Kind::Text,
        Default::Text(LOG_FILTER),
        Live,
        "What is logged: a level (error, warn, info, debug, trace), or several with the part of the program they are for, as in \
         `info,mail=info`, which has a line for each mail. The variable RINGPOST_LOG goes before it.",
    )
    .like(r#""info,mail=info""#),
    opt(
        "listen.smtp",
        Kind::Addresses,
        Default::List(&["0.0.0.0:25", "[::]:25"]),
        Restart,
        "Where mail from the world comes in (RFC 5321). An empty list closes the service; so it is with all of this table.",
    ),
    opt(
        "listen.lmtp",
        Kind::Addresses,
        Default::List(&[]),
        Restart,
        "Where MTAs of this site deliver (RFC 2033). Whoever reaches it can deliver anything to anybody here: loopback or a \
         private network only.",
    )
    .like(r#"["127.0.0.1:24"]"#),
    opt(
        "listen.submission",
        Kind::Addresses,
        Default::List(&["0.0.0.0:587", "[::]:587"]),
        Restart,
        "Where users send (RFC 6409): STARTTLS, then a login.",
    ),
    opt(
        "listen.submission-2525",
        Kind::Addresses,
        Default::List(&[]),
        Restart,
        "The same on port 2525, for users whose networks let nothing else out.",
    )
    .like(r#"["0.0.0.0:2525", "[::]:2525"]"#),
    opt(
        "listen.submissions",
        Kind::Addresses,
        Default::List(&["0.0.0.0:465", "[::]:465"]),
        Restart,
        "The same over TLS (RFC 8314).",
    ),
    opt(
        "listen.pop3",
        Kind::Addresses,
        Default::List(&["0.0.0.0:110", "[::]:110"]),
        Restart,
        "POP3 with STLS.",
    ),
    opt(
        "listen.pop3s",
        Kind::Addresses,
        Default::List(&["0.0.0.0:995", "[::]:995"]),
        Restart,
        "POP3 over TLS (RFC 8314).",
    ),
    opt(
        "listen.imap",
        Kind::Addresses,
        Default::List(&["0.0.0.0:143", "[::]:143"]),
        Restart,
        "IMAP with STARTTLS.",
    ),
    opt(
        "listen.imaps",
        Kind::Addresses,
        Default::List(&["0.0.0.0:993", "[::]:993"]),
        Restart,
        "IMAP over TLS (RFC 8314).",
    ),
    opt(
        "listen.http",
        Kind::Addresses,
        Default::List(&["127.0.0.1:8080"]),
        Restart,
        "Health and metrics without encryption, for this machine or a private network; they name no mail and no accounts.",
    ),
    opt(
        "listen.https",
        Kind::Addresses,
        Default::List(&["0.0.0.0:443", "[::]:443"]),
        Restart,
        "Automatic set-up of mail programs, the MTA-STS policy, and the pages for users and admins.",
    ),
    opt(
        "tls.certificate.*.chain",
        Kind::Path,
        Default::Required,
        Live,
        "A PEM file: the certificate, then those of its issuers. It is used for the names it holds (SNI). The one whose table is \
         called `default` serves whoever names no host, or one we have no certificate for; without it that is \
         `tls/default.crt` in the data directory, which `init` makes self-signed.",
    )
    .like(r#""/etc/ssl/mail.example.com/fullchain.pem""#),
    opt(
        "tls.certificate.*.key",
        Kind::Path,
        Default::Required,
        Live,
        "The PEM file of its private key, readable by `server.user` only.",
    )
    .like(r#""/etc/ssl/mail.example.com/privkey.pem""#),
    opt(
        "tls.watch",
        Kind::Seconds { min: 1, max: 86_400 },
        Default::Number(60),
        Live,
        "How often certificate files are looked at, in seconds. Changed ones are used for new connections; a pair that does not \
         fit is reported and what ran goes on.",
    ),
    opt(
        "tls.client_ca",
        Kind::Text,
        Default::Text(""),
        Restart,
        "A PEM file with the authorities whose certificates of clients are taken for logins (SASL EXTERNAL) by IMAP, POP3 and \
         submission. Whoever they give a certificate to is believed to be the account it names: authorities of your own \
         only. Empty: nobody is asked for a certificate.",
    )
    .like(r#""/etc/ringpost/users-ca.pem""#),
    opt(
        "tls.client_account",
        Kind::Word(&["email", "common_name"]),
        Default::Text("email"),
        Restart,
        "Where such a certificate names its account: in its alternative names that are mail addresses, or in its common name.",
    ),
    opt(
        "limits.message_bytes",
        Kind::Bytes {
            min: 64 * 1024,
            max: 1024 * MIB,
        },
        Default::Number(50 * MIB),
        Live,
        "Largest message taken, in bytes, as sent (attachments grow by a third on their way). Others refuse more than 25 to 50 MiB.",
    ),
    opt(
        "limits.loopback",
        Kind::Flag,
        Default::Flag(false),
        Restart,
        "Whether limits on one address hold for loopback too. Off, because what comes from there is this machine's own.",
    ),
    opt(
        "limits.submission_messages_per_hour",
        Kind::Number {
            min: 1,
            max: 1_000_000,
        },
        Default::Number(500),
        Live,
        "Messages that one account may submit in an hour: a stolen password must not make this site a source of junk.",
    )
    .like("100"),
    opt(
        "limits.submission_recipients_per_day",
        Kind::Number {
            min: 1,
            max: 10_000_000,
        },
        Default::Number(5_000),
        Live,
        "Recipients of one account's messages in a day.",
    )
    .like("1000"),
    opt(
        "store.expunged_kept",
        Kind::Seconds {
            min: 0,
            max: 10 * 365 * 86_400,
        },
        Default::Number(7 * 86_400),
        Restart,
        "How long `ringpost store undelete` can bring back what users expunged. It takes its space for as long; what is older is \
         forgotten within a day.",
    ),
    opt(
        "store.compaction",
        Kind::Flag,
        Default::Flag(true),
        Restart,
        "Whether the space of what nobody needs any more is given back to the file system while the server runs. Off, the store \
         only grows: to leave a disk alone for a while.",
    ),
    opt(
        "store.compaction_pause",
        Kind::Seconds { min: 1, max: 86_400 },
        Default::Number(60),
        Restart,
        "Between two passes. The pause doubles, up to an hour, while there is nothing to give back.",
    ),
    opt(
        "store.compaction_bytes_per_second",
        Kind::Bytes {
            min: 64 * 1024,
            max: 16 * 1024 * MIB,
        },
        Default::Number(32 * MIB),
        Restart,
        "What a pass writes on one core in a second at most: what still lives in the space to be given back is written anew. More \
         gives back sooner and takes more of the disk from mail.",
    ),
    opt(
        "store.compaction_dead_bytes",
        Kind::Bytes {
            min: MIB,
            max: 1024 * 1024 * MIB,
        },
        Default::Number(256 * MIB),
        Restart,
        "A pass begins when as much is dead, and a quarter of the store. Less gives back sooner and writes more: each pass also \
         writes about 30 bytes for every message there is.",
    ),
    opt(
        "store.segment_bytes",
        Kind::Bytes {
            min: 16 * MIB,
            max: 1024 * MIB,
        },
        Default::Number(64 * MIB),
        Restart,
        "Size of the files that mail is stored in; each core has one or two allocated ahead. Space is given back by whole files. \
         Smaller on small disks; files of any size are read.",
    ),
    opt(
        "security.plaintext_login_on_loopback",
        Kind::Flag,
        Default::Flag(false),
        Live,
        "Whether programs on this machine may log in without TLS. Everybody else never may.",
    ),
    opt(
        "security.trusted_proxies",
        Kind::Networks,
        Default::List(&[]),
        Live,
        "Networks whose connections begin with a PROXY header (version 1 or 2), on every mail port. They may say any address: \
         your own load balancers only.",
    ),
    opt(
        "security.xclient_from",
        Kind::Networks,
        Default::List(&[]),
        Live,
        "Networks that may say by XCLIENT for whom they speak SMTP or LMTP: your own filters only.",
    ),
    opt(
        "security.scram",
        Kind::Flag,
        Default::Flag(false),
        Live,
        "Whether SCRAM is offered. Only when every account has verifiers (`ringpost domain set DOMAIN --scram true`, then a new \
         password for each): they are weaker than the hashes beside them, and programs fail at accounts without.",
    ),
    opt(
        "oauth.issuer",
        Kind::Text,
        Default::Text(""),
        Restart,
        "The issuer whose tokens open accounts (SASL OAUTHBEARER and XOAUTH2), as it names itself in them: a URL such as \
         https://login.example.com. Empty: tokens are not taken.",
    )
    .like(r#""https://login.example.com""#),
    opt(
        "oauth.audience",
        Kind::Text,
        Default::Text(""),
        Restart,
        "Whom tokens have to be for (`aud`): as your issuer names this server. Tokens for somebody else are refused, or every \
         program that a user logs in to could read their mail. May be empty only where all tokens are introspected.",
    )
    .like(r#""mail.example.com""#),
    opt(
        "oauth.keys",
        Kind::Text,
        Default::Text(""),
        Restart,
        "Where the issuer publishes its keys (a JWK set), to verify tokens that are JWTs. Empty: where its metadata says \
         (`/.well-known/openid-configuration`), or, with `oauth.introspection`, nowhere.",
    )
    .like(r#""https://login.example.com/keys""#),
    opt(
        "oauth.introspection",
        Kind::Text,
        Default::Text(""),
        Restart,
        "Where the issuer answers what a token is (RFC 7662), for tokens that are no JWTs. It is asked at each login.",
    )
    .like(r#""https://login.example.com/introspect""#),
    opt(
        "oauth.client_id",
        Kind::Text,
        Default::Text(""),
        Restart,
        "As whom this server introspects tokens.",
    )
    .like(r#""ringpost""#),
    opt(
        "oauth.client_secret_file",
        Kind::Text,
        Default::Text(""),
        Restart,
        "A file with its secret, readable by `server.user` only.",
    )
    .like(r#""/etc/ringpost/oauth-secret""#),
    opt(
        "oauth.login_claim",
        Kind::Text,
        Default::Text("email"),
        Restart,
        "The claim that holds the address of the account. It must be one that users cannot choose for themselves.",
    )
    .like(r#""preferred_username""#),
    opt(
        "oauth.scope",
        Kind::Text,
        Default::Text(""),
        Restart,
        "A scope that tokens have to have. Empty: none in particular.",
    )
    .like(r#""mail""#),
    opt(
        "oauth.ca",
        Kind::Text,
        Default::Text(""),
        Restart,
        "A PEM file with the authorities that vouch for the issuer's host. Empty: those of the system.",
    )
    .like(r#""/etc/ringpost/login-ca.pem""#),
    opt(
        "pop3.login_delay",
        Kind::Seconds { min: 0, max: 3_600 },
        Default::Number(0),
        Live,
        "Seconds between two POP3 logins of one account (RFC 2449 LOGIN-DELAY). 0: none are asked for.",
    ),
    opt(
        "imap.hidden_capabilities",
        Kind::Capabilities,
        Default::List(&[]),
        Live,
        "Capabilities that IMAP does not announce, for programs that one of them breaks. The commands work nevertheless, but for \
         UNAUTHENTICATE (RFC 8437 §8).",
    ),
    opt(
        "imap.literal_plus",
        Kind::Flag,
        Default::Flag(true),
        Live,
        "Whether programs may send literals of any size unasked (LITERAL+). Off: up to 4,096 octets (LITERAL-, RFC 7888), which \
         spares reading what is refused, and costs a round trip for each longer message.",
    ),
    opt(
        "imap.compress",
        Kind::Flag,
        Default::Flag(true),
        Live,
        "Whether COMPRESS=DEFLATE is offered. It saves slow lines' time and costs the CPU of deflating, and 48 KiB for each \
         connection that uses it.",
    ),
    opt(
        "imap.message_limit",
        Kind::Number {
            min: 0,
            max: 1_000_000,
        },
        Default::Number(0),
        Live,
        "Most messages that one FETCH, SEARCH, STORE, COPY, MOVE, APPEND or UID EXPUNGE works on (MESSAGELIMIT, RFC 9738). 0: as \
         many as there are; otherwise 1000 at least, as the RFC has it. Programs that do not know of it see a part of a mailbox only.",
    )
    .like("1000"),
    opt(
        "web.metrics_from",
        Kind::Networks,
        Default::List(METRICS_FROM),
        Live,
        "Networks that may read `/metrics`, by HTTP and HTTPS: how busy a site is is nobody else's business. To all others there \
         is no such page. As it is: this machine, and networks that the world cannot route to.",
    ),
    opt(
        "web.mta_sts",
        Kind::Word(&["off", "none", "testing", "enforce"]),
        Default::Text("testing"),
        Live,
        "What senders are told by MTA-STS (RFC 8461): `testing` asks them to report failures, `enforce` not to deliver where TLS \
         or the name is wrong (only with a certificate that the world trusts), `none` withdraws an earlier policy, `off` has \
         no policy at all.",
    ),
    opt(
        "web.mta_sts_max_age",
        Kind::Seconds {
            min: 60,
            max: 31_557_600,
        },
        Default::Number(604_800),
        Live,
        "For how long senders may keep the policy, in seconds. Longer is safer, and longer to take back.",
    ),
];
