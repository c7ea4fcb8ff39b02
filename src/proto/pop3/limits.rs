//! What a POP3 peer may take of us.

/// Longest command line, CRLF included. RFC 2449 §4 asks for 255; long passwords and AUTH's initial response need more.
pub const COMMAND_LINE_BYTES_MAX: usize = 2_048;

/// Time for the next command once logged in (RFC 1939 §3: at least ten minutes).
pub const IDLE_SECONDS: u32 = 600;

/// Time to log in, from the greeting or the last failed attempt on. Short, because a peer without an account costs as
/// much as one with.
pub const LOGIN_SECONDS: u32 = 60;

/// Failed logins of one connection before it is closed: room for typing errors, none for guessing.
pub const LOGIN_FAILURES_MAX: u32 = 5;

/// Refused commands of one session before it is closed.
pub const ERRORS_MAX: u32 = 20;

/// Replies waiting in `wire` beyond which no more is written before they are sent: some short messages, if they were asked for
/// in one go, and little for a peer who does not read.
pub const WIRE_BYTES_MAX: usize = 32 * 1024;
