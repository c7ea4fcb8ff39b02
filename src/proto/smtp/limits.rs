//! What an SMTP peer may take of us. Defaults; those in [`Config`](super::Config) are the operator's to change.

/// Longest command line, CRLF included. RFC 5321 §4.5.3.1.4 asks for 512, extensions add to it. Beyond it the line is
/// discarded up to its CRLF, so the next command still starts at a known place.
pub const COMMAND_LINE_BYTES_MAX: usize = 2_048;

/// Largest message, octets. What large providers take today; announced by SIZE (RFC 1870).
pub const MESSAGE_BYTES_MAX: u64 = 50 * 1024 * 1024;

/// Accepted recipients of one transaction. RFC 5321 §4.5.3.1.8 asks for 100; lists send 1,000. Further ones hear
/// `452 4.5.3`, which makes a peer send them in a transaction of their own.
pub const RECIPIENTS_MAX: usize = 1_000;

/// Refused commands of one session, then `421`. Above what a confused human types, below what a scanner tries.
pub const ERRORS_MAX: u32 = 20;

/// Unknown recipients of one session since the last message that was taken, then `421`: makes harvesting of addresses expensive,
/// leaves room for typing errors and for lists with a few dead members.
pub const UNKNOWN_RECIPIENTS_MAX: u32 = 10;

/// Commands of one session that bring no mail further (NOOP, RSET, HELP, VRFY, EXPN, another EHLO) since the last message
/// that was taken, then `421`. An MTA sends one or two a message; Postfix, too, allows a hundred.
pub const IDLE_COMMANDS_MAX: u32 = 100;

/// Time to log in for submission, from the greeting or the last failed attempt on: a peer without an account costs as much
/// as one with.
pub const LOGIN_SECONDS: u32 = 60;

/// Failed logins of one connection before it is closed: room for typing errors, none for guessing.
pub const LOGIN_FAILURES_MAX: u32 = 5;

/// Longest EHLO or HELO name, octets (RFC 5321 §4.5.3.1.2).
pub const HELLO_BYTES_MAX: usize = 255;

/// Time for the next command, and for reading the greeting (RFC 5321 §4.5.3.2.7 asks for at least five minutes).
pub const COMMAND_SECONDS: u32 = 300;

/// Octets of a message that must come in a second on average, behind [`DATA_GRACE_SECONDS`]: a peer that trickles
/// octets cannot hold a transaction open for ever. A modem of 1981 sent more.
pub const DATA_BYTES_PER_SECOND_MIN: u64 = 100;

/// Time for which the minimum rate does not count yet: the path may be lossy, and the first octets slow to come.
pub const DATA_GRACE_SECONDS: u32 = 60;

/// Longest pause inside a message, paid for by octets that came before it (RFC 5321 §4.5.3.2.5: three minutes).
pub const DATA_PAUSE_SECONDS: u32 = 180;

/// Replies waiting in `wire` beyond which no further command of the same input is read before they are sent: a peer that
/// pipelines commands and never reads replies costs this much, and one reply; in LMTP, whose peers are this site's own,
/// the replies to one message: [`RECIPIENTS_MAX`] of up to 512 octets.
pub const WIRE_BYTES_MAX: usize = 8 * 1024;

/// Ranges of body told at once. Lines beginning with a dot cut a body in pieces; a session keeps a handle on each.
pub const BODY_RANGES_MAX: usize = 64;
